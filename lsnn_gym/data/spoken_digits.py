"""The Free Spoken Digit Dataset: people saying digits, free for all."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from lsnn_gym.data.fsdd_files import FSDD, RECORDINGS, takes
from lsnn_gym.data.sound_files import parse_sound
from lsnn_gym.data.store import locate
from lsnn_gym.errors import UserError, unknown

RATE_HZ = 8000
"""Samples per second of every recording."""

_TEST_TAKES = 5
_SPLITS = ("train", "test")


class SpokenDigitRecordings(NamedTuple):
    """Recordings, and who says what."""

    waveforms: tuple[np.ndarray, ...]
    """int16 ``[samples]`` each, 8,000 a second, 0.1 to 2.3 s."""
    labels: np.ndarray
    """int64 ``[N]``: the digit."""
    speakers: tuple[str, ...]
    """The first name of each recording's speaker, one of six."""


def fsdd(split: Literal["train", "test"]) -> SpokenDigitRecordings:
    """Load the Free Spoken Digit Dataset: 2,700 recordings in ``train``, 300 in ``test``.

    By Z. Jackson, C. Souza, J. Flaks, Y. Pan, H. Nicolas and A. Thite, CC BY-SA 4.0. Downloaded (16 MB) where
    it is not here yet.

    Args:
        split: The authors' own: of a speaker's 50 takes of a digit, 0 to 4 are ``test``, 5 to 49 ``train``. Both
            parts have all six speakers.

    Returns:
        The recordings in the order of their file names.

    Raises:
        UserError: No such split; the data cannot be had; a recording is damaged or not the known one.
    """
    if split not in _SPLITS:
        raise UserError(unknown("split", split, _SPLITS))
    folder = locate(FSDD.name)
    checksums = FSDD.checksums(folder)
    wanted = [take for take in takes() if (take.number < _TEST_TAKES) == (split == "test")]
    waveforms = []
    for take in wanted:
        content = FSDD.whole_recording(folder, take, checksums.get(take.file))
        path = folder / RECORDINGS / take.file
        samples, rate_hz = parse_sound(content, path)
        if rate_hz != RATE_HZ:
            raise UserError(f"{path}: has {rate_hz} samples a second, expected {RATE_HZ}")
        waveforms.append(samples)
    labels = np.array([take.digit for take in wanted], np.int64)
    return SpokenDigitRecordings(tuple(waveforms), labels, tuple(take.speaker for take in wanted))
