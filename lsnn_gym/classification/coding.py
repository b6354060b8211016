"""How images become what a network gets at each step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsnn_gym.coding import latency_steps
from lsnn_gym.lanes import Share
from lsnn_gym.memory import POOL
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings


class ImageCoding(Settings, ABC):
    """Turns grey values into T steps of input.

    Attributes:
        steps: T.
    """

    steps: int

    @abstractmethod
    def encode(self, images: Tensor, numbers: Tensor, seed: int, share: Share | None = None) -> Tensor:
        """Return what is shown of each image, ``[T, B, C, H, W]``.

        Args:
            images: From 0 to 1 ``[B, C, H, W]``.
            numbers: Of the images within their data set ``[B]``.
            seed: Of what is drawn anew each time.
            share: Of the batch that the images are; by default they are all of it.
        """


class RepeatCoding(ImageCoding):
    """The image itself at every step, as direct current."""

    kind: Literal["repeat"] = "repeat"
    steps: int = Field(default=5, ge=1)
    mean: float | tuple[float, ...] = Field(
        default=0.0, description="what is subtracted first, a channel or all"
    )
    std: float | tuple[float, ...] = Field(default=1.0, description="... and what the rest is divided by")

    def encode(self, images: Tensor, numbers: Tensor, seed: int, share: Share | None = None) -> Tensor:
        """Return the same image T times, without copies."""
        shown = (images - _by_channel(self.mean, images)) / _by_channel(self.std, images)
        return shown.expand(self.steps, *shown.shape)


class RateCoding(ImageCoding):
    """Random spikes, the more the brighter; none at the first step."""

    kind: Literal["rate"] = "rate"
    steps: int = Field(default=400, ge=2)
    largest: float = Field(default=1 / 5.5, gt=0, le=1, description="share of steps at which white spikes")
    redrawn: bool = Field(
        default=False, description="whether an image's spikes are others each time it is shown"
    )

    def encode(self, images: Tensor, numbers: Tensor, seed: int, share: Share | None = None) -> Tensor:
        """Return spikes; those that are not redrawn follow from the image's number."""
        share = share or Share.all_of(len(images))
        spikes = POOL.empty((self.steps, *images.shape), images.dtype)
        spikes[0] = 0
        later = spikes.flatten(2)[1:].numpy()
        chances = self.largest * images.flatten(1).cpu().double().numpy()
        for place, (number, chance) in enumerate(zip(numbers.tolist(), chances, strict=True)):
            drawn_by, which = (seed, share.first + place) if self.redrawn else (0, number)
            own_seed = derived_seed(drawn_by, "rate coding", which)
            later[:, place] = _bernoulli(chance, self.steps - 1, own_seed)
        return spikes.to(images.device)


def _bernoulli(chance: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """Return events ``[steps, N]`` with chances ``[N]``, to 2^-32: raw bits, for they take less time than numbers."""
    bits = np.random.PCG64(seed).random_raw(-(-steps * len(chance) // 2))
    draws = np.asarray(bits).view(np.uint32)[: steps * len(chance)].reshape(steps, -1)
    bounds = np.rint(chance * 2.0**32).clip(max=2**32 - 1).astype(np.uint32)
    return (draws < bounds) | (chance >= 1)


class LatencyCoding(ImageCoding):
    """One spike a pixel, the earlier the brighter; none where it is black."""

    kind: Literal["latency"] = "latency"
    steps: int = Field(default=300, ge=1)
    last: int = Field(default=24, ge=0, description="step at which the faintest fire")

    def encode(self, images: Tensor, numbers: Tensor, seed: int, share: Share | None = None) -> Tensor:
        """Return the spikes."""
        at = latency_steps(images, self.last)
        spikes = images.new_zeros(self.steps, *images.shape)
        shown = spikes[: self.last + 1]
        shown.copy_(torch.arange(len(shown)).view(-1, *[1] * images.ndim) == at)
        return spikes


class EventCoding(Settings):
    """Events of a recording, gathered in bins of time: 1 where there is one."""

    kind: Literal["events"] = "events"
    steps: int = Field(default=300, ge=1, description="later events are left out")
    step_ms: float = Field(default=1.0, gt=0, description="length of a bin")
    without_saccades: bool = Field(default=False, description="of nmnist: as if the camera had not moved")


class CochleaCoding(Settings):
    """Sound through a bank of cochlear filters, whose loudness becomes spikes by BSA."""

    kind: Literal["cochlea"] = "cochlea"
    steps: int = Field(default=700, ge=1, description="what comes later is left out")
    channels: int = Field(default=64, ge=1, description="filters")
    held: int = Field(default=10, ge=1, description="steps of each of 62.5 frames a second")
    gain: float = Field(
        default=0.5, gt=0, description="of the loudest frame of a recording, in kernels a step"
    )


class CrossingsCoding(Settings):
    """Sound as task spoken-digits shows it to recurrent networks: spikes where MFCC cross levels."""

    kind: Literal["crossings"] = "crossings"
    coefficients: int = Field(default=13, ge=2, le=23, description="MFCC of each frame of 10 ms")
    levels: int = Field(default=8, ge=1, description="of each coefficient")
    frames: int = Field(default=80, ge=1, description="what comes later is left out")
    repeats: int = Field(default=2, ge=1, description="steps of a frame")

    @property
    def steps(self) -> int:
        """Return T."""
        return self.frames * self.repeats


class RandomCoding(Settings):
    """Of the data set random-trains: as many random spike trains as there are classes, always the same."""

    kind: Literal["random"] = "random"
    steps: int = Field(default=100, ge=1)
    channels: int = Field(default=100, ge=1, description="spike trains of one pattern")
    patterns: int = Field(default=10, ge=2, description="classes, each a pattern")
    rate: float = Field(default=0.05, gt=0, le=1, description="spikes a step and channel")


AnyCoding = (
    RepeatCoding | RateCoding | LatencyCoding | EventCoding | CochleaCoding | CrossingsCoding | RandomCoding
)

CodingSettings = Annotated[AnyCoding, Field(discriminator="kind")]
"""A section with the key ``kind``."""


def _by_channel(value: float | tuple[float, ...], images: Tensor) -> Tensor:
    """Return a number, or one a channel, so that it fits images ``[B, C, H, W]``."""
    values = images.new_tensor([value] if isinstance(value, float) else value)
    if len(values) not in (1, images.shape[1]):
        raise ValueError(f"{len(values)} means or standard deviations for {images.shape[1]} channels")
    return values[:, None, None]
