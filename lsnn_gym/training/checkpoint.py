"""Checkpoints that are whole or absent, and that run no code when they are loaded.

A checkpoint is a folder::

    checkpoints/00000120/model.safetensors      the weights
                         training.safetensors   optimiser, generators, environments ...
                         progress.json          format, iteration, plain values, sizes and checksums

It is written under a hidden name, synced and renamed, so a process killed at any moment leaves the earlier
checkpoints and perhaps a hidden folder, which readers ignore and the next save clears away. Saving an
iteration that exists already gives ``00000120.1``, which replaces the former one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lsnn_gym.atomic import cannot_write, sync_folder, write_synced
from lsnn_gym.errors import UserError, shortened
from lsnn_gym.tensor_files import parse_tensors

from .optimizer_state import optimizer_tensors, restore_optimizer

__all__ = [
    "Checkpoint",
    "latest_checkpoint",
    "load_checkpoint",
    "optimizer_tensors",
    "restore_optimizer",
    "save_checkpoint",
]

FORMAT = "lsnn_gym-checkpoint"
FORMAT_VERSION = 1
MODEL_FILE = "model.safetensors"
TRAINING_FILE = "training.safetensors"
PROGRESS_FILE = "progress.json"
_MAX_ITERATION = 1 << 62
_NAME = re.compile(r"([0-9]{8,})(?:\.([0-9]+))?")


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to go on from where it stood.

    Attributes:
        iteration: Number of finished iterations.
        model: The network's tensors, of any shape, dtype and device; loaded ones are on the CPU.
        training: Other tensors: optimiser, generators, environments.
        scalars: Plain values, nested as JSON is: text, whole numbers, floats (bit-exact, NaN and infinities
            included), booleans, None, lists, and dicts with text keys.
    """

    iteration: int
    model: Mapping[str, Tensor]
    training: Mapping[str, Tensor] = field(default_factory=dict)
    scalars: Mapping[str, Any] = field(default_factory=dict)


class DamagedCheckpointError(UserError):
    """A checkpoint's file is missing, cut off or changed; of a foreign or newer format, it is a plain ``UserError``.

    Attributes:
        older: The newest older checkpoint beside it that is whole; None where there is none.
    """

    def __init__(self, message: str, older: Path | None) -> None:
        super().__init__(f"{message}; an older checkpoint is whole: {older}" if older else message)
        self.reason = message
        self.older = older


class _UnusableError(Exception):
    """Why a checkpoint cannot be read: names the file, what was found and what was expected."""


class _DamagedError(_UnusableError):
    """It was written by us, but is no longer what was written."""


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint, keep: int = 3) -> Path:
    """Write a checkpoint into ``folder`` and remove those it makes superfluous.

    Removed, once the new one is safely on the disk, are all but the ``keep`` newest, and any of a later
    iteration: those belong to a course of training that was abandoned by going on from an earlier point.

    Args:
        folder: The run's ``checkpoints`` folder, made if need be. One process writes to it at a time.
        checkpoint: What to save; tensors may share memory and have any strides.
        keep: How many checkpoints to keep, at least 1.

    Returns:
        The new checkpoint's folder.

    Raises:
        UserError: It cannot be written (no permission, disk full); earlier checkpoints are untouched.
        TypeError: A scalar would not come back as it is.
    """
    if keep < 1 or checkpoint.iteration < 0:
        raise ValueError(
            f"keep ({keep}) must be at least 1 and iteration ({checkpoint.iteration}) at least 0"
        )
    files = _encode(checkpoint)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
        _clear_leftovers(folder)
        revisions = [
            revision for _, iteration, revision in _listed(folder) if iteration == checkpoint.iteration
        ]
        suffix = f".{revisions[-1] + 1}" if revisions else ""
        path = folder / f"{checkpoint.iteration:08d}{suffix}"
        _write_folder(path, files)
        _prune(folder, path, keep)
    except OSError as error:
        raise cannot_write(folder / f"{checkpoint.iteration:08d}", error) from error
    return path


def latest_checkpoint(folder: str | Path) -> Path | None:
    """Return the newest checkpoint in a run's ``checkpoints`` folder, or None where there is none.

    Whether it is whole shows when it is loaded.

    Raises:
        UserError: The folder cannot be read.
    """
    try:
        listed = _listed(Path(folder))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from None
    return listed[-1][0] if listed else None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint and check it against its checksums; nothing is written or removed.

    Args:
        path: The checkpoint's folder, e.g. what :func:`latest_checkpoint` gives.

    Raises:
        DamagedCheckpointError: It is missing, truncated or damaged; names an older checkpoint that is whole,
            where there is one.
        UserError: It is of another format or a newer version.
    """
    path = Path(path)
    try:
        return _read(path)
    except _DamagedError as error:
        raise DamagedCheckpointError(str(error), whole_before(path)) from None
    except _UnusableError as error:
        raise UserError(str(error)) from None


# Writing


def _encode(checkpoint: Checkpoint) -> dict[str, bytes]:
    _check_plain(dict(checkpoint.scalars), "scalars")
    tensors = {
        MODEL_FILE: _tensor_bytes(checkpoint.model),
        TRAINING_FILE: _tensor_bytes(checkpoint.training),
    }
    progress: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "iteration": checkpoint.iteration,
        "files": {
            name: {"bytes": len(content), "sha256": _sha256(content)} for name, content in tensors.items()
        },
        "scalars": dict(checkpoint.scalars),
    }
    progress["sha256"] = _progress_sha256(progress)
    return {**tensors, PROGRESS_FILE: (json.dumps(progress, indent=1) + "\n").encode()}


def _tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    # Copies, because safetensors refuses tensors that share memory or are not contiguous.
    plain = {
        name: tensor.detach().cpu().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    return safetensors.torch.save(plain)


def _check_plain(value: Any, where: str) -> None:
    """Refuse what JSON would silently change, since the resumed run would differ from the stopped one."""
    if value is None or isinstance(value, bool | int | float | str):
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for key, item in value.items():
            _check_plain(item, f"{where}[{key!r}]")
    else:
        raise TypeError(
            f"{where} is of type {type(value).__name__}; a checkpoint holds numbers, text, booleans, None, "
            "lists and dicts with text keys (tensors belong to model or training)"
        )


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        temporary.mkdir()
        for name, content in files.items():
            write_synced(temporary / name, content)
        sync_folder(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _prune(folder: Path, new: Path, keep: int) -> None:
    listed = [path for path, _, _ in _listed(folder)]
    until = listed.index(new)
    superseded = [path for path in listed[:until] if path.name.split(".")[0] == new.name.split(".")[0]]
    kept = [path for path in listed[: until + 1] if path not in superseded][-keep:]
    for path in listed:
        if path not in kept:
            # Hidden first, so that a half-removed checkpoint is never taken for one.
            hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
            path.rename(hidden)
            shutil.rmtree(hidden, ignore_errors=True)


def _clear_leftovers(folder: Path) -> None:
    for leftover in folder.glob(".[0-9]*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


# Reading


def _listed(folder: Path) -> list[tuple[Path, int, int]]:
    """Return (path, iteration, revision) of all checkpoints, oldest first."""
    found = []
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir():
            found.append((path, int(match[1]), int(match[2] or 0)))
    return sorted(found, key=lambda entry: entry[1:])


def whole_before(path: Path) -> Path | None:
    """Return the newest whole checkpoint beside ``path`` that is older than it."""
    match = _NAME.fullmatch(path.name)
    own = (int(match[1]), int(match[2] or 0)) if match else (math.inf, 0)
    with contextlib.suppress(OSError):
        for candidate, *age in reversed(_listed(path.parent)):
            if tuple(age) < own:
                with contextlib.suppress(_UnusableError):
                    _read(candidate)
                    return candidate
    return None


def _read(path: Path) -> Checkpoint:
    if not path.is_dir():
        raise _DamagedError(f"no checkpoint at {path}")
    progress = _read_progress(path / PROGRESS_FILE)
    try:
        described = [(path / name, progress["files"][name]) for name in (MODEL_FILE, TRAINING_FILE)]
        model, training = (_read_tensors(file, entry["bytes"], entry["sha256"]) for file, entry in described)
        iteration, scalars = progress["iteration"], progress["scalars"]
    except (KeyError, TypeError) as error:
        raise _UnusableError(f"{path / PROGRESS_FILE} is not laid out as expected: {error}") from None
    if type(iteration) is not int or not 0 <= iteration < _MAX_ITERATION or not isinstance(scalars, dict):
        raise _UnusableError(
            f"{path / PROGRESS_FILE} is not laid out as expected: found iteration {_short(iteration)} and scalars "
            f"{_short(scalars)}, expected a whole number from 0 and an object"
        )
    return Checkpoint(iteration, model, training, scalars)


def _read_progress(path: Path) -> dict[str, Any]:
    content = _content(path)
    try:
        progress = json.loads(content)
        checksum = _progress_sha256(progress) if isinstance(progress, dict) else ""
    except (ValueError, RecursionError):
        raise _DamagedError(
            f"{path} is damaged: found {len(content)} bytes that are no whole JSON text"
        ) from None
    found = progress.get("format") if isinstance(progress, dict) else None
    if isinstance(progress, dict) and "sha256" in progress:
        # Of all versions alike, so that a changed format or version is told from a foreign or newer one.
        _same_checksum(path, progress["sha256"], checksum)
    if found != FORMAT:
        raise _UnusableError(f"{path} is no checkpoint's: found format {_short(found)}, expected {FORMAT!r}")
    version = progress.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        newer = type(version) is int and version > FORMAT_VERSION
        hint = " (written by a newer lsnn_gym: upgrade to read it)" if newer else ""
        raise _UnusableError(
            f"{path}: found format_version {_short(version)}, expected {FORMAT_VERSION}{hint}"
        )
    if "sha256" not in progress:
        raise _DamagedError(f"{path} is damaged: it has no checksum of its own")
    return progress


def _read_tensors(path: Path, size: int, checksum: str) -> dict[str, Tensor]:
    content = _content(path)
    if len(content) != size:
        what = "truncated" if len(content) < size else "damaged"
        raise _DamagedError(f"{path} is {what}: found {len(content)} bytes, expected {size}")
    _same_checksum(path, checksum, _sha256(content))
    try:
        return parse_tensors(content, path)
    except UserError as error:
        raise _UnusableError(str(error)) from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _DamagedError(f"{path} is missing from the checkpoint") from None
    except OSError as error:
        raise _DamagedError(f"cannot read {path}: {error.strerror}") from None


def _same_checksum(path: Path, expected: object, found: str) -> None:
    if expected != found:
        raise _DamagedError(
            f"{path} is damaged: found checksum {found[:12]}, expected {_short(expected, 12)}"
        )


def _progress_sha256(progress: Mapping[str, Any]) -> str:
    covered = {key: value for key, value in progress.items() if key != "sha256"}
    return _sha256(json.dumps(covered, sort_keys=True, separators=(",", ":")).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _short(value: object, length: int = 40) -> str:
    text = value if isinstance(value, str) and length == 12 else repr(value)
    return " ".join(shortened(text, 1000).split())[:length]
