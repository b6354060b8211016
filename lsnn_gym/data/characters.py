"""Omniglot: many characters, few drawings of each."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lsnn_gym.data.extras import need
from lsnn_gym.data.omniglot_files import (
    CHARACTERS,
    DRAWERS,
    MAX_MEMBER_BYTES,
    OMNIGLOT,
    drawings,
    zip_name,
)
from lsnn_gym.data.store import locate
from lsnn_gym.errors import UserError, unknown

_SIDE = 105


class Characters(NamedTuple):
    """Drawings by character and drawer."""

    images: np.ndarray
    """uint8 ``[characters, 20 drawers, side, side]``: 0 paper, 255 ink, between where drawings were shrunk."""
    alphabets: tuple[str, ...]
    """The alphabet of each character."""


def omniglot(split: Literal["background", "evaluation"], side: Literal[28, 105] = 28) -> Characters:
    """Load Omniglot: 964 characters (``background``) or 659 (``evaluation``), 20 drawings each.

    By B. M. Lake, R. Salakhutdinov and J. B. Tenenbaum (Science 350, 2015), MIT. Downloaded (15 MB) where it
    is not here yet.

    Args:
        split: The authors' own two sets; they share no alphabet.
        side: 105 pixels as drawn (210 MB of images), or 28: each pixel the mean ink of the area it covers.

    Returns:
        Images uint8 ``[964 or 659, 20, side, side]``, ink 255 on 0 (the files have black on white), characters
        in the order of their names; and their alphabets.

    Raises:
        UserError: No such split or side; Pillow is not installed; a file cannot be had or is damaged.
    """
    if split not in CHARACTERS:
        raise UserError(unknown("split", split, CHARACTERS))
    if side not in (28, _SIDE):
        raise UserError(f"side is {side!r}, expected 28 or {_SIDE}")
    pillow = need("PIL.Image", "pillow")
    path = OMNIGLOT.whole_file(locate(OMNIGLOT.name), zip_name(split))
    try:
        with zipfile.ZipFile(path) as zipped:
            return _read(path, zipped, split, side, pillow)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{path}: damaged zip: {error}") from error


def _read(path: Path, zipped: zipfile.ZipFile, split: str, side: int, pillow: Any) -> Characters:
    members = drawings(zipped)
    folders = sorted({member.filename.rpartition("/")[0] for member in members})
    expected = CHARACTERS[split]
    if len(folders) != expected or len(members) != expected * DRAWERS:
        raise UserError(
            f"{path}: expected {expected} characters of {DRAWERS} drawings, found {len(folders)} folders "
            f"with {len(members):,} drawings"
        )
    images = np.empty((expected, DRAWERS, side, side), np.uint8)
    for index, folder in enumerate(folders):
        # Sorted names put the drawers of a character side by side and in order.
        of_character = members[index * DRAWERS : (index + 1) * DRAWERS]
        if not all(member.filename.startswith(folder + "/") for member in of_character):
            raise UserError(f"{path}: {folder} has not {DRAWERS} drawings")
        ink = np.stack([_drawing(path, zipped, member, pillow) for member in of_character])
        images[index] = ink if side == _SIDE else _shrink(ink, side)
    return Characters(images, tuple(folder.split("/")[-2] for folder in folders))


def _drawing(path: Path, zipped: zipfile.ZipFile, member: zipfile.ZipInfo, pillow: Any) -> np.ndarray:
    """Return one drawing, ink high, uint8 ``[105, 105]``."""
    if member.file_size > MAX_MEMBER_BYTES:
        raise UserError(f"{path}: {member.filename} has {member.file_size:,} bytes, too many for a drawing")
    with pillow.open(io.BytesIO(zipped.read(member)), formats=["PNG"]) as image:
        if image.size != (_SIDE, _SIDE):
            size = f"{image.size[0]} x {image.size[1]}"
            raise UserError(f"{path}: {member.filename} is {size}, expected {_SIDE} x {_SIDE}")
        return 255 - np.asarray(image.convert("L"), np.uint8)


def _shrink(ink: np.ndarray, side: int) -> np.ndarray:
    """Return images ``[N, side, side]`` whose pixels are the rounded mean ink of the area that each covers."""
    coarse, fine = np.arange(side)[:, None] * _SIDE, np.arange(_SIDE) * side
    # How much of each drawn pixel lies in each new one, in units that make both whole numbers.
    overlap = np.minimum(coarse + _SIDE, fine + side) - np.maximum(coarse, fine)
    weights = overlap.clip(min=0).astype(np.float32)
    # Whole numbers below 2**24 are exact in float32: every machine gets the same.
    total = weights @ ink.astype(np.float32) @ weights.T
    return np.floor(total / _SIDE**2 + 0.5).astype(np.uint8)
