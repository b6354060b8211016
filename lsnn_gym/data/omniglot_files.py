"""The two zips of Omniglot, as a data set."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

from lsnn_gym.data.data_set import DataFile, FileSet

DRAWERS = 20
"""Who drew every character once each."""

CHARACTERS = {"background": 964, "evaluation": 659}
"""Characters in each of the authors' two sets."""

MAX_MEMBER_BYTES = 1 << 16
"""Far above the drawings' 200 to 400 bytes."""

# Of all members' names and bytes: the zips also go round in repacked form, with the same images.
_CONTENTS = {
    "background": "07356096b8076fcf915341f8715e94822249e2a4d5b999fd2d0f6cf9ebffebd5",
    "evaluation": "f5165eb5f20d18e13c6515650b69a42a2c0507506969d410ba5e4a1c572bd542",
}
_MD5 = {
    "background": "68d2efa1b9178cc56df9314c21c6e718",
    "evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
_MAX_ZIP_BYTES = 1 << 25


def zip_name(split: str) -> str:
    """Return the file name of one set's zip."""
    return f"images_{split}.zip"


def drawings(zipped: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that are drawings, in the order of their names."""
    members = [member for member in zipped.infolist() if member.filename.endswith(".png")]
    return sorted(members, key=lambda member: member.filename)


def contents_checksum(path: Path) -> str:
    """Return one SHA-256 over the names and bytes of all drawings in a zip.

    Raises:
        ValueError: The zip is damaged, or has a member too large to be a drawing.
    """
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(path) as zipped:
            for member in drawings(zipped):
                if member.file_size > MAX_MEMBER_BYTES:
                    raise ValueError(f"{member.filename} has {member.file_size:,} bytes")
                digest.update(member.filename.encode() + b"\0" + hashlib.sha256(zipped.read(member)).digest())
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    return digest.hexdigest()


def _has_contents(expected: str, path: Path) -> bool:
    try:
        return contents_checksum(path) == expected
    except ValueError:
        return False


def _zip(split: str) -> DataFile:
    return DataFile(
        name=zip_name(split),
        checksum=f"md5:{_MD5[split]}",
        size_bytes=_MAX_ZIP_BYTES,
        urls=(
            f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{zip_name(split)}",
            f"https://github.com/brendenlake/omniglot/raw/master/python/{zip_name(split)}",
        ),
        same_contents=lambda path: _has_contents(_CONTENTS[split], path),
    )


OMNIGLOT = FileSet(
    name="omniglot",
    summary="1,623 characters of 50 alphabets, each drawn by 20 people, 105 x 105",
    source="B. M. Lake, R. Salakhutdinov and J. B. Tenenbaum, https://github.com/brendenlake/omniglot",
    licence="MIT",
    files=tuple(_zip(split) for split in CHARACTERS),
)
