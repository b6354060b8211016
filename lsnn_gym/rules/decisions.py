"""What a network decided, when, and how many spikes it took. Axes: T steps, B samples, K classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lsnn_gym.rules.layers import Signal


class Decision(NamedTuple):
    """A class for each sample.

    Attributes:
        classes: ``[B]``; of equals the first, and 0 where no output fired.
        steps: After how many steps it was known ``[B]``: all, unless the first spike decides.
    """

    classes: Tensor
    steps: Tensor


class SpikeCount(NamedTuple):
    """Spikes of all neurons of a network, inputs not counted, for each sample ``[B]``."""

    total: Tensor
    until_decision: Tensor


def decide_by_most(spikes: Tensor) -> Decision:
    """Return the class that fired most, given spikes ``[T, B, K]``."""
    return Decision(spikes.sum(0).argmax(1), _all_steps(spikes))


def decide_by_first(spikes: Tensor) -> Decision:
    """Return the class that fired first, given spikes ``[T, B, K]``."""
    fired = spikes.bool()
    steps = torch.arange(len(spikes), 0, -1, device=spikes.device)[:, None, None]
    left = (steps * fired).amax(0)  # T for a spike at step 0, 0 for none
    earliest, classes = left.max(1).values, left.argmax(1)
    return Decision(classes, torch.where(earliest > 0, len(spikes) - earliest + 1, _all_steps(spikes)))


def count_spikes(signals: Iterable[Signal], decision: Decision) -> SpikeCount:
    """Return how many spikes a network fired in all, and up to the step of the decision, that one included.

    Args:
        signals: Of each layer, as a network returns them; layers without neurons count nothing.
        decision: By the output.
    """
    total = torch.zeros_like(decision.steps)
    until_decision = torch.zeros_like(decision.steps)
    for signal in signals:
        if signal.spikes is None:
            continue
        if signal.packed is not None and bool((decision.steps == len(signal.spikes)).all()):
            whole = signal.packed.counts.flatten(1).sum(1).long()
            total, until_decision = total + whole, until_decision + whole
            continue
        each_step = signal.spikes.flatten(2).sum(2).long()
        before = torch.arange(len(each_step), device=each_step.device)[:, None] < decision.steps
        total += each_step.sum(0)
        until_decision += (each_step * before).sum(0)
    return SpikeCount(total, until_decision)


def _all_steps(spikes: Tensor) -> Tensor:
    return torch.full(spikes.shape[1:2], len(spikes), device=spikes.device)
