"""Files of every format that the loaders read, written by hand; no data of anyone in them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import wave
import zipfile
import zlib
from pathlib import Path

import numpy as np

# Speakers of the real splits and invented ones; sentences of all three kinds.
SPEAKERS = {
    "train": ["dr1/fxxa0", "dr2/mxxb0", "dr8/mxxc1"],
    "test": ["dr1/mdab0", "dr2/fpas0", "dr1/faks0", "dr3/mxxd0"],
}
SENTENCES = ["sa1", "sa2", "si1001", "sx11", "sx12"]


def idx(array: np.ndarray, type_code: int = 0x08) -> bytes:
    """An IDX file of ``array``, whose dtype must be the big-endian one of the code."""
    sizes = b"".join(struct.pack(">I", size) for size in array.shape)
    return bytes([0, 0, type_code, array.ndim]) + sizes + array.tobytes()


def wav(samples: np.ndarray, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    """A RIFF file of 16-bit samples."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def sphere(samples: np.ndarray, order: str = "01", extra: str = "", **changed: object) -> bytes:
    """A NIST SPHERE file; ``changed`` replaces integer fields."""
    fields = {"channel_count": 1, "sample_count": len(samples), "sample_rate": 16_000, "sample_n_bytes": 2}
    lines = "".join(f"{name} -i {value}\n" for name, value in {**fields, **changed}.items())
    header = f"NIST_1A\n   1024\n; made up\n{lines}sample_byte_format -s2 {order}\n{extra}end_head\n".encode()
    return header.ljust(1024, b"\0") + samples.astype("<i2" if order == "01" else ">i2").tobytes()


def zip_of(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    """A zip; ``mode`` is every member's Unix mode."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, content)
    return path


def tar_of(path: Path, members: dict[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    """A gzipped tar with members of one kind."""
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            file.addfile(info, io.BytesIO(content))
    return path


def idx_data_set(folder: Path, images: int = 3) -> dict[str, bytes]:
    """The four files of a tiny MNIST, written to ``folder`` and returned by name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for stem in ("train", "t10k"):
        pixels = np.arange(images * 6, dtype=np.uint8).reshape(images, 2, 3)
        files[f"{stem}-images-idx3-ubyte.gz"] = gzip.compress(idx(pixels), mtime=0)
        files[f"{stem}-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.arange(images, dtype=np.uint8)), mtime=0)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return files


def mini_timit(root: Path, phones: list[str], *, upper: bool = False, riff: bool = False) -> dict[str, list]:
    """A corpus in TIMIT's layout, of noise; return the segments of each utterance by its lower-case name.

    The last file of each speaker is big-endian; the last phone ends 200 samples before the sound does.
    """
    cased = str.upper if upper else str
    segments_of, turn = {}, 0
    for usage, speakers in SPEAKERS.items():
        for speaker in speakers:
            for sentence in SENTENCES:
                name = f"{speaker}/{sentence}"
                random = np.random.default_rng(zlib.crc32(name.encode()))
                inner = [phones[(turn + step) % len(phones)] for step in range(8)]
                turn += len(inner)
                ends = np.cumsum(random.integers(400, 2000, size=len(inner) + 2)).tolist()
                segments = list(zip([0, *ends], ends, ["h#", *inner, "h#"], strict=False))
                samples = random.integers(-3000, 3000, size=ends[-1] + 200).astype(np.int16)
                place = root.joinpath(*(cased(part) for part in ("timit", usage, *name.split("/"))))
                place.parent.mkdir(parents=True, exist_ok=True)
                lines = "".join(f"{begin} {end} {phone}\n" for begin, end, phone in segments)
                place.with_suffix(cased(".phn")).write_text(lines)
                place.with_suffix(cased(".txt")).write_text(f"0 {len(samples)} Zim zam.\n")
                sound = wav(samples) if riff else sphere(samples, "10" if sentence == SENTENCES[-1] else "01")
                place.with_suffix(cased(".wav") + (".wav" if riff else "")).write_bytes(sound)
                segments_of[name] = segments
    return segments_of
