"""Which lanes of a batch a process computes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Share(NamedTuple):
    """The lanes of a batch that a process computes: ``size`` of ``total``, from ``first`` on."""

    total: int
    first: int
    size: int

    @classmethod
    def all_of(cls, total: int) -> Share:
        """Return the share of a process that is alone."""
        return cls(total, 0, total)

    def of(self, whole: Tensor, axis: int) -> Tensor:
        """Return this share of a tensor of the whole batch, contiguous; the tensor itself if that is all."""
        if self.size == self.total:
            return whole
        return whole.narrow(axis, self.first, self.size).contiguous()

    def within(self, index: Tensor) -> Tensor:
        """Return which of the lanes ``index`` ``[M]`` of the whole batch are here, counted from ``first``."""
        if self.size == self.total:
            return index
        return index[(index >= self.first) & (index < self.first + self.size)] - self.first


class LaneDraws:
    """Random numbers of a process' lanes: all of the batch's are drawn, so that a lane's do not depend on the share.

    Args:
        generator: PyTorch's own if None, until ``begin``.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self._generator = generator
        self._share: Share | None = None

    def begin(self, seed: int, share: Share | None = None) -> None:
        """Begin a batch, of which this process computes ``share``; by default whatever is asked for."""
        self._generator = (self._generator or torch.Generator()).manual_seed(seed)
        self._share = share

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Return numbers from 0 to below 1 ``[B, ...]``, of this process' B lanes."""
        share = self._share or Share.all_of(shape[0])
        return share.of(torch.rand(share.total, *shape[1:], generator=self._generator), 0)
