"""Actions as environments get them, checked once for all environments and all their forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lsnn_gym.errors import shortened

_LARGEST_ACTION = 1e100  # beyond this the square of an action, or of an error, overflows


def checked_actions(
    actions: Any, shape: tuple[int, ...], unused: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float64]:
    """Return ``actions`` as a float64 array ``[n, A]``.

    Args:
        actions: What the caller of an environment gave.
        shape: The shape it has to have, ``(A,)`` or ``(n, A)``.
        unused: Lanes ``[n]`` whose actions may be anything; they are returned as 0.

    Raises:
        ValueError: If they have another shape, are not numbers or not finite.
    """
    array = _as_array(actions)
    if array is None or array.dtype.kind not in "biuf":
        raise ValueError(f"an action must be numbers of shape {shape}, not {shortened(repr(actions), 200)}")
    array = array.astype(np.float64)
    if array.shape != shape:
        raise ValueError(f"an action must have the shape {shape}, not {array.shape}")
    array = array.reshape(-1, shape[-1])
    if unused is not None:
        array = np.where(unused[:, None], 0.0, array)
    usable = np.abs(array) <= _LARGEST_ACTION  # False for NaN
    if not usable.all():
        raise ValueError(f"an action must be finite, not {array[~usable.all(axis=1)][0].tolist()}")
    return array


def checked_choices(
    choices: Any, shape: tuple[int, ...], number: int, unused: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """Return discrete actions as an int64 array ``[n]``.

    Args:
        choices: What the caller of an environment gave.
        shape: The shape it has to have, ``()`` or ``(n,)``.
        number: How many there are to choose from.
        unused: Lanes ``[n]`` whose actions may be anything; they are returned as 0.

    Raises:
        ValueError: If they have another shape, are not whole numbers or too low or high.
    """
    array = _as_array(choices)
    if array is None or array.dtype.kind not in "iu":
        told = shortened(repr(choices), 200)
        raise ValueError(f"an action must be a whole number from 0 to {number - 1}, not {told}")
    if array.shape != shape:
        raise ValueError(f"an action must have the shape {shape}, not {array.shape}")
    array = array.reshape(-1)
    if unused is not None:
        array = np.where(unused, 0, array)
    useless = (array < 0) | (array >= number)
    if useless.any():
        raise ValueError(f"an action must be a whole number from 0 to {number - 1}, not {array[useless][0]}")
    return array.astype(np.int64)


def _as_array(values: Any) -> npt.NDArray[Any] | None:
    """Return an array of whatever kind; None of nested lists that make none."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        return None
