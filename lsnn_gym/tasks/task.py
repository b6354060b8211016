"""What every supervised task is: batches of sequences, answers asked for at certain times, one loss and score.

A sequence of T steps is divided into W equal windows. Where a window asks for an answer, the readouts averaged
over it are the logits of K classes. That covers a class asked for at the end (sequential MNIST), a bit asked
for now and then (store-recall) and one for every frame or showing (phones, few-shot learning).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.seeding import derived_seed
from lsnn_gym.tasks.scoring import block_means

IGNORED = -100
"""Target of a window that asks for nothing."""

Split = Literal["validation", "test"]


class Batch(NamedTuple):
    """B sequences of T steps in W windows.

    Attributes:
        inputs: Spikes (0 or 1/dt) or currents ``[T, B, I]``.
        targets: Classes ``[W, B]``, int64, ``IGNORED`` where nothing is asked.
        groups: ``[W, B]``, int64: answers with the same number are also counted apart; None for no groups.
    """

    inputs: Tensor
    targets: Tensor
    groups: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return Batch(*(None if each is None else each.to(device) for each in self))  # type: ignore[arg-type]

    def lanes(self, first: int, size: int) -> Batch:
        """Return the batch of ``size`` of the sequences, from number ``first`` on."""
        return Batch(*(None if each is None else each[:, first : first + size] for each in self))  # type: ignore[arg-type]


class Score(NamedTuple):
    """How many answers were right, of how many asked for."""

    right: int
    asked: int

    @property
    def share(self) -> float:
        """Return the share of right answers; NaN where none was asked for."""
        return self.right / self.asked if self.asked else float("nan")

    def plus(self, other: Score) -> Score:
        """Return both together."""
        return Score(self.right + other.right, self.asked + other.asked)


Scores = Mapping[int | None, Score]
"""A score of all answers under None, and one of each group under its number."""


class Task(ABC):
    """A supervised task: draws batches, and says how answers are judged.

    Everything random follows from the seed and the batch's number, so that a resumed training goes on as if
    never stopped.

    Attributes:
        input_size: I.
        num_classes: K.
        picture_shape: Height and width of the picture that the first channels are, row by row; None for none.
        input_range: The least and the greatest value that an input can have; infinite where there is none.
        figure: Name of the figure of merit: ``"accuracy"``, or one that ends in ``"error"`` and falls.
        group_name: What the groups of answers are; None where there are none.
    """

    input_size: int
    num_classes: int
    picture_shape: tuple[int, int] | None = None
    input_range: tuple[float, float] = (float("-inf"), float("inf"))
    figure: str = "accuracy"
    group_name: str | None = None

    @abstractmethod
    def training_batch(self, size: int, number: int, seed: int) -> Batch:
        """Return the training batch of that number, counted from 0."""

    @abstractmethod
    def batches(self, split: Split, size: int) -> Iterator[Batch]:
        """Return the batches of a split, always the same ones; the last may be smaller."""

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the answers in readouts ``[T, B, K]``."""
        logits, targets = answers(outputs, batch)
        return F.cross_entropy(logits, targets)

    def figures(self, scores: Scores) -> dict[str, float]:
        """Return the figure of merit, and that of each group (``accuracy_presentation_2``)."""
        found: dict[str, float] = {}
        for group, score in sorted(scores.items(), key=lambda item: -1 if item[0] is None else item[0]):
            suffix = "" if group is None else f"_{self.group_name}_{group}"
            found[self.figure + suffix] = 1 - score.share if self.figure.endswith("error") else score.share
        return found


def answers(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the logits ``[A, K]`` and targets ``[A]`` of the A answers asked for in readouts ``[T, B, K]``."""
    asked = batch.targets != IGNORED
    return block_means(outputs, len(batch.targets))[asked], batch.targets[asked]


def score(outputs: Tensor, batch: Batch) -> dict[int | None, Score]:
    """Judge readouts ``[T, B, K]``: the class with the highest mean readout is the answer."""
    logits, targets = answers(outputs, batch)
    right = logits.argmax(dim=1) == targets
    found: dict[int | None, Score] = {None: Score(int(right.sum()), len(right))}
    if batch.groups is not None:
        groups = batch.groups[batch.targets != IGNORED]
        for group in groups.unique().tolist():
            of_group = right[groups == group]
            found[group] = Score(int(of_group.sum()), len(of_group))
    return found


def total(parts: Iterable[Scores]) -> dict[int | None, Score]:
    """Add scores up, group by group."""
    found: dict[int | None, Score] = {}
    for part in parts:
        for group, each in part.items():
            found[group] = found.get(group, Score(0, 0)).plus(each)
    return found


def generator_for(seed: int, purpose: str, number: int = 0) -> torch.Generator:
    """Return a generator on the CPU whose draws follow from seed, purpose and number alone."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, number))


def shuffled_indices(num_examples: int, size: int, number: int, seed: int) -> np.ndarray:
    """Return which examples are in a training batch: int64 ``[size]``.

    Batches run through all examples in random order, pass after pass; one may hold the end of a pass and the
    beginning of the next.

    Args:
        num_examples: In all.
        size: Of a batch.
        number: Of the batch, counted from 0.
        seed: Of the run.
    """
    positions = np.arange(number * size, (number + 1) * size)
    passes = positions // num_examples
    orders = {
        each: np.random.default_rng(derived_seed(seed, "order", each)).permutation(num_examples)
        for each in np.unique(passes).tolist()
    }
    return np.array([orders[each][p % num_examples] for each, p in zip(passes, positions, strict=True)])


def joined(batches: Iterable[Batch]) -> Batch:
    """Return batches of sequences of the same length side by side."""
    inputs, targets, groups = zip(*batches, strict=True)
    together = None if groups[0] is None else torch.cat(groups, dim=1)
    return Batch(torch.cat(inputs, dim=1), torch.cat(targets, dim=1), together)


def slices(num_examples: int, size: int) -> Iterator[slice]:
    """Return consecutive slices of at most ``size`` examples."""
    for start in range(0, num_examples, size):
        yield slice(start, min(start + size, num_examples))
