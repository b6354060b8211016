"""The authors' penalty of large weights, and its gradient, which is not quite its derivative.

With omega_o the mean over a neuron's synapses of (weight / limit)^2 and N how many there are, the penalty is
``strength * sum_o exp(beta (omega_o - 1))``. Its gradient as published is ``strength beta (W / limit)
exp(beta (omega_o - 1))``; the derivative has a further factor ``2 / (limit N)``, which is small.

Source: Zhang, Li, NeurIPS 2019, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lsnn_gym.rules.st_rsbp.layers import SpikingLayer
from lsnn_gym.rules.st_rsbp.recurrent import RecurrentLayer


@dataclass(frozen=True)
class ExponentialPenalty:
    """Strength and shape of the penalty; called with layers, it returns the penalty, to be added to a loss.

    The authors add it once a sample: with a loss summed over B samples it is to be multiplied by B.

    Attributes:
        strength: lambda.
        beta: How steeply it grows.
        limit: Of weights, as a scale; they may pass it.
        is_exact: Whether its gradient is its derivative.
    """

    strength: float = 10.0
    beta: float = 0.04
    limit: float = 8.0
    is_exact: bool = False

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"limit is {self.limit}: expected above 0")

    def __call__(self, layers: Iterable[nn.Module]) -> Tensor:
        """Return the penalty of all ST-RSBP layers among ``layers``; others have none."""
        total = torch.zeros(())
        for layer in layers:
            if isinstance(layer, SpikingLayer):
                # One more for a bias that is not there; convolutions have none in the authors' program either.
                number = layer.num_synapses + (0 if layer.weight.ndim == 4 else 1)
                total = total + _Penalty.apply(layer.weight, None, number, self)  # type: ignore[operator]
            elif isinstance(layer, RecurrentLayer):
                within = layer.same_layer() if layer.recurrent_weight.requires_grad else None
                total = total + _Penalty.apply(layer.weight, within, layer.num_synapses + 1, self)  # type: ignore[operator]
        return total


class _Penalty(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, weight: Tensor, within: Tensor | None, number: int, penalty: ExponentialPenalty
    ) -> Tensor:
        squares = torch.linalg.vector_norm(weight.flatten(1), dim=1).square()
        if within is not None:
            squares = squares + torch.linalg.vector_norm(within, dim=1).square()
        size = squares / (penalty.limit**2 * number)
        each = penalty.strength * torch.exp(penalty.beta * (size - 1))
        ctx.save_for_backward(weight, within, each)
        ctx.penalty, ctx.number = penalty, number
        return each.sum()

    @staticmethod
    def backward(ctx: Any, by_penalty: Tensor):  # type: ignore[override]
        weight, within, each = ctx.saved_tensors
        penalty = ctx.penalty
        factor = penalty.beta / penalty.limit
        if penalty.is_exact:
            factor *= 2 / (penalty.limit * ctx.number)
        scale = by_penalty * factor * each
        by_weight = scale.view(-1, *[1] * (weight.ndim - 1)) * weight
        return by_weight, None if within is None else scale[:, None] * within, None, None
