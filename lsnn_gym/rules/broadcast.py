"""Readouts through which errors come back by weights of their own: broadcast alignment."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn


class Feedback(Enum):
    """Which weights carry errors from the readouts back to the neurons.

    SYMMETRIC: the readout weights. RANDOM: fixed random weights. ADAPTIVE: weights of their own that receive
    the readout weights' gradient.
    """

    SYMMETRIC = "symmetric"
    RANDOM = "random"
    ADAPTIVE = "adaptive"


class _Broadcast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, feedback: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(values, feedback)
        return values @ weight.T

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
        values: ``[..., N]``, filtered spikes.
        weight: ``[K, N]``.
        feedback: ``[K, N]``.

    Returns:
        ``[..., K]``.

    Raises:
        ValueError: If ``feedback`` has not the shape of ``weight``.

    Source: Bellec, Scherr et al., Nature Communications 2020: random and adaptive e-prop.
    """
    if feedback.shape != weight.shape:
        raise ValueError(
            f"feedback is {tuple(feedback.shape)}: expected {tuple(weight.shape)} as the weight is"
        )
    return _Broadcast.apply(values, weight, feedback)  # type: ignore[return-value]


class BroadcastReadout(nn.Module):
    """A linear readout without bias whose errors come back by a chosen feedback.

    Args:
        num_neurons: N.
        num_outputs: K.
        kind: Of feedback.
        generator: Source of the weights: N(0, 1) / sqrt(N), the random feedback N(0, 1) times its scale.
        feedback_scale: Factor on random feedback weights; the adaptive ones are drawn as the readout's.

    Attributes:
        weight: ``[K, N]``.
        feedback: ``[K, N]``: a parameter if adaptive, a buffer if random, the weight itself if symmetric.
    """

    feedback_weight: Tensor | None

    def __init__(
        self,
        num_neurons: int,
        num_outputs: int,
        kind: Feedback,
        generator: torch.Generator,
        *,
        feedback_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.kind = kind

        def draw(scale: float) -> Tensor:
            return torch.randn(num_outputs, num_neurons, generator=generator) * scale

        self.weight = nn.Parameter(draw(1 / math.sqrt(num_neurons)))
        if kind is Feedback.ADAPTIVE:
            self.feedback_weight = nn.Parameter(draw(1 / math.sqrt(num_neurons)))
        else:
            drawn = draw(feedback_scale) if kind is Feedback.RANDOM else None
            self.register_buffer("feedback_weight", drawn)

    @property
    def feedback(self) -> Tensor:
        """Return the weights ``[K, N]`` by which errors come back."""
        return self.weight if self.feedback_weight is None else self.feedback_weight

    def forward(self, values: Tensor) -> Tensor:
        """Return ``[..., K]`` for filtered spikes ``[..., N]``."""
        if self.feedback_weight is None:
            return values @ self.weight.T
        return broadcast_linear(values, self.weight, self.feedback_weight)

    @torch.no_grad()
    def decay(self, rate: float) -> None:
        """Shrink readout and adaptive feedback weights by the factor 1 - ``rate``, after an optimiser step.

        With equal gradients and equal decay the two grow alike. Random feedback stays as it is.
        """
        self.weight.mul_(1 - rate)
        if self.kind is Feedback.ADAPTIVE:
            self.feedback.mul_(1 - rate)
