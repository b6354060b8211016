"""Spoken words as spikes, in the two HDF5 layouts that are about: SHD's and SSC's, and N-TIDIGITS18's.

SHD: ``spikes/times`` (s, float16, one array a recording), ``spikes/units`` and ``labels``. N-TIDIGITS18:
``{train,test}_labels`` (names; what follows the last ``-`` are the digits said), and under each name
``{train,test}_addresses`` and ``{train,test}_timestamps`` (s).

Damaged files can make libhdf5 read for ever or die, and the process with it. So another process reads them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import load_file

import lsnn_gym
from lsnn_gym.data.checksums import Problem
from lsnn_gym.data.data_set import NotDownloadable
from lsnn_gym.data.extras import need
from lsnn_gym.data.hdf5_layouts import REFUSED, SpikeTrains
from lsnn_gym.errors import UserError, last_line, shortened, unknown

_LONGEST_S = 600.0
_CALL = "import sys; from lsnn_gym.data.hdf5_layouts import run; run(*sys.argv[1:])"


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
    return _read("shd", path, num_channels)


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
    return _read("ntidigits", path, num_channels, split)


def _read(layout: str, path: Path, num_channels: int, split: str = "") -> SpikeTrains:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "read.safetensors")
        _in_another_process(layout, path, num_channels, split, out)
        found = load_file(out)
    if not len(found["lengths"]):
        return SpikeTrains((), (), found["labels"])
    ends = np.cumsum(found["lengths"])[:-1]
    times, channels = found["times_s"].astype(np.float64), found["channels"].astype(np.int64)
    return SpikeTrains(tuple(np.split(times, ends)), tuple(np.split(channels, ends)), found["labels"])


def _in_another_process(
    layout: str, path: Path, num_channels: int = 0, split: str = "", out: Path | None = None
) -> None:
    """Have a file read, or with layout ``any`` only opened.

    Raises:
        UserError: It is refused, the process dies of it, or it takes too long.
    """
    need("h5py", "h5py")
    # -P, so that no file in the folder this is run from stands in for a module.
    command = [sys.executable, "-P", "-c", _CALL]
    arguments = [layout, str(path), str(num_channels), split, "" if out is None else str(out)]
    ours = str(Path(lsnn_gym.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    environment = os.environ | {"PYTHONPATH": f"{ours}{os.pathsep}{inherited}" if inherited else ours}
    try:
        ended = subprocess.run(
            [*command, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{path}: damaged: libhdf5 had not read it after {_LONGEST_S:g} s") from None
    if ended.returncode == REFUSED:
        raise UserError(ended.stderr.strip())
    if ended.returncode != 0:
        code = ended.returncode
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        reason = shortened(last_line(ended.stderr))
        raise UserError(f"{path}: damaged: the process that read it ended by {how}: {reason}")


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
                _in_another_process("any", folder / name)
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
