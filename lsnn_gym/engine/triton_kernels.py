"""The kernels of the Triton engine; imported by it when it runs, for Triton need not be installed."""

# A kernel's annotations are for Triton, and it is launched by subscription.
# pyright: reportInvalidTypeForm=false, reportMissingImports=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl


@triton.jit
def forward(
    membrane_decay,
    adaptation_decay,
    baseline,
    beta,
    period,
    recurrent,  # [D, post, pre]
    due,  # [T + D, B, N]
    emitted,  # [T + 1, B, N]
    voltage,
    adaptation,
    refractory,
    threshold_out,
    scaled_out,
    blocked_out,
    dt,
    steps,
    batch,
    neurons,
    delays: tl.constexpr,
    samples: tl.constexpr,
    columns: tl.constexpr,
    block: tl.constexpr,
):
    """Take a tile of samples through all steps; see ``reference.step``."""
    b = tl.program_id(0) * samples + tl.arange(0, samples)
    n = tl.arange(0, columns)
    is_neuron = n < neurons
    inside = (b < batch)[:, None] & is_neuron[None, :]
    place = b[:, None] * neurons + n[None, :]
    alpha = tl.load(membrane_decay + n, is_neuron, 0.0)[None, :]
    rho = tl.load(adaptation_decay + n, is_neuron, 0.0)[None, :]
    base = tl.load(baseline + n, is_neuron, 1.0)[None, :]
    strength = tl.load(beta + n, is_neuron, 0.0)[None, :]
    wait = tl.load(period + n, is_neuron, 0.0)[None, :]
    v = tl.load(voltage + place, inside, 0.0)
    a = tl.load(adaptation + place, inside, 0.0)
    r = tl.load(refractory + place, inside, 0.0)
    for t in range(steps):
        row = t * batch * neurons
        current = tl.load(due + row + place, inside, 0.0)
        for k in tl.static_range(delays):
            if t >= k:
                for first in range(0, neurons, block):
                    pre = first + tl.arange(0, block)
                    sent = tl.load(
                        emitted + row - k * batch * neurons + b[:, None] * neurons + pre[None, :],
                        (b < batch)[:, None] & (pre < neurons)[None, :],
                        0.0,
                    )
                    weights = tl.load(
                        recurrent + (k * neurons + n[None, :]) * neurons + pre[:, None],
                        (pre < neurons)[:, None] & is_neuron[None, :],
                        0.0,
                    )
                    current += tl.dot(sent, weights, input_precision="ieee")
        spike = tl.load(emitted + row + place, inside, 0.0)
        a = rho * a + (1 - rho) * spike
        threshold = base + strength * a
        scaled = (v - threshold) / threshold
        v = alpha * v + (1 - alpha) * current - dt * spike * threshold
        silent = r > 0
        fired = (scaled > 0) & (r <= 0)
        r = tl.where(fired, wait, tl.maximum(r - 1, 0.0))
        tl.store(threshold_out + row + place, threshold, inside)
        tl.store(scaled_out + row + place, scaled, inside)
        tl.store(blocked_out + row + place, silent.to(tl.int8), inside)
        tl.store(emitted + row + batch * neurons + place, tl.where(fired, 1.0, 0.0) / dt, inside)
        tl.debug_barrier()  # the next step reads these spikes back, other threads' too
    tl.store(voltage + place, v, inside)
    tl.store(adaptation + place, a, inside)
    tl.store(refractory + place, r, inside)


@triton.jit
def backward(
    membrane_decay,
    adaptation_decay,
    baseline,
    beta,
    recurrent,  # [D, post, pre]
    emitted,  # [T, B, N]: in the step before
    threshold_in,
    scaled_in,
    slope_in,
    by_spikes,
    errors,  # [T + D, B, N]
    by_voltage,
    by_emitted,
    by_adaptation,
    dt,
    steps,
    batch,
    neurons,
    stops: tl.constexpr,
    delays: tl.constexpr,
    samples: tl.constexpr,
    columns: tl.constexpr,
    block: tl.constexpr,
):
    """Take the errors of a tile of samples back through all steps; see ``unrolled.Adjoint``."""
    b = tl.program_id(0) * samples + tl.arange(0, samples)
    n = tl.arange(0, columns)
    is_neuron = n < neurons
    inside = (b < batch)[:, None] & is_neuron[None, :]
    place = b[:, None] * neurons + n[None, :]
    alpha = tl.load(membrane_decay + n, is_neuron, 0.0)[None, :]
    rho = tl.load(adaptation_decay + n, is_neuron, 0.0)[None, :]
    strength = tl.load(beta + n, is_neuron, 0.0)[None, :]
    gv = tl.load(by_voltage + place, inside, 0.0)
    gz = tl.load(by_emitted + place, inside, 0.0)
    ga = tl.load(by_adaptation + place, inside, 0.0)
    for back in range(steps):
        row = (steps - 1 - back) * batch * neurons
        tl.store(errors + row + place, (1 - alpha) * gv, inside)
        tl.debug_barrier()  # read back below, other threads' too
        spike = tl.load(emitted + row + place, inside, 0.0)
        threshold = tl.load(threshold_in + row + place, inside, 1.0)
        scaled = tl.load(scaled_in + row + place, inside, 0.0)
        slope = tl.load(slope_in + row + place, inside, 0.0)
        fires = (gz + tl.load(by_spikes + row + place, inside, 0.0)) * slope
        ga += strength * (-dt * spike * gv - fires - fires * scaled)
        gz = (1 - rho) * ga
        if not stops:
            gz -= dt * threshold * gv
            for k in tl.static_range(delays):
                for first in range(0, neurons, block):
                    post = first + tl.arange(0, block)
                    error = tl.load(
                        errors + row + k * batch * neurons + b[:, None] * neurons + post[None, :],
                        (b < batch)[:, None] & (post < neurons)[None, :],
                        0.0,
                    )
                    weights = tl.load(
                        recurrent + (k * neurons + post[:, None]) * neurons + n[None, :],
                        (post < neurons)[:, None] & is_neuron[None, :],
                        0.0,
                    )
                    gz += tl.dot(error, weights, input_precision="ieee")
        gv = alpha * gv + fires
        ga = rho * ga
    tl.store(by_voltage + place, gv, inside)
    tl.store(by_emitted + place, gz, inside)
    tl.store(by_adaptation + place, ga, inside)
