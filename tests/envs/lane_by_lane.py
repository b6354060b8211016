"""Comparing a natively vectorised environment with Gymnasium's own vector of single ones."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_same_infos(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Gymnasium's own infos have the maze's tuple of latencies too, which its vectorised form leaves out."""
    assert set(ours) == {key for key in theirs if key.lstrip("_") != "latencies"}
    for key, value in ours.items():
        if isinstance(value, dict):
            assert_same_infos(value, theirs[key])
        elif value.dtype == object:
            for one, other in zip(value, theirs[key], strict=True):
                np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)
            assert value.dtype == np.asarray(theirs[key]).dtype, key


def assert_same_steps(ours, theirs) -> None:
    for one, other in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert_same_infos(ours[-1], theirs[-1])


def arrays_in(values) -> list[np.ndarray]:
    found = []
    for value in values:
        if isinstance(value, dict):
            found += arrays_in(value.values())
        elif isinstance(value, np.ndarray) and value.dtype == object:
            found += arrays_in(value)
        elif isinstance(value, np.ndarray):
            found.append(value)
    return found
