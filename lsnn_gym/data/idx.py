"""The IDX format of MNIST and its kin: a type, the sizes, then the values, big-endian."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from lsnn_gym.data.checksums import cannot_read
from lsnn_gym.errors import UserError

# The third byte of the magic number.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_BYTES, _MAX_AXES = 1 << 31, 32
_CHUNK_BYTES = 1 << 22


def read_idx(path: Path) -> np.ndarray:
    """Return the array in an IDX file, gzipped or not, in the machine's own byte order.

    Args:
        path: The file: two zero bytes, a type, the number of axes; each axis' size in 4 bytes; the values.

    Raises:
        UserError: The file cannot be read, is no IDX file, is truncated, or goes on after the values.
    """
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                return _parse(path, raw)
            with gzip.open(raw) as unzipped:
                return _parse(path, cast(IO[bytes], unzipped))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: truncated or damaged gzip file: {error}") from error
    except OSError as error:
        raise cannot_read(path, error) from error


def _parse(path: Path, file: IO[bytes]) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 0 < magic[3] <= _MAX_AXES:
        raise UserError(
            f"{path}: no IDX file: begins with the bytes {magic.hex(' ') or '(none)'}, expected 00 00, a type "
            f"({', '.join(f'{code:02x}' for code in _TYPES)}) and the number of axes, at most {_MAX_AXES}"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise UserError(f"{path}: truncated IDX file: it ends within the sizes of its {magic[3]} axes")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    kind = np.dtype(_TYPES[magic[2]])
    expected = math.prod(shape) * kind.itemsize
    # An array with an axis of none may not be larger either, if that axis is left out.
    if math.prod(max(size, 1) for size in shape) * kind.itemsize > _MAX_BYTES:
        raise UserError(
            f"{path}: its header announces {shape}, {expected:,} bytes: more than an IDX file may have"
        )
    values = bytearray()
    while len(values) < expected:
        # By and by, as read(n) takes n bytes of memory at once, and the header may lie.
        chunk = file.read(min(_CHUNK_BYTES, expected - len(values)))
        if not chunk:
            raise UserError(
                f"{path}: truncated IDX file: expected {expected:,} bytes for {shape}, found {len(values):,}"
            )
        values += chunk
    if file.read(1):
        raise UserError(f"{path}: damaged IDX file: more bytes than the {expected:,} for {shape}")
    return np.frombuffer(values, kind).reshape(shape).astype(kind.newbyteorder("="))
