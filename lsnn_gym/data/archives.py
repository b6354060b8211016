"""Unpacking of archives that others made: all of it or nothing, and never outside the folder given."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from lsnn_gym.data.checksums import cannot_read
from lsnn_gym.errors import UserError

_CHUNK_BYTES = 1 << 16
_SPARE_BYTES = 1 << 20


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to, against archives made to fill a disk."""

    max_bytes: int = 1 << 30
    """Of all files together."""
    max_files: int = 100_000
    """Files and folders."""
    max_ratio: int = 100
    """Of the bytes that come out to those of the archive; a megabyte may come out of any."""

    def of(self, archive: Path) -> Limits:
        """Return the limits for an archive of its size."""
        by_size = max(_SPARE_BYTES, self.max_ratio * archive.stat().st_size)
        return replace(self, max_bytes=min(self.max_bytes, by_size))


@contextmanager
def unpacked(archive: Path, beside: Path, limits: Limits | None = None) -> Iterator[Path]:
    """Give a temporary folder in ``beside`` with what is in a zip or (compressed) tar archive.

    The folder is removed at the end: take out of it what is to stay, by a rename. Links, devices, absolute
    names, names with ``..``, names given twice (in any case of letters) and more than the limits are refused, and
    then nothing of the archive stays.

    Args:
        archive: A ``.zip`` or ``.tar[.gz|.bz2|.xz]`` file, judged by its contents.
        beside: An existing folder, on the same disk as the place where the files are to go.
        limits: What may come out of it at most.

    Raises:
        UserError: The archive is damaged, has an unsafe member, or is larger than the limits.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{archive.stem[:50]}-", dir=beside))
    try:
        _extract(archive, folder, limits or Limits())
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(archive: Path, folder: Path, limits: Limits) -> None:
    damaged = (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        UnicodeDecodeError,
    )
    try:
        limits = limits.of(archive)
        writer = _Writer(archive, folder, limits)
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, writer)
        else:
            _extract_tar(archive, writer, limits)
    except damaged as error:
        raise UserError(f"{archive}: truncated or damaged archive: {error}") from error
    except OSError as error:  # also gzip's and bz2's complaints about the data
        raise cannot_read(archive, error) from error


def _extract_zip(archive: Path, writer: _Writer) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise writer.refuse(member.filename, "a link or a device")
            if member.flag_bits & 1:
                raise writer.refuse(member.filename, "encrypted")
            if member.filename.endswith("/"):  # is_dir() fails on an empty name
                writer.folder(member.filename.rstrip("/"))
                continue
            with opened.open(member) as source:
                writer.file(member.filename, source, member.file_size)


def _extract_tar(archive: Path, writer: _Writer, limits: Limits) -> None:
    with contextlib.ExitStack() as stack:
        # Everything that is unpacked is counted, the tar's own headers too.
        stream = _Counted(stack.enter_context(_decompressed(archive)), archive, limits)
        opened = stack.enter_context(tarfile.open(fileobj=stream, mode="r|"))  # pyright: ignore[reportArgumentType, reportCallIssue]
        for member in opened:
            if member.isdir():
                writer.folder(member.name)
                continue
            source = opened.extractfile(member) if member.isreg() else None
            if source is None:
                raise writer.refuse(member.name, "a link or a device")
            writer.file(member.name, source, member.size)


def _decompressed(archive: Path) -> Any:
    import bz2

    with open(archive, "rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(archive)
    if start.startswith(b"BZh"):
        return bz2.open(archive)
    if start.startswith(b"\xfd7zXZ"):
        return lzma.open(archive)
    return open(archive, "rb")


class _Counted:
    """A stream that refuses to give more than the limit (and what the tar's padding needs)."""

    def __init__(self, stream: IO[bytes], archive: Path, limits: Limits) -> None:
        self._stream = stream
        self._archive = archive
        self._left = limits.max_bytes + 2048 * limits.max_files
        self._limits = limits

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._archive, self._limits)
        return data


class _Writer:
    """Writes members below one folder, after judging their names and sizes."""

    def __init__(self, archive: Path, folder: Path, limits: Limits) -> None:
        self._archive = archive
        self._folder = folder
        self._limits = limits
        self._bytes_left = limits.max_bytes
        self._files_left = limits.max_files
        self._written: set[str] = set()

    def folder(self, name: str) -> None:
        """Make a folder."""
        self._place(name).mkdir(parents=True, exist_ok=True)

    def file(self, name: str, source: IO[bytes], size: int) -> None:
        """Write a file, whose header announces ``size`` bytes."""
        place = self._place(name)
        if size > self._bytes_left:
            raise _too_large(self._archive, self._limits)
        # Where a disk does not tell cases apart, one file would replace the other.
        folded = place.as_posix().casefold()
        if folded in self._written:
            raise self.refuse(name, "there twice")
        self._written.add(folded)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(place, "xb") as target:
                while chunk := source.read(_CHUNK_BYTES):
                    self._bytes_left -= len(chunk)
                    if self._bytes_left < 0:  # headers may lie
                        raise _too_large(self._archive, self._limits)
                    target.write(chunk)
        except FileExistsError:
            raise self.refuse(name, "there twice") from None

    def refuse(self, name: str, why: str) -> UserError:
        """Return the error for a member that is not unpacked."""
        return UserError(f"{self._archive}: refused, its member {name!r} is {why}")

    def _place(self, name: str) -> Path:
        self._files_left -= 1
        if self._files_left < 0:
            raise _too_large(self._archive, self._limits)
        # Backslashes and colons are separators on Windows, and not needed by any data set.
        if name.startswith("/") or "\\" in name or ":" in name or "\0" in name:
            raise self.refuse(name, "outside the folder it belongs to")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or not (parts or name in (".", "./")):
            raise self.refuse(name, "outside the folder it belongs to")
        return self._folder.joinpath(*parts)


def _too_large(archive: Path, limits: Limits) -> UserError:
    return UserError(
        f"{archive}: refused, it unpacks to more than {limits.max_bytes:,} bytes or {limits.max_files:,} files"
    )
