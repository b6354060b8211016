"""Decisions of layered networks, and what they cost in spikes."""

from __future__ import annotations

import torch

from lsnn_gym.rules.decisions import count_spikes, decide_by_first, decide_by_most
from lsnn_gym.rules.layers import Signal

# Four steps, three samples, two outputs: 1 fires first and 0 most; both at once; none.
OUTPUT = torch.tensor(
    [
        [[0.0, 0], [0, 0], [0, 0]],
        [[0, 1], [1, 1], [0, 0]],
        [[1, 0], [0, 1], [0, 0]],
        [[1, 0], [1, 0], [0, 0]],
    ]
)


def test_most_and_first_spikes_decide_and_equals_are_the_lowest_class():
    most, first = decide_by_most(OUTPUT), decide_by_first(OUTPUT)
    assert most.classes.tolist() == [0, 0, 0]
    assert first.classes.tolist() == [1, 0, 0]
    assert most.steps.tolist() == [4, 4, 4]
    assert first.steps.tolist() == [2, 2, 4]


def test_spikes_are_counted_in_all_and_up_to_the_step_of_the_decision():
    hidden = torch.ones(4, 3, 1, 2, 5)
    signals = [Signal(hidden, spikes=hidden), Signal(hidden.mean(4)), Signal(OUTPUT, spikes=OUTPUT)]
    count = count_spikes(signals, decide_by_first(OUTPUT))
    assert count.total.tolist() == [40 + 3, 40 + 4, 40]
    assert count.until_decision.tolist() == [20 + 1, 20 + 2, 40]
    count = count_spikes(signals, decide_by_most(OUTPUT))
    assert torch.equal(count.total, count.until_decision)
