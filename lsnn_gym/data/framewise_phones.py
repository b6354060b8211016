"""TIMIT, frame by frame: what is heard every 10 ms, and which phone it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lsnn_gym.data.phones import class_names, label_of
from lsnn_gym.data.sound_features import frame_centres, mfcc
from lsnn_gym.data.sound_files import read_sound
from lsnn_gym.data.store import locate
from lsnn_gym.data.timit_files import (
    SPLITS,
    TIMIT,
    PhoneSegments,
    UtteranceFiles,
    find_utterances,
    read_phones,
)
from lsnn_gym.errors import UserError

RATE_HZ = 16_000
"""Samples per second of the corpus."""

NO_LABEL = -100
"""Label of a frame without one; PyTorch's losses leave it out by default."""


class Utterance(NamedTuple):
    """One sentence."""

    name: str
    """``region/speaker/sentence``, such as ``dr1/fcjf0/si1027``."""
    features: np.ndarray
    """float32 ``[T, 39]``: 13 MFCC, their velocities, their accelerations; not normalised."""
    labels: np.ndarray
    """int64 ``[T]``: the class of each frame, or ``NO_LABEL``."""


class PhoneCorpus(NamedTuple):
    """The utterances of a split."""

    utterances: tuple[Utterance, ...]
    classes: tuple[str, ...]
    """The phone that each label stands for."""


def timit(
    root: str | Path | None,
    split: Literal["train", "dev", "core-test", "test"],
    *,
    classes: Literal[61, 48, 39] = 61,
    glottal_stop: Literal["silence", "unlabelled"] = "silence",
    complete: bool = True,
) -> PhoneCorpus:
    """Load TIMIT for framewise phone classification, from one's own copy.

    The corpus (J. S. Garofolo and others, LDC93S1) is proprietary and never downloaded. Frames are windows of
    25 ms every 10 ms; a frame's label is the phone in the middle of its window, so that labels do not drift.
    Frames past the last phone, at the very end of some files, have no label. Sounds are NIST SPHERE or RIFF,
    judged by content. The sentences that all speakers read (SA) are left out.

    Args:
        root: The folder with ``TRAIN`` and ``TEST`` in it or the one above; None for ``$LSNN_GYM_DATA/timit``.
        split: ``train`` (462 speakers), ``dev`` (50 speakers), ``core-test`` (24), or ``test``: the complete
            test part (168), which holds the two before.
        classes: 61 as transcribed, or folded to 48 or 39 (see ``phones``).
        glottal_stop: What becomes of ``q`` where it has no class: see ``phones.label_of``.
        complete: Refuse a copy that lacks utterances of the split; False takes what is there.

    Raises:
        UserError: No copy is to be found, and how to point to one; it lacks utterances; or a file is damaged.
    """
    labels = label_of(classes, glottal_stop)
    folder = locate(TIMIT.name) if root is None else Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. {TIMIT.how_to_get()}")
    found = find_utterances(folder, split)
    if not found or (complete and len(found) != SPLITS[split]):
        raise UserError(
            f"{folder}: expected {SPLITS[split]:,} utterances in {split!r}, found {len(found):,}"
            + (": not the whole corpus (complete=False takes a part)" if found else "")
        )
    return PhoneCorpus(tuple(_load(files, labels) for files in found), class_names(classes))


def _load(files: UtteranceFiles, labels: dict[str, int | None]) -> Utterance:
    samples, rate_hz = read_sound(files.sound)
    if rate_hz != RATE_HZ:
        raise UserError(f"{files.sound}: has {rate_hz} samples a second, expected {RATE_HZ}")
    segments = read_phones(files.phones)
    if segments.ends[-1] > len(samples):
        raise UserError(
            f"{files.phones}: its last phone ends at sample {segments.ends[-1]}, but {files.sound.name} has only "
            f"{len(samples)}"
        )
    return Utterance(files.name, mfcc(samples, rate_hz), _frame_labels(segments, len(samples), labels))


def _frame_labels(segments: PhoneSegments, samples: int, labels: dict[str, int | None]) -> np.ndarray:
    """Return the label of the phone in the middle of each frame, int64 ``[T]``."""
    of_segment = [labels[phone] for phone in segments.phones] + [None]  # past the last phone
    numbers = np.array([NO_LABEL if label is None else label for label in of_segment], np.int64)
    return numbers[np.searchsorted(segments.ends, frame_centres(samples, RATE_HZ), side="right")]
