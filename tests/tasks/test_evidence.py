"""Evidence accumulation: trials, their coding and their scores."""

from __future__ import annotations

import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.tasks import evidence
from lsnn_gym.tasks.registry import make_task
from lsnn_gym.tasks.task import IGNORED, Batch, Score, generator_for, score


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


SMALL = {"group_size": 2, "num_cues": 3, "cue": 2, "interval": 3, "delay": 3, "recall": 4}
TIMING = evidence.Timing(num_cues=3, cue=2, interval=3, delay=3, recall=4)


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


class TestTask:
    def test_it_is_judged_as_the_functions_judge(self):
        task = make_task("evidence-accumulation", **SMALL)
        assert (task.input_size, task.num_classes, task.figure) == (8, 2, "decision_error")
        batch = task.training_batch(9, 3, 5)
        generator = generator_for(5, "evidence-accumulation", 3)
        drawn = evidence.draw_batch(9, generator, group_size=2, timing=TIMING)
        assert torch.equal(batch.inputs, drawn.spikes)
        assert batch.inputs.shape == (16, 9, 8)
        assert batch.targets.tolist() == [[IGNORED] * 9] * 3 + [drawn.targets.tolist()]
        assert batch.groups is None
        outputs = torch.randn(16, 9, 2, generator=torch.Generator().manual_seed(0))
        assert torch.equal(task.loss(outputs, batch), evidence.decision_loss(outputs, drawn.targets, 4))
        found = task.figures(score(outputs, batch))
        assert found == {"decision_error": pytest.approx(evidence.decision_error(outputs, drawn.targets, 4))}
        assert 0 < found["decision_error"] < 1
        assert task.figures({None: Score(3, 4)}) == {"decision_error": 0.25}

    def test_by_default_it_is_the_authors_trial(self):
        batch = make_task("evidence-accumulation").training_batch(2, 0, 0)
        assert batch.inputs.shape == (2250, 2, 40)
        assert batch.targets.shape == (15, 2)  # windows of 150 steps, the last of which is the question

    def test_training_follows_from_seed_and_number(self):
        task, other = (make_task("evidence-accumulation", **SMALL) for _ in range(2))
        first = task.training_batch(6, 2, 7)
        assert same(first, other.training_batch(6, 2, 7))
        assert not same(first, task.training_batch(6, 3, 7))
        assert not same(first, task.training_batch(6, 2, 8))

    def test_splits_are_the_same_each_time_and_differ(self):
        task, other = (make_task("evidence-accumulation", **SMALL, evaluation_sequences=7) for _ in range(2))
        validation = list(task.batches("validation", 3))
        assert [batch.inputs.shape for batch in validation] == [(16, 3, 8), (16, 3, 8), (16, 1, 8)]
        assert all(map(same, validation, other.batches("validation", 3)))
        assert not same(validation[0], validation[1])
        assert not same(validation[0], next(iter(task.batches("test", 3))))
        assert not same(validation[0], task.training_batch(3, 0, 0))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"num_cues": 4},
                "task: num_cues is 4: expected an odd number, for there to be a majority",
            ),
            ({"cue": 151}, "task: cue is 151: expected at most the interval, 150"),
            ({"recall": 149}, "task: recall is 149: expected to divide the trial's 2249 steps"),
            ({"delay": -1}, "task.delay is -1, expected greater than or equal to 0"),
            (
                {"num_cue": 3},
                "unknown key 'task.num_cue': did you mean 'task.num_cues'? task has cue, delay, "
                "evaluation_sequences, group_size, interval, kind, num_cues, recall",
            ),
        ],
    )
    def test_settings_of_no_use_are_named(self, options, message):
        with pytest.raises(UserError) as caught:
            make_task("evidence-accumulation", **options)
        assert str(caught.value) == message

    def test_a_misspelt_name_gets_the_nearest(self):
        message = r"^unknown task\.kind 'evidence': did you mean 'evidence-accumulation'\? "
        with pytest.raises(UserError, match=message):
            make_task("evidence")
