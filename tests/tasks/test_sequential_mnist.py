"""Sequential MNIST: its codes, readout and loss."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsnn_gym.data import digits, mnist
from lsnn_gym.errors import UserError
from lsnn_gym.readouts import low_pass
from lsnn_gym.tasks import sequential_mnist
from lsnn_gym.tasks.registry import make_task
from lsnn_gym.tasks.scoring import block_means, firing_rates, rate_loss
from lsnn_gym.tasks.task import IGNORED, Batch, Score, score


def obvious_code(pixels: list[float], num_channels: int, repeats: int, cue: int) -> list[list[int]]:
    """Return the spikes of one image, step by step, by the words of the definition."""
    shown = [pixel for pixel in pixels for _ in range(repeats)]
    highest = num_channels // 2 - 1
    rows = []
    for here, after in zip(shown, [*shown[1:], None], strict=True):
        row = []
        for k in range(highest):
            level = k / highest
            row.append(int(after is not None and here < level <= after))
            row.append(int(after is not None and after < level <= here))
        rows.append([*row, int(here == 1), 0])
    return rows + [[0] * (num_channels - 1) + [1]] * (cue * repeats)


@given(
    grey=st.lists(st.integers(0, 255), min_size=1, max_size=12),
    half=st.sampled_from([2, 4, 6, 18, 40, 52]),
    repeats=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_code_is_the_obvious_one(grey, half, repeats):
    pixels = [each / 255 for each in grey]
    coded = sequential_mnist.threshold_crossings(
        torch.tensor([pixels], dtype=torch.float64), 2 * half, repeats, 5
    )
    assert coded[:, 0].tolist() == obvious_code(pixels, 2 * half, repeats, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("divided", [True, False])
def test_a_pixel_on_a_level_counts_as_above_it(dtype, divided):
    grey = torch.tensor([[0, 85, 0, 170, 85, 255, 255]]).to(dtype)
    images = grey / 255 if divided else grey * (1 / 255)
    coded = sequential_mnist.threshold_crossings(images)
    third, two_thirds, touch = 2 * 13, 2 * 26, 78
    assert coded[:7, 0, third].tolist() == [1, 0, 1, 0, 0, 0, 0]
    assert coded[:7, 0, third + 1].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert coded[:7, 0, two_thirds].tolist() == [0, 0, 1, 0, 1, 0, 0]
    assert coded[:7, 0, two_thirds + 1].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert coded[:7, 0, touch].tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_the_papers_code_has_840_steps_of_80_channels_and_ends_with_the_cue():
    coded = sequential_mnist.threshold_crossings(torch.rand(2, 784))
    assert coded.shape == (840, 2, 80)
    assert coded[784:, :, -1].all()
    assert coded[:, :, -1].sum() == coded[784:].sum() == 56 * 2
    assert not coded[:, :, :2].any()


def test_rows_and_grey_values_are_shown_in_order():
    images = torch.arange(12.0).reshape(2, 6)
    assert sequential_mnist.grey_values(images, 2)[:4, 1, 0].tolist() == [6, 6, 7, 7]
    assert sequential_mnist.image_rows(images, 3)[:, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_permutation_is_the_same_for_all_images_and_fixed_by_its_seed():
    images = torch.arange(20.0).reshape(2, 10)
    permuted = sequential_mnist.permute_pixels(images, 3)
    assert torch.equal(permuted[1] - permuted[0], torch.full((10,), 10.0))
    assert torch.equal(permuted, sequential_mnist.permute_pixels(images, 3))
    assert not torch.equal(permuted, images)
    assert torch.equal(permuted.sort(dim=1).values, images)


def test_the_last_block_alone_decides():
    outputs = torch.zeros(12, 2, 3)
    outputs[:9, :, 0] = 100
    outputs[9:, 0, 1] = 1
    outputs[9:, 1, 2] = 1
    labels = torch.tensor([1, 0])
    assert sequential_mnist.accuracy(outputs, labels, 4) == 0.5
    logits = torch.tensor([[0.0, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(sequential_mnist.class_logits(outputs, 4), logits)
    expected = -logits.log_softmax(1)[[0, 1], labels].mean()
    torch.testing.assert_close(sequential_mnist.classification_loss(outputs, labels, 4), expected)


def test_scores_are_those_worked_out_by_hand():
    spikes = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    torch.testing.assert_close(low_pass(spikes, 0.75)[:, 0, 0], torch.tensor([0.25, 0.1875]))
    assert firing_rates(spikes).tolist() == [0.5, 0.0]
    assert firing_rates(spikes / 0.5, dt=0.5).tolist() == [2.0, 0.0]
    assert rate_loss(spikes, 250.0).item() == 2 * 0.25**2
    assert block_means(torch.arange(4.0).reshape(4, 1, 1), 2).flatten().tolist() == [0.5, 2.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sequential_mnist.threshold_crossings(torch.zeros(1, 4), 7),
            "num_channels is 7: expected an",
        ),
        (lambda: sequential_mnist.grey_values(torch.zeros(4)), r"images are \(4,\)"),
        (lambda: sequential_mnist.grey_values(torch.zeros(1, 4), 0), "repeats is 0"),
        (lambda: sequential_mnist.image_rows(torch.zeros(1, 4), 3), "a multiple of 3 pixels"),
        (lambda: block_means(torch.zeros(5, 1, 1), 2), "5 steps cannot be divided into 2"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


def test_a_cue_is_a_channel_of_its_own_after_the_image():
    inputs = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    cued = sequential_mnist.with_cue(inputs, 2)
    assert cued[:, 0].tolist() == [[1, 2, 0], [3, 4, 0], [0, 0, 1], [0, 0, 1]]
    assert sequential_mnist.with_cue(inputs, 0) is inputs


class TestTask:
    @pytest.fixture(autouse=True)
    def _scikit_learn(self):
        pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

    @pytest.mark.parametrize(
        ("options", "channels", "steps", "windows"),
        [
            ({}, 80, 64 + 16, 10),  # the answer is half of a cue of two rows
            ({"channels": 12, "repeats": 2, "cue": 0}, 12, 128, 64),
            ({"coding": "grey"}, 1, 64, 64),
            ({"coding": "grey", "cue": 16, "answer": 4}, 2, 80, 20),
            ({"coding": "rows", "repeats": 3}, 8, 24, 8),
            ({"coding": "rows", "repeats": 3, "cue": 4}, 9, 36, 6),
        ],
    )
    def test_it_is_judged_as_the_functions_judge(self, options, channels, steps, windows):
        task = make_task("sequential-images", data="digits", **options)
        assert (task.input_size, task.num_classes, task.figure) == (channels, 10, "accuracy")
        batch = task.training_batch(40, 0, 0)
        labels = batch.targets[-1]
        assert batch.inputs.shape == (steps, 40, channels)
        assert 0 <= batch.inputs.min() < batch.inputs.max() == 1
        assert batch.targets[:-1].tolist() == [[IGNORED] * 40] * (windows - 1)
        assert batch.groups is None
        outputs = torch.randn(steps, 40, 10, generator=torch.Generator().manual_seed(1))
        outputs[:, :10] += 3 * torch.nn.functional.one_hot(labels[:10], 10)
        expected = sequential_mnist.classification_loss(outputs, labels, windows)
        assert torch.equal(task.loss(outputs, batch), expected)
        found = task.figures(score(outputs, batch))
        assert found == {"accuracy": pytest.approx(sequential_mnist.accuracy(outputs, labels, windows))}
        assert 0 < found["accuracy"] < 1
        assert task.figures({None: Score(3, 4)}) == {"accuracy": 0.75}

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            (
                {"channels": 12, "repeats": 2, "cue": 3, "answer": 1},
                lambda images: sequential_mnist.threshold_crossings(images, 12, 2, 3),
            ),
            ({"coding": "grey", "repeats": 2}, lambda images: sequential_mnist.grey_values(images, 2)),
            ({"coding": "rows"}, lambda images: sequential_mnist.image_rows(images, 8)),
            (
                {"coding": "rows", "repeats": 2, "cue": 4},
                lambda images: sequential_mnist.with_cue(sequential_mnist.image_rows(images, 8, 2), 8),
            ),
            (
                {"coding": "grey", "permutation": 5},
                lambda images: sequential_mnist.grey_values(sequential_mnist.permute_pixels(images, 5)),
            ),
        ],
    )
    def test_images_are_coded_as_settings_say(self, options, code):
        images = torch.from_numpy(digits("test").images[:4].reshape(4, 64) / 16).float()
        task = make_task("sequential-images", data="digits", **options)
        assert torch.equal(next(iter(task.batches("test", 4))).inputs, code(images))

    @pytest.mark.parametrize(("asked_for", "held_out"), [(None, 287), (40, 40), (500, 500)])
    def test_training_validation_and_test_are_parts_of_their_own(self, asked_for, held_out):
        known, test = digits("train"), digits("test")
        task = make_task("sequential-images", data="digits", coding="grey", validation_images=asked_for)

        def images(batch: Batch) -> np.ndarray:
            return (batch.inputs[:, :, 0].T * 16).round().to(torch.uint8).numpy().reshape(-1, 8, 8)

        for batches, expected_images, expected_labels in (
            (list(task.batches("validation", 100)), known.images[:held_out], known.labels[:held_out]),
            (list(task.batches("test", 100)), test.images, test.labels),
        ):
            assert [batch.inputs.shape[1] for batch in batches[:-1]] == [100] * (len(batches) - 1)
            np.testing.assert_array_equal(np.concatenate([images(each) for each in batches]), expected_images)
            labels = torch.cat([batch.targets[-1] for batch in batches])
            assert labels.tolist() == expected_labels.tolist()
        rest = 1437 - held_out
        every = task.training_batch(rest, 0, 0)
        pairs = [
            (image.tobytes(), label)
            for image, label in zip(images(every), every.targets[-1].tolist(), strict=True)
        ]
        expected = list(
            zip(map(bytes, known.images[held_out:]), known.labels[held_out:].tolist(), strict=True)
        )
        assert sorted(pairs) == sorted(expected)
        assert pairs != expected

    def test_there_are_images_left_to_train_on(self):
        task = make_task("sequential-images", data="digits", coding="grey", validation_images=1437)
        message = (
            r"^task\.validation_images is 1437: expected less than the 1437 training images of digits, "
            r"or nothing for 287$"
        )
        for draw in (lambda: task.training_batch(1, 0, 0), lambda: next(iter(task.batches("validation", 1)))):
            with pytest.raises(UserError, match=message):
                draw()

    def test_images_are_moved_in_training_alone(self):
        task = make_task("sequential-images", data="digits", coding="rows", shift=2)
        still = make_task("sequential-images", data="digits", coding="rows")
        moved, straight = (each.training_batch(200, 3, 1) for each in (task, still))
        assert torch.equal(moved.targets, straight.targets)
        padded = torch.nn.functional.pad(straight.inputs.transpose(0, 1), (2, 2, 2, 2))
        found = set()
        for image, around in zip(moved.inputs.transpose(0, 1), padded, strict=True):
            places = [
                (row, column)
                for row in range(5)
                for column in range(5)
                if torch.equal(image, around[row : row + 8, column : column + 8])
            ]
            assert places
            found |= set(places)
        assert len(found) == 25
        assert same(next(iter(task.batches("test", 20))), next(iter(still.batches("test", 20))))

    def test_pixels_change_places_after_the_image_moved(self):
        options = {"data": "digits", "coding": "grey", "shift": 1}
        mixed = make_task("sequential-images", **options, permutation=3).training_batch(20, 0, 0)
        plain = make_task("sequential-images", **options).training_batch(20, 0, 0)
        expected = sequential_mnist.permute_pixels(plain.inputs[:, :, 0].T, 3)
        assert torch.equal(mixed.inputs[:, :, 0].T, expected)

    def test_training_follows_from_seed_and_number(self):
        task, other = (
            make_task("sequential-images", data="digits", coding="rows", shift=1) for _ in range(2)
        )
        first = task.training_batch(6, 2, 7)
        assert same(first, other.training_batch(6, 2, 7))
        assert not same(first, task.training_batch(6, 3, 7))
        assert not same(first, task.training_batch(6, 2, 8))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"answer": 29}, "task: answer is 29: expected to divide the sequence of 840 units"),
            (
                {"data": "digits", "coding": "rows", "answer": 3},
                "task: answer is 3: expected to divide the sequence of 8 units",
            ),
            ({"channels": 7}, "task.channels is 7, expected a multiple of 2"),
            ({"cue": -1}, "task.cue is -1, expected greater than or equal to 0"),
            (
                {"data": "mnits"},
                "unknown task.data 'mnits': did you mean 'mnist'? there is digits, fashion-mnist, mnist",
            ),
            (
                {"chanels": 8},
                "unknown key 'task.chanels': did you mean 'task.channels'? task has answer, channels, coding, "
                "cue, data, kind, permutation, repeats, shift, validation_images",
            ),
        ],
    )
    def test_settings_of_no_use_are_named(self, options: dict[str, Any], message: str):
        with pytest.raises(UserError) as caught:
            make_task("sequential-images", **options)
        assert str(caught.value) == message

    def test_a_misspelt_name_gets_the_nearest(self):
        message = r"^unknown task\.kind 'sequential-mnist': did you mean 'sequential-images'\? "
        with pytest.raises(UserError, match=message):
            make_task("sequential-mnist")


@pytest.mark.skipif(
    not os.environ.get("LSNN_GYM_DATA"), reason="LSNN_GYM_DATA names no folder with real data"
)
def test_mnist_is_shown_as_in_the_paper():
    images, labels = mnist("train")
    batch = next(iter(make_task("sequential-images").batches("validation", 3)))
    assert batch.targets.tolist() == [[IGNORED] * 3] * 29 + [labels[:3].tolist()]
    grey = torch.from_numpy(images[:3].reshape(3, 784).astype(np.float32) / 255)
    assert torch.equal(batch.inputs, sequential_mnist.threshold_crossings(grey))
    (validation,) = make_task("sequential-images", coding="rows").batches("validation", 6000)
    assert validation.targets[-1].tolist() == labels[:5000].tolist()
