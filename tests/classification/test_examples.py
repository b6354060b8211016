"""What networks are shown: codings of images, bins of events, and how data are divided."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lsnn_gym.classification.coding import (
    CrossingsCoding,
    EventCoding,
    LatencyCoding,
    RandomCoding,
    RateCoding,
    RepeatCoding,
)
from lsnn_gym.classification.division import DataSettings, load_divided
from lsnn_gym.classification.examples import BinnedEvents, CodedImages, binned
from lsnn_gym.data import SpokenDigitRecordings
from lsnn_gym.lanes import Share
from lsnn_gym.tasks import speech

GREYS = torch.tensor([[[0.0, 85 / 255], [170 / 255, 1.0]]])[None]
NUMBERS = torch.tensor([7])


def test_an_image_is_repeated_without_copies_and_normalised():
    shown = RepeatCoding(steps=3, mean=0.5, std=0.25).encode(GREYS, NUMBERS, 0)
    assert shown.shape == (3, 1, 1, 2, 2)
    assert shown.stride(0) == 0
    torch.testing.assert_close(shown[2], (GREYS - 0.5) / 0.25)


def test_colours_are_normalised_one_by_one():
    image = torch.ones(2, 3, 4, 4)
    shown = RepeatCoding(steps=1, mean=(0.0, 0.5, 1.0), std=(1.0, 2.0, 4.0)).encode(image, NUMBERS, 0)
    assert shown[0, 1, :, 0, 0].tolist() == [1, 0.25, 0]
    with pytest.raises(ValueError, match="2 means or standard deviations for 3 channels"):
        RepeatCoding(mean=(0.0, 1.0)).encode(image, NUMBERS, 0)


def test_latencies_are_one_spike_the_brighter_the_earlier():
    spikes = LatencyCoding(steps=40, last=24).encode(GREYS, NUMBERS, 0)
    assert spikes.sum(0).flatten().tolist() == [0, 1, 1, 1]
    assert spikes.flatten(1).argmax(0).tolist() == [0, 16, 8, 0]


def test_latencies_beyond_the_last_step_are_left_out():
    spikes = LatencyCoding(steps=10, last=24).encode(GREYS, NUMBERS, 0)
    assert spikes.sum(0).flatten().tolist() == [0, 0, 1, 1]


def test_rates_drawn_once_follow_from_the_number_and_others_from_the_seed():
    images = torch.full((2, 1, 4, 4), 0.5)
    once, anew = RateCoding(steps=300, largest=0.4), RateCoding(steps=300, largest=0.4, redrawn=True)
    numbers = torch.tensor([3, 4])
    first = once.encode(images, numbers, 1)
    assert torch.equal(first, once.encode(images, numbers, 2))
    assert torch.equal(first[:, 1:], once.encode(images[1:], numbers[1:], 3))
    assert not torch.equal(first[:, 0], first[:, 1])
    assert torch.equal(anew.encode(images, numbers, 1), anew.encode(images, numbers, 1))
    assert not torch.equal(anew.encode(images, numbers, 1), anew.encode(images, numbers, 2))
    for spikes in (first, anew.encode(images, numbers, 1)):
        assert set(spikes.unique().tolist()) == {0, 1}
        assert spikes[0].sum() == 0
        # 9,568 draws of 0.2: five standard deviations are 0.02.
        assert float(spikes[1:].mean()) == pytest.approx(0.2, abs=0.02)


def test_rates_follow_brightness_from_never_to_always():
    greys = torch.linspace(0, 1, 5).expand(2, 1, 1, 5)
    fired = RateCoding(steps=4001, largest=1.0).encode(greys, torch.tensor([7, 8]), 0)[1:].mean(0).view(2, 5)
    assert fired[:, 0].tolist() == [0, 0]
    assert fired[:, 4].tolist() == [1, 1]
    # 4,000 draws of 0.25 to 0.75: five standard deviations are at most 0.04.
    torch.testing.assert_close(fired[:, 1:4], greys[:, 0, 0, 1:4], atol=0.04, rtol=0)


@pytest.mark.parametrize("redrawn", [False, True])
def test_rates_of_a_share_are_those_of_the_whole_batch(redrawn):
    images, numbers = torch.rand(5, 1, 3, 3, generator=torch.Generator().manual_seed(0)), torch.arange(5) + 11
    coding = RateCoding(steps=50, redrawn=redrawn)
    whole, share = coding.encode(images, numbers, 4), Share(5, 2, 2)
    assert torch.equal(coding.encode(share.of(images, 0), share.of(numbers, 0), 4, share), whole[:, 2:4])


def test_events_are_gathered_in_bins():
    times, channels = np.array([0.0, 1.99, 2.0, 2.1, 7.0]), np.array([1, 1, 0, 0, 1])
    found = binned(times, channels, EventCoding(steps=3, step_ms=2.0))
    assert found.tolist() == [[0, 1], [1, 0]]


def settings(**changes: object) -> DataSettings:
    return DataSettings.model_validate({"name": "digits", **changes})


def labels_of(part: object) -> Tensor:
    assert isinstance(part, CodedImages)
    return part.numbers


def test_parts_do_not_overlap_and_are_all_there():
    divided = load_divided(settings(validation=100), RepeatCoding(), 5)
    assert divided.validation is not None
    numbers = torch.cat([labels_of(divided.train), labels_of(divided.validation)])
    assert numbers.sort().values.tolist() == list(range(1437))
    assert (len(divided.validation), len(divided.test), divided.num_classes) == (100, 360, 10)
    again, other = (load_divided(settings(validation=100), RepeatCoding(), seed) for seed in (5, 6))
    assert torch.equal(labels_of(again.validation), labels_of(divided.validation))
    assert not torch.equal(labels_of(other.validation), labels_of(divided.validation))


def test_fewer_examples_can_be_asked_for():
    divided = load_divided(settings(validation=0, train_examples=20, test_examples=7), RepeatCoding(), 1)
    assert divided.validation is None
    assert (len(divided.train), len(divided.test)) == (20, 7)


def test_only_what_is_learnt_from_is_moved_and_mirrored():
    divided = load_divided(settings(validation=10, shift=2, flip=True), RepeatCoding(steps=1), 1)
    index = torch.arange(10)
    assert not torch.equal(divided.train.inputs(index, 1), divided.train.inputs(index, 2))
    assert torch.equal(divided.train.inputs(index, 1), divided.train.inputs(index, 1))
    for part in (divided.validation, divided.test):
        assert part is not None
        assert torch.equal(part.inputs(index, 1), part.inputs(index, 2))
    images = torch.zeros(400, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 1] = 1
    labels = torch.zeros(400, dtype=torch.int64)
    moved = CodedImages(images, 1, labels, RepeatCoding(steps=1), labels, shift=1, flip=True)
    seen = moved.inputs(torch.arange(400), 3)[0, :, 0].mean(0)
    # Rows 1 to 3; columns 0 to 2, or mirrored 2 to 4.
    assert seen.nonzero().tolist() == [[row, column] for row in (1, 2, 3) for column in range(5)]
    assert float(seen.sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "coding", "message"),
    [
        (
            {"validation": 1437},
            RepeatCoding(),
            "validation is 1437: expected fewer than the 1437 training examples",
        ),
        ({}, EventCoding(), "coding of digits is 'events': expected 'repeat' or 'rate' or 'latency'"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], coding: object, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_divided(settings(**changes), coding, 1)  # type: ignore[arg-type]


def test_random_trains_are_one_example_a_class():
    coding = RandomCoding(steps=60, channels=30, patterns=5, rate=0.1)
    divided = load_divided(settings(name="random-trains", validation=0), coding, 1)
    shown = divided.train.inputs(torch.arange(5), 1)
    assert shown.shape == (60, 5, 30)
    assert torch.equal(shown, divided.test.inputs(torch.arange(5), 2))
    # 9,000 draws of 0.1: five standard deviations are 0.016.
    assert float(shown.mean()) == pytest.approx(0.1, abs=0.016)
    assert divided.num_classes == 5
    with pytest.raises(ValueError, match="coding of random-trains is 'events': expected 'random'"):
        load_divided(settings(name="random-trains", validation=0), EventCoding(), 1)


def test_recordings_as_examples(real_nmnist: Path):
    divided = load_divided(
        settings(name="nmnist", validation=200, shift=2),
        EventCoding(steps=30, step_ms=10.0, without_saccades=True),
        1,
    )
    index = torch.tensor([0, 5])
    shown = divided.train.inputs(index, 0)
    assert shown.shape == (30, 2, 2, 34, 34)
    assert torch.equal(shown, divided.train.inputs(index, 0))
    assert not torch.equal(shown, divided.train.inputs(index, 1))
    for part in (divided.validation, divided.test):
        assert part is not None
        assert torch.equal(part.inputs(index, 0), part.inputs(index, 1))
    assert set(shown.unique().tolist()) == {0, 1}
    assert (len(divided.train), len(divided.test)) == (800, 100)
    with pytest.raises(ValueError, match="coding of nmnist is 'latency': expected 'events'"):
        load_divided(settings(name="nmnist"), LatencyCoding(), 1)
    with pytest.raises(ValueError, match="flip is for images: expected false with nmnist"):
        load_divided(settings(name="nmnist", validation=0, flip=True), EventCoding(), 1)


def test_events_that_are_moved_out_are_dropped():
    # Of two channels of 3 x 4 pixels: one event in the middle of the first, one in a corner of the second.
    events = torch.tensor([[0, 1], [1 * 4 + 1, 12 + 2 * 4 + 3]])
    labels = torch.zeros(200, dtype=torch.int64)
    moved = BinnedEvents([events] * 200, labels, 2, (2, 3, 4), shift=1)
    seen = moved.inputs(torch.arange(200), 3).mean(1)
    assert seen[0, 0].nonzero().tolist() == [[row, column] for row in range(3) for column in range(3)]
    assert float(seen[0].sum()) == pytest.approx(1)
    assert seen[1, 1].nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    # Four of nine moves leave it in; 200 of them have a standard deviation of 0.035.
    assert float(seen[1].sum()) == pytest.approx(4 / 9, abs=0.17)
    assert not seen[1, 0].any()
    assert not seen[0, 1].any()


def test_what_has_no_pixels_is_not_moved():
    with pytest.raises(ValueError, match="shift is for images and events of pixels: expected 0 with random"):
        load_divided(settings(name="random-trains", validation=0, shift=1), RandomCoding(), 1)


def made_up_digits(split: str) -> SpokenDigitRecordings:
    """Return noise of a fifth of a second: one speaker, two digits, seven takes of each for training, one to test."""
    labels = np.repeat([3, 8], 7 if split == "train" else 1)
    generator = np.random.default_rng(len(labels))
    waveforms = tuple(generator.normal(0, 300 * (1 + label), 1600).astype(np.int16) for label in labels)
    return SpokenDigitRecordings(waveforms, labels, ("ann",) * len(labels))


def test_spoken_digits_are_what_the_task_shows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speech, "fsdd", made_up_digits)
    coding = CrossingsCoding(coefficients=3, levels=4, frames=20)
    divided = load_divided(settings(name="fsdd", validation=0), coding, 1)
    task = speech.SpokenDigitsTask(speech.SpokenDigitsSettings(coefficients=3, levels=4, frames=20))
    assert (len(divided.train), len(divided.test), divided.num_classes) == (14, 2, 10)
    # What the task validates by, five takes of each digit, comes last of what can be learnt from here.
    for split, part, index in (
        ("validation", divided.train, torch.arange(4, 14)),
        ("test", divided.test, torch.arange(2)),
    ):
        (batch,) = task.batches(split, 100)  # type: ignore[arg-type]
        shown = part.inputs(index, 0)
        assert len(shown) == coding.steps
        assert shown.any()
        assert torch.equal(shown, batch.inputs)
        assert torch.equal(part.labels[index], batch.targets[0])
