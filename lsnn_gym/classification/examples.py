"""Labelled examples as a network is shown them: images behind a coding, events gathered in bins."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.classification.coding import EventCoding, ImageCoding
from lsnn_gym.classification.distortion import Distortion, displaced
from lsnn_gym.lanes import Share
from lsnn_gym.seeding import derived_seed


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
        distortion: How it is distorted, anew each time.
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
        distortion: Distortion | None = None,
    ) -> None:
        self.images = images
        self.brightest = brightest
        self.labels = labels
        self.coding = coding
        self.numbers = numbers
        self.shift = shift
        self.flip = flip
        self.distortion: Distortion = distortion or Distortion()
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
        if not self.distortion.is_none:
            number, _, height, width = shown.shape
            source = self.distortion.draw(number, height, width, generator)
            greys = displaced(greys, share.of(source, 0))
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
            self.distortion,
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
