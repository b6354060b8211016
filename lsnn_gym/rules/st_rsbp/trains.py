"""What layers compute of whole spike trains, in the plain form or by the compiled kernels, which equal it.

Source: Zhang, Li, NeurIPS 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lsnn_gym.rules.layers import Synapses
from lsnn_gym.rules.st_rsbp import compiled
from lsnn_gym.rules.st_rsbp.rule import RSBPRule


def uses_kernels(rule: RSBPRule, *tensors: Tensor) -> bool:
    """Return whether the compiled kernels serve for a layer that computes with these tensors."""
    return rule.compiled and compiled.fits(*tensors)


def sums(
    synapses: Synapses,
    weight: Tensor,
    values: Tensor,
    found: Tensor,
    counts: Tensor,
    wanted: tuple[Tensor | None, Tensor | None],
    silent_ratio: float,
) -> tuple[Tensor | None, Tensor | None]:
    """Return ``sum_b u_o e[o|i]``, as the weight, and ``sum_o z_o W[o, i] de[o|i]/dc_i`` ``[B, *pre]``.

    Neither needs a matrix of pairs.

    Args:
        synapses: Of the weight.
        weight: As they take it.
        values: Spikes of the pre neurons ``[T, B, *pre]``.
        found: H of the post neurons ``[T, B, *post]``.
        counts: Of the post neurons ``[B, *post]``.
        wanted: u and z ``[B, *post]``; None for a sum that is not asked for.
        silent_ratio: ``de/dc_i`` where either neuron is silent.
    """
    of_weight, of_below = wanted
    by_weight = below = None
    if of_weight is not None:
        by_weight = synapses.by_weight(found * of_weight, values, weight)
    if of_below is not None:
        at_spikes = synapses.by_values(found * of_below, weight, values)
        by_psp = (at_spikes * values).sum(0)
        below = by_counts_below(synapses, weight, values.sum(0), by_psp, counts, of_below, silent_ratio)
    return by_weight, below


def by_counts_below(
    synapses: Synapses,
    weight: Tensor,
    pre: Tensor,
    by_psp: Tensor,
    counts: Tensor,
    of_below: Tensor,
    silent_ratio: float,
) -> Tensor:
    """Return ``sum_o z_o W[o, i] de[o|i]/dc_i`` ``[B, *pre]``.

    Args:
        synapses: Of the weight.
        weight: As they take it.
        pre: Counts of the pre neurons ``[B, *pre]``.
        by_psp: ``sum_o z_o W[o, i] e[o|i]``, of the same shape.
        counts: Of the post neurons ``[B, *post]``.
        of_below: z ``[B, *post]``.
        silent_ratio: ``de/dc_i`` where either neuron is silent.
    """
    of_active = by_psp / pre.masked_fill(pre == 0, 1)
    silent = torch.stack((of_below * (counts == 0), of_below))
    of_silent = silent_ratio * synapses.by_values(silent, weight, pre.new_empty(2, *pre.shape))
    return torch.where(pre == 0, of_silent[1], of_active + of_silent[0])
