"""Recordings of event cameras in the 40-bit format of N-MNIST and N-Caltech101.

Five bytes an event, one after another: column, row, then a bit of polarity and 23 bits of time in microseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsnn_gym.data.checksums import cannot_read
from lsnn_gym.errors import UserError

EVENT_BYTES = 5
_OVERFLOW_ROW, _OVERFLOW_US = 240, 1 << 13
_MAX_BYTES = 1 << 26


class Events(NamedTuple):
    """One recording, in the order of time.

    Attributes:
        columns: uint8 ``[E]``.
        rows: uint8 ``[E]``.
        polarities: uint8 ``[E]``: 1 where it got brighter, else 0.
        times_us: int64 ``[E]``, in microseconds, never falling.
    """

    columns: np.ndarray
    rows: np.ndarray
    polarities: np.ndarray
    times_us: np.ndarray


def read_events(path: Path, side: int) -> Events:
    """Read a recording.

    Args:
        path: The file. Events of row 240 are none: each says that the time from there on is 8,192 us later.
        side: Height and width of the camera's picture.

    Raises:
        UserError: The file cannot be read, is truncated, or holds what cannot be: an event outside of the picture, or
            a time that falls; the event's number is given.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise UserError(f"{path}: has {size:,} bytes, too many for one recording")
        content = path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from error
    if len(content) % EVENT_BYTES:
        raise UserError(
            f"{path}: truncated or no recording: {len(content):,} bytes, expected a multiple of {EVENT_BYTES}"
        )
    table = np.frombuffer(content, np.uint8).reshape(-1, EVENT_BYTES)
    later = np.cumsum(table[:, 1] == _OVERFLOW_ROW) * _OVERFLOW_US
    upper = (table[:, 2] & 0x7F).astype(np.int64) << 16
    times = upper + (table[:, 3].astype(np.int64) << 8) + table[:, 4] + later
    is_event = table[:, 1] != _OVERFLOW_ROW
    table, times = table[is_event], times[is_event]
    outside = np.flatnonzero((table[:, :2] >= side).any(axis=1))
    if len(outside):
        column, row = table[outside[0], :2]
        raise UserError(
            f"{path}: event {outside[0]:,} at column {column}, row {row}: expected both below {side}"
        )
    falls = np.flatnonzero(np.diff(times) < 0)
    if len(falls):
        raise UserError(
            f"{path}: event {falls[0] + 1:,} at {times[falls[0] + 1]:,} us comes after one at {times[falls[0]]:,} us"
        )
    return Events(table[:, 0].copy(), table[:, 1].copy(), table[:, 2] >> 7, times)
