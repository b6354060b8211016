"""The HDF5 layouts of spoken words as spikes, read by a process of its own: see ``spike_files``.

What is read goes into a safetensors file: times and channels of all recordings one after the other, how many each has,
and labels.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file

from lsnn_gym.data.extras import need
from lsnn_gym.data.hdf5_heaps import check_heaps
from lsnn_gym.errors import UserError, unknown

REFUSED = 3
"""Exit status where the file is refused; why is on standard error."""

_MOST_SPIKES, _MOST_RECORDINGS = 10_000_000, 1_000_000
_DIGITS = {**{str(digit): digit for digit in range(1, 10)}, "o": 0, "z": 10}
"""Classes of single digits in N-TIDIGITS18: "oh" is 0, "zero" 10, as there are eleven."""


class SpikeTrains(NamedTuple):
    """Recordings as spikes.

    Attributes:
        times_s: Of each recording float64 ``[S]``, in seconds, never falling.
        channels: Of each recording int64 ``[S]``.
        labels: Classes int64 ``[N]``.
    """

    times_s: tuple[np.ndarray, ...]
    channels: tuple[np.ndarray, ...]
    labels: np.ndarray


def shd(path: Path, num_channels: int) -> SpikeTrains:
    """Do what ``spike_files.read_shd`` does, in this process."""
    with _opened(path) as file:
        labels = _array(path, file, "labels", "iu", _MOST_RECORDINGS)
        times = _ragged(path, file, "spikes/times", len(labels))
        units = _ragged(path, file, "spikes/units", len(labels))
        found = [
            _checked(f"{path}: recording {number:,}", each_time, each_unit, num_channels)
            for number, (each_time, each_unit) in enumerate(zip(times, units, strict=True))
        ]
    return SpikeTrains(
        tuple(times for times, _ in found), tuple(units for _, units in found), labels.astype(np.int64)
    )


def ntidigits(path: Path, split: str, num_channels: int) -> SpikeTrains:
    """Do what ``spike_files.read_ntidigits`` does, in this process."""
    with _opened(path) as file:
        names = [bytes(name) for name in _array(path, file, f"{split}_labels", "SO", _MOST_RECORDINGS)]
        found, labels = [], []
        for name in names:
            said = name.decode("latin-1").rpartition("-")[2]
            if len(said) != 1:
                continue
            if said not in _DIGITS and said != "0":
                raise UserError(f"{path}: recording {name!r}: {unknown('digit', said, _DIGITS)}")
            where = name.decode("latin-1")
            times = _array(path, file, f"{split}_timestamps/{where}", "f", _MOST_SPIKES)
            channels = _array(path, file, f"{split}_addresses/{where}", "iuf", _MOST_SPIKES)
            found.append(_checked(f"{path}: recording {where!r}", times, channels, num_channels))
            labels.append(_DIGITS.get(said, 0))
    return SpikeTrains(
        tuple(times for times, _ in found),
        tuple(channels for _, channels in found),
        np.array(labels, np.int64),
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    h5py = need("h5py", "h5py")
    try:
        check_heaps(path)
        with h5py.File(path, "r") as file:
            if (sizes := file.id.get_create_plist().get_sizes()) != (8, 8):
                raise UserError(f"{path}: addresses and lengths of {sizes} bytes, expected (8, 8)")
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: no HDF5 file, or truncated or damaged: {error}") from error


def _node(path: Path, file: Any, name: str) -> Any:
    """Return a data set of the file itself: links could lead to any other file."""
    h5py = need("h5py", "h5py")
    node = file
    for part in name.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{path}: expected a data set {name!r} in it")
        node = node[part]
    if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
        raise UserError(f"{path}: {name!r} is no data set within the file")
    return node


def _array(path: Path, file: Any, name: str, kinds: str, most: int) -> np.ndarray:
    """Return a data set of one axis, of one of the ``kinds`` of numbers."""
    node = _node(path, file, name)
    if node.ndim != 1 or node.dtype.kind not in kinds or len(node) > most:
        raise UserError(
            f"{path}: {name!r} is {node.dtype} {node.shape}: expected one axis of at most {most:,} values"
        )
    return node[()]


def _ragged(path: Path, file: Any, name: str, count: int) -> list[np.ndarray]:
    """Return a data set of ``count`` arrays of different lengths."""
    h5py = need("h5py", "h5py")
    node = _node(path, file, name)
    base = h5py.check_vlen_dtype(node.dtype)
    if node.shape != (count,) or base is None or np.dtype(base).kind not in "fiu":
        raise UserError(
            f"{path}: {name!r} is {node.dtype} {node.shape}: expected {count:,} lists of numbers, one a label"
        )
    return [np.asarray(each) for each in node[()]]


def _checked(
    where: str, times: np.ndarray, channels: np.ndarray, num_channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return times and channels of one recording, in order."""
    seconds = times.astype(np.float64)
    if seconds.shape != channels.shape or len(seconds) > _MOST_SPIKES:
        raise UserError(f"{where}: {len(seconds):,} times, but {len(channels):,} channels")
    if not (np.isfinite(seconds).all() and (seconds >= 0).all()):
        raise UserError(f"{where}: a time is negative or no number")
    whole = channels.astype(np.int64)
    if (whole != channels).any() or (whole < 0).any() or (whole >= num_channels).any():
        raise UserError(
            f"{where}: channel {channels.max()}, expected whole numbers from 0 to {num_channels - 1}"
        )
    order = np.lexsort((whole, seconds))
    return seconds[order], whole[order]


def run(layout: str, file: str, num_channels: str, split: str, out: str) -> None:
    """Read a file, write what is in it to ``out`` and end the process.

    Args:
        layout: ``shd``, ``ntidigits`` or, to see only whether it can be opened, ``any``.
        file: To be read.
        num_channels: In digits.
        split: Of N-TIDIGITS18.
        out: Where to write.
    """
    try:
        _convert(layout, file, num_channels, split, out)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)


def _convert(layout: str, file: str, num_channels: str, split: str, out: str) -> None:
    path, channels = Path(file), int(num_channels)
    if layout == "any":
        with _opened(path):
            return
    found = shd(path, channels) if layout == "shd" else ntidigits(path, split, channels)
    times = np.concatenate([np.empty(0), *found.times_s])
    shorter = times.astype(np.float32)
    arrays = {
        "times_s": shorter if (shorter == times).all() else times,
        "channels": np.concatenate([np.empty(0, np.int64), *found.channels]).astype(np.int32),
        "lengths": np.array([len(times) for times in found.times_s], np.int64),
        "labels": found.labels,
    }
    save_file(arrays, out)
