"""Recordings from RIFF (wav) and NIST SPHERE files, told apart by their first bytes."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsnn_gym.data.checksums import cannot_read
from lsnn_gym.errors import UserError, shortened

_SPHERE_MAGIC = b"NIST_1A\n"
_MAX_HEADER_BYTES = 1 << 16
_BYTE_ORDERS = {"01": "<i2", "10": ">i2"}


class Recording(NamedTuple):
    """Sound from one microphone."""

    samples: np.ndarray
    """int16 ``[samples]``."""
    rate_hz: int
    """Samples per second."""


def read_sound(path: Path) -> Recording:
    """Read a recording of one channel and 16 bits, whatever the file's name ends in.

    Raises:
        UserError: The file cannot be read, is neither RIFF nor NIST SPHERE, is truncated, compressed, or has
            another number of channels or bits.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from error
    return parse_sound(content, path)


def parse_sound(content: bytes, path: Path) -> Recording:
    """Read a recording from the bytes of a file; ``path`` is for messages."""
    if content.startswith(_SPHERE_MAGIC):
        return _parse_sphere(content, path)
    if content.startswith(b"RIFF"):
        return _parse_riff(content, path)
    raise UserError(
        f"{path}: begins with {content[:8]!r}, expected a sound file, NIST SPHERE (NIST_1A) or RIFF (wav)"
    )


def _parse_riff(content: bytes, path: Path) -> Recording:
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate, frames = file.getparams()[:4]
            data = file.readframes(frames)
    except (wave.Error, EOFError, RuntimeError) as error:  # the last: a chunk that ends before it begins
        raise UserError(f"{path}: truncated or damaged RIFF file: {error or 'it ends too early'}") from error
    return _recording(path, data, frames, channels, width, rate, "<i2")


def _parse_sphere(content: bytes, path: Path) -> Recording:
    size, fields = _sphere_header(content, path)
    coding = fields.get("sample_coding", "pcm")
    if coding != "pcm":
        raise UserError(
            f"{path}: its samples are compressed ({shortened(coding)}), expected pcm: unpack it with sph2pipe"
        )
    order = fields.get("sample_byte_format", "01")
    if order not in _BYTE_ORDERS:
        raise UserError(f"{path}: sample_byte_format is {shortened(order)!r}, expected 01 or 10")
    count, channels, width, rate = (
        _integer(path, fields, name)
        for name in ("sample_count", "channel_count", "sample_n_bytes", "sample_rate")
    )
    return _recording(path, content[size:], count, channels, width, rate, _BYTE_ORDERS[order])


def _sphere_header(content: bytes, path: Path) -> tuple[int, dict[str, str]]:
    """Return the header's size in bytes, and its fields."""
    digits = content[8:16].strip()
    size = int(digits) if digits.isdigit() else 0
    if not 16 < size <= _MAX_HEADER_BYTES or len(content) < size:
        raise UserError(f"{path}: truncated or damaged NIST SPHERE file: header of {digits!r} bytes")
    lines, end, _ = content[16:size].decode("latin-1").partition("end_head")
    if not end:
        raise UserError(f"{path}: damaged NIST SPHERE file: its header has no end_head")
    # Each line is: name, type (-i, -r or -s and a length), value.
    words = (line.split(maxsplit=2) for line in lines.splitlines() if not line.startswith(";"))
    return size, {entry[0]: entry[2].strip() for entry in words if len(entry) == 3}


def _integer(path: Path, fields: dict[str, str], name: str) -> int:
    value = fields.get(name, "1" if name == "channel_count" else "(missing)")
    if not value.isdecimal() or len(value) > 18:
        raise UserError(
            f"{path}: damaged NIST SPHERE header: {name} is {shortened(value)!r}, expected a number"
        )
    return int(value)


def _recording(
    path: Path, data: bytes, count: int, channels: int, width: int, rate_hz: int, kind: str
) -> Recording:
    if channels != 1 or width != 2:
        raise UserError(f"{path}: has {channels} channels of {8 * width} bits, expected 1 of 16")
    if rate_hz == 0:
        raise UserError(f"{path}: damaged: its rate is 0 samples per second")
    if len(data) < 2 * count:
        raise UserError(f"{path}: truncated: expected {count:,} samples, found {len(data) // 2:,}")
    return Recording(np.frombuffer(data, kind, count).astype(np.int16), rate_hz)
