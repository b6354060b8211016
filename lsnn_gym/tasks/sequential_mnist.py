"""Sequential MNIST: an image is shown pixel by pixel, its class is asked for at the end.

Source: Bellec, Salaj, Subramoney, Legenstein, Maass: Long short-term memory and learning-to-learn in networks
of spiking neurons, NIPS 2018, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from lsnn_gym.data import digits, fashion_mnist, mnist
from lsnn_gym.errors import UserError
from lsnn_gym.settings import Settings
from lsnn_gym.tasks.coding import crossings
from lsnn_gym.tasks.scoring import block_means
from lsnn_gym.tasks.task import IGNORED, Batch, Split, Task, generator_for, shuffled_indices, slices

CUE_STEPS = 56  # twice the 28 pixels of a row
_VALIDATION_IMAGES = 5000


def threshold_crossings(
    images: Tensor, num_channels: int = 80, repeats: int = 1, cue_steps: int = CUE_STEPS
) -> Tensor:
    """Code images as spikes where the grey value crosses one of evenly spaced levels, followed by a cue.

    With ``num_channels / 2`` levels from 0 to 1, every level but the highest has two channels, one after the
    other: its onset channel fires at a pixel below the level whose successor is at or above it, its offset
    channel at a pixel at or above the level whose successor is below. The channel of level 1 fires where the
    value is exactly 1. The last channel fires throughout the cue and at no other time. The last pixel, having
    no successor, fires at most the channel of level 1.

    Args:
        images: Grey values ``[B, P]`` in [0, 1], row by row. Levels are compared in their precision.
        num_channels: I, an even number of at least 4.
        repeats: For how many steps each pixel is shown, and by how much the cue is longer.
        cue_steps: Length of the cue in steps, before repeating.

    Returns:
        Spikes ``[T, B, I]``, 0 or 1 in the dtype of ``images``, with T = repeats (P + cue_steps).

    Raises:
        ValueError: If ``num_channels`` or the images' shape does not fit.
    """
    if num_channels < 4 or num_channels % 2:
        raise ValueError(f"num_channels is {num_channels}: expected an even number of at least 4")
    shown = grey_values(images, repeats)[:, :, 0]
    levels = torch.as_tensor(np.linspace(0, 1, num_channels // 2)[:-1]).to(shown)
    reached = torch.searchsorted(levels, shown, right=True)
    patterns, of_step = _patterns_between(reached, len(levels))
    steps, batch_size = shown.shape
    spikes = shown.new_zeros(steps + repeats * cue_steps, batch_size, num_channels)
    between = spikes[: steps - 1].view(-1, num_channels)
    torch.index_select(F.pad(patterns.to(spikes.dtype), (0, 2)), 0, of_step.flatten(), out=between)
    spikes[:steps, :, -2] = (shown == 1).to(shown.dtype)
    spikes[steps:, :, -1] = 1
    return spikes


def _patterns_between(reached: Tensor, num_levels: int) -> tuple[Tensor, Tensor]:
    """Return the spikes between steps, each kind of step once: far quicker than level by level at every step.

    Args:
        reached: How many levels are at or below the value ``[T, B]``.
        num_levels: L.

    Returns:
        Patterns ``[K, 2 L]``, onset and offset of each level in turn, and which of them each step to the next
        has ``[T - 1, B]``.
    """
    kinds, of_step = torch.unique(reached[:-1] * (num_levels + 1) + reached[1:], return_inverse=True)
    ends = torch.stack([kinds // (num_levels + 1), kinds % (num_levels + 1)])
    onset, offset = crossings(ends[:, None], torch.arange(1, num_levels + 1))
    return torch.stack([onset[0, 0], offset[0, 0]], dim=-1).flatten(1), of_step


def grey_values(images: Tensor, repeats: int = 1) -> Tensor:
    """Return images ``[B, P]`` as one analogue input channel ``[T, B, 1]``, each pixel ``repeats`` steps long.

    Raises:
        ValueError: If ``images`` is no matrix or ``repeats`` no positive number.
    """
    return image_rows(images, 1, repeats)


def image_rows(images: Tensor, row_length: int, repeats: int = 1) -> Tensor:
    """Return images ``[B, P]`` row by row as ``[P / row_length * repeats, B, row_length]``.

    Args:
        images: Grey values, row by row.
        row_length: Pixels that are shown at once.
        repeats: For how many steps each row is shown.

    Raises:
        ValueError: If the images are no matrix or cannot be cut into such rows, or ``repeats`` is below 1.
    """
    if images.dim() != 2 or row_length < 1 or images.shape[1] % row_length:
        raise ValueError(f"images are {tuple(images.shape)}: expected [B, a multiple of {row_length} pixels]")
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}: expected at least 1")
    return images.unflatten(1, (-1, row_length)).transpose(0, 1).repeat_interleave(repeats, dim=0)


def permute_pixels(images: Tensor, seed: int) -> Tensor:
    """Return the images ``[B, P]`` with their pixels in another order, for all the same and fixed by ``seed``."""
    order = torch.randperm(images.shape[1], generator=torch.Generator().manual_seed(seed))
    return images[:, order.to(images.device)]


def shifted(images: Tensor, side: int, most: int, generator: torch.Generator) -> Tensor:
    """Return images ``[B, side * side]``, each moved at random; what moves in from outside is 0.

    Args:
        images: Grey values, row by row.
        side: Height and width.
        most: By how many pixels at most, up or down and left or right: each uniformly from -most to most.
        generator: Source of the draws.
    """
    padded = F.pad(images.unflatten(1, (side, side)), (most, most, most, most))
    starts = torch.randint(0, 2 * most + 1, (2, len(images), 1), generator=generator).to(images.device)
    rows, columns = starts + torch.arange(side, device=images.device)
    picture = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[picture, rows[:, :, None], columns[:, None, :]].flatten(1)


def class_logits(outputs: Tensor, num_blocks: int = 30) -> Tensor:
    """Return the logits ``[B, K]``: readouts ``[T, B, K]`` averaged over the last of ``num_blocks`` blocks.

    The paper's 840 steps make 30 blocks of 28 steps; the last is the second half of the cue.

    Raises:
        ValueError: If T steps cannot be divided into ``num_blocks`` blocks.
    """
    return block_means(outputs, num_blocks)[-1]


def classification_loss(outputs: Tensor, labels: Tensor, num_blocks: int = 30) -> Tensor:
    """Return the mean cross-entropy of the logits of readouts ``[T, B, K]`` with ``labels`` ``[B]``."""
    return F.cross_entropy(class_logits(outputs, num_blocks), labels)


def accuracy(outputs: Tensor, labels: Tensor, num_blocks: int = 30) -> float:
    """Return which fraction of the ``labels`` ``[B]`` has the highest logit."""
    return (class_logits(outputs, num_blocks).argmax(dim=1) == labels).double().mean().item()


class SequentialImagesSettings(Settings):
    """An image is shown piece by piece; its class is asked for at the end."""

    kind: Literal["sequential-images"] = "sequential-images"
    data: Literal["mnist", "fashion-mnist", "digits"] = Field(
        default="mnist", description="images of 28 x 28 or, scikit-learn's digits, 8 x 8"
    )
    coding: Literal["threshold-crossing", "grey", "rows"] = Field(
        default="threshold-crossing",
        description="pixel by pixel as spikes at grey levels or as one current, or row by row as currents",
    )
    channels: int = Field(default=80, ge=4, multiple_of=2, description="of threshold-crossing")
    repeats: int = Field(default=1, ge=1, description="steps each pixel or row is shown")
    cue: int | None = Field(
        default=None,
        ge=0,
        description="how long an own channel asks for the answer, in units of repeats; by default two rows of "
        "pixels for threshold-crossing, else 0",
    )
    answer: int | None = Field(
        default=None,
        ge=1,
        description="over how many of the last units the readouts are averaged; by default half of the cue, or 1",
    )
    permutation: int | None = Field(
        default=None, ge=0, description="seed of another order of the pixels, the same for all images"
    )
    shift: int = Field(
        default=0,
        ge=0,
        description="by up to how many pixels images are moved at random, each way, when trained on",
    )
    validation_images: int | None = Field(
        default=None,
        ge=1,
        description="the first of the training images, not trained on; by default 5000, or a fifth of fewer than 25000",
    )

    def make(self) -> SequentialImagesTask:
        """Return the task."""
        return SequentialImagesTask(self)

    @property
    def side(self) -> int:
        """Return the images' height and width."""
        return 8 if self.data == "digits" else 28

    @property
    def units(self) -> int:
        """Return how many pixels or rows an image has."""
        return self.side if self.coding == "rows" else self.side**2

    @property
    def cue_units(self) -> int:
        """Return the length of the cue."""
        default = 2 * self.side if self.coding == "threshold-crossing" else 0
        return default if self.cue is None else self.cue

    @property
    def answer_units(self) -> int:
        """Return the length of the window that is the answer."""
        return max(1, self.cue_units // 2) if self.answer is None else self.answer

    @model_validator(mode="after")
    def _check(self) -> SequentialImagesSettings:
        whole = self.units + self.cue_units
        if whole % self.answer_units:
            raise ValueError(
                f"answer is {self.answer_units}: expected to divide the sequence of {whole} units"
            )
        return self


class SequentialImagesTask(Task):
    """Sequential MNIST, or the same with other images and codings.

    The source of the images is read when the first batch is asked for.
    """

    num_classes = 10
    input_range: tuple[float, float] = (0.0, 1.0)

    def __init__(self, settings: SequentialImagesSettings) -> None:
        self.settings = settings
        cue_channel = int(settings.cue_units > 0)
        self.input_size: int = {
            "threshold-crossing": settings.channels,
            "grey": 1 + cue_channel,
            "rows": settings.side + cue_channel,
        }[settings.coding]
        self._loaded: dict[str, tuple[Tensor, Tensor]] = {}

    def training_batch(self, size: int, number: int, seed: int) -> Batch:
        """Return images in random order, pass after pass."""
        images, labels = self._images("train")
        index = torch.from_numpy(shuffled_indices(len(images), size, number, seed))
        shown = images[index]
        if self.settings.shift:
            generator = generator_for(seed, "shift", number)
            shown = shifted(shown, self.settings.side, self.settings.shift, generator)
        return self._batch(shown, labels[index])

    def batches(self, split: Split, size: int) -> Iterator[Batch]:
        """Return the images of a split in order."""
        images, labels = self._images(split)
        for part in slices(len(images), size):
            yield self._batch(images[part], labels[part])

    def _images(self, split: str) -> tuple[Tensor, Tensor]:
        """Return grey values ``[M, P]`` in [0, 1] and labels ``[M]``."""
        if split not in self._loaded:
            load = {"mnist": mnist, "fashion-mnist": fashion_mnist, "digits": digits}[self.settings.data]
            images, labels = load("test" if split == "test" else "train")
            held_out = self._held_out(len(images)) if split != "test" else 0
            part = {"train": slice(held_out, None), "validation": slice(held_out), "test": slice(None)}[split]
            brightest = 16 if self.settings.data == "digits" else 255
            grey = torch.from_numpy(
                images[part].reshape(-1, self.settings.side**2).astype(np.float32) / brightest
            )
            self._loaded[split] = grey, torch.from_numpy(labels[part])
        return self._loaded[split]

    def _held_out(self, num_images: int) -> int:
        """Return how many of the training images are for validation.

        Raises:
            UserError: None are left to train on.
        """
        asked = self.settings.validation_images
        if asked is None:
            return min(_VALIDATION_IMAGES, num_images // 5)
        if asked >= num_images:
            raise UserError(
                f"task.validation_images is {asked}: expected less than the {num_images} training images of "
                f"{self.settings.data}, or nothing for {min(_VALIDATION_IMAGES, num_images // 5)}"
            )
        return asked

    def _batch(self, images: Tensor, labels: Tensor) -> Batch:
        settings = self.settings
        if settings.permutation is not None:
            images = permute_pixels(images, settings.permutation)
        if settings.coding == "threshold-crossing":
            inputs = threshold_crossings(images, settings.channels, settings.repeats, settings.cue_units)
        else:
            length = settings.side if settings.coding == "rows" else 1
            inputs = with_cue(
                image_rows(images, length, settings.repeats), settings.repeats * settings.cue_units
            )
        windows = (settings.units + settings.cue_units) // settings.answer_units
        targets = torch.full((windows, len(labels)), IGNORED)
        targets[-1] = labels
        return Batch(inputs, targets)


def with_cue(inputs: Tensor, steps: int) -> Tensor:
    """Return inputs ``[T, B, I]`` followed by ``steps`` in which one further channel alone is 1.

    Without a cue (0 steps) there is no further channel either.
    """
    if steps == 0:
        return inputs
    shown, batch_size, channels = inputs.shape
    cued = inputs.new_zeros(shown + steps, batch_size, channels + 1)
    cued[:shown, :, :channels] = inputs
    cued[shown:, :, channels] = 1
    return cued
