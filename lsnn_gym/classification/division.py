"""How a data set is loaded, coded and divided."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsnn_gym import data
from lsnn_gym.classification.coding import (
    AnyCoding,
    CochleaCoding,
    CrossingsCoding,
    EventCoding,
    RandomCoding,
)
from lsnn_gym.classification.distortion import Distortion
from lsnn_gym.classification.examples import BinnedEvents, CodedImages, Examples, binned
from lsnn_gym.data.nmnist import SIDE as NMNIST_SIDE
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.tasks.speech import SpokenDigitsSettings, SpokenDigitsTask
from lsnn_gym.tasks.task import slices


class Divided(NamedTuple):
    """A data set's parts.

    Attributes:
        train: What is learnt from.
        validation: What chooses among epochs; None for nothing.
        test: What judges.
        num_classes: K.
    """

    train: Examples
    validation: Examples | None
    test: Examples
    num_classes: int


class DataSettings(Settings):
    """Which data, and how many are kept apart."""

    name: Literal[
        "cifar-10",
        "digits",
        "fashion-mnist",
        "fsdd",
        "fsdd-spikes",
        "mnist",
        "n-tidigits",
        "nmnist",
        "random-trains",
        "shd",
        "ssc",
    ] = "mnist"
    validation: int = Field(
        default=5000, ge=0, description="training examples, at random, that only choose among epochs"
    )
    train_examples: int | None = Field(
        default=None, ge=1, description="learn from so many only, the first of the rest"
    )
    test_examples: int | None = Field(default=None, ge=1, description="judge by the first so many only")
    shift: int = Field(
        default=0,
        ge=0,
        description="pixels that images or recordings are moved at most, each way, when learnt from",
    )
    flip: bool = Field(default=False, description="whether images may be mirrored when learnt from")
    distortion: Distortion = Field(
        default=Distortion(), description="by how much images are distorted when learnt from"
    )


def load_divided(settings: DataSettings, coding: AnyCoding, seed: int) -> Divided:
    """Load a data set and divide it.

    Args:
        settings: Which, and how it is divided.
        coding: How examples are shown.
        seed: Of the choice of validation examples.

    Raises:
        UserError: The data cannot be had.
        ValueError: They cannot be coded or divided so.
    """
    (train, num_classes), (test, _) = (_load(settings.name, coding, split) for split in ("train", "test"))
    held_out = settings.validation
    if held_out >= len(train):
        raise ValueError(f"validation is {held_out}: expected fewer than the {len(train)} training examples")
    order = torch.arange(len(train))
    validation = None
    if held_out:
        generator = torch.Generator().manual_seed(derived_seed(seed, "validation"))
        drawn = torch.randperm(len(train), generator=generator)
        validation, order = train.subset(drawn[:held_out]), drawn[held_out:].sort().values
    if held_out or settings.train_examples:
        train = train.subset(order[: settings.train_examples])
    _augment(train, settings)
    if settings.test_examples:
        test = test.subset(torch.arange(min(settings.test_examples, len(test))))
    return Divided(train, validation, test, num_classes)


def _augment(train: Examples, settings: DataSettings) -> None:
    """Tell the training examples how they are to be varied.

    Raises:
        ValueError: They cannot be.
    """
    if isinstance(train, CodedImages):
        train.shift, train.flip, train.distortion = settings.shift, settings.flip, settings.distortion
    elif not settings.distortion.is_none:
        raise ValueError(f"distortion is for images: expected none with {settings.name}")
    elif settings.flip:
        raise ValueError(f"flip is for images: expected false with {settings.name}")
    elif isinstance(train, BinnedEvents) and len(train.shape) == 3:
        train.shift = settings.shift
    elif settings.shift:
        raise ValueError(f"shift is for images and events of pixels: expected 0 with {settings.name}")


_IMAGES = {
    "cifar-10": data.cifar_10,
    "digits": data.digits,
    "fashion-mnist": data.fashion_mnist,
    "mnist": data.mnist,
}
_CODINGS = {"fsdd": ("cochlea", "crossings"), "random-trains": ("random",)}
_SOUNDS_AT_ONCE = 128
_TEST_NUMBERS = 1_000_000
"""From where on test images are numbered."""


def _load(name: str, coding: AnyCoding, split: Literal["train", "test"]) -> tuple[Examples, int]:
    """Return the examples of a split, and how many classes there are."""
    fitting = ("repeat", "rate", "latency") if name in _IMAGES else _CODINGS.get(name, ("events",))
    if coding.kind not in fitting:
        raise ValueError(f"coding of {name} is {coding.kind!r}: expected {' or '.join(map(repr, fitting))}")
    if isinstance(coding, EventCoding):
        return _recordings(name, coding, split)
    if isinstance(coding, CochleaCoding):
        return _sounds(coding, split), 10
    if isinstance(coding, CrossingsCoding):
        return _crossings(coding, split), 10
    if isinstance(coding, RandomCoding):
        return _random_trains(coding), coding.patterns
    images, labels = _IMAGES[name](split)
    numbers = torch.arange(len(labels)) + (0 if split == "train" else _TEST_NUMBERS)
    brightest = 16 if name == "digits" else 255
    shown = torch.from_numpy(images if images.ndim == 4 else images[:, None])
    return CodedImages(shown, brightest, torch.from_numpy(labels), coding, numbers), 10


def _sounds(coding: CochleaCoding, split: Literal["train", "test"]) -> BinnedEvents:
    recordings = data.fsdd(split)
    events: list[Tensor] = []
    for part in slices(len(recordings.labels), _SOUNDS_AT_ONCE):
        signals = np.zeros((coding.steps, part.stop - part.start, coding.channels), np.float32)
        for place, samples in enumerate(recordings.waveforms[part]):
            loudness = coding.gain * data.cochleagram(samples, data.FSDD_RATE_HZ, coding.channels)
            held = loudness.repeat(coding.held, axis=0)[: coding.steps]
            signals[: len(held), place] = held
        fired = torch.from_numpy(data.bsa_spikes(signals))
        events += [fired[:, place].nonzero().T for place in range(fired.shape[1])]
    return BinnedEvents(events, torch.from_numpy(recordings.labels), coding.steps, (coding.channels,))


def _crossings(coding: CrossingsCoding, split: Literal["train", "test"]) -> BinnedEvents:
    """Return the recordings as the task's networks see them; its validation takes come after those it trains on."""
    task = SpokenDigitsTask(SpokenDigitsSettings(**coding.model_dump(exclude={"kind"})))
    batches = list(task.recordings(split, _SOUNDS_AT_ONCE))
    events = [each.nonzero().T for batch in batches for each in batch.inputs.unbind(1)]
    labels = torch.cat([batch.targets[0] for batch in batches])
    return BinnedEvents(events, labels, coding.steps, (task.input_size,))


def _random_trains(coding: RandomCoding) -> BinnedEvents:
    """Return one example of each pattern: what is learnt from is what judges, for there is nothing to generalise to."""
    generator = torch.Generator().manual_seed(derived_seed(0, "random trains"))
    shape = (coding.patterns, coding.steps, coding.channels)
    fired = torch.rand(shape, generator=generator) < coding.rate
    events = [each.nonzero().T for each in fired]
    return BinnedEvents(events, torch.arange(coding.patterns), coding.steps, (coding.channels,))


def _recordings(name: str, coding: EventCoding, split: Literal["train", "test"]) -> tuple[Examples, int]:
    if name == "nmnist":
        recordings, labels = data.nmnist(split)
        if coding.without_saccades:
            recordings = [data.without_saccades(each) for each in recordings]
        shape = (2, NMNIST_SIDE, NMNIST_SIDE)
        events = [
            binned(
                each.times_us / 1000,
                np.ravel_multi_index((each.polarities, each.rows, each.columns), shape),
                coding,
            )
            for each in recordings
        ]
        return BinnedEvents(events, torch.from_numpy(labels), coding.steps, shape), 10
    trains, channels, classes = data.spike_recordings(name, split)  # type: ignore[arg-type]
    events = [
        binned(1000 * times, units, coding)
        for times, units in zip(trains.times_s, trains.channels, strict=True)
    ]
    return BinnedEvents(events, torch.from_numpy(trains.labels), coding.steps, (channels,)), classes
