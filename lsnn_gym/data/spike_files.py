"""Spoken words as spikes, in the two HDF5 layouts that are about: SHD's and SSC's, and N-TIDIGITS18's.

SHD: ``spikes/times`` (s, float16, one array a recording), ``spikes/units`` and ``labels``. N-TIDIGITS18:
``{train,test}_labels`` (names; what follows the last ``-`` are the digits said), and under each name
``{train,test}_addresses`` and ``{train,test}_timestamps`` (s).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lsnn_gym.data.checksums import Problem
from lsnn_gym.data.data_set import NotDownloadable
from lsnn_gym.data.extras import need
from lsnn_gym.data.hdf5_heaps import check_heaps
from lsnn_gym.errors import UserError, unknown

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


def read_shd(path: Path, num_channels: int) -> SpikeTrains:
    """Read a file in the layout of the Spiking Heidelberg Digits.

    Times of float16 are less and less exact after half a second, and equal ones may be in any order: they are sorted,
    with ties by channel.

    Args:
        path: The file.
        num_channels: Units are below it.

    Raises:
        UserError: h5py is not installed; the file cannot be read or is not laid out so; a unit or time cannot be.
    """
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


def read_ntidigits(path: Path, split: Literal["train", "test"], num_channels: int = 64) -> SpikeTrains:
    """Read the recordings of single digits in the layout of N-TIDIGITS18.

    Args:
        path: The file.
        split: The authors' own.
        num_channels: Addresses are below it.

    Returns:
        Classes are 0 for "oh" (``o``), 1 to 9, and 10 for "zero" (``z``); a file whose digits are plain numbers has 0
        for ``0``. Recordings of several digits are left out.

    Raises:
        UserError: As of ``read_shd``.
    """
    if split not in ("train", "test"):
        raise UserError(unknown("split", split, ("train", "test")))
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


@dataclass(frozen=True)
class SpikeFiles(NotDownloadable):
    """Files that users bring."""

    files: tuple[str, ...] = ()
    how: str = ""

    def packaged(self) -> Path | None:
        """Return None: no package has it."""
        return None

    def how_to_get(self) -> str:
        """Say where the files are to be had and where to put them."""
        return f"{self.how}; put {', '.join(self.files)} into $LSNN_GYM_DATA/{self.name}"

    def missing(self, folder: Path) -> tuple[str, ...]:
        """Return the files that are not there."""
        return tuple(name for name in self.files if not (folder / name).is_file())

    def problems(self, folder: Path) -> tuple[Problem, ...]:
        """Open every file; there are no checksums."""
        found: list[Problem] = []
        for name in self.files:
            try:
                with _opened(folder / name):
                    pass
            except UserError as error:
                found.append(Problem(folder / name, "an HDF5 file", str(error)))
        return tuple(found)


_ZENKE = "B. Cramer, Y. Stradmann, J. Schemmel and F. Zenke, https://zenkelab.org/datasets"

SHD = SpikeFiles(
    name="shd",
    summary="Spiking Heidelberg Digits: 8,156 train and 2,264 test recordings, 700 channels, 20 classes",
    source=_ZENKE,
    licence="CC BY 4.0",
    files=("shd_train.h5", "shd_test.h5"),
    how="unpack what https://zenkelab.org/datasets has",
)
SSC = SpikeFiles(
    name="ssc",
    summary="Spiking Speech Commands: 75,466 train and 20,382 test recordings, 700 channels, 35 classes",
    source=_ZENKE,
    licence="CC BY 4.0",
    files=("ssc_train.h5", "ssc_test.h5"),
    how="unpack what https://zenkelab.org/datasets has",
)
N_TIDIGITS = SpikeFiles(
    name="n-tidigits",
    summary="TIDIGITS (spoken digits) heard by a silicon cochlea of 64 channels, 11 classes",
    source="J. Anumula, D. Neil, T. Delbruck and S.-C. Liu, Institute of Neuroinformatics, Zurich",
    licence="of the Institute of Neuroinformatics, on top of TIDIGITS' own (LDC93S10)",
    files=("n-tidigits.hdf5",),
    how="ask the Institute of Neuroinformatics for N-TIDIGITS18",
)
FSDD_SPIKES = SpikeFiles(
    name="fsdd-spikes",
    summary="the Free Spoken Digit Dataset through 64 gammatone channels, in SHD's layout",
    source="derived from Z. Jackson and others, Free Spoken Digit Dataset",
    licence="CC BY-SA 4.0",
    files=("fsdd_spikes_train.h5", "fsdd_spikes_test.h5"),
    how="they are derived from fsdd and not published",
)
