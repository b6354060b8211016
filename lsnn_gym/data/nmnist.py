"""N-MNIST: MNIST's digits on a screen, seen by an event camera that makes three saccades."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lsnn_gym.data.archive_set import Archive, ArchiveSet
from lsnn_gym.data.archives import Limits
from lsnn_gym.data.checksums import Problem, cannot_read
from lsnn_gym.data.event_files import Events, read_events
from lsnn_gym.errors import UserError, unknown

SIDE = 34
"""Height and width of the recordings, in pixels."""
SIZES = {"train": 60_000, "test": 10_000}
SACCADE_US = 105_000
"""Length of one of the three saccades."""
_SHIFT = 7
_FOLDERS = {"train": "Train", "test": "Test"}
_CLASSES = 10
_URL = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files"


class EventRecordings(NamedTuple):
    """Recordings and what they show."""

    recordings: tuple[Events, ...]
    labels: np.ndarray
    """int64 ``[N]``: the class, 0 to 9."""


class RecordingFile(NamedTuple):
    """Where one recording is."""

    number: int
    """Of the image in MNIST, from 1."""
    label: int
    path: Path


@dataclass(frozen=True)
class NMnist(ArchiveSet):
    """Recordings in a folder for each digit; part of them will do."""

    def lacks(self, folder: Path, member: str) -> bool:
        """Return whether recordings are missing."""
        split = member.lower()
        return sum(1 for _ in recording_files(folder, split)) < SIZES[split]

    def problems(self, folder: Path) -> tuple[Problem, ...]:
        """Read every recording that is there, and count them; there are no checksums of single ones."""
        found: list[Problem] = []
        for split, size in SIZES.items():
            files = list(recording_files(folder, split))
            if len(files) != size:
                name = folder / _FOLDERS[split]
                found.append(Problem(name, f"{size:,} recordings", f"{len(files):,}"))
            for file in files:
                try:
                    read_events(file.path, SIDE)
                except UserError as error:
                    found.append(Problem(file.path, "a recording", str(error)))
        return tuple(found)


def recording_files(folder: Path, split: str) -> Iterator[RecordingFile]:
    """Yield the recordings in ``folder``, in MNIST's order.

    Raises:
        UserError: A folder cannot be read.
    """
    found: list[RecordingFile] = []
    for label in range(_CLASSES):
        of_digit = folder / _FOLDERS[split] / str(label)
        try:
            names = os.listdir(of_digit)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise cannot_read(of_digit, error) from error
        for name in names:
            stem, _, ending = name.partition(".")
            if ending == "bin" and stem.isdecimal():
                found.append(RecordingFile(int(stem), label, of_digit / name))
    yield from sorted(found)


def read_nmnist(folder: Path, split: Literal["train", "test"]) -> EventRecordings:
    """Return the recordings that ``folder`` has of a split (errors as of ``nmnist``)."""
    if split not in _FOLDERS:
        raise UserError(unknown("split", split, _FOLDERS))
    files = list(recording_files(folder, split))
    if not files:
        raise UserError(f"{folder}: no recordings, expected {_FOLDERS[split]}/<digit>/<number>.bin")
    recordings = tuple(read_events(file.path, SIDE) for file in files)
    return EventRecordings(recordings, np.array([file.label for file in files], np.int64))


def without_saccades(events: Events) -> Events:
    """Return a recording as if the camera had stood still; events that leave the picture are dropped.

    In each of three saccades of 105 ms the picture moves along a straight line: 3.5 pixels right and 7 down, as much
    right and 7 up, 7 left. These are the numbers with which the recordings become sharpest.

    Source: the movement is that of Orchard, Jayawant, Cohen, Thakor: Converting static image datasets to spiking
    neuromorphic datasets using saccades, Frontiers in Neuroscience 9, 2015.
    """
    saccades = events.times_us / SACCADE_US
    right = np.interp(saccades, [0, 2, 3], [0, _SHIFT, 0])
    down = np.interp(saccades, [0, 1, 2], [0, _SHIFT, 0])
    columns = np.rint(events.columns - right).astype(np.int64)
    rows = np.rint(events.rows - down).astype(np.int64)
    inside = (columns >= 0) & (columns < SIDE) & (rows >= 0) & (rows < SIDE)
    return Events(
        columns[inside].astype(np.uint8),
        rows[inside].astype(np.uint8),
        events.polarities[inside],
        events.times_us[inside],
    )


NMNIST = NMnist(
    name="nmnist",
    summary="MNIST's digits seen by a moving event camera: 60,000 train and 10,000 test recordings, 34 x 34",
    source="G. Orchard, A. Jayawant, G. K. Cohen and N. Thakor, https://www.garrickorchard.com/datasets/n-mnist",
    licence="CC BY-SA 4.0",
    archives=tuple(
        Archive(
            f"{member}.zip",
            f"md5:{digest}",
            1_500_000_000,
            (f"{_URL}/{identifier}/file_downloaded",),
            (member,),
            Limits(max_bytes=1 << 32, max_files=100_000),
        )
        for member, identifier, digest in (
            ("Train", "39c25547-014b-4137-a934-9d29fa53c7a0", "20959b8e626244a1b502305a9e6e2031"),
            ("Test", "05a4d654-7e03-4c15-bdfa-9bb2bcbea494", "69ca8762b2fe404d9b9bad1103e97832"),
        )
    ),
)
