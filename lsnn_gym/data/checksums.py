"""Checksums of files, written ``algorithm:hexadecimal digits``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lsnn_gym.errors import UserError


@dataclass(frozen=True)
class Problem:
    """One file of a data set that is not what it should be."""

    path: Path
    """The file, or the folder where the data set is judged as a whole."""
    expected: str
    """What should be there: a checksum, or words."""
    found: str
    """What is there instead."""

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, found {self.found}"


def file_checksum(path: Path, algorithm: str) -> str:
    """Return the checksum of a file.

    Args:
        path: The file.
        algorithm: A name that ``hashlib`` knows: ``"sha256"`` or, where authors publish it, ``"md5"``.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            # Against damage, not attackers: some authors publish only MD5.
            digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    except OSError as error:
        raise cannot_read(path, error) from error
    return f"{algorithm}:{digest.hexdigest()}"


def file_problem(path: Path, expected: str) -> Problem | None:
    """Return what is wrong with a file of a known checksum, or None."""
    if not path.is_file():
        return Problem(path, expected, "no such file")
    found = file_checksum(path, expected.partition(":")[0])
    if found == expected:
        return None
    return Problem(
        path, expected, f"{found} ({path.stat().st_size:,} bytes): truncated, damaged or another file"
    )


def cannot_read(path: Path, error: Exception) -> UserError:
    """Return the one-line error for a file that cannot be read."""
    return UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
