"""Where the data sets are on this machine, whether they are whole, and how they get there.

The folder that the environment variable ``LSNN_GYM_DATA`` names is looked at first and never written to; in it,
each data set has a folder of its own name. Next comes the user's cache, which downloads fill.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lsnn_gym.atomic import cannot_write
from lsnn_gym.data.checksums import Problem
from lsnn_gym.data.data_set import Downloadable, NotDownloadable
from lsnn_gym.data.extras import need
from lsnn_gym.data.registry import DATA_SETS, data_set
from lsnn_gym.errors import UserError

ENVIRONMENT_VARIABLE = "LSNN_GYM_DATA"


@dataclass(frozen=True)
class Status:
    """Where a data set is."""

    name: str
    folder: Path | None
    """The folder, or None where the data set is not on this machine."""
    origin: str
    """``"LSNN_GYM_DATA"``, ``"cache"``, ``"package"`` (came with a library) or ``"not here"``."""
    missing: tuple[str, ...]
    """Names of files that the folder lacks; a quick look, no checksums."""

    def __str__(self) -> str:
        if self.folder is None:
            return self.origin
        lacking = f", {len(self.missing)} files missing" if self.missing else ""
        return f"{self.folder} ({self.origin}{lacking})"


def names() -> list[str]:
    """Return the names of all data sets."""
    return sorted(DATA_SETS)


def status(name: str) -> Status:
    """Say where a data set is, after a quick look.

    Raises:
        UserError: There is no such data set, or ``LSNN_GYM_DATA`` names no folder.
    """
    wanted = data_set(name)
    places: list[tuple[str, Path | None]] = [("LSNN_GYM_DATA", _own_folder(name))]
    if isinstance(wanted, NotDownloadable):
        places.append(("package", wanted.packaged()))
    else:
        places.append(("cache", _cached(name)))
    for origin, folder in places:
        if folder is not None and folder.is_dir():
            return Status(name, folder, origin, wanted.missing(folder))
    return Status(name, None, "not here", ())


def locate(name: str) -> Path:
    """Return the folder of a data set; it is downloaded to the cache where it is nowhere yet.

    Raises:
        UserError: There is no such data set, files are missing in ``LSNN_GYM_DATA``, or it cannot be had.
    """
    found = status(name)
    if found.folder is None or (found.missing and found.origin == "cache"):
        return fetch(name)
    if found.missing:
        first, *rest = found.missing
        more = f" and {len(rest):,} more" if rest else ""
        raise UserError(
            f"{found.folder}: the data set {name!r} lacks {first}{more}; complete it, or unset "
            f"{ENVIRONMENT_VARIABLE} to have it downloaded"
        )
    return found.folder


def check(name: str) -> tuple[Problem, ...]:
    """Read a whole data set and return every file that is missing or damaged; none where it is whole.

    Raises:
        UserError: There is no such data set, or it is not on this machine.
    """
    wanted, found = data_set(name), status(name)
    if found.folder is None:
        if isinstance(wanted, NotDownloadable):
            raise UserError(wanted.how_to_get())
        raise UserError(f"the data set {name!r} is not here: `lsnn-gym data fetch {name}` gets it")
    return wanted.problems(found.folder)


def fetch(name: str) -> Path:
    """Have a whole data set: download what is missing or damaged in the cache; return the folder.

    A data set in ``LSNN_GYM_DATA`` is only checked. Processes that fetch at the same time wait for each other.

    Raises:
        UserError: There is no such data set, it cannot be had, or the one in ``LSNN_GYM_DATA`` is damaged.
    """
    wanted = data_set(name)
    found = status(name)
    if found.folder is not None and found.origin != "cache":
        problems = wanted.problems(found.folder)
        if problems:
            raise UserError(
                f"{problems[0]}; mend it, or unset {ENVIRONMENT_VARIABLE} to have {name!r} downloaded"
            )
        return found.folder
    if not isinstance(wanted, Downloadable):
        raise UserError(wanted.how_to_get() if isinstance(wanted, NotDownloadable) else f"{name} is not here")
    folder = cache_folder() / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with need("filelock", "filelock").FileLock(folder.with_name(f".{name}.lock")):
            wanted.obtain(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def cache_folder() -> Path:
    """Return the folder of downloaded data sets: the user's cache as the operating system has it."""
    return Path(need("pooch", "pooch").os_cache("lsnn-gym")) / "data"


def _own_folder(name: str) -> Path | None:
    own = os.environ.get(ENVIRONMENT_VARIABLE)
    if not own:
        return None
    folder = Path(own).expanduser()
    if not folder.is_dir():
        raise UserError(f"{ENVIRONMENT_VARIABLE} is {own!r}, expected an existing folder")
    return folder / name


def _cached(name: str) -> Path | None:
    try:
        return cache_folder() / name
    except UserError:  # without pooch nothing was ever downloaded
        return None
