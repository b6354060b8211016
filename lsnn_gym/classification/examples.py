"""Labelled examples as a network is shown them, and how a data set is divided."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor

from lsnn_gym import data
from lsnn_gym.classification.coding import EventCoding, ImageCoding
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings


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
    def inputs(self, index: Tensor, seed: int) -> Tensor:
        """Return what is shown of some examples, ``[T, B, *shape]``.

        Args:
            index: Which ``[B]``.
            seed: Of what is drawn anew each time.
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
    """

    def __init__(
        self, images: Tensor, brightest: int, labels: Tensor, coding: ImageCoding, numbers: Tensor
    ) -> None:
        self.images = images
        self.brightest = brightest
        self.labels = labels
        self.coding = coding
        self.numbers = numbers
        self.shape = tuple(images.shape[1:])

    def inputs(self, index: Tensor, seed: int) -> Tensor:
        """Return the coded images."""
        grey = self.images[index].to(torch.get_default_dtype()) / self.brightest
        return self.coding.encode(grey, self.numbers[index], seed)

    def subset(self, index: Tensor) -> CodedImages:
        """Return some of the images."""
        return CodedImages(
            self.images[index], self.brightest, self.labels[index], self.coding, self.numbers[index]
        )


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


class ImageSetSettings(Settings):
    """Which images, and how many are kept apart."""

    name: Literal["digits", "fashion-mnist", "mnist"] = "mnist"
    validation: int = Field(
        default=5000, ge=0, description="training examples, at random, that only choose among epochs"
    )
    train_examples: int | None = Field(
        default=None, ge=1, description="learn from so many only, the first of the rest"
    )
    test_examples: int | None = Field(default=None, ge=1, description="judge by the first so many only")


def load_divided(settings: ImageSetSettings, coding: ImageCoding | EventCoding, seed: int) -> Divided:
    """Load a data set and divide it.

    Args:
        settings: Which, and how it is divided.
        coding: How examples are shown.
        seed: Of the choice of validation examples.

    Raises:
        UserError: The data cannot be had.
        ValueError: They cannot be coded or divided so.
    """
    train, test = (_load(settings.name, coding, split) for split in ("train", "test"))
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
    if settings.test_examples:
        test = test.subset(torch.arange(min(settings.test_examples, len(test))))
    return Divided(train, validation, test, 10)


def _load(name: str, coding: ImageCoding | EventCoding, split: Literal["train", "test"]) -> Examples:
    if not isinstance(coding, ImageCoding):
        raise ValueError(f"coding is {coding.kind!r}: expected 'repeat', 'rate' or 'latency' for images")
    load = {"digits": data.digits, "fashion-mnist": data.fashion_mnist, "mnist": data.mnist}[name]
    images, labels = load(split)
    numbers = torch.arange(len(labels)) + (0 if split == "train" else 1_000_000)
    brightest = 16 if name == "digits" else 255
    shown = torch.from_numpy(images)[:, None]
    return CodedImages(shown, brightest, torch.from_numpy(labels), coding, numbers)
