"""Few-shot episodes: a handful of classes, shown a few times each, under labels that mean nothing elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lsnn_gym.errors import UserError

NO_PREVIOUS_LABEL = -1
"""In ``Episodes.previous_labels`` at the first step."""


class Episodes(NamedTuple):
    """A batch of episodes, time first: ``T = ways * (shots + queries)`` showings in ``B`` episodes."""

    images: np.ndarray
    """uint8 ``[T, B, side, side]``."""
    labels: np.ndarray
    """int64 ``[T, B]``: 0 to ways - 1, dealt out anew in every episode."""
    previous_labels: np.ndarray
    """int64 ``[T, B]``: the labels one step late, ``NO_PREVIOUS_LABEL`` at the first step."""
    presentations: np.ndarray
    """int64 ``[T, B]``: how often the class has been shown by then, from 1; queries are above ``shots``."""
    classes: np.ndarray
    """int64 ``[B, ways]``: which class, an index into the images, has label 0, 1, ..."""


def sample_episodes(
    images: np.ndarray,
    *,
    batch: int,
    ways: int,
    shots: int,
    generator: np.random.Generator,
    queries: int = 0,
    rotate: bool = False,
) -> Episodes:
    """Draw N-way K-shot episodes (Santoro et al., ICML 2016; Vinyals et al., NIPS 2016).

    In each episode: ``ways`` classes without repetition, labels by chance, different examples of a class
    without repetition, in random order. All ``shots`` come before the first of the ``queries``.

    Args:
        images: ``[classes, examples, side, side]``, such as ``Characters.images``.
        batch: Episodes, B.
        ways: Classes in an episode, N.
        shots: Showings of each class, K.
        generator: Everything random comes from it.
        queries: Further showings of each class, after all shots.
        rotate: Turn each class of an episode by 0, 90, 180 or 270 degrees, as a new class.

    Raises:
        UserError: A number is not positive, or there are too few classes or examples.
    """
    showings = shots + queries
    _check(images, batch, ways, shots, queries)
    # [B, ways]: their order deals out the labels, too.
    classes = np.stack([generator.choice(len(images), ways, replace=False) for _ in range(batch)])
    # [B, ways, showings]: the examples of each class.
    examples = generator.permuted(np.tile(np.arange(images.shape[1]), (batch, ways, 1)), axis=2)[
        ..., :showings
    ]
    # [B, T]: the label of each showing; shots and queries are shuffled apart.
    labels = np.concatenate(
        [
            generator.permuted(np.tile(np.repeat(np.arange(ways), times), (batch, 1)), axis=1)
            for times in (shots, queries)
        ],
        axis=1,
    )
    presentations = _counts(labels, ways)
    lanes = np.arange(batch)[:, None]
    shown = images[classes[lanes, labels], examples[lanes, labels, presentations - 1]]
    if rotate:
        turns = generator.integers(4, size=(batch, ways))[lanes, labels]
        for quarter in (1, 2, 3):
            turned = turns == quarter
            shown[turned] = np.rot90(shown[turned], quarter, axes=(1, 2))
    previous = np.full_like(labels, NO_PREVIOUS_LABEL)
    previous[:, 1:] = labels[:, :-1]
    return Episodes(*map(_time_first, (shown, labels, previous, presentations)), classes=classes)


def _time_first(batch_first: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(batch_first.swapaxes(0, 1))


def _counts(labels: np.ndarray, ways: int) -> np.ndarray:
    """Number the showings of each label in each row, from 1."""
    one_hot = labels[..., None] == np.arange(ways)
    return np.take_along_axis(one_hot.cumsum(axis=1), labels[..., None], axis=2)[..., 0]


def _check(images: np.ndarray, batch: int, ways: int, shots: int, queries: int) -> None:
    if images.ndim != 4:
        raise UserError(f"images have the shape {images.shape}, expected [classes, examples, side, side]")
    for name, value, least in (
        ("batch", batch, 1),
        ("ways", ways, 1),
        ("shots", shots, 1),
        ("queries", queries, 0),
    ):
        if value < least:
            raise UserError(f"{name} is {value!r}, expected {least} or more")
    if ways > len(images):
        raise UserError(f"ways is {ways}, but there are only {len(images)} classes")
    if shots + queries > images.shape[1]:
        raise UserError(
            f"shots + queries is {shots + queries}, but each class has only {images.shape[1]} examples"
        )
