"""Parsers of data sets."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import random
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lsnn_gym.data.archives import Limits, unpacked
from lsnn_gym.data.cifar10 import read_cifar
from lsnn_gym.data.event_files import read_events
from lsnn_gym.data.hdf5_layouts import ntidigits, shd
from lsnn_gym.data.idx import read_idx
from lsnn_gym.data.sound_files import read_sound
from lsnn_gym.data.timit_files import read_phones
from tests.data.made_files import idx, sphere, tar_of, wav, zip_of
from tests.fuzz.made_choices import Choices
from tests.fuzz.mutations import bytes_mutated, choices_mutated, text_mutated
from tests.fuzz.target import Target, written

LIMITS = Limits(max_bytes=1 << 18, max_files=50)
SAMPLES = np.arange(40, dtype=np.int16) * 700


def idx_seeds() -> list[bytes]:
    pixels = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    return [
        pixels,
        gzip.compress(pixels, mtime=0),
        idx(np.arange(5, dtype=">f8"), 0x0E),
        idx(np.zeros((0, 2), np.uint8)),
    ]


def idx_mutated(content: bytes, chance: random.Random) -> bytes:
    """Damage what is in a gzip file as often as the gzip file."""
    if content[:2] == b"\x1f\x8b" and chance.random() < 0.5:
        try:
            return gzip.compress(bytes_mutated(gzip.decompress(content), chance), 1, mtime=0)
        except Exception:  # damaged before
            return bytes_mutated(content, chance)
    return bytes_mutated(content, chance)


def event_seeds() -> list[bytes]:
    # Column, row, polarity and time; the third says that time goes on.
    return [bytes([3, 4, 0x80, 0, 9, 33, 33, 0, 1, 0, 0, 240, 0, 0, 0, 5, 6, 0x80, 1, 1]), b""]


def sphere_seeds() -> list[bytes]:
    return [
        sphere(SAMPLES),
        sphere(SAMPLES, "10", "sample_coding -s3 pcm\n"),
        b"NIST_1A\n    128\nsample_count -i 4\nsample_rate -i 16000\nsample_n_bytes -i 2\nend_head\n".ljust(
            128, b"\0"
        )
        + bytes(8),
    ]


def wav_seeds() -> list[bytes]:
    return [wav(SAMPLES, 8000), wav(np.zeros(0, np.int16))]


def phone_seeds() -> list[bytes]:
    return [b"0 400 h#\n400 900 sh\n900 1500 iy\n1500 1700 h#\n", b"0 1 h#\r\n\r\n1 2 h#"]


def cifar_seeds() -> list[bytes]:
    return [bytes([7]) + bytes(3072), (bytes([9]) + b"\xff" * 3072) * 2, b""]


@functools.cache
def archive_seeds() -> list[bytes]:
    members = {"top/a": b"alpha", "top/below/b": bytes(range(200)), "./c": b""}
    folder = Path(tempfile.mkdtemp())
    try:
        zipped = zip_of(folder / "zip", members).read_bytes()
        tarred = gzip.decompress(tar_of(folder / "tar", members).read_bytes())
        linked = gzip.decompress(
            tar_of(folder / "tar", {"l": b""}, tarfile.SYMTYPE, "/etc/passwd").read_bytes()
        )
    finally:
        shutil.rmtree(folder)
    named = io.BytesIO()
    with tarfile.open(fileobj=named, mode="w", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("ü" * 120)
        info.pax_headers, info.size = {"comment": "x", "mtime": "1.5"}, 3
        file.addfile(info, io.BytesIO(b"abc"))
    plain = [zipped, tarred, linked, named.getvalue()]
    return [*plain, gzip.compress(tarred, 1, mtime=0), bz2.compress(tarred), lzma.compress(tarred, preset=0)]


def parse_archive(content: bytes, folder: Path) -> None:
    place = folder / "place"
    place.mkdir(exist_ok=True)
    try:
        with unpacked(written(content, folder), place, LIMITS) as inside:
            outside = [
                path
                for path in inside.rglob("*")
                if path.is_symlink() or not path.resolve().is_relative_to(inside)
            ]
            assert not outside, outside
    finally:
        left = [path.name for path in folder.iterdir() if path.name not in ("input", "place")]
        assert not left, left
        assert not list(place.iterdir())


_KINDS = (
    "<u2",
    "<i8",
    "<f4",
    "<f8",
    "S3",
    "bool",
    "<c8",
    "<u8",
    "vlen-f2",
    "vlen-u2",
    "vlen-S",
    "empty",
    "compound",
    "enum",
    "reference",
)
_SHAPES = ((3,), (), (0,), (2,), (4,), (3, 1), (3, 0), (1 << 20,), (10_000_001,), (1 << 40,))
_VALUES = ("valid", "fill", "nan", "huge", "negative", "infinite", "text")


def _odd_array(parent: Any, name: str, choices: Choices, kind: str, values: Any) -> None:
    """Put a data set under ``name``: ``values``, or what is chosen instead."""
    import h5py

    if choices.pick((False, True)):
        return
    link = choices.pick(("none", "soft", "external", "group", "loop"))
    if link != "none":
        parent[name] = {
            "soft": h5py.SoftLink("/labels"),
            "external": h5py.ExternalLink("/etc/passwd", "/x"),
            "loop": h5py.SoftLink(f"{parent.name}/{name}"),
        }.get(link) or parent.file.require_group(f"made/{name}")
        return
    chosen, shape = choices.pick((kind, *_KINDS)), choices.pick((np.shape(values)[:1], *_SHAPES))
    dtype: Any = {
        "vlen-f2": h5py.vlen_dtype(np.float16),
        "vlen-u2": h5py.vlen_dtype(np.uint16),
        "vlen-S": h5py.string_dtype(),
        "compound": np.dtype([("a", "u2"), ("b", "f4")]),
        "enum": h5py.enum_dtype({"A": 1, "B": 2}),
        "reference": h5py.ref_dtype,
    }.get(chosen, chosen)
    if chosen == "empty":
        parent[name] = h5py.Empty("f4")
        return
    options: dict[str, Any] = choices.pick(({}, {"chunks": True}, {"chunks": True, "compression": "gzip"}))
    if np.prod(shape) > 1 << 20:
        options = options or {
            "chunks": True
        }  # else its first value would have all of them written to the disk
    made = parent.create_dataset(name, shape, dtype, **(options if shape not in ((), (0,), (3, 0)) else {}))
    mode = choices.pick(_VALUES)
    # Only numbers: h5py itself may die of others.
    writable = chosen in (kind, "<u2", "<i8", "<f4", "<f8", "<u8", "vlen-f2", "vlen-u2") and made.ndim == 1
    for number, each in enumerate(values[: len(made)] if writable else ()):
        odd: dict[str, Any] = {
            "nan": np.nan,
            "huge": 2**60,
            "negative": -1,
            "infinite": np.inf,
            "text": b"x-z\xff",
        }
        value: Any = odd.get(mode, each)
        if mode == "fill":
            continue
        try:
            made[number] = (
                np.array([value], dtype.metadata["vlen"])
                if chosen in ("vlen-f2", "vlen-u2") and np.ndim(value) == 0
                else value
            )
        except (TypeError, ValueError, OverflowError, OSError):
            continue  # that kind cannot hold it


def hdf5_of(content: bytes, path: Path, layout: str) -> None:
    """Write an HDF5 file whose every part is chosen by ``content``; none means a valid one."""
    import h5py

    choices = Choices(content)
    with h5py.File(path, "w") as file:
        if layout == "shd":
            _odd_array(file, "labels", choices, "<u2", [4, 0, 19])
            group = file.create_group("spikes")
            times: list[Any] = [np.array([0.1, 0.2], "f2"), np.array([], "f2"), np.array([0.7], "f2")]
            units: list[Any] = [np.array([1, 2], "u2"), np.array([], "u2"), np.array([699], "u2")]
            for name, kind, values in (("times", "vlen-f2", times), ("units", "vlen-u2", units)):
                _odd_array(group, name, choices, kind, _of_lengths(values))
            return
        names = choices.pick(
            (
                [b"man-ae-1", b"man-ae-z", b"boy-b-12"],
                [b"a-1"] * 3,
                [b"/-1", b"-1", b"../-1"],
                [b"\xff-1", b".-1", b"x/y-1"],
            )
        )
        _odd_array(file, "test_labels", choices, "S8", names)
        for part, kind, values in (("addresses", "<u2", [3, 63]), ("timestamps", "<f8", [0.5, 0.25])):
            group = file.create_group(f"test_{part}")
            for name in set(names):
                if name.strip(b"./") == name:
                    _odd_array(group, name.decode("latin-1"), choices, kind, values)


def _of_lengths(values: list[Any]) -> np.ndarray:
    made = np.empty(len(values), object)
    made[:] = values
    return made


def parse_hdf5(content: bytes, folder: Path) -> None:
    """The first byte says which layout, and whether the bytes are choices or a file.

    Read here, where the library has a process for each file: a million of them would take days.
    """
    path, kind = folder / "input", content[:1] or b"s"
    if kind in b"sn":
        hdf5_of(content[1:], path, "shd" if kind == b"s" else "ntidigits")
    else:
        written(content[1:], folder)
    if kind in b"sS":
        shd(path, 700)
    else:
        ntidigits(path, "test", 64)


@functools.cache
def hdf5_seeds() -> list[bytes]:
    folder = Path(tempfile.mkdtemp())
    try:
        seeds = [b"s" + bytes(30), b"n" + bytes(60)]
        for kind, layout in ((b"S", "shd"), (b"N", "ntidigits")):
            hdf5_of(b"", folder / "valid", layout)
            seeds.append(kind + (folder / "valid").read_bytes())
    finally:
        shutil.rmtree(folder)
    return seeds


def hdf5_mutated(content: bytes, chance: random.Random) -> bytes:
    """Damage the rest, not the first byte; choices often by a few odd ones."""
    if content[:1] in b"SN":
        return content[:1] + bytes_mutated(content[1:], chance)
    return content[:1] + choices_mutated(content[1:], chance)


DATA_TARGETS = (
    Target("idx", idx_seeds, lambda content, folder: read_idx(written(content, folder)), idx_mutated),
    Target("events", event_seeds, lambda content, folder: read_events(written(content, folder), 34)),
    Target(
        "sphere", sphere_seeds, lambda content, folder: read_sound(written(content, folder)), text_mutated
    ),
    Target("wav", wav_seeds, lambda content, folder: read_sound(written(content, folder))),
    Target("phn", phone_seeds, lambda content, folder: read_phones(written(content, folder)), text_mutated),
    Target("cifar", cifar_seeds, lambda content, folder: read_cifar(written(content, folder))),
    Target("archive", archive_seeds, parse_archive),
    Target("hdf5", hdf5_seeds, parse_hdf5, hdf5_mutated, smoke=150, isolated=True),
)
