"""What DEEP R does to thetas: how many connections there may be, how they shrink, and how new ones are made.

Source: Bellec, Kappel, Maass, Legenstein: Deep rewiring: training very sparse deep networks, ICLR 2018, in the
form of the authors' code of Bellec et al., NIPS 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

NEW_CONNECTION = 1e-12
"""Theta of a connection that was just made."""


def connection_budget(matrices: Iterable[tuple[int, float]]) -> int:
    """Return the integer part of the sum of ``size * connectivity``, in float32 as in the authors' code."""
    total = np.float32(0)
    for size, connectivity in matrices:
        total += np.float32(size) * np.float32(connectivity)
    return int(total)


def shrink(
    theta: Tensor, connected: Tensor, rate: float, l1: float, temperature: float, noise: Tensor | None
) -> Tensor:
    """Return theta after guard, L1 and noise: steps 2 and 3 of ``DeepR``.

    Args:
        theta: After the optimiser's step.
        connected: Where there was a connection before it; all others go to 0.
        rate: Learning rate.
        l1: What connections lose, per learning rate.
        temperature: Of the noise.
        noise: Standard normal draws of theta's shape; None for no noise.
    """
    guarded = torch.where(connected, theta, 0.0)
    drift = -rate * l1 if noise is None else math.sqrt(2 * rate * temperature) * noise - rate * l1
    return torch.where(guarded > 0, guarded + drift, guarded)


def draw_counts(missing: int, shares: Sequence[float], generator: torch.Generator) -> list[int]:
    """Return how many of the ``missing`` connections go to each matrix, each drawn in proportion to ``shares``."""
    if missing == 0:
        return [0] * len(shares)
    odds = torch.tensor(shares, dtype=torch.float64, device=generator.device)
    drawn = torch.multinomial(odds, missing, replacement=True, generator=generator)
    return torch.bincount(drawn, minlength=len(shares)).tolist()


def connect_(theta: Tensor, count: int, generator: torch.Generator) -> int:
    """Make up to ``count`` new connections in ``theta``, in place and at random; return how many were made."""
    if count == 0:
        return 0
    free = (~(theta > 0)).flatten().nonzero().squeeze(1)
    order = torch.randperm(len(free), generator=generator, device=generator.device)[:count]
    theta.view(-1)[free[order.to(free.device)]] = NEW_CONNECTION
    return len(order)
