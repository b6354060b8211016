"""Evidence accumulation: trials, their coding and their scores."""

from __future__ import annotations

import pytest
import torch

from lsnn_gym.tasks import evidence


def test_groups_fire_when_they_should():
    cues = torch.tensor([[0], [1], [1], [0], [1], [0], [0]])
    probability = evidence.spike_probabilities(cues)
    assert probability.shape == (2250, 1, 40)
    expected = torch.zeros(2250, 4)
    for number, side in enumerate(cues[:, 0].tolist()):
        expected[50 + 150 * number : 150 + 150 * number, side] = 0.04
    expected[2100:, 2] = 0.04
    expected[:, 3] = 0.01
    torch.testing.assert_close(probability[:, 0], expected.repeat_interleave(10, dim=1))


def test_majority_is_of_more_than_half():
    cues = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1]])
    assert evidence.majority(cues).tolist() == [1, 1, 0]


def test_one_side_has_most_cues_and_either_side_is_as_likely():
    cues = evidence.draw_cues(4000, 7, torch.Generator().manual_seed(0)).double()
    assert cues.mean().item() == pytest.approx(0.5, abs=0.02)
    # Two binomials of 7 cues with 0.3 and 0.7: the mean of the squared distance from 3.5 is 7 * 0.21 + 1.4^2.
    assert ((cues.sum(0) - 3.5) ** 2).mean().item() == pytest.approx(3.43, rel=0.05)


def test_batch_repeats_with_its_seed():
    one, other = (evidence.draw_batch(3, torch.Generator().manual_seed(1)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert one.spikes.shape == (2250, 3, 40)
    assert torch.equal(one.targets, evidence.majority(one.cues))


def test_the_last_steps_alone_are_scored():
    outputs = torch.zeros(10, 2, 2)
    outputs[:6, :, 0] = 50
    outputs[6:, :, 1] = 1
    targets = torch.tensor([1, 0])
    assert evidence.decision_error(outputs, targets, 4) == 0.5
    losses = -torch.tensor([0.0, 1.0]).log_softmax(0)
    torch.testing.assert_close(evidence.decision_loss(outputs, targets, 4), losses.mean())


def test_impossible_timing_is_named():
    with pytest.raises(ValueError, match="not of 3 cues"):
        evidence.spike_probabilities(torch.zeros(3, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="impossible"):
        evidence.spike_probabilities(torch.zeros(7, 1, dtype=torch.int64), timing=evidence.Timing(cue=200))
