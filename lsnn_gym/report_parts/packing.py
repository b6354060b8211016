"""Spikes and pictures as short text, for a page to unpack."""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt

_MOST_DIGITS = 5  # of 7 bits: more than there are places in any raster


def pack_spikes(spikes: npt.NDArray[np.bool_]) -> str:
    """Return where spikes ``[T, N]`` are: distances from one to the next, row by row, 7 bits a byte (base64).

    The distance of the first is its place plus 1. The highest bit of a byte says that the number goes on in the
    next byte, which has higher digits.
    """
    distances = np.diff(np.flatnonzero(spikes), prepend=-1)[:, None]
    place = np.arange(_MOST_DIGITS)
    used = (distances >> 7 * place > 0).sum(axis=1, keepdims=True)
    digits = (distances >> 7 * place) & 127 | np.where(place < used - 1, 128, 0)
    return base64.b64encode(digits[place < used].astype(np.uint8).tobytes()).decode()


def pack_levels(values: npt.NDArray[np.floating], low: float, high: float) -> str:
    """Return values as bytes (base64), 0 for ``low`` or less and 255 for ``high`` or more."""
    span = high - low or 1.0
    levels = np.clip(np.round((values - low) / span * 255), 0, 255).astype(np.uint8)
    return base64.b64encode(np.ascontiguousarray(levels).tobytes()).decode()


def pooled(values: npt.NDArray[np.floating], most: int) -> npt.NDArray[np.floating]:
    """Return ``[T, I]`` with at most ``most`` columns: the greatest of every few neighbours."""
    columns = values.shape[1]
    if columns <= most:
        return values
    starts = np.linspace(0, columns, most, endpoint=False).astype(int)
    return np.maximum.reduceat(values, starts, axis=1)
