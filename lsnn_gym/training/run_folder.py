"""The folder a run leaves behind: what is in it, how it is made and found again."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import lsnn_gym
from lsnn_gym.atomic import cannot_write, write_atomically
from lsnn_gym.errors import UserError, nearest, shortened

_LONGEST_NAME = 200


class RunFolder:
    """Paths of a run's files; :meth:`create` makes a new folder, :meth:`open` finds an existing one.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def config(self) -> Path:
        """The resolved settings, enough to repeat the run; what marks a folder as a run."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """Figures that follow from seed and settings, one JSON object an iteration."""
        return self.path / "metrics.jsonl"

    @property
    def timing(self) -> Path:
        """Figures that depend on the machine: seconds, steps per second."""
        return self.path / "timing.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints (:mod:`lsnn_gym.training.checkpoint`)."""
        return self.path / "checkpoints"

    @property
    def environment(self) -> Path:
        """Versions, seed and commit (:meth:`write_environment`)."""
        return self.path / "environment.json"

    @property
    def results(self) -> Path:
        """Figures of what was trained, with seconds and peak memory of the training."""
        return self.path / "results.json"

    @property
    def learning_curve(self) -> Path:
        """Picture of the figures over the iterations."""
        return self.path / "learning_curve.png"

    @property
    def episode(self) -> Path:
        """Film of an episode."""
        return self.path / "episode.mp4"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard events."""
        return self.path / "tensorboard"

    @classmethod
    def create(cls, parent: str | Path, name: str) -> RunFolder:
        """Make ``<parent>/<name>-<YYYYmmdd-HHMMSS>`` (local time), with a number behind it if that exists.

        Args:
            parent: Folder of runs, made if need be.
            name: The run's name; no path.

        Raises:
            UserError: The folder cannot be made, or ``name`` is no plain name.
        """
        if not is_plain_name(name):
            raise UserError(f"run name {shortened(name)!r}: expected a plain folder name, e.g. 'water-maze'")
        stem = Path(parent) / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            return cls(_make_new(stem))
        except (OSError, ValueError) as error:
            raise cannot_write(stem, error) from error

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Return the run in an existing folder: the folder itself, or the only run there is in it.

        Raises:
            UserError: There is no run (no ``config.yaml``); names the nearest run there is.
        """
        run = cls(path)
        try:
            found = run.config.is_file()
            exists = run.path.exists()
        except (OSError, ValueError):
            found = exists = False
        if found:
            return run
        inside = _runs(run.path)
        if len(inside) == 1:
            return cls(inside[0])
        what = f"{path} is no run folder (it has no config.yaml)" if exists else f"no run folder {path}"
        near = _similar_run(run.path)
        raise UserError(f"{what}; did you mean {near}?" if near else what)

    def write_environment(self, seed: int, threads: int | None = None, **more: Any) -> None:
        """Write ``environment.json``: what besides the settings a repetition may depend on.

        Args:
            seed: The run's seed.
            threads: PyTorch's number of threads; what it is now, by default.
            **more: Further entries that JSON can hold.

        Raises:
            UserError: The file cannot be written.
        """
        import torch  # only here: finding a run must not load it

        entries = {
            "lsnn_gym": lsnn_gym.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": _version("numpy"),
            "gymnasium": _version("gymnasium"),
            "platform": platform.platform(),
            "cpu_count": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "torch_threads": torch.get_num_threads() if threads is None else threads,
            "seed": seed,
            **_git(),
            **more,
        }
        write_atomically(self.environment, json.dumps(entries, indent=2) + "\n")


def is_plain_name(name: str) -> bool:
    """Return whether a folder can have this name on every system, and be no other place."""
    ends_well = 0 < len(name) <= _LONGEST_NAME and not name.startswith(".")
    return ends_well and not any(letter in '/\\:*?"<>|' or not letter.isprintable() for letter in name)


def _make_new(stem: Path) -> Path:
    """Make the folder ``stem``, or the first of ``stem-2``, ``stem-3`` ... that does not exist."""
    candidate, number = stem, 1
    while True:
        try:
            candidate.mkdir()
            return candidate
        except FileExistsError:
            number += 1
            candidate = stem.with_name(f"{stem.name}-{number}")


def _similar_run(path: Path) -> Path | None:
    """Return the run in or beside ``path`` that was most likely meant."""
    inside, beside = _runs(path), _runs(path.parent)
    if inside:
        return max(inside, key=lambda run: (run.stat().st_mtime, run.name))
    near = nearest(path.name, (run.name for run in beside))
    return path.parent / near if near else None


def _runs(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if (entry / "config.yaml").is_file()]
    except (OSError, ValueError):
        return []


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any]:
    """Return the commit of the checkout this package is run from, if any, and whether it was changed."""
    source = Path(lsnn_gym.__file__)
    # An installed package may lie inside some other project's checkout: then it is not tracked there.
    if _git_output(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return {"git_commit": None, "git_modified": None}
    changes = _git_output(source.parent, "status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": _git_output(source.parent, "rev-parse", "HEAD"),
        "git_modified": None if changes is None else bool(changes),
    }


def _git_output(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # leave no trace in a checkout that others use
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.strip()
