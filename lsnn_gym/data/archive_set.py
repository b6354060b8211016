"""Data sets whose files the authors packed into archives: downloaded, judged, unpacked, put in place."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from lsnn_gym.data.archives import Limits, unpacked
from lsnn_gym.data.data_set import Downloadable
from lsnn_gym.data.download import download
from lsnn_gym.errors import UserError


@dataclass(frozen=True)
class Archive:
    """One archive, and what of it is kept."""

    file: str
    """Its name."""
    checksum: str
    size_bytes: int
    """A bound on the download."""
    urls: tuple[str, ...]
    """Where it is to be had, best first."""
    members: tuple[str, ...]
    """Files or folders that are looked for in it, at any depth, and put in the data set's folder."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class ArchiveSet(Downloadable):
    """A data set of files that come out of archives."""

    archives: tuple[Archive, ...] = ()

    @abstractmethod
    def lacks(self, folder: Path, member: str) -> bool:
        """Return whether a member of an archive is missing in ``folder`` or not worth keeping."""

    def missing(self, folder: Path) -> tuple[str, ...]:
        """Return the members that are not there."""
        members = (member for archive in self.archives for member in archive.members)
        return tuple(member for member in members if not (folder / member).exists())

    def obtain(self, folder: Path) -> None:
        """Download each archive of which ``folder`` lacks a member, and put its members in place."""
        folder.mkdir(parents=True, exist_ok=True)
        for archive in self.archives:
            wanted = [member for member in archive.members if self.lacks(folder, member)]
            if wanted:
                path = folder / f".{archive.file}"
                download(archive.urls, path, archive.checksum, archive.size_bytes)
                _unpack(path, archive, wanted, folder)
                path.unlink()


def _unpack(path: Path, archive: Archive, wanted: list[str], folder: Path) -> None:
    with unpacked(path, folder, archive.limits) as inside:
        for member in wanted:
            found = sorted(inside.rglob(member))
            if not found:
                raise UserError(f"{path}: expected {member!r} in it, found none")
            if (folder / member).exists():  # damaged; removed with the temporary folder
                os.replace(folder / member, inside / f"old {member}")
            os.replace(found[0], folder / member)
