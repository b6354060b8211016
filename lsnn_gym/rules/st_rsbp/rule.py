"""ST-RSBP's error of counts: how a change of one neuron's count changes another's.

A neuron's count c_o is taken for its potential at its spikes over the threshold, ``theta c_o = sum_i W[o, i]
e[o|i](c_i, c_o)``, the sum over synapses within a recurrent layer too. Its derivatives are, all per sample::

    de/dc_i = e / c_i, or a constant where either neuron is silent
    de/dc_o = the slope of a table's polynomial (see ``tables``)
    S_o     = 1 - sum_i W[o, i] de[o|i]/dc_o / theta, the divisor
    dc_o/dc_i = W[o, i] de[o|i]/dc_i / (theta S_o) without recurrence; with it, a linear system (see ``recurrent``)

Source: Zhang, Li, NeurIPS 2019, and the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from lsnn_gym.rules.layers import Synapses
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron
from lsnn_gym.rules.st_rsbp.tables import EffectTable, effect_table


class Recurrence(Enum):
    """What the linear system of a recurrent layer's counts is solved for."""

    INTENDED = "intended"
    """The error of the layer below; weights see the diagonal of the system only."""
    RELEASED = "released"
    """As the authors' program does: the same, with the system on the wrong side, as if it coupled the neurons
    below; of layers of unlike size, entries end up in each other's places."""
    FULL = "full"
    """The error of the layer below and of the weights, as the counts' equations say."""


@dataclass(frozen=True)
class RSBPRule:
    """Choices of the rule.

    Attributes:
        silent_ratio: Derivative of an S-PSP by the pre neuron's count if one of both is silent.
        recurrence: What recurrent layers do.
        smallest_divisor: Layers without recurrence keep S this far from 0, with its sign; as published not at all.
        smallest_recurrent_divisor: The same of recurrent layers.
        table: Slopes by the post neuron's count; None: made for the layer's neurons and the length of the trains.
        continuous_psp: Whether convolutions and pools use the S-PSP of continuous time, as the authors' do; see
            ``continuous``.
        own_effect: Whether a neuron's own count matters; else S is 1, as in the authors' first convolution.
        compiled: Whether layers use the compiled kernels where they can; they differ by rounding.
    """

    silent_ratio: float = 0.5
    recurrence: Recurrence = Recurrence.INTENDED
    smallest_divisor: float = 0.0
    smallest_recurrent_divisor: float = 1e-4
    table: EffectTable | None = field(default=None, repr=False)
    continuous_psp: bool = False
    own_effect: bool = True
    compiled: bool = True

    def __post_init__(self) -> None:
        for name in ("silent_ratio", "smallest_divisor", "smallest_recurrent_divisor"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 0")

    def table_for(self, neuron: RSBPNeuron, steps: int) -> EffectTable:
        """Return the table for trains of T = ``steps``."""
        return self.table or effect_table(neuron, steps)


def count_error(by_values: Tensor) -> Tensor:
    """Return dL/dc ``[B, ...]``, given dL/ds ``[T, B, ...]``: its mean over steps.

    Losses of counts have the same derivative at every step; of others this is what one spike more, at a random
    step, is worth.
    """
    return by_values[0] if by_values.stride(0) == 0 else by_values.mean(0)


def own_effect(
    table: EffectTable, synapses: Synapses, weight: Tensor, pre: Tensor, post: Tensor, *, recurrent: bool
) -> Tensor:
    """Return ``sum_i W[o, i] de[o|i]/dc_o``, ``[B, *post]``.

    Args:
        table: Of the slopes.
        synapses: Of the weight.
        weight: As they take it.
        pre: Counts ``[B, *pre]``.
        post: Counts ``[B, *post]``.
        recurrent: Whether the post neurons are in a recurrent layer, whose counts are brought into the table;
            others are taken as they are, and have no effect if silent.
    """
    coefficients = synapses.drive(table.of_pre(pre), weight)
    if recurrent:
        return table.slope(coefficients, post.clamp(1, table.rows))
    return table.slope(coefficients, post) * (post > 0)


def away_from_zero(divisor: Tensor, smallest: float) -> Tensor:
    """Return the divisor with what is nearer to 0 than ``smallest`` moved there; 0 itself moves up."""
    if not smallest:
        return divisor
    moved = torch.full_like(divisor, smallest).masked_fill(divisor < 0, -smallest)
    return torch.where(divisor.abs() < smallest, moved, divisor)


def by_pre_count(psp: Tensor, pre: Tensor, post: Tensor, silent_ratio: float) -> Tensor:
    """Return ``de/dc_i`` of every pair ``[B, post, pre]``.

    Args:
        psp: S-PSPs of them.
        pre: Counts ``[B, pre]``.
        post: Counts ``[B, post]``.
        silent_ratio: Where either is silent.
    """
    silent = (post == 0)[:, :, None] | (pre == 0)[:, None, :]
    return torch.where(silent, silent_ratio, psp / pre.clamp(min=1e-30)[:, None, :])
