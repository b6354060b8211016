"""CIFAR-10 in its binary layout: small colour photographs in ten classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lsnn_gym.data.archive_set import Archive, ArchiveSet
from lsnn_gym.data.archives import Limits
from lsnn_gym.data.checksums import Problem, cannot_read
from lsnn_gym.errors import UserError, unknown

FILES: dict[str, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
_PIXELS, _CLASSES, _PER_FILE = 3 * 32 * 32, 10, 10_000


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images uint8 ``[N, 3, 32, 32]`` and labels int64 ``[N]`` of one file: a byte of class, then pixels.

    Raises:
        UserError: The file cannot be read, is truncated, or has a class that is none of ten.
    """
    try:
        size = path.stat().st_size
        if size % (1 + _PIXELS) or size > _PER_FILE * (1 + _PIXELS):
            raise UserError(
                f"{path}: {size:,} bytes, expected a multiple of {1 + _PIXELS}, at most {_PER_FILE:,} of them: "
                "truncated or no CIFAR-10 file"
            )
        table = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 1 + _PIXELS)
    except OSError as error:
        raise cannot_read(path, error) from error
    wrong = np.flatnonzero(table[:, 0] >= _CLASSES)
    if len(wrong):
        raise UserError(f"{path}: image {wrong[0]:,} is of class {table[wrong[0], 0]}, expected 0 to 9")
    return table[:, 1:].reshape(-1, 3, 32, 32).copy(), table[:, 0].astype(np.int64)


def read_cifar_folder(folder: Path, split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of a split, file after file (errors as of ``read_cifar``)."""
    if split not in FILES:
        raise UserError(unknown("split", split, FILES))
    images, labels = zip(*(read_cifar(folder / name) for name in FILES[split]), strict=True)
    return np.concatenate(images), np.concatenate(labels)


@dataclass(frozen=True)
class Cifar10(ArchiveSet):
    """Six files of one archive."""

    def lacks(self, folder: Path, member: str) -> bool:
        """Return whether a file is missing or damaged."""
        return self._problem(folder / member) is not None

    def problems(self, folder: Path) -> tuple[Problem, ...]:
        """Read every file; the authors give a checksum of the archive only."""
        found = (self._problem(folder / name) for names in FILES.values() for name in names)
        return tuple(problem for problem in found if problem is not None)

    @staticmethod
    def _problem(path: Path) -> Problem | None:
        try:
            count = len(read_cifar(path)[0])
        except UserError as error:
            return Problem(path, f"{_PER_FILE:,} images", str(error))
        return None if count == _PER_FILE else Problem(path, f"{_PER_FILE:,} images", f"{count:,}")


CIFAR_10 = Cifar10(
    name="cifar-10",
    summary="small colour photographs: 50,000 train and 10,000 test images of 32 x 32, 10 classes",
    source="A. Krizhevsky, V. Nair and G. Hinton, https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none given; cite Krizhevsky: Learning multiple layers of features from tiny images, 2009",
    archives=(
        Archive(
            "cifar-10-binary.tar.gz",
            "md5:c32a1d4ab5d03f1284b67883e8d87530",
            200_000_000,
            ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            tuple(name for names in FILES.values() for name in names),
            Limits(max_bytes=1 << 28, max_files=100),
        ),
    ),
)
