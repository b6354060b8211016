"""How much a neuron's own count changes its S-PSPs: tables of polynomials, drawn from random trains.

For j spikes of the pre neuron and c of the post neuron, the mean S-PSP over random trains is fitted by a
polynomial of c, one a row j; its slope stands for ``de/dc_o``, whatever the trains at hand look like.

Source: Zhang, Li, NeurIPS 2019, and the authors' code, whose table for tau_m 64, tau_s 8, r 2 and T 400 is met
within the noise of its draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron

DEGREE = 4
CHUNK = 50
"""Pairs of trains that are worked at together; more would not fit the processor's caches."""


@dataclass(frozen=True)
class EffectTable:
    """Polynomials of the mean S-PSP by the post neuron's count, one a count of the pre neuron.

    Attributes:
        coefficients: ``[R, 5]`` float64, those of c^4 to c^0; the first row is for one spike of the pre neuron.
    """

    coefficients: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.coefficients.shape)
        if len(shape) != 2 or shape[1] != DEGREE + 1 or not shape[0]:
            raise ValueError(f"coefficients are {shape}: expected [rows, {DEGREE + 1}] of at least one row")

    @property
    def rows(self) -> int:
        """Return R, the largest count that has a row."""
        return len(self.coefficients)

    def of_pre(self, counts: Tensor) -> Tensor:
        """Return the slope's coefficients, of c^3 to c^0, for counts of pre neurons: ``[4, *counts.shape]``.

        Silent neurons have the first row, those beyond the table its last.
        """
        powers = torch.arange(DEGREE, 0, -1, dtype=torch.float64)
        slopes = (self.coefficients[:, :DEGREE].cpu() * powers).to(counts)
        row = counts.round().long().clamp_(1, self.rows) - 1
        return slopes.T.contiguous()[:, row]

    @staticmethod
    def slope(coefficients: Tensor, counts: Tensor) -> Tensor:
        """Return the slopes at counts of post neurons, given coefficients, or sums of them, ``[4, ...]``."""
        found = coefficients[0]
        for each in coefficients[1:]:
            found = found * counts + each
        return found


def effect_table(
    neuron: RSBPNeuron,
    steps: int,
    *,
    max_count: int = 100,
    pairs: int = 1000,
    freezes_at_zero: bool = True,
    seed: int = 0,
) -> EffectTable:
    """Return the table for neurons and trains of a length; made once a process, the same for the same seed.

    Args:
        neuron: Time constants and refractory period; the threshold does not matter.
        steps: T, at least 1; trains are drawn on steps 0 to T, the outer ones half as likely.
        max_count: Rows that the table has, if half of the trains have room for as many spikes; else fewer.
        pairs: Random pairs of trains behind every mean.
        freezes_at_zero: Whether a spike of the post neuron in step 0 makes the S-PSP 0, as in the authors'
            tables. It lowers the means at high counts.
        seed: Of the draws.

    Raises:
        ValueError: If there is no step, pair or row.
    """
    for name, value in (("steps", steps), ("max_count", max_count), ("pairs", pairs)):
        if value < 1:
            raise ValueError(f"{name} is {value}: expected at least 1")
    constants = (neuron.tau_membrane, neuron.tau_synapse, neuron.refractory_period)
    return _made(*constants, steps, max_count, pairs, freezes_at_zero, seed)


@lru_cache(maxsize=64)
def _made(
    tau_membrane: float,
    tau_synapse: float,
    refractory_period: int,
    steps: int,
    max_count: int,
    pairs: int,
    freezes_at_zero: bool,
    seed: int,
) -> EffectTable:
    neuron = RSBPNeuron(1.0, tau_membrane, tau_synapse, refractory_period)
    generator = np.random.default_rng(seed)
    post, pre = (_random_trains(generator, pairs, steps, refractory_period, max_count) for _ in range(2))
    rows = min(post.shape[1], pre.shape[1])
    means = np.zeros((rows, rows))
    for start in range(0, pairs, CHUNK):
        chunk = slice(start, start + CHUNK)
        found = _psp_by_counts(neuron, steps, post[chunk, :rows], pre[chunk, :rows], freezes_at_zero)
        means += found.sum(0) / pairs
    return EffectTable(torch.from_numpy(_fitted(means)))


def _random_trains(
    generator: np.random.Generator, trains: int, steps: int, refractory_period: int, max_count: int
) -> np.ndarray:
    """Return spike times ``[trains, count]`` in the order in which they were drawn.

    Times are drawn one by one and refused if too near to one accepted before. Every time's first draw comes after
    an exponential delay, so the delays' order is that of the draws; a train's first c times are a train of c.
    The count is the largest up to ``max_count`` that half the trains have room for; others are drawn again.
    """
    accepted: list[np.ndarray] = []
    count, missing = 0, trains
    while missing > 0:
        delay = generator.exponential(size=(trains, steps + 1))
        delay[:, [0, -1]] *= 2
        order = delay.argsort(axis=1)
        refused = np.zeros((trains, steps + 1 + 2 * refractory_period), dtype=bool)
        rank = np.zeros((trains, steps + 1), dtype=np.int64)
        number, lane = np.zeros(trains, dtype=np.int64), np.arange(trains)
        for time in order.T:
            taken = lane[~refused[lane, time + refractory_period]]
            number[taken] += 1
            rank[taken, time[taken]] = number[taken]
            near = time[taken, None] + np.arange(2 * refractory_period + 1)
            refused[taken[:, None], near] = True
        count = count or min(max_count, int(np.quantile(number, 0.5, method="lower")))
        whole = number >= count
        # Refused times have rank 0; sent behind all others they are cut off.
        by_rank = np.where(rank == 0, steps + 2, rank)[whole].argsort(axis=1, kind="stable")
        accepted.append(by_rank[:, :count])
        missing -= int(whole.sum())
    return np.concatenate(accepted)[:trains]


def _psp_by_counts(
    neuron: RSBPNeuron, steps: int, post: np.ndarray, pre: np.ndarray, freezes_at_zero: bool
) -> np.ndarray:
    """Return the S-PSPs ``[pairs, j, c]`` of the first j spikes of ``pre`` and the first c of ``post``."""
    pairs, counts = post.shape
    arrival = np.full((pairs, steps + 1), counts)
    np.put_along_axis(arrival, post, np.arange(counts)[None], axis=1)
    spikes = torch.from_numpy(arrival.T[:, :, None] <= np.arange(counts)).double()
    responses = neuron.responses(spikes).numpy()  # [T + 1, pairs, c]
    if freezes_at_zero:
        responses = responses * (1 - spikes[0].numpy())
    of_spike = responses[pre, np.arange(pairs)[:, None]]
    return of_spike.cumsum(axis=1)


def _fitted(means: np.ndarray) -> np.ndarray:
    """Return coefficients ``[R, 5]`` of the least-squares polynomials, given means ``[j, c]``."""
    rows = len(means)
    degree = min(DEGREE, rows - 1)
    scaled = np.arange(1, rows + 1) / rows  # powers of counts themselves would lose digits
    powers = np.arange(degree, -1, -1)
    solution = np.linalg.lstsq(scaled[:, None] ** powers, means.T, rcond=None)[0].T
    found = np.zeros((rows, DEGREE + 1))
    found[:, DEGREE - degree :] = solution / float(rows) ** powers
    return found
