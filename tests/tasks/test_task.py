"""What all supervised tasks share: answers, scores, figures, orders of examples, and their registry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsnn_gym.errors import UserError
from lsnn_gym.seeding import derived_seed
from lsnn_gym.tasks.registry import TASKS, AnyTaskSettings, make_task
from lsnn_gym.tasks.task import (
    IGNORED,
    Batch,
    Score,
    Task,
    answers,
    generator_for,
    joined,
    score,
    shuffled_indices,
    slices,
    total,
)


class Plain(Task):
    input_size, num_classes = 1, 3

    def training_batch(self, size: int, number: int, seed: int) -> Batch:
        raise NotImplementedError

    def batches(self, split: str, size: int) -> Iterator[Batch]:
        raise NotImplementedError


class Grouped(Plain):
    figure = "frame_error"
    group_name = "presentation"


def random_batch(seed: int = 0, windows: int = 6, lanes: int = 5) -> tuple[torch.Tensor, Batch]:
    """Return readouts of 4 steps a window and 3 classes, and a batch that asks at most windows."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(4 * windows, lanes, 3, generator=generator)
    targets = torch.randint(3, (windows, lanes), generator=generator)
    targets[torch.rand(windows, lanes, generator=generator) < 0.4] = IGNORED
    groups = torch.randint(1, 4, (windows, lanes), generator=generator)
    return outputs, Batch(torch.zeros(4 * windows, lanes, 1), targets, groups)


def slow_answers(outputs: torch.Tensor, batch: Batch) -> list[tuple[list[float], int, int]]:
    """Return mean readouts, target and group of each answer."""
    windows, lanes = batch.targets.shape
    window = len(outputs) // windows
    found = []
    for w in range(windows):
        for lane in range(lanes):
            if (target := int(batch.targets[w, lane])) != IGNORED:
                of_window = outputs[w * window : (w + 1) * window, lane].double()
                means = [sum(of_window[:, k].tolist()) / window for k in range(3)]
                group = -1 if batch.groups is None else int(batch.groups[w, lane])
                found.append((means, target, group))
    return found


def test_answers_are_the_means_over_the_windows_that_ask():
    outputs, batch = random_batch()
    logits, targets = answers(outputs, batch)
    slow = slow_answers(outputs, batch)
    assert 0 < len(slow) < batch.targets.numel()
    torch.testing.assert_close(logits, torch.tensor([means for means, _, _ in slow]))
    assert targets.tolist() == [target for _, target, _ in slow]


def test_loss_is_the_mean_cross_entropy_of_the_answers():
    outputs, batch = random_batch(1)
    losses = [
        math.log(sum(math.exp(each) for each in means)) - means[target]
        for means, target, _ in slow_answers(outputs, batch)
    ]
    assert Plain().loss(outputs, batch).item() == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_scores_count_right_answers_of_all_and_of_each_group():
    outputs, batch = random_batch(2)
    expected: dict[int | None, Score] = {}
    for means, target, group in slow_answers(outputs, batch):
        right = int(means.index(max(means)) == target)
        for key in (None, group):
            before = expected.get(key, Score(0, 0))
            expected[key] = Score(before.right + right, before.asked + 1)
    assert score(outputs, batch) == expected
    assert set(expected) == {None, 1, 2, 3}
    assert score(outputs, batch._replace(groups=None)) == {None: expected[None]}


def test_where_nothing_is_asked_nothing_is_counted():
    outputs, batch = random_batch()
    silent = batch._replace(targets=torch.full_like(batch.targets, IGNORED))
    assert score(outputs, silent) == {None: Score(0, 0)}
    assert math.isnan(Score(0, 0).share)


def test_windows_have_to_be_equal():
    outputs, batch = random_batch()
    with pytest.raises(ValueError, match=r"^23 steps cannot be divided into 6 equal blocks$"):
        answers(outputs[:-1], batch)


def test_scores_add_up_group_by_group():
    parts = [{None: Score(1, 2), 1: Score(1, 1)}, {None: Score(3, 3)}, {None: Score(0, 5), 2: Score(0, 4)}]
    assert total(parts) == {None: Score(4, 10), 1: Score(1, 1), 2: Score(0, 4)}
    assert total([]) == {}
    assert parts[0] == {None: Score(1, 2), 1: Score(1, 1)}
    assert Score(1, 4).share == 0.25


def test_scores_of_batches_add_up_to_that_of_the_whole():
    outputs, batch = random_batch(3, lanes=8)
    assert batch.groups is not None
    parts = [
        score(outputs[:, part], Batch(batch.inputs[:, part], batch.targets[:, part], batch.groups[:, part]))
        for part in slices(8, 3)
    ]
    assert total(parts) == score(outputs, batch)


def test_figures_are_shares_of_right_answers_or_of_wrong_ones():
    scores = {2: Score(1, 4), None: Score(3, 4), 10: Score(0, 2), 1: Score(2, 2)}
    assert Plain().figures({None: Score(3, 4)}) == {"accuracy": 0.75}
    found = Grouped().figures(scores)
    assert found == {
        "frame_error": 0.25,
        "frame_error_presentation_1": 0.0,
        "frame_error_presentation_2": 0.75,
        "frame_error_presentation_10": 1.0,
    }
    assert list(found) == [
        "frame_error",
        *(f"frame_error_presentation_{group}" for group in (1, 2, 10)),
    ]
    assert math.isnan(Plain().figures({None: Score(0, 0)})["accuracy"])


def test_a_batch_without_groups_moves_too():
    _, batch = random_batch()
    moved = batch.to("cpu")
    assert batch.groups is not None
    assert moved.groups is not None
    assert torch.equal(batch.targets, moved.targets)
    assert torch.equal(batch.groups, moved.groups)
    assert batch._replace(groups=None).to("cpu").groups is None
    assert [each.device.type for each in batch.to("meta") if each is not None] == ["meta"] * 3


@given(
    num_examples=st.integers(1, 12),
    size=st.integers(1, 30),
    number=st.integers(0, 40),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_shuffled_indices_equal_the_slow_form(num_examples, size, number, seed):
    order: list[int] = []
    while len(order) < (number + 1) * size:
        generator = np.random.default_rng(derived_seed(seed, "order", len(order) // num_examples))
        order += generator.permutation(num_examples).tolist()
    found = shuffled_indices(num_examples, size, number, seed)
    assert found.tolist() == order[number * size : (number + 1) * size]
    assert found.dtype == np.int64


@pytest.mark.parametrize("size", [1, 4, 10, 25])
def test_every_pass_holds_each_example_once(size):
    # With 4 a batch the third straddles two passes; one of 25 holds two of them and a half.
    indices = np.concatenate([shuffled_indices(10, size, number, 3) for number in range(100 // size)])
    passes = indices.reshape(10, 10)
    assert (np.sort(passes, axis=1) == np.arange(10)).all()
    assert len({tuple(each) for each in passes.tolist()}) == 10


def test_orders_differ_between_seeds():
    assert shuffled_indices(50, 50, 0, 0).tolist() != shuffled_indices(50, 50, 0, 1).tolist()


def test_slices_cover_all_examples():
    assert list(slices(7, 3)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(slices(6, 3)) == [slice(0, 3), slice(3, 6)]
    assert list(slices(2, 3)) == [slice(0, 2)]
    assert list(slices(0, 3)) == []


def test_draws_follow_from_seed_purpose_and_number_alone():
    def drawn(*how) -> list[float]:
        return torch.rand(4, generator=generator_for(*how)).tolist()

    torch.manual_seed(0)
    first = drawn(3, "cues", 2)
    torch.manual_seed(1)
    assert drawn(3, "cues", 2) == first
    assert (
        first == torch.rand(4, generator=torch.Generator().manual_seed(derived_seed(3, "cues", 2))).tolist()
    )
    others = [drawn(4, "cues", 2), drawn(3, "noise", 2), drawn(3, "cues", 3), drawn(3, "cues")]
    assert len({str(each) for each in (first, *others)}) == 5
    assert drawn(3, "cues") == drawn(3, "cues", 0)


class TestRegistry:
    def test_each_name_is_that_of_its_settings(self):
        assert sorted(TASKS) == [
            "evidence-accumulation",
            "few-shot",
            "framewise-phones",
            "sequential-images",
            "spoken-digits",
            "store-recall",
        ]
        assert set(TASKS.values()) == set(get_args(AnyTaskSettings))
        assert all(each().kind == name for name, each in TASKS.items())

    @pytest.mark.parametrize("name", TASKS)
    def test_a_task_knows_its_sizes_before_its_data_are_read(self, name, monkeypatch, tmp_path):
        monkeypatch.setenv("LSNN_GYM_DATA", str(tmp_path))
        task = make_task(name)
        assert task.input_size >= 1
        assert task.num_classes >= 2
        assert task.figure == "accuracy" or task.figure.endswith("error")

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            (
                "fewshot",
                {},
                "unknown task.kind 'fewshot': did you mean 'few-shot'? there is evidence-accumulation, "
                "few-shot, framewise-phones, sequential-images, spoken-digits, store-recall",
            ),
            (
                "few-shot",
                {"way": 3},
                "unknown key 'task.way': did you mean 'task.ways'? task has answer, evaluation_episodes, "
                "feedback, feedback_with_drawing, kind, pooling, rotate, shots, showing, standardise, "
                "validation_characters, ways",
            ),
            ("few-shot", {"ways": 2.5}, "task.ways is 2.5, expected a whole number"),
            (
                "few-shot",
                {"kind": "store-recall"},
                "task: kind is 'store-recall', expected the name of the task, 'few-shot'",
            ),
        ],
    )
    def test_what_is_not_known_gets_the_nearest(self, name, options, message):
        with pytest.raises(UserError) as caught:
            make_task(name, **options)
        assert str(caught.value) == message

    def test_an_option_may_have_any_name(self):
        with pytest.raises(UserError, match=r"^unknown key 'task\.name': "):
            make_task("store-recall", **{"name": "x"})  # not mistaken for the task's own name

    def test_all_settings_written_out_make_the_same_task(self):
        task = make_task("store-recall", **TASKS["store-recall"]().model_dump())
        assert torch.equal(
            task.training_batch(1, 0, 0).inputs, make_task("store-recall").training_batch(1, 0, 0).inputs
        )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("store-recall", {"length": 4, "duration": 3, "evaluation_sequences": 7}),
        (
            "evidence-accumulation",
            {"cue": 2, "interval": 3, "delay": 4, "recall": 5, "evaluation_sequences": 7},
        ),
    ],
)
def test_sequences_of_a_split_do_not_depend_on_the_size_of_batches(name, options):
    task = make_task(name, **options)
    wholes = [joined(task.batches("test", size)) for size in (1, 3, 7)]
    for whole in wholes:
        assert whole.inputs.shape[1] == 7
        assert torch.equal(whole.inputs, wholes[0].inputs)
        assert torch.equal(whole.targets, wholes[0].targets)
    assert not torch.equal(wholes[0].inputs, joined(task.batches("validation", 7)).inputs)
