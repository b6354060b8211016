"""Pooling by neurons: each sums a window by weights of 1 that do not learn, and fires.

Source: Zhang, Li, NeurIPS 2019, and the authors' code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lsnn_gym.rules.layers import Signal, check_images
from lsnn_gym.rules.st_rsbp import shared
from lsnn_gym.rules.st_rsbp.compiled import Fired, Received
from lsnn_gym.rules.st_rsbp.continuous import continuous_responses
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron
from lsnn_gym.rules.st_rsbp.rule import RSBPRule, count_error
from lsnn_gym.rules.st_rsbp.shared import Map, pool_map
from lsnn_gym.rules.st_rsbp.trains import uses_kernels


class SpikingPool(nn.Module):
    """Neurons that each see a window of one channel; windows lie side by side, partial ones are left out.

    Args:
        window: Side of the window, in pixels.
        neuron: Constants of the neurons.
        rule: Only ``continuous_psp`` and ``compiled`` matter.
    """

    def __init__(self, window: int, neuron: RSBPNeuron, rule: RSBPRule | None = None) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"window is {window}: expected at least 1 pixel")
        self.window = window
        self.neuron = neuron
        self.rule: RSBPRule = RSBPRule() if rule is None else rule

    def forward(self, signal: Signal) -> Signal:
        """Return spikes ``[T, B, C, H / window, W / window]``.

        Raises:
            ValueError: If the values are no images, or smaller than the window.
        """
        values = signal.values
        check_images(values, "pooling")
        if min(values.shape[3:]) < self.window:
            raise ValueError(
                f"images are {values.shape[3]} x {values.shape[4]}: expected at least the pool's {self.window}"
            )
        received = Received.of(values, signal.packed) if uses_kernels(self.rule, values) else None
        fired = self.fire(values, received)
        spikes = _Pool.apply(values, self, received, fired)
        return Signal(spikes, spikes=spikes.detach(), packed=fired.packed)  # type: ignore[arg-type,union-attr]

    @torch.no_grad()
    def fire(self, values: Tensor, received: Received | None) -> Fired:
        """Return what neurons fire, given what comes in ``[T, B, C, H, W]`` and the same for kernels, if they serve."""
        if received is None:
            return Fired(self.neuron.run(self.sums(values)).spikes, None)
        return shared.fire(self.neuron, received, None, self.map(received))

    def map(self, received: Received) -> Map:
        """Return where what comes in leads."""
        return pool_map(tuple(received.values.shape[2:]), self.window)

    def sums(self, values: Tensor) -> Tensor:
        """Return the windows' sums of ``[T, B, C, H, W]``."""
        pooled = F.avg_pool2d(values.flatten(0, 1), self.window, divisor_override=1)
        return pooled.unflatten(0, values.shape[:2])

    def spread(self, pooled: Tensor, like: Tensor) -> Tensor:
        """Return each window's value ``[T, B, C, H / window, W / window]`` at each of its pixels, as ``like``.

        Pixels of partial windows have 0.
        """
        spread = pooled.repeat_interleave(self.window, 3).repeat_interleave(self.window, 4)
        missing = [like.shape[axis] - spread.shape[axis] for axis in (3, 4)]
        return F.pad(spread, (0, missing[1], 0, missing[0]))


class _Pool(torch.autograd.Function):
    """Spikes as a function of what came in; as published, errors are shared out by ``e / (c_i window^2)``."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, values: Tensor, pool: SpikingPool, received: Received | None, fired: Fired
    ) -> Tensor:
        ctx.save_for_backward(values, fired.spikes)
        ctx.pool, ctx.received, ctx.packed = pool, received, fired.packed
        return fired.spikes

    @staticmethod
    def backward(ctx: Any, by_values: Tensor):  # type: ignore[override]
        values, spikes = ctx.saved_tensors
        pool: SpikingPool = ctx.pool
        received: Received | None = ctx.received
        error, is_continuous = count_error(by_values) / pool.window**2, pool.rule.continuous_psp
        if received is None:
            counts = values.sum(0)
            form = continuous_responses if is_continuous else RSBPNeuron.responses
            weighted = form(pool.neuron, spikes) * error
            by_psp = (pool.spread(weighted, values) * values).sum(0)
        else:
            counts = received.counts
            arguments = (pool.neuron, received, None, pool.map(received), ctx.packed, (None, error))
            _, found = shared.sums(*arguments, continuous=is_continuous)
            assert found is not None
            by_psp = found
        below = (by_psp / counts.masked_fill(counts == 0, 1)).expand_as(values)
        return below, None, None, None
