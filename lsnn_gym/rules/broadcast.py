"""Readouts through which errors come back by weights of their own: broadcast alignment."""

from __future__ import annotations

from enum import Enum
from typing import Any

import torch
from torch import Tensor

from lsnn_gym.memory import pooled_like


class Feedback(Enum):
    """Which weights carry errors from the readouts back to the neurons.

    SYMMETRIC: the readout weights. RANDOM: fixed random weights. ADAPTIVE: weights of their own that receive
    the readout weights' gradient.
    """

    SYMMETRIC = "symmetric"
    RANDOM = "random"
    ADAPTIVE = "adaptive"


def stepwise_product(values: Tensor, weight: Tensor) -> Tensor:
    """Return ``values weight^T``, ``[T, B, K]``, each step rounded as if it were alone.

    A batch of T products instead of one of T * B rows: acting, T = 1, and learning then agree to the bit.

    Args:
        values: ``[T, B, N]``.
        weight: ``[K, N]``.
    """
    if not torch.is_grad_enabled():
        return _stepwise(values, weight)
    return _Product.apply(values, weight, None)  # type: ignore[return-value]


def _stepwise(values: Tensor, weight: Tensor) -> Tensor:
    return torch.bmm(values, weight.T.expand(len(values), -1, -1))


class _Product(torch.autograd.Function):
    """Errors go back by ``feedback``, or by ``weight`` if there is none; all steps at once, in memory used again."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, feedback: Tensor | None) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(values, weight if feedback is None else feedback)
        return _stepwise(values, weight)

    @staticmethod
    def backward(ctx: Any, by_output: Tensor):  # type: ignore[override]
        values, feedback = ctx.saved_tensors
        needs_values, needs_weight, needs_feedback = ctx.needs_input_grad
        errors = by_output.flatten(0, -2)
        by_values = by_weight = None
        if needs_values:
            by_values = pooled_like(values)
            torch.mm(errors, feedback, out=by_values.flatten(0, -2))
        if needs_weight or needs_feedback:
            by_weight = errors.T @ values.flatten(0, -2)
        return by_values, by_weight, by_weight if needs_feedback else None


def broadcast_linear(values: Tensor, weight: Tensor, feedback: Tensor) -> Tensor:
    """Return ``values weight^T``, whose gradient reaches ``values`` by ``feedback`` instead of ``weight``.

    ``weight`` gets its true gradient. So does ``feedback``, of the same outer product, if it requires one
    (adaptive); if not, it is fixed (random).

    Args:
        values: ``[T, B, N]``, spikes, filtered or not.
        weight: ``[K, N]``.
        feedback: ``[K, N]``.

    Returns:
        ``[T, B, K]``.

    Raises:
        ValueError: If ``feedback`` has not the shape of ``weight``.

    Source: Bellec, Scherr et al., Nature Communications 2020: random and adaptive e-prop.
    """
    if feedback.shape != weight.shape:
        raise ValueError(
            f"feedback is {tuple(feedback.shape)}: expected {tuple(weight.shape)} as the weight is"
        )
    return _Product.apply(values, weight, feedback)  # type: ignore[return-value]
