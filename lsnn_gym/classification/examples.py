"""Labelled examples as a network is shown them, and how a data set is divided."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lsnn_gym import data
from lsnn_gym.classification.coding import AnyCoding, CochleaCoding, EventCoding, ImageCoding, RandomCoding
from lsnn_gym.data.nmnist import SIDE as NMNIST_SIDE
from lsnn_gym.lanes import Share
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.tasks.task import slices


class Examples(ABC):
    """Labelled examples.

    Attributes:
        labels: True classes ``[N]``, int64.
        shape: Of an example each step.
    """

    labels: Tensor
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def inputs(self, index: Tensor, seed: int, share: Share | None = None) -> Tensor:
        """Return what is shown of some examples, ``[T, B, *shape]``.

        Args:
            index: Which ``[B]``.
            seed: Of what is drawn anew each time.
            share: Which of them to return, the same as if all were; by default all.
        """

    @abstractmethod
    def subset(self, index: Tensor) -> Self:
        """Return some of the examples; each is coded as it was."""


class CodedImages(Examples):
    """Images behind a coding.

    Args:
        images: uint8 ``[N, C, H, W]``.
        brightest: Their largest possible value.
        labels: True classes ``[N]``.
        coding: How they are shown.
        numbers: Of the images within their data set ``[N]``.
        shift: By how many pixels an image is moved at most, each way, anew each time; what moves in is black.
        flip: Whether it may also be mirrored.
    """

    def __init__(
        self,
        images: Tensor,
        brightest: int,
        labels: Tensor,
        coding: ImageCoding,
        numbers: Tensor,
        shift: int = 0,
        flip: bool = False,
    ) -> None:
        self.images = images
        self.brightest = brightest
        self.labels = labels
        self.coding = coding
        self.numbers = numbers
        self.shift = shift
        self.flip = flip
        self.shape: tuple[int, ...] = tuple(images.shape[1:])

    def inputs(self, index: Tensor, seed: int, share: Share | None = None) -> Tensor:
        """Return the coded images."""
        share = share or Share.all_of(len(index))
        shown = self.images[index]
        generator = torch.Generator().manual_seed(derived_seed(seed, "augmentation"))
        if self.shift:
            shown = _moved(shown, self.shift, generator)
        if self.flip:
            mirrored = torch.rand(len(shown), 1, 1, 1, generator=generator) < 0.5
            shown = torch.where(mirrored, shown.flip(3), shown)
        greys = share.of(shown, 0).float() / self.brightest
        return self.coding.encode(greys, share.of(self.numbers[index], 0), seed, share)

    def subset(self, index: Tensor) -> CodedImages:
        """Return some of the images."""
        return CodedImages(
            self.images[index],
            self.brightest,
            self.labels[index],
            self.coding,
            self.numbers[index],
            self.shift,
            self.flip,
        )


def _moved(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return images ``[B, C, H, W]``, each moved at random by at most so many pixels each way."""
    _, _, height, width = images.shape
    padded = F.pad(images, (most, most, most, most))
    cut = [
        each[:, most + up : most + up + height, most + left : most + left + width]
        for each, (up, left) in zip(padded, _draw_moves(len(images), most, generator), strict=True)
    ]
    return torch.stack(cut)


def _draw_moves(number: int, most: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Return by how many pixels each of so many pictures is to move up and left, from ``-most`` to ``most``."""
    starts = torch.randint(0, 2 * most + 1, (number, 2), generator=generator)
    return [(up, left) for up, left in (starts - most).tolist()]


class BinnedEvents(Examples):
    """Recordings whose events are gathered in bins of time: 1 where there is one, else 0.

    Args:
        events: Of each recording its bins and channels, int64 ``[2, E]``, from :func:`binned`.
        labels: True classes ``[N]``.
        steps: T.
        shape: Of the channels.
        shift: Of pixels ``[C, H, W]`` only: by how many of them a recording is moved at most, each way, anew each
            time; what moves out is dropped.
    """

    def __init__(
        self, events: Sequence[Tensor], labels: Tensor, steps: int, shape: tuple[int, ...], shift: int = 0
    ) -> None:
        self.events = events
        self.labels = labels
        self.steps = steps
        self.shape = shape
        self.shift = shift

    def inputs(self, index: Tensor, seed: int, share: Share | None = None) -> Tensor:
        """Return the recordings."""
        share = share or Share.all_of(len(index))
        lanes = slice(share.first, share.first + share.size)
        shown = [self.events[number] for number in index[lanes].tolist()]
        if self.shift:
            generator = torch.Generator().manual_seed(derived_seed(seed, "augmentation"))
            moves = _draw_moves(len(index), self.shift, generator)[lanes]
            shown = [self._moved(each, *move) for each, move in zip(shown, moves, strict=True)]
        found = torch.zeros(self.steps, len(shown), math.prod(self.shape))
        for place, (bins, channels) in enumerate(shown):
            found[bins, place, channels] = 1
        return found.unflatten(2, self.shape)

    def _moved(self, events: Tensor, up: int, left: int) -> Tensor:
        """Return the bins and channels of a recording that is moved by so many pixels."""
        _, height, width = self.shape
        bins, channels = events
        rows, columns = channels // width % height - up, channels % width - left
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return torch.stack([bins, channels - up * width - left])[:, inside]

    def subset(self, index: Tensor) -> BinnedEvents:
        """Return some of the recordings."""
        chosen = [self.events[number] for number in index.tolist()]
        return BinnedEvents(chosen, self.labels[index], self.steps, self.shape, self.shift)


def binned(times_ms: np.ndarray, channels: np.ndarray, coding: EventCoding) -> Tensor:
    """Return in which bins which channels have an event, int64 ``[2, E]``; events after the last bin are left out.

    Args:
        times_ms: From 0 on ``[S]``.
        channels: ``[S]``.
        coding: Number and length of the bins.
    """
    bins = (times_ms / coding.step_ms).astype(np.int64)
    before_end = bins < coding.steps
    num_channels = int(channels.max(initial=0)) + 1
    places = np.unique(bins[before_end] * num_channels + channels[before_end])
    return torch.from_numpy(np.stack(np.divmod(places, num_channels)))


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
        train.shift, train.flip = settings.shift, settings.flip
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
_CODINGS = {"fsdd": ("cochlea",), "random-trains": ("random",)}
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
