"""Few-shot episodes as a task: what is shown, which labels come late, and which characters belong where."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import pytest
import torch

from lsnn_gym.data import Characters, omniglot, sample_episodes
from lsnn_gym.errors import UserError
from lsnn_gym.tasks import few_shot
from lsnn_gym.tasks.few_shot import FewShotSettings, FewShotTask, episode_inputs
from lsnn_gym.tasks.registry import make_task
from lsnn_gym.tasks.task import IGNORED, Batch, Score, score

SMALL: dict[str, Any] = {
    "ways": 3,
    "shots": 2,
    "showing": 6,
    "answer": 3,
    "pooling": 4,
    "validation_characters": 4,
    "evaluation_episodes": 5,
}
# Characters are told by their grey: 10 of the background set, 6 of the evaluation set.
GREY = {"background": np.arange(10) * 10 + 10, "evaluation": np.arange(6) * 10 + 150}


def plain_characters(split: str) -> np.ndarray:
    """Return four drawings of each character, one grey all over but for the first quarter, which is white."""
    images = np.empty((len(GREY[split]), 4, 28, 28), np.uint8)
    images[:] = GREY[split][:, None, None, None]
    images[..., :4, :4] = 255
    return images


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(split: str, side: int) -> Characters:
        assert side == 28
        return Characters(plain_characters(split), ("Alphabet",) * len(GREY[split]))

    monkeypatch.setattr(few_shot, "omniglot", load)


def small(**changed: Any) -> FewShotTask:
    return FewShotTask(FewShotSettings(**{**SMALL, **changed}))


def greys(batch: Batch) -> set[int]:
    """Return the greys of all that a batch shows, away from the corners."""
    return set((batch.inputs[:, :, 24] * 255).round().int().unique().tolist())


def same(one: Batch, other: Batch) -> bool:
    assert one.groups is not None
    assert other.groups is not None
    return (
        torch.equal(one.inputs, other.inputs)
        and torch.equal(one.targets, other.targets)
        and torch.equal(one.groups, other.groups)
    )


@pytest.mark.parametrize("pooling", [1, 2, 4])
def test_inputs_are_mean_greys_and_the_label_before(pooling):
    images = np.random.default_rng(0).integers(256, size=(6, 4, 8, 8)).astype(np.uint8)
    episodes = sample_episodes(images, batch=3, ways=4, shots=2, generator=np.random.default_rng(1))
    inputs = episode_inputs(episodes, 4, pooling)
    side = 8 // pooling
    assert inputs.shape == (8, 3, side**2 + 4)
    assert inputs.dtype == torch.float32
    for showing in range(8):
        for lane in range(3):
            expected = []
            for row in range(side):
                for column in range(side):
                    square = [
                        int(episodes.images[showing, lane, row * pooling + i, column * pooling + j])
                        for i in range(pooling)
                        for j in range(pooling)
                    ]
                    expected.append(sum(square) / len(square) / 255)
            before = -1 if showing == 0 else int(episodes.labels[showing - 1, lane])
            expected += [float(label == before) for label in range(4)]
            torch.testing.assert_close(inputs[showing, lane], torch.tensor(expected))


@pytest.mark.usefixtures("made_up")
class TestTask:
    def test_sizes(self):
        task = small()
        batch = task.training_batch(2, 0, 0)
        assert (task.input_size, task.num_classes) == (49 + 3, 3)
        assert task.picture_shape == (7, 7)
        assert batch.inputs.shape == (3 * 2 * 6, 2, 52)
        assert batch.targets.shape == (3 * 2 * 2, 2)
        assert batch.targets.dtype == torch.int64
        assert float(batch.inputs.min()) >= 0
        assert float(batch.inputs.max()) == 1

    def test_a_showing_lasts_and_its_last_window_asks(self):
        batch = small().training_batch(20, 0, 0)
        showings = batch.inputs.unflatten(0, (6, 6))
        assert (showings == showings[:, :1]).all()
        assert batch.groups is not None
        targets, groups = (each.unflatten(0, (6, 2)) for each in (batch.targets, batch.groups))
        assert (targets[:, 0] == IGNORED).all()
        for lane in range(20):
            seen = [0, 0, 0]
            for showing in range(6):
                label = int(targets[showing, 1, lane])
                seen[label] += 1
                assert int(groups[showing, 1, lane]) == seen[label]
            assert seen == [2, 2, 2]

    def test_labels_are_shown_one_showing_late(self):
        batch = small().training_batch(20, 0, 0)
        labels = batch.targets[1::2]
        told = batch.inputs[::6, :, -3:]
        assert not told[0].any()
        assert torch.equal(told[1:], torch.nn.functional.one_hot(labels[:-1], 3).float())

    def test_a_label_stands_for_one_character_within_an_episode(self):
        batch = small().training_batch(30, 0, 0)
        labels, shown = batch.targets[1::2], (batch.inputs[::6, :, 24] * 255).round().int()
        meanings = set()
        for lane in range(30):
            of_label = [set(shown[:, lane][labels[:, lane] == label].tolist()) for label in range(3)]
            assert [len(each) for each in of_label] == [1, 1, 1]
            assert len(set.union(*of_label)) == 3
            meanings |= {(label, *each) for label, each in enumerate(of_label)}
        assert len(meanings) == 18  # and across episodes for any: 3 labels, 6 characters

    def test_training_validation_and_test_have_characters_of_their_own(self):
        task = small(evaluation_episodes=40)
        assert greys(task.training_batch(40, 0, 0)) == {10, 20, 30, 40, 50, 60}
        (validation,), (test,) = (list(task.batches(split, 40)) for split in ("validation", "test"))
        assert greys(validation) == {70, 80, 90, 100}
        assert greys(test) == {150, 160, 170, 180, 190, 200}

    @pytest.mark.parametrize(("rotate", "corners"), [(True, {0, 6, 42, 48}), (False, {0})])
    def test_only_training_turns_characters(self, rotate, corners):
        task = small(rotate=rotate)

        def white(batch: Batch) -> set[int]:
            return set(batch.inputs[:, :, :49].argmax(dim=2).unique().tolist())

        assert white(task.training_batch(20, 0, 0)) == corners
        for split in ("validation", "test"):
            assert set.union(*(white(each) for each in task.batches(split, 5))) == {0}

    def test_training_follows_from_seed_and_number(self):
        first = small().training_batch(4, 2, 7)
        assert same(first, small().training_batch(4, 2, 7))
        assert not same(first, small().training_batch(4, 3, 7))
        assert not same(first, small().training_batch(4, 2, 8))

    def test_splits_are_the_same_each_time_and_differ(self):
        task = small()
        validation = list(task.batches("validation", 2))
        assert [batch.targets.shape[1] for batch in validation] == [2, 2, 1]
        assert all(map(same, validation, small().batches("validation", 2)))
        assert not same(validation[0], validation[1])
        test = next(iter(task.batches("test", 2)))
        assert not torch.equal(test.targets, validation[0].targets)

    def test_answers_are_scored_by_presentation(self):
        task = small()
        batch = task.training_batch(7, 0, 0)
        right = torch.nn.functional.one_hot(batch.targets.clamp(min=0), 3).float().repeat_interleave(3, 0)
        assert score(right, batch) == {None: Score(42, 42), 1: Score(21, 21), 2: Score(21, 21)}
        assert batch.groups is not None
        second = (batch.groups == 2).repeat_interleave(3, 0)[..., None]
        found = score(torch.where(second, right, -right), batch)
        assert found == {None: Score(21, 42), 1: Score(0, 21), 2: Score(21, 21)}
        assert task.figures(found) == {
            "accuracy": 0.5,
            "accuracy_presentation_1": 0.0,
            "accuracy_presentation_2": 1.0,
        }

    def test_more_than_there_is_is_refused(self):
        with pytest.raises(UserError, match=r"^ways is 7, but there are only 6 classes$"):
            small(ways=7).training_batch(1, 0, 0)
        with pytest.raises(UserError, match=r"^shots \+ queries is 5, but each class has only 4 examples$"):
            small(shots=5).training_batch(1, 0, 0)


def test_with_feedback_the_label_comes_first_and_the_drawing_after(made_up):
    together = small(showing=6, answer=2).training_batch(3, 0, 0)
    apart = small(showing=6, answer=2, feedback=2).training_batch(3, 0, 0)
    assert torch.equal(apart.targets, together.targets)
    labels = slice(-3, None)
    by_showing, whole = (each.inputs.unflatten(0, (-1, 6)) for each in (apart, together))
    assert torch.equal(by_showing[:, :2, :, labels], whole[:, :2, :, labels])
    assert torch.equal(by_showing[:, 2:, :, :-3], whole[:, 2:, :, :-3])
    assert not by_showing[:, :2, :, :-3].any()
    assert not by_showing[:, 2:, :, labels].any()


def test_the_drawing_that_a_label_belongs_to_may_stand_beside_it(made_up):
    alone, beside = (
        small(showing=6, answer=2, feedback=2, feedback_with_drawing=each)
        .training_batch(3, 0, 0)
        .inputs.unflatten(0, (-1, 6))
        for each in (False, True)
    )
    drawings = alone[:, -1, :, :-3]
    assert torch.equal(beside[1:, :2, :, :-3], drawings[:-1, None].expand(-1, 2, -1, -1))
    assert not beside[0, :2].any(), "before the first showing there is neither label nor drawing"
    assert torch.equal(beside[:, 2:], alone[:, 2:])
    assert torch.equal(beside[..., -3:], alone[..., -3:])


def test_standardised_greys_have_mean_0_and_variance_1_over_the_training_characters(made_up):
    plain, standard = (small(standardise=each) for each in (False, True))
    assert plain.input_range == (0.0, 1.0)
    assert standard.input_range == (-np.inf, np.inf)
    trained = (
        plain_characters("background")[:-4].reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(-1, 49) / 255
    )
    mean, std = trained.mean(axis=0), (trained - trained.mean(axis=0)).std(ddof=1)
    for split in (None, "test"):
        before, after = (
            task.training_batch(4, 0, 0) if split is None else next(task.batches("test", 4))
            for task in (plain, standard)
        )
        expected = (before.inputs[..., :-3].double().numpy() - mean) / std
        np.testing.assert_allclose(after.inputs[..., :-3].numpy(), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(after.inputs[..., -3:], before.inputs[..., -3:]), "labels stay 0 and 1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"feedback_with_drawing": True},
            "task: feedback_with_drawing is for feedback of at least 1 step, but feedback is 0",
        ),
        (
            {"feedback": 7, "answer": 5},
            "task: feedback is 7: expected at most 5, so that the answer follows within the showing's 10 steps",
        ),
        ({"answer": 3}, "task: answer is 3: expected to divide the showing's 10 steps"),
        ({"pooling": 3}, "task.pooling is 3, expected 1, 2 or 4"),
        ({"ways": 1}, "task.ways is 1, expected greater than or equal to 2"),
        ({"rotate": 1}, "task.rotate is 1, expected true or false"),
        (
            {"shot": 3},
            "unknown key 'task.shot': did you mean 'task.shots'? task has answer, evaluation_episodes, "
            "feedback, feedback_with_drawing, kind, pooling, rotate, shots, showing, standardise, "
            "validation_characters, ways",
        ),
    ],
)
def test_settings_of_no_use_are_named(options, message):
    with pytest.raises(UserError) as caught:
        make_task("few-shot", **options)
    assert str(caught.value) == message


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("LSNN_GYM_DATA"), reason="LSNN_GYM_DATA names no folder with real data"
)
def test_the_real_characters_are_split_as_settings_say(monkeypatch):
    load = functools.cache(omniglot)  # seconds each time
    monkeypatch.setattr(few_shot, "omniglot", load)
    task = make_task("few-shot", pooling=1, rotate=False, evaluation_episodes=3)
    background, evaluation = load("background", 28).images, load("evaluation", 28).images
    known = {"train": background[:820], "validation": background[820:], "test": evaluation}
    drawn = {
        "train": task.training_batch(3, 0, 0),
        **{split: next(iter(task.batches(split, 3))) for split in ("validation", "test")},
    }
    drawings = {split: {each.tobytes() for each in part.reshape(-1, 784)} for split, part in known.items()}
    for split, batch in drawn.items():
        assert batch.inputs.shape == (500, 3, 784 + 5)
        shown = (batch.inputs[::10, :, :784] * 255).round().to(torch.uint8).flatten(0, 1).numpy()
        assert all(each.tobytes() in drawings[split] for each in shown)
