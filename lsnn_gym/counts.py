"""Spikes with their counts: what is asked of all of them costs no gradient of its own as large as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lsnn_gym.memory import pooled_like


class _Counted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spikes: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        ctx.set_materialize_grads(False)
        ctx.shape = spikes.shape
        return spikes.view_as(spikes), spikes.sum(dim=(0, 1))

    @staticmethod
    def backward(ctx: Any, by_spikes: Tensor | None, by_counts: Tensor | None) -> Tensor | None:  # type: ignore[override]
        if by_counts is None:
            return by_spikes
        if by_spikes is None:
            return by_counts.expand(ctx.shape)
        return torch.add(by_spikes, by_counts, out=pooled_like(by_spikes))


def sums_of(spikes: Tensor, counts: Tensor | None) -> Tensor:
    """Return the sums of spikes ``[T, B, N]`` over steps and sequences ``[N]``: ``counts``, where they are there."""
    return spikes.sum(dim=(0, 1)) if counts is None else counts


def counted(spikes: Tensor) -> tuple[Tensor, Tensor]:
    """Return spikes ``[T, B, N]`` and their sums over steps and sequences ``[N]``, for all that is asked of both.

    Derivatives by the sums and by the spikes that are returned meet in one pass over a tensor of the size of
    ``spikes``; one by a sum of their own would be spread out first, then added.
    """
    if not torch.is_grad_enabled():
        return spikes, sums_of(spikes, None)
    return _Counted.apply(spikes)  # type: ignore[return-value]
