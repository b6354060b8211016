"""The small digits that come with scikit-learn, as a data set."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsnn_gym.data.checksums import Problem, cannot_read
from lsnn_gym.data.data_set import NotDownloadable
from lsnn_gym.errors import UserError

TRAIN_SIZE = 1_437
"""Images of the training part, the first in the file."""

_FILE = "digits.csv.gz"
# Of the values, so that a release that packs them anew does no harm.
_CHECKSUM = "sha256:68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"


@dataclass(frozen=True)
class PackagedDigits(NotDownloadable):
    """Lies within scikit-learn."""

    def packaged(self) -> Path | None:
        """Return scikit-learn's data folder, or None where scikit-learn is not installed."""
        found = importlib.util.find_spec("sklearn")  # importing it would take a second
        if found is None or found.origin is None:
            return None
        return Path(found.origin).parent / "datasets" / "data"

    def how_to_get(self) -> str:
        """Say how to install scikit-learn."""
        return "the data set 'digits' comes with scikit-learn, which is not installed: pip install 'lsnn-gym[data]'"

    def missing(self, folder: Path) -> tuple[str, ...]:
        """Return the file's name where it is not there."""
        return () if (folder / _FILE).is_file() else (_FILE,)

    def problems(self, folder: Path) -> tuple[Problem, ...]:
        """Compare the values with the known ones."""
        if self.missing(folder):
            return (Problem(folder / _FILE, _CHECKSUM, "no such file"),)
        found = f"sha256:{hashlib.sha256(_read(folder / _FILE).tobytes()).hexdigest()}"
        return () if found == _CHECKSUM else (Problem(folder / _FILE, f"{_CHECKSUM} of its values", found),)

    def load(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return images uint8 ``[1797, 8, 8]`` (0 to 16) and labels int64 ``[1797]``, in the file's order.

        Raises:
            UserError: The file is not there, cannot be read, or holds other values.
        """
        problems = self.problems(folder)
        if problems:
            raise UserError(str(problems[0]))
        table = _read(folder / _FILE)
        return table[:, :64].reshape(-1, 8, 8), table[:, 64].astype(np.int64)


def _read(path: Path) -> np.ndarray:
    """Return the table uint8 ``[N, 65]``: 64 pixels and the digit."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.uint8, ndmin=2)
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: truncated or damaged: {error}") from error
    except OSError as error:
        raise cannot_read(path, error) from error
    if table.shape[1] != 65:
        raise UserError(f"{path}: expected 65 columns (64 pixels and the digit), found {table.shape[1]}")
    return table


DIGITS = PackagedDigits(
    name="digits",
    summary="handwritten digits that come with scikit-learn: 1,797 images of 8 x 8, 10 classes",
    source="E. Alpaydin and C. Kaynak, https://archive.ics.uci.edu/dataset/80, by way of scikit-learn",
    licence="CC BY 4.0",
)
