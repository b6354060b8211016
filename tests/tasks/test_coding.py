"""Spikes where values cross levels."""

from __future__ import annotations

import pytest
import torch

from lsnn_gym.tasks.coding import crossings


def of_one(values: list[float], levels: list[float]) -> tuple[list[list[float]], list[list[float]]]:
    """Return onsets and offsets ``[T][L]`` of a single channel."""
    onset, offset = crossings(torch.tensor(values)[:, None, None], torch.tensor(levels))
    return onset[:, 0, 0].tolist(), offset[:, 0, 0].tolist()


def test_crossings_by_hand():
    onset, offset = of_one([0.0, 0.6, 0.9, 0.4, 0.4, 2.0, -1.0], [0.5, 0.8])
    assert onset == [[1, 0], [0, 1], [0, 0], [0, 0], [1, 1], [0, 0], [0, 0]]
    assert offset == [[0, 0], [0, 0], [1, 1], [0, 0], [0, 0], [1, 1], [0, 0]]


def test_a_value_on_a_level_counts_as_above_it():
    onset, offset = of_one([0.0, 0.5, 1.0, 0.5, 0.0], [0.5])
    assert onset == [[1], [0], [0], [0], [0]]
    assert offset == [[0], [0], [0], [1], [0]]


def test_the_last_step_has_no_successor_not_even_the_first():
    assert of_one([1.0, 0.0, 0.0], [0.5]) == ([[0], [0], [0]], [[1], [0], [0]])
    assert of_one([1.0], [0.5]) == ([[0]], [[0]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_channel_and_level_is_coded_by_itself(dtype):
    generator = torch.Generator().manual_seed(0)
    # Quarters, so that many values lie on a level.
    values = torch.randint(5, (9, 3, 2), generator=generator).to(dtype) / 4
    levels = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    onset, offset = crossings(values, levels)
    assert onset.shape == offset.shape == (9, 3, 2, 3)
    assert onset.dtype == offset.dtype == dtype
    for t, lane, channel, number in torch.cartesian_prod(*map(torch.arange, onset.shape)).tolist():
        level = float(levels[number])
        here = float(values[t, lane, channel])
        after = float(values[t + 1, lane, channel]) if t < 8 else None
        assert onset[t, lane, channel, number] == (after is not None and here < level <= after)
        assert offset[t, lane, channel, number] == (after is not None and after < level <= here)


def test_levels_are_compared_in_the_precision_of_the_values():
    values = torch.tensor([0.0, 1.0, 0.0])[:, None, None] / 25
    assert float(values[1]) < 1 / 25  # single precision rounds down
    onset, offset = crossings(values, torch.tensor([1 / 25], dtype=torch.float64))
    assert onset.flatten().tolist() == [1, 0, 0]
    assert offset.flatten().tolist() == [0, 1, 0]
