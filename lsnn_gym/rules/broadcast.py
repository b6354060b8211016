"""Readouts through which errors come back by weights of their own: broadcast alignment."""

from __future__ import annotations

from enum import Enum
from typing import Any

import torch
from torch import Tensor


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
    return torch.bmm(values, weight.T.expand(len(values), -1, -1))


class _Broadcast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, feedback: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(values, feedback)
        return stepwise_product(values, weight)

    @staticmethod
    def backward(ctx: Any, by_output: Tensor):  # type: ignore[override]
        values, feedback = ctx.saved_tensors
        _, needs_weight, needs_feedback = ctx.needs_input_grad
        by_weight = None
        if needs_weight or needs_feedback:
            by_weight = by_output.flatten(0, -2).T @ values.flatten(0, -2)
        return by_output @ feedback, by_weight, by_weight if needs_feedback else None


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
    return _Broadcast.apply(values, weight, feedback)  # type: ignore[return-value]
