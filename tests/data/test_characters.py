"""Omniglot, real and made up."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lsnn_gym.data as data
from lsnn_gym.data import characters, omniglot_files
from lsnn_gym.data.omniglot_files import _has_contents, contents_checksum, zip_name
from lsnn_gym.errors import UserError
from tests.data.made_files import zip_of

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def _png(ink_at: int, side: int = 105) -> bytes:
    """A white drawing with one black row."""
    pixels = np.full((side, side), 255, np.uint8)
    pixels[ink_at] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


def _members(split: str = "background") -> dict[str, bytes]:
    """Two characters, twenty drawers; the row of ink is 10 * character + drawer. Names out of order."""
    named = {
        f"images_{split}/Alphabet/character{character + 1:02}/000{character}_{drawer + 1:02}.png": _png(
            10 * character + drawer
        )
        for character in range(2)
        for drawer in range(20)
    }
    return dict(reversed(named.items()))


@pytest.fixture
def small(own_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a zip as the known background set of two characters."""
    monkeypatch.setitem(omniglot_files.CHARACTERS, "background", 2)

    def write(members: dict[str, bytes]) -> Path:
        (own_folder / "omniglot").mkdir(exist_ok=True)
        zip_of(own_folder / "omniglot" / zip_name("evaluation"), {})
        path = zip_of(own_folder / "omniglot" / zip_name("background"), members)
        known = contents_checksum(path)
        files = tuple(
            replace(file, same_contents=lambda path: _has_contents(known, path))
            for file in omniglot_files.OMNIGLOT.files
        )
        monkeypatch.setattr(characters, "OMNIGLOT", replace(omniglot_files.OMNIGLOT, files=files))
        return path

    return write


@pytest.mark.parametrize(("split", "count", "alphabets"), [("background", 964, 30), ("evaluation", 659, 20)])
def test_the_real_characters(real_data: Path, split, count: int, alphabets: int) -> None:
    images, of_alphabet = data.omniglot(split)
    assert images.shape == (count, 20, 28, 28)
    assert images.dtype == np.uint8
    assert len(of_alphabet) == count
    assert len(set(of_alphabet)) == alphabets
    # Thin ink on much paper, in every drawing.
    means = images.mean(axis=(2, 3))
    assert means.min() > 0
    assert means.max() < 128


def test_the_real_zips_are_whole(real_data: Path) -> None:
    assert data.check("omniglot") == ()


def test_drawings_are_in_the_order_of_character_and_drawer(small) -> None:
    small(_members())
    images, alphabets = data.omniglot("background", 105)
    assert images.shape == (2, 20, 105, 105)
    assert alphabets == ("Alphabet", "Alphabet")
    assert images[1, 3, 13].tolist() == [255] * 105, "ink is high"
    assert images[1, 3].sum() == 105 * 255


def test_small_images_keep_the_mean_ink(small) -> None:
    small(_members())
    images = data.omniglot("background").images
    assert images.shape == (2, 20, 28, 28)
    np.testing.assert_allclose(images.mean(axis=(2, 3)), 255 / 105, atol=0.5 * 2 / 28)  # rounding of two rows


def test_a_zip_packed_anew_is_taken_and_other_drawings_are_not(small, own_folder: Path) -> None:
    path = small(_members())
    zip_of(path, dict(sorted(_members().items())))
    data.omniglot("background")
    name = next(iter(_members()))
    zip_of(path, _members() | {name: _png(50)})
    with pytest.raises(
        UserError, match=r"images_background\.zip: expected md5:68d2efa1b9178cc56df9314c21c6e718, found md5:"
    ):
        data.omniglot("background")


def test_a_truncated_zip_is_named_with_its_checksum(small) -> None:
    path = small(_members())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        UserError, match=r"images_background\.zip: expected md5:68d2.*found md5:.* bytes\): truncated"
    ):
        data.omniglot("background")


def test_a_missing_drawing_is_noticed(small) -> None:
    members = _members()
    del members[next(iter(members))]
    small(members)
    with pytest.raises(
        UserError, match="expected 2 characters of 20 drawings, found 2 folders with 39 drawings"
    ):
        data.omniglot("background")


def test_a_drawing_in_the_wrong_folder_is_noticed(small) -> None:
    members = _members()
    name = next(iter(members))
    members[name.replace("character02", "character01")] = members.pop(name)
    small(members)
    with pytest.raises(UserError, match=r"character.. has not 20 drawings"):
        data.omniglot("background")


def test_a_drawing_of_another_size_is_noticed(small) -> None:
    name = next(iter(_members()))
    small(_members() | {name: _png(3, side=64)})
    with pytest.raises(UserError, match=f"{name} is 64 x 64, expected 105 x 105"):
        data.omniglot("background")


def test_what_is_no_drawing_is_noticed(small) -> None:
    small(_members() | {next(iter(_members())): b"GIF89a"})
    with pytest.raises(UserError, match=r"images_background\.zip: damaged zip: cannot identify image file"):
        data.omniglot("background")


def test_a_bomb_is_not_unpacked(small, own_folder: Path) -> None:
    path = small(_members())
    zip_of(path, _members() | {next(iter(_members())): bytes(1 << 20)})
    with pytest.raises(ValueError, match="has 1,048,576 bytes"):
        contents_checksum(path)


def test_unknown_splits_and_sides_are_refused() -> None:
    with pytest.raises(UserError, match="unknown split 'backgroud': did you mean 'background'"):
        data.omniglot("backgroud")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="side is 32, expected 28 or 105"):
        data.omniglot("background", 32)  # pyright: ignore[reportArgumentType]
