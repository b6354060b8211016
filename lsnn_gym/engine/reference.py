"""The LSNN recurrence in plain PyTorch: short, differentiated by autograd, and the definition of correct."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.neurons import LSNN, CellModel, NeuronParameters, SpikingState
from lsnn_gym.surrogate import triangular_spike

unavailable: str | None = None


def begin(*args: Any, **options: Any) -> None:
    """Return None: to act, call ``run`` for every step."""


def supports(model: CellModel) -> bool:
    """Return True: every cell is defined here."""
    return True


class StepRecord(NamedTuple):
    """What a step computed on its way, each ``[B, N]``: the threshold used and the spike function's argument."""

    threshold: Tensor
    scaled_voltage: Tensor


def step(
    neurons: NeuronParameters,
    weight: Tensor,
    inputs: Tensor,
    state: SpikingState,
    noise_current: Tensor | None,
    *,
    dt: float,
    dampening_factor: float,
    model: CellModel = LSNN,
) -> tuple[SpikingState, StepRecord]:
    """Advance B networks of N neurons by one simulation step.

    In this order, with z the spikes (0 or 1/dt), F the currents under way and theta the threshold::

        F_k  <- F_k + W_in^(k) x[t] + W_rec^(k) z[t-1]
        b[t]  = rho b[t-1] + (1 - rho) z[t-1]
        th[t] = threshold + beta b[t]
        s[t]  = (v[t-1] - th[t]) / th[t]                     old voltage, new threshold
        z[t]  = H(s[t]) / dt, or 0 within the refractory period
        v[t]  = alpha v[t-1] + (1 - alpha) (F_0 + noise) - z[t-1] th[t] dt

    and then the buffer F moves on by one step. So a spike is caused by the voltage of the step before, and
    its reset, by the threshold that already holds that spike's own adaptation, follows in the step after.

    Another ``model`` replaces, choice by choice: v[t-1] in s by v[t], which is then computed first; the
    denominator th[t] of s by the baseline threshold; th[t] in the reset by th[t-1] or by the baseline
    threshold; 1 - alpha and 1 - rho by 1; z[t-1] in b by H((v[t-1] - th[t-1]) / ...) / dt, refractory or not.

    Args:
        neurons: Constants ``[N]`` each.
        weight: Input and recurrent weights side by side, sorted by delay: ``[D * N, I + N]``.
        inputs: ``[B, I]``: spikes (0 or 1/dt), rates or currents.
        state: After the step before.
        noise_current: ``[B, N]`` or None.
        dt: Simulation step in ms.
        dampening_factor: Of the pseudo-derivative.
        model: Which published cell.

    Returns:
        The state after this step, and the step's threshold and scaled voltage.

    Source: the authors' code of Bellec et al., NIPS 2018, which fires on the old voltage; the paper's equation
    takes spike and reset from the same voltage (model "lsnn-paper"). The other models: see ``CELL_MODELS``.
    """
    emitted = state.spikes.detach() if model.stops_spike_gradient else state.spikes
    arriving = F.linear(torch.cat([inputs, emitted], dim=1), weight)
    currents = state.currents + arriving.view_as(state.currents)
    current = currents[:, 0] if noise_current is None else currents[:, 0] + noise_current

    adapting = state.spikes
    if model.adapts_while_refractory:
        before = torch.addcmul(neurons.threshold, neurons.beta, state.adaptation)
        adapting = triangular_spike(_scale(model, neurons, state.voltage, before), dampening_factor) / dt
    adaptation = _leak(neurons.adaptation_decay, state.adaptation, adapting, model.scaled_adaptation)
    threshold = torch.addcmul(neurons.threshold, neurons.beta, adaptation)

    if model.fires_on_new_voltage:
        voltage = _integrate(model, neurons, state, emitted, current, threshold, dt)
        scaled_voltage = _scale(model, neurons, voltage, threshold)
        fired = triangular_spike(scaled_voltage, dampening_factor)
    else:
        scaled_voltage = _scale(model, neurons, state.voltage, threshold)
        fired = triangular_spike(scaled_voltage, dampening_factor)
        voltage = _integrate(model, neurons, state, emitted, current, threshold, dt)
    fired = torch.where(state.refractory > 0, 0.0, fired)
    with torch.no_grad():
        period = neurons.refractory_period
        period = (period - 1).clamp_(min=0) if model.spike_counts_as_refractory else period
        waiting = (state.refractory - 1).clamp_(min=0)
        refractory = torch.where(fired > 0, period, waiting)
    spikes = fired if dt == 1 else fired / dt
    return (
        SpikingState(voltage, spikes, adaptation, refractory, _shift(currents)),
        StepRecord(threshold, scaled_voltage),
    )


def _leak(decay: Tensor, trace: Tensor, arriving: Tensor, scaled: bool) -> Tensor:
    """Return a leaky trace after one step, what arrives being scaled by 1 - decay or not."""
    if scaled:
        return torch.addcmul(decay * trace, 1 - decay, arriving)
    return torch.addcmul(arriving, decay, trace)


def _scale(model: CellModel, neurons: NeuronParameters, voltage: Tensor, threshold: Tensor) -> Tensor:
    """Return the distance of the voltage from the threshold, in units of one of the two thresholds."""
    return (voltage - threshold) / (neurons.threshold if model.normalised_by_baseline else threshold)


def _integrate(
    model: CellModel,
    neurons: NeuronParameters,
    state: SpikingState,
    emitted: Tensor,
    current: Tensor,
    threshold: Tensor,
    dt: float,
) -> Tensor:
    """Return the voltage after this step: leak, current, and the reset of the spike of the step before."""
    leaked = _leak(neurons.membrane_decay, state.voltage, current, model.scaled_current)
    if model.reset_by == "baseline":
        threshold = neurons.threshold.expand_as(leaked)
    elif model.reset_by == "crossed":
        threshold = torch.addcmul(neurons.threshold, neurons.beta, state.adaptation)
    return torch.addcmul(leaked, emitted, threshold, value=-dt)


def run(
    neurons: NeuronParameters,
    weight: Tensor,
    inputs: Tensor,
    state: SpikingState,
    reset: Tensor | None,
    noise_current: Tensor | None,
    *,
    dt: float,
    dampening_factor: float,
    model: CellModel = LSNN,
    delay_index: Tensor | None = None,
) -> tuple[Tensor, SpikingState]:
    """Advance B networks through T simulation steps (``step``, T times).

    Args:
        neurons: Constants ``[N]`` each.
        weight: Input and recurrent weights side by side, sorted by delay: ``[D * N, I + N]``.
        inputs: ``[T, B, I]``.
        state: Before the first step.
        reset: ``[T, B]``, non-zero where a network starts anew: its state is put to rest before that step.
        noise_current: ``[T, B, N]`` or None.
        dt: Simulation step in ms.
        dampening_factor: Of the pseudo-derivative.
        model: Which published cell.
        delay_index: ``[N, I + N]``: where given, of each synapse's D weights only the one of that delay is asked for
            its gradient, which engines may leave at 0 for the others.

    Returns:
        Spikes ``[T, B, N]`` and the state after the last step.
    """
    resets_at = [False] * len(inputs) if reset is None else reset.bool().any(dim=1).tolist()
    noises = [None] * len(inputs) if noise_current is None else noise_current.unbind()
    spikes = []
    # unbind, not indexing: the gradient of inputs[t] would be a tensor as large as all inputs, T times over.
    for t, (arrived, noise) in enumerate(zip(inputs.unbind(), noises, strict=True)):
        if reset is not None and resets_at[t]:
            state = state.keep(~reset[t].bool())
        state, _ = step(
            neurons, weight, arrived, state, noise, dt=dt, dampening_factor=dampening_factor, model=model
        )
        spikes.append(state.spikes)
    return torch.stack(spikes), state


def _shift(currents: Tensor) -> Tensor:
    """Move the delay buffer ``[B, D, N]`` on by one step: what arrived leaves, nothing is yet due last."""
    nothing = torch.zeros_like(currents[:, :1])
    return nothing if currents.shape[1] == 1 else torch.cat([currents[:, 1:], nothing], dim=1)
