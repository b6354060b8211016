"""What a check of a recorded reference case yields, and how such a case is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor


class BadRecordingError(ValueError):
    """A recorded file lacks something, or holds it in a form that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Result:
    """The largest error found in one quantity, and the largest one allowed."""

    name: str
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Return whether the error is within the tolerance; NaN is not."""
        return self.error <= self.tolerance


class Recording:
    """The arrays and the ``meta`` of one recorded file; numbers with a fraction are float64."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            # Opened here: np.load leaves a file that it cannot read open.
            with self.path.open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                if not isinstance(archive, NpzFile):
                    raise ValueError("one array, not an archive of named ones")
                self.arrays = {name: archive[name] for name in archive.files}
        except (BadZipFile, EOFError, OSError, ValueError) as error:
            raise BadRecordingError(f"{self.path}: cannot be read as .npz: {error}") from error
        self.meta: Mapping[str, Any] = self._read_meta()

    def _read_meta(self) -> Mapping[str, Any]:
        try:
            meta = json.loads(str(self.arrays.pop("meta", "{}")))
        except json.JSONDecodeError as error:
            raise BadRecordingError(f"{self.path}: meta is not JSON: {error}") from error
        if not isinstance(meta, dict):
            raise BadRecordingError(f"{self.path}: meta is no JSON object")
        return meta

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Return an array; complain where it is missing or, if ``shape`` is given, of another shape."""
        if name not in self.arrays:
            raise BadRecordingError(f"{self.path}: array {name!r} is missing")
        value = self.arrays[name]
        if shape is not None and value.shape != shape:
            raise BadRecordingError(f"{self.path}: array {name!r} is {value.shape}, expected {shape}")
        return value

    def setting(self, *names: str, default: Any = None) -> Any:
        """Return the first of the ``names`` that ``meta`` holds; complain where none is and no default given."""
        for name in names:
            if name in self.meta:
                return self.meta[name]
        if default is None:
            raise BadRecordingError(f"{self.path}: meta holds no {' or '.join(names)}")
        return default

    def all_finite(self) -> Result:
        """Count what is NaN or infinite anywhere in the file: whatever it is, it cannot be compared."""
        floats = (each for each in self.arrays.values() if each.dtype.kind == "f")
        return Result(
            "entries of the file that are not finite", float(sum(_not_finite(each) for each in floats)), 0
        )


def compare(name: str, value: Tensor | np.ndarray | float, expected: np.ndarray, tolerance: float) -> Result:
    """Return the maximum absolute difference divided by the maximum absolute value of ``expected``.

    Where ``expected`` is all zeros the difference itself counts; another shape is an infinite error.
    """
    found, wanted = _as_array(value), _as_array(expected)
    if found.shape != wanted.shape:
        return Result(f"{name}: {found.shape} for {wanted.shape}", float("inf"), tolerance)
    if wanted.size == 0:
        return Result(name, 0.0, tolerance)
    scale = float(np.abs(wanted).max())
    return Result(name, float(np.abs(found - wanted).max()) / (scale or 1.0), tolerance)


def identical(name: str, value: Tensor | np.ndarray, expected: np.ndarray) -> Result:
    """Return in how many entries the two differ; none may."""
    found, wanted = _as_array(value), _as_array(expected)
    if found.shape != wanted.shape:
        return Result(f"{name}: {found.shape} for {wanted.shape}", float("inf"), 0)
    return Result(f"{name} (entries that differ)", float((found != wanted).sum()), 0)


def spikes_agree(label: str, spikes: Tensor, recording: Recording) -> Result:
    """Return in how many entries spikes (0 or 1/dt) differ from the recorded ``z``; none may."""
    expected = recording.array("z")
    if spikes.dtype == torch.float64:
        return identical(f"{label}z", spikes, expected)
    # 1/dt may be rounded differently: what must be equal is who fires when.
    return identical(f"{label}z", spikes > 0, expected > 0)


def _as_array(value: Tensor | np.ndarray | float) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float64)


def _not_finite(array: np.ndarray) -> int:
    return int((~np.isfinite(array)).sum())
