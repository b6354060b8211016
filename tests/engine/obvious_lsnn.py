"""The LSNN cell written straight from its definition, in the layout of the recorded files, which it can write.

Nothing of the library is used: delays and refractoriness are kept as lists, gradients are autograd's.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def spike(argument: Tensor, gamma: float) -> Tensor:
    """Return 1 where the argument is positive, with the derivative gamma max(0, 1 - |argument|)."""
    near = argument.clamp(-1, 1)
    rising = gamma * (near - near * near.abs() / 2)
    return (argument > 0).to(argument.dtype) + (rising - rising.detach())


def run(setting: dict[str, Any], arrays: dict[str, Tensor], probe: Tensor) -> dict[str, Tensor]:
    """Return the traces ``[B, T, ...]`` of a run; ``probe``, zeros, is added to the spikes ``[B, T, N]``."""
    dt, unit, depth, period = (setting[name] for name in ("dt", "V0", "n_delay", "n_refractory"))
    alpha, rho = math.exp(-dt / setting["tau"]), math.exp(-dt / setting["tau_adaptation"])
    recurrent = arrays["w_rec"] * (1 - torch.eye(len(arrays["w_rec"]), dtype=torch.float64))
    voltage, sent, adaptation = arrays["state0_v"], arrays["state0_z"], arrays["state0_b"]
    due = list(arrays["state0_i_future_buffer"].unbind(2))
    memory = list(arrays["state0_z_buffer"].unbind(2))
    traces: dict[str, list[Tensor]] = {
        name: [] for name in ("z", "v", "b", "thr_trace", "v_scaled", "i_future_buffer")
    }
    for t in range(arrays["x"].shape[1]):
        for k in range(depth):
            due[k] = due[k] + arrays["x"][:, t] @ (unit * arrays["w_in"] * (arrays["d_in"] == k))
            due[k] = due[k] + sent @ (unit * recurrent * (arrays["d_rec"] == k))
        adaptation = rho * adaptation + (1 - rho) * sent
        threshold = setting["thr"] + arrays["beta"] * adaptation * unit
        scaled = (voltage - threshold) / threshold
        fired = spike(scaled, setting["dampening_factor"])
        if period:
            fired = torch.where(torch.stack(memory).amax(0) > 0, 0.0, fired)
        voltage = alpha * voltage + (1 - alpha) * due[0] - sent * threshold * dt
        sent = fired / dt + probe[:, t]
        due = [*due[1:], torch.zeros_like(due[0])]
        memory = [*memory, sent.detach()][-period:] if period else []
        shown = (sent, voltage, adaptation, threshold, scaled, torch.stack(due, dim=2))
        for trace, value in zip(traces.values(), shown, strict=True):
            trace.append(value)
    return {name: torch.stack(values, dim=1) for name, values in traces.items()}


def draw(setting: dict[str, Any], sizes: tuple[int, int, int, int], seed: int) -> dict[str, Tensor]:
    """Draw weights, delays, inputs, a state to start from and a loss for B, T, I, N = ``sizes``."""
    batch_size, steps, num_inputs, size = sizes
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    depth, period, dt = (setting[name] for name in ("n_delay", "n_refractory", "dt"))
    return {
        "x": (normal(batch_size, steps, num_inputs) > 1).double() / dt,
        "beta": torch.where(torch.arange(size) % 2 == 1, 1.8, 0.0).double(),
        "d_in": torch.randint(depth, (num_inputs, size), generator=generator),
        "d_rec": torch.randint(depth, (size, size), generator=generator),
        "w_in": (0.1 * normal(num_inputs, size) + 0.05) * dt,
        "w_rec": 0.05 * normal(size, size) * dt,
        "state0_v": 0.01 * normal(batch_size, size),
        "state0_z": (normal(batch_size, size) > 1).double() / dt,
        "state0_b": 0.002 * normal(batch_size, size).abs(),
        "state0_i_future_buffer": 0.05 * normal(batch_size, size, depth),
        "state0_z_buffer": (normal(batch_size, size, period) > 1.5).double() / dt,
        "c_z": normal(batch_size, steps, size),
        "c_v": normal(batch_size, steps, size),
        "c_thr": normal(batch_size, steps, size),
    }


def record(path: Path, *, rewired: bool, seed: int = 0, **changes: Any) -> None:
    """Write a run as a recorded file; ``changes`` replace settings."""
    setting = {"n_delay": 3, "n_refractory": 2, "tau": 20.0, "thr": 0.01, "dt": 1.0, "tau_adaptation": 300.0}
    setting |= {"dampening_factor": 0.3, "V0": 1.0, "reg": 0.1, "f0": 0.01, **changes}
    sizes = (2, 40, 6, 7)
    arrays = draw(setting, sizes, seed)
    signs: dict[str, Tensor] = {}
    for name in ("in", "rec"):
        weight = arrays[f"w_{name}"]
        # Half of the rewired synapses are disconnected: their theta is negative.
        theta = torch.where(torch.arange(weight.shape[1]) % 2 == 0, weight.abs(), -weight.abs())
        signs[name] = weight.sign()
        arrays[f"w_{name}_var"] = theta if rewired else weight
        arrays[f"w_{name}"] = (signs[name] * theta.clamp(min=0) if rewired else weight).requires_grad_()
    probe = torch.zeros(sizes[0], sizes[1], sizes[3], dtype=torch.float64, requires_grad=True)
    traces = run(setting, arrays, probe)
    rate = traces["z"].mean((0, 1)) / setting["dt"]
    loss = setting["reg"] * ((rate - setting["f0"]) ** 2).sum()
    for name, trace in (("c_z", "z"), ("c_v", "v"), ("c_thr", "thr_trace")):
        loss = loss + (arrays[name] * traces[trace]).sum()
    loss.backward()
    found = {"loss": loss, "firing_rate": rate, "dloss_dz": probe.grad, **traces}
    for name in ("in", "rec"):
        gradient, theta = arrays[f"w_{name}"].grad, arrays[f"w_{name}_var"]
        acting = setting["V0"] * arrays.pop(f"w_{name}").detach()
        found[f"w_{name}_val"] = acting.fill_diagonal_(0) if name == "rec" else acting
        assert gradient is not None
        found[f"g_w_{name}_var"] = gradient
        if rewired:
            dense = signs[name] * gradient
            found |= {f"theta_{name}": theta, f"sign_{name}": signs[name], f"g_weight_{name}": gradient}
            found |= {f"g_theta_dense_{name}": dense, f"g_w_{name}_var": torch.where(theta > 0, dense, 0.0)}
    written = {
        name: np.asarray(value.detach()) for name, value in (arrays | found).items() if value is not None
    }
    np.savez(path, **written, meta=np.array(json.dumps(setting)))  # type: ignore[arg-type]
