"""Pseudo-derivatives: what backward uses where the spike function has no derivative."""

from __future__ import annotations

import torch
from torch import Tensor


class _TriangularSpike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, scaled_voltage: Tensor, dampening_factor: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(scaled_voltage)
        ctx.dampening_factor = dampening_factor
        return (scaled_voltage > 0).to(scaled_voltage.dtype)

    @staticmethod
    def backward(ctx, grad_spikes: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (scaled_voltage,) = ctx.saved_tensors
        slope = (1 - scaled_voltage.abs()).clamp_(min=0).mul_(ctx.dampening_factor)
        return slope.mul_(grad_spikes), None


def triangular_spike(scaled_voltage: Tensor, dampening_factor: float) -> Tensor:
    """Heaviside step forwards, a dampened triangle backwards.

    Forwards 1 where ``scaled_voltage`` > 0 (strictly), else 0; backwards
    ``dampening_factor * max(0, 1 - |scaled_voltage|)``.

    Args:
        scaled_voltage: Any shape; distance from threshold divided by threshold.
        dampening_factor: Height of the triangle (gamma), 0.3 in the paper.

    Source: Bellec et al., NIPS 2018, section 2, and the authors' code.
    """
    return _TriangularSpike.apply(scaled_voltage, dampening_factor)  # type: ignore[return-value]
