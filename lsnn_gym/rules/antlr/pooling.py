"""Pools between layers that learn by ANTLR, which have no neurons: errors of both kinds pass through them.

Source: Kim, Kim, Kim, NeurIPS 2020, and the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.rules.antlr.layers import AntlrLayer, LayerRun
from lsnn_gym.rules.antlr.neuron import NeuronState
from lsnn_gym.rules.layers import Signal, check_images


class _Pool(AntlrLayer):
    """What pools share: the side of their windows, in pixels."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window


class AveragePool(_Pool):
    """Means over windows side by side; partial windows are left out. No neurons, no state.

    Args:
        window: Side of the window, in pixels.
    """

    @torch.no_grad()
    def simulate(self, values: Tensor, state: NeuronState | None = None) -> LayerRun:
        """Return the means ``[T, B, C, H / window, W / window]``."""
        return LayerRun(self._pool(values))

    def attach(self, signal: Signal, run: LayerRun) -> Signal:
        """Return the means; errors of both kinds spread evenly over the window."""
        timing = None if signal.timing is None else self._pool(signal.timing)
        return Signal(self._pool(signal.values), timing)

    def _pool(self, values: Tensor) -> Tensor:
        check_images(values, "average pooling")
        return F.avg_pool2d(values.flatten(0, 1), self.window).unflatten(0, values.shape[:2])


class MaxPool(_Pool):
    """Largest values of windows side by side; partial windows are left out. No neurons, no state.

    Args:
        window: Side of the window, in pixels.
    """

    @torch.no_grad()
    def simulate(self, values: Tensor, state: NeuronState | None = None) -> LayerRun:
        """Return the largest values ``[T, B, C, H / window, W / window]``."""
        return LayerRun(self._pool(values)[0])

    def attach(self, signal: Signal, run: LayerRun) -> Signal:
        """Return the largest values; errors of both kinds go where they were, of several to the first."""
        pooled, where = self._pool(signal.values)
        if signal.timing is None:
            return Signal(pooled)
        return Signal(pooled, signal.timing.flatten(3).gather(3, where.flatten(3)).view_as(pooled))

    def _pool(self, values: Tensor) -> tuple[Tensor, Tensor]:
        check_images(values, "max pooling")
        pooled, where = F.max_pool2d(values.flatten(0, 1), self.window, return_indices=True)
        return pooled.unflatten(0, values.shape[:2]), where.unflatten(0, values.shape[:2])
