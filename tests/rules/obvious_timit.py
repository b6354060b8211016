"""Model C, the cell that adapts while refractory, straight from its definition, as a recorded file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.engine.obvious_lsnn import spike


def record(path: Path, *, stops: bool, seed: int = 0) -> None:
    """Write a run with its gradients; ``stops``: none through spikes into recurrent currents and reset."""
    setting = {"tau_v": 20.0, "tau_a": 200.0, "thr": 0.5, "n_refractory": 3, "dampening_factor": 0.3}
    batch_size, steps, num_inputs, size = 2, 40, 3, 6
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, c_z = (normal(batch_size, steps, num_inputs) > 1).double(), normal(batch_size, steps, size)
    w_in, w_rec = (0.4 * normal(rows, size) + 0.2 for rows in (num_inputs, size))
    w_in.requires_grad_()
    w_rec.requires_grad_()
    beta = torch.tensor([0.0, 0.2] * 3, dtype=torch.float64)
    alpha, rho = math.exp(-1 / setting["tau_v"]), math.exp(-1 / setting["tau_a"])
    without_autapses = w_rec * (1 - torch.eye(size, dtype=torch.float64))
    voltage = sent = adaptation = blocked = torch.zeros(batch_size, size, dtype=torch.float64)
    traces: dict[str, list[Tensor]] = {"z": [], "v": [], "b": []}
    for t in range(steps):
        ungated = spike((voltage - setting["thr"] - beta * adaptation) / setting["thr"], 0.3)
        adaptation = rho * adaptation + ungated
        heard = sent.detach() if stops else sent
        voltage = alpha * voltage + x[:, t] @ w_in + heard @ without_autapses - setting["thr"] * heard
        sent = spike((voltage - setting["thr"] - beta * adaptation) / setting["thr"], 0.3)
        sent = torch.where(blocked > 0.1, 0.0, sent)
        blocked = (blocked + setting["n_refractory"] * sent.detach() - 1).clamp(0, setting["n_refractory"])
        for trace, value in zip(traces.values(), (sent, voltage, adaptation), strict=True):
            trace.append(value)
    shown = {name: torch.stack(values, dim=1) for name, values in traces.items()}
    loss = (c_z * shown["z"]).sum()
    g_in, g_rec = torch.autograd.grad(loss, [w_in, w_rec])
    arrays = {"x": x, "w_in": w_in, "w_rec": w_rec, "beta": beta, "c_z": c_z, **shown, "loss": loss}
    arrays |= {"g_in": g_in, "g_rec": g_rec}
    written = {name: np.asarray(value.detach()) for name, value in arrays.items()}
    meta = json.dumps({**setting, "stop_gradients": stops})
    np.savez(path, **written, meta=np.array(meta))  # type: ignore[arg-type]
