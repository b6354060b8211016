"""The IDX format, and every way it can be damaged."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from lsnn_gym.data.idx import read_idx
from lsnn_gym.errors import UserError
from tests.data.made_files import idx

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_every_type_is_read_back(tmp_path: Path, code: int, kind: str, pack: type) -> None:
    values = (np.arange(6).reshape(2, 3) - 1).astype(kind)
    path = tmp_path / "file"
    path.write_bytes(pack(idx(values, code)))
    read = read_idx(path)
    assert read.dtype == np.dtype(kind).newbyteorder("=")
    np.testing.assert_array_equal(read, values)


def test_an_array_without_values_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(idx(np.empty((0, 28, 28), np.uint8)))
    assert read_idx(path).shape == (0, 28, 28)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file: begins with the bytes (none)"),
        (b"\x89PNG....", "no IDX file: begins with the bytes 89 50 4e 47, expected 00 00, a type"),
        (b"\0\0\x07\x01", "no IDX file: begins with the bytes 00 00 07 01"),
        (b"\0\0\x08\x00", "no IDX file"),
        (idx(PIXELS)[:10], "truncated IDX file: it ends within the sizes of its 3 axes"),
        (idx(PIXELS)[:-1], "truncated IDX file: expected 24 bytes for (2, 3, 4), found 23"),
        (idx(PIXELS) + b"x", "damaged IDX file: more bytes than the 24 for (2, 3, 4)"),
        (b"\0\0\x08\x02" + b"\xff" * 8, "more than an IDX file may have"),
        (gzip.compress(idx(PIXELS), mtime=0)[:-9], "truncated or damaged gzip file"),
        (b"\x1f\x8b" + b"\0" * 30, "truncated or damaged gzip file"),
    ],
    # Names that are the same in every process, which compressed bytes need not be.
    ids=[
        "empty",
        "another format",
        "unknown type",
        "no axes",
        "cut in the sizes",
        "cut in the values",
        "too long",
        "too large",
        "gzip cut",
        "gzip damaged",
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"train-images: .*{re.escape(message)}"):
        read_idx(path)


def test_a_flipped_byte_in_a_gzip_is_noticed(tmp_path: Path) -> None:
    content = bytearray(
        gzip.compress(idx(np.random.default_rng(0).integers(256, size=(9, 9)).astype(np.uint8)))
    )
    content[40] ^= 0xFF
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"file\.gz: truncated or damaged"):
        read_idx(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*nowhere: No such file"):
        read_idx(tmp_path / "nowhere")
