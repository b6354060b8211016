"""What a data set is: where it comes from, what it consists of, and how to get and to judge it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lsnn_gym.data.checksums import Problem, file_problem
from lsnn_gym.data.download import download
from lsnn_gym.errors import UserError


@dataclass(frozen=True)
class DataSet(ABC):
    """A data set by name; its files lie in one folder."""

    name: str
    """As on the command line."""
    summary: str
    """What it holds, in one line."""
    source: str
    """Authors, and where they publish it."""
    licence: str
    """Under which the authors give the data."""

    @abstractmethod
    def missing(self, folder: Path) -> tuple[str, ...]:
        """Return the names of the files that ``folder`` lacks, after a quick look."""

    @abstractmethod
    def problems(self, folder: Path) -> tuple[Problem, ...]:
        """Return every file in ``folder`` that is missing or not what the authors published."""


class Downloadable(DataSet):
    """A data set that may be downloaded by anyone."""

    @abstractmethod
    def obtain(self, folder: Path) -> None:
        """Download what ``folder`` lacks or has damaged.

        Raises:
            UserError: It cannot be had; what was in the folder before is still there.
        """


class NotDownloadable(DataSet):
    """A data set that the user gets in another way."""

    @abstractmethod
    def how_to_get(self) -> str:
        """Say in one line where the data come from and where they are to be put."""

    @abstractmethod
    def packaged(self) -> Path | None:
        """Return the folder of data that came with an installed package, or None where none does."""


@dataclass(frozen=True)
class DataFile:
    """One file that is downloaded as it is."""

    name: str
    checksum: str
    """Of the file as the authors publish it."""
    size_bytes: int
    """A bound on the download."""
    urls: tuple[str, ...]
    """Where it is to be had, best first."""
    same_contents: Callable[[Path], bool] | None = None
    """Whether a file with another checksum holds the same: an archive may have been packed anew."""

    def problem(self, folder: Path) -> Problem | None:
        """Return what is wrong with the file in ``folder``, or None."""
        problem = file_problem(folder / self.name, self.checksum)
        if problem is None or self.same_contents is None or not problem.path.is_file():
            return problem
        return None if self.same_contents(problem.path) else problem


@dataclass(frozen=True)
class FileSet(Downloadable):
    """A data set of a few files, each with its checksum."""

    files: tuple[DataFile, ...] = field(default=())

    def missing(self, folder: Path) -> tuple[str, ...]:
        """Return the names of the files that are not there."""
        return tuple(file.name for file in self.files if not (folder / file.name).is_file())

    def problems(self, folder: Path) -> tuple[Problem, ...]:
        """Return the files with another checksum."""
        found = (file.problem(folder) for file in self.files)
        return tuple(problem for problem in found if problem is not None)

    def obtain(self, folder: Path) -> None:
        """Download what is missing or damaged."""
        for file in self.files:
            if file.problem(folder) is not None:
                download(file.urls, folder / file.name, file.checksum, file.size_bytes)

    def whole_file(self, folder: Path, name: str) -> Path:
        """Return the path of one file, after comparing its checksum.

        Raises:
            UserError: It is missing, truncated, damaged or another file; the expected checksum is named.
        """
        (file,) = (file for file in self.files if file.name == name)
        problem = file.problem(folder)
        if problem is not None:
            raise UserError(f"{problem}; `lsnn-gym data fetch {self.name}` mends what lies in the cache")
        return folder / name
