"""Few-shot learning of characters: learn within an episode which label belongs to which character.

In every episode a few characters are shown several times each, by different hands, in random order, and dealt
labels that mean nothing elsewhere. With each drawing comes the label of the drawing before, so that the network
has to keep both and bind them: the first showing of a character can only be guessed.

Source: Santoro, Bartunov, Botvinick, Wierstra, Lillicrap: Meta-learning with memory-augmented neural networks,
ICML 2016; characters of Lake, Salakhutdinov, Tenenbaum, Science 2015.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from lsnn_gym.data import Episodes, omniglot, sample_episodes
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.tasks.task import IGNORED, Batch, Split, Task, joined, slices


class FewShotSettings(Settings):
    """N-way K-shot episodes of Omniglot characters, each label one showing late."""

    kind: Literal["few-shot"] = "few-shot"
    ways: int = Field(default=5, ge=2, description="characters of an episode")
    shots: int = Field(default=10, ge=1, description="how often each is shown")
    showing: int = Field(default=10, ge=1, description="steps of a showing")
    answer: int = Field(
        default=5, ge=1, description="over how many of its last steps readouts are averaged; divides it"
    )
    feedback: int = Field(
        default=0,
        ge=0,
        description="first steps of a showing, in which the label before is shown alone, the drawing after it; "
        "0: both together throughout",
    )
    feedback_with_drawing: bool = Field(
        default=False,
        description="whether the drawing that a label belongs to is shown beside it in those first steps",
    )
    pooling: Literal[1, 2, 4] = Field(
        default=2, description="side of the squares of pixels that are averaged"
    )
    standardise: bool = Field(
        default=False,
        description="grey values less their mean at each place, in standard deviations of all, as currents",
    )
    rotate: bool = Field(
        default=True, description="train on characters turned by quarters as characters of their own"
    )
    validation_characters: int = Field(
        default=144, ge=1, description="the last of the background characters, not trained on"
    )
    evaluation_episodes: int = Field(default=512, ge=1, description="episodes of validation and of test")

    @model_validator(mode="after")
    def _check(self) -> FewShotSettings:
        if self.showing % self.answer:
            raise ValueError(
                f"answer is {self.answer}: expected to divide the showing's {self.showing} steps"
            )
        if self.feedback + self.answer > self.showing:
            raise ValueError(
                f"feedback is {self.feedback}: expected at most {self.showing - self.answer}, so that the answer "
                f"follows within the showing's {self.showing} steps"
            )
        if self.feedback_with_drawing and not self.feedback:
            raise ValueError("feedback_with_drawing is for feedback of at least 1 step, but feedback is 0")
        return self

    def make(self) -> FewShotTask:
        """Return the task."""
        return FewShotTask(self)


class FewShotTask(Task):
    """Few-shot episodes: training and validation on Omniglot's background set, test on its evaluation set.

    Inputs are grey values of the drawing, 0 to 1, and the label before, one-hot: both for the whole showing or,
    with ``feedback``, first the label, alone or beside the drawing that it belongs to, and then the new drawing.
    """

    group_name: str | None = "presentation"

    def __init__(self, settings: FewShotSettings) -> None:
        self.settings = settings
        self.num_classes: int = settings.ways
        side = 28 // settings.pooling
        self.picture_shape: tuple[int, int] | None = (side, side)
        self.input_size: int = side**2 + settings.ways
        self.input_range: tuple[float, float] = (-math.inf, math.inf) if settings.standardise else (0.0, 1.0)
        self._loaded: dict[str, np.ndarray] = {}
        self._scale: tuple[Tensor, Tensor] | None = None

    def training_batch(self, size: int, number: int, seed: int) -> Batch:
        """Draw a batch of episodes."""
        generator = np.random.default_rng(derived_seed(seed, "few-shot", number))
        return self._draw("train", size, generator, rotate=self.settings.rotate)

    def batches(self, split: Split, size: int) -> Iterator[Batch]:
        """Draw the episodes of a split."""
        for part in slices(self.settings.evaluation_episodes, size):
            # Each from a generator of its own, so that an episode does not depend on the size of the batches.
            seeds = [derived_seed(0, f"few-shot {split}", each) for each in range(part.start, part.stop)]
            yield joined(self._draw(split, 1, np.random.default_rng(seed), rotate=False) for seed in seeds)

    def _characters(self, split: str) -> np.ndarray:
        """Return drawings uint8 ``[characters, 20, 28, 28]``."""
        if split not in self._loaded:
            images = omniglot("evaluation" if split == "test" else "background", 28).images
            held_out = self.settings.validation_characters
            part = {"train": slice(-held_out), "validation": slice(-held_out, None), "test": slice(None)}[
                split
            ]
            self._loaded[split] = images[part]
        return self._loaded[split]

    def _draw(self, split: str, size: int, generator: np.random.Generator, *, rotate: bool) -> Batch:
        settings = self.settings
        episodes = sample_episodes(
            self._characters(split),
            batch=size,
            ways=settings.ways,
            shots=settings.shots,
            generator=generator,
            rotate=rotate,
        )
        inputs = episode_inputs(episodes, settings.ways, settings.pooling)
        if settings.standardise:
            mean, std = self._grey_scale()
            inputs[:, :, : -settings.ways] = (inputs[:, :, : -settings.ways] - mean) / std
        per_showing = settings.showing // settings.answer
        targets, groups = (
            _at_last_window(torch.from_numpy(each), per_showing)
            for each in (episodes.labels, episodes.presentations)
        )
        return Batch(self._spread(inputs), targets, groups)

    def _grey_scale(self) -> tuple[Tensor, Tensor]:
        """Return mean ``[(28 / pooling)^2]`` and standard deviation ``[]`` of the grey values trained on."""
        if self._scale is None:
            images = torch.from_numpy(self._characters("train")).flatten(0, 1)
            pooled = pooled_greys(images, self.settings.pooling)
            mean = pooled.mean(dim=0)
            self._scale = mean, (pooled - mean).std()
        return self._scale

    def _spread(self, inputs: Tensor) -> Tensor:
        """Return the inputs of each step ``[showings * showing, B, I]`` for those of each showing."""
        settings = self.settings
        steps = inputs[:, None].repeat(1, settings.showing, 1, 1)
        if settings.feedback:
            drawings = inputs[:, :, : -settings.ways]
            before = torch.zeros_like(drawings)
            if settings.feedback_with_drawing:
                before[1:] = drawings[:-1]
            steps[:, : settings.feedback, :, : -settings.ways] = before[:, None]
            steps[:, settings.feedback :, :, -settings.ways :] = 0
        return steps.flatten(0, 1)


def episode_inputs(episodes: Episodes, ways: int, pooling: int = 1) -> Tensor:
    """Return one input a showing ``[showings, B, (side / pooling)^2 + ways]``: grey values, then the label before.

    Args:
        episodes: From ``data.sample_episodes``.
        ways: Labels there are.
        pooling: Side of the squares of pixels that are averaged.
    """
    pooled = pooled_greys(torch.from_numpy(episodes.images).flatten(0, 1), pooling)
    # The label -1, before the first showing, is the zero row that is dropped.
    before = F.one_hot(torch.from_numpy(episodes.previous_labels) + 1, ways + 1)[..., 1:]
    greys = pooled.unflatten(0, episodes.images.shape[:2])
    return torch.cat([greys, before.to(greys.dtype)], dim=2)


def pooled_greys(images: Tensor, pooling: int) -> Tensor:
    """Return grey values ``[M, (side / pooling)^2]``, 0 to 1, of images uint8 ``[M, side, side]``."""
    grey = images.to(torch.float32) / 255
    return (F.avg_pool2d(grey, pooling) if pooling > 1 else grey).flatten(1)


def _at_last_window(values: Tensor, windows: int) -> Tensor:
    """Return ``[showings * windows, B]``: each showing's value at its last window, ``IGNORED`` at the others."""
    spread = torch.full((len(values), windows, values.shape[1]), IGNORED)
    spread[:, -1] = values
    return spread.flatten(0, 1)
