"""The Free Spoken Digit Dataset on disk: its recordings, and the index that pins them all.

The index has a line for each recording, with its checksum. It can be written anew from the recordings, so that
the one checksum of the index vouches for all of them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lsnn_gym.data.archives import Limits, unpacked
from lsnn_gym.data.checksums import Problem, cannot_read, file_checksum, file_problem
from lsnn_gym.data.data_set import Downloadable
from lsnn_gym.data.download import download
from lsnn_gym.data.sound_files import read_sound
from lsnn_gym.errors import UserError

DIGITS = 10
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES = 50
"""How often each speaker says each digit."""

INDEX = "index.csv"
RECORDINGS = "recordings"

_INDEX_CHECKSUM = "sha256:d63c9303eeca1d6d5df09a896586e3d5f9646526fe553f3259d83147f15704ed"
_MAX_ZIP_BYTES = 1 << 26
_LIMITS = Limits(max_bytes=1 << 27, max_files=10_000)
_REPOSITORY = "https://github.com/Jakobovski/free-spoken-digit-dataset"


class Take(NamedTuple):
    """One recording's place in the data set."""

    digit: int
    speaker: str
    number: int
    """0 to 49, counting the times that the speaker said the digit."""

    @property
    def file(self) -> str:
        """Its name in the folder of recordings."""
        return f"{self.digit}_{self.speaker}_{self.number}.wav"


def takes() -> list[Take]:
    """Return all recordings there should be, in the order of their file names."""
    every = (
        Take(digit, speaker, number)
        for digit in range(DIGITS)
        for speaker in SPEAKERS
        for number in range(TAKES)
    )
    return sorted(every, key=lambda take: take.file)


@dataclass(frozen=True)
class SpokenDigits(Downloadable):
    """Unpacked from the authors' repository; ``index.csv`` is written beside the recordings."""

    index_checksum: str = _INDEX_CHECKSUM
    urls: tuple[str, ...] = ()
    """Archives with a folder ``recordings`` somewhere in them, best first."""

    def missing(self, folder: Path) -> tuple[str, ...]:
        """Return the recordings that are not there."""
        try:
            there = set(os.listdir(folder / RECORDINGS))
        except OSError:
            there = set()
        return tuple(f"{RECORDINGS}/{take.file}" for take in takes() if take.file not in there)

    def problems(self, folder: Path) -> tuple[Problem, ...]:
        """Compare every recording with the index, or all at once with its checksum where there is none."""
        missing = self.missing(folder)
        if missing:
            return tuple(Problem(folder / name, "a recording", "no such file") for name in missing)
        if self._index_is_whole(folder):
            return tuple(self._differing(folder))
        try:
            found = f"sha256:{hashlib.sha256(write_index(folder)).hexdigest()}"
        except UserError as error:
            found = str(error)
        if found == self.index_checksum:
            return ()
        return (Problem(folder / RECORDINGS, f"recordings with an index of {self.index_checksum}", found),)

    def whole_recording(self, folder: Path, take: Take, expected: str | None) -> bytes:
        """Return the bytes of one recording, compared with its checksum where there is one.

        Raises:
            UserError: It cannot be read, or differs.
        """
        path = folder / RECORDINGS / take.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise cannot_read(path, error) from error
        found = hashlib.sha256(content).hexdigest()
        if expected is not None and found != expected:
            raise UserError(str(Problem(path, f"sha256:{expected}", f"sha256:{found}: truncated or damaged")))
        return content

    def checksums(self, folder: Path) -> dict[str, str]:
        """Return each recording's SHA-256 by file name, or nothing where all were just judged without an index.

        Raises:
            UserError: There is no known index, and the recordings as a whole are not the known ones.
        """
        index = folder / INDEX
        if not self._index_is_whole(folder):
            problems = self.problems(folder)
            if problems:
                raise UserError(str(problems[0]))
            return {}
        rows = csv.DictReader(io.StringIO(index.read_text("utf-8")))
        return {row["file"].rpartition("/")[2]: row["sha256"] for row in rows}

    def obtain(self, folder: Path) -> None:
        """Download the authors' archive, judge it, and put the recordings and their index in place."""
        if folder.is_dir() and not self.problems(folder):
            return
        failures = []
        for url in self.urls:
            archive = folder.with_name(f".{self.name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}.zip")
            try:
                # An archive left by a process that was killed between download and unpacking is as good.
                if not archive.exists():
                    download((url,), archive, None, _MAX_ZIP_BYTES)
                self._unpack(archive, folder)
                return
            except UserError as error:
                failures.append(str(error))
            finally:
                archive.unlink(missing_ok=True)
        raise UserError(f"cannot get the data set {self.name!r}: {'; '.join(failures)}")

    def _unpack(self, archive: Path, folder: Path) -> None:
        with unpacked(archive, folder.parent, _LIMITS) as inside:
            found = sorted(inside.rglob(RECORDINGS))
            if not found:
                raise UserError(f"{archive}: expected a folder {RECORDINGS!r} in it, found none")
            fresh = inside / "fresh"
            fresh.mkdir()
            for take in takes():
                if (found[0] / take.file).is_file():
                    (fresh / RECORDINGS).mkdir(exist_ok=True)
                    os.replace(found[0] / take.file, fresh / RECORDINGS / take.file)
            problems = self.problems(fresh)
            if problems:
                raise UserError(f"{archive.name}: {problems[0].path.name}: expected {problems[0].expected}, "
                                f"found {problems[0].found}")  # fmt: skip
            (fresh / INDEX).write_bytes(write_index(fresh))
            if folder.exists():  # damaged, or it would not be replaced
                os.replace(folder, inside / "old")
            os.replace(fresh, folder)

    def _index_is_whole(self, folder: Path) -> bool:
        return file_problem(folder / INDEX, self.index_checksum) is None

    def _differing(self, folder: Path) -> Iterator[Problem]:
        for file, expected in self.checksums(folder).items():
            path = folder / RECORDINGS / file
            found = file_checksum(path, "sha256")
            if found != f"sha256:{expected}":
                yield Problem(path, f"sha256:{expected}", f"{found}: truncated, damaged or another file")


def write_index(folder: Path) -> bytes:
    """Return the index of the recordings in ``folder``.

    Raises:
        UserError: A recording is missing or no sound file.
    """
    lines = ["file,digit,speaker,index,n_samples,rate,sha256"]
    for take in takes():
        path = folder / RECORDINGS / take.file
        samples, rate_hz = read_sound(path)
        checksum = file_checksum(path, "sha256").partition(":")[2]
        lines.append(
            f"{RECORDINGS}/{take.file},{take.digit},{take.speaker},{take.number},{len(samples)},{rate_hz},{checksum}"
        )
    return ("\n".join(lines) + "\n").encode()


FSDD = SpokenDigits(
    name="fsdd",
    summary="spoken digits: 3,000 recordings of 6 speakers, 8 kHz, 10 classes",
    source=f"Z. Jackson and others, Free Spoken Digit Dataset, {_REPOSITORY}",
    licence="CC BY-SA 4.0",
    urls=(f"{_REPOSITORY}/archive/refs/tags/v1.0.10.zip", f"{_REPOSITORY}/archive/refs/heads/master.zip"),
)
