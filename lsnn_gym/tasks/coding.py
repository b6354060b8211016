"""Spikes where values cross levels."""

from __future__ import annotations

import torch
from torch import Tensor


def crossings(values: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Return where values rise to a level and where they fall below it, at the step before.

    Args:
        values: ``[T, B, F]``.
        levels: ``[L]``; a value equal to a level counts as above it.

    Returns:
        Onsets and offsets ``[T, B, F, L]``, 0 or 1: onset at t where ``values[t] < level <= values[t + 1]``,
        offset where ``values[t] >= level > values[t + 1]``. The last step has no successor, and none of either.
    """
    above = values[..., None] >= levels.to(values)
    last = torch.zeros_like(above[:1])
    onset = torch.cat([~above[:-1] & above[1:], last])
    offset = torch.cat([above[:-1] & ~above[1:], last])
    return onset.to(values.dtype), offset.to(values.dtype)
