"""Figures of a run as it goes: one JSON object a line, and TensorBoard events."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Mapping
from io import BytesIO, FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from lsnn_gym.atomic import cannot_write, write_atomically
from lsnn_gym.errors import UserError

_log = logging.getLogger(__name__)


class MetricsLog:
    """A file to which one JSON object a line is appended; usable as a context manager.

    Each line is handed to the operating system at once, so that a killed process loses at most the line it
    was writing; such a part of a line is removed when the file is opened again.

    Args:
        path: The file, e.g. a run's ``metrics.jsonl``; made if need be.

    Raises:
        UserError: The file cannot be written.
    """

    def __init__(self, path: str | Path):
        self.path: Path = Path(path)
        self._rewrite(until=None, key="")
        self._file = self._opened()

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line.

        Args:
            record: Numbers (also NumPy's and 0-dimensional tensors), text, booleans, None, lists and dicts of
                these. NaN and infinities, which JSON has not, become null.

        Raises:
            UserError: The line cannot be written, e.g. the disk is full.
        """
        line = (json.dumps(_plain(record), allow_nan=False) + "\n").encode()
        self._digest.update(line)
        self._bytes += len(line)
        _write_all(self._file, line, self.path)

    def truncate_after(self, value: int, key: str = "iteration") -> None:
        """Drop the lines of a stopped run that a resumed one will write again.

        What stays is byte for byte as it was; the file is replaced atomically.

        Args:
            value: The last value of ``key`` to keep, e.g. the checkpoint's iteration. Lines without such a
                number stay.
            key: The number that says how far the run was.

        Raises:
            UserError: A line other than the last is no JSON object; the file is left as it is.
        """
        self._rewrite(until=value, key=key)
        self._file.close()
        self._file = self._opened()

    def extent(self) -> dict[str, Any]:
        """Return how many bytes the file has and their checksum, as ``check_extent`` and ``cut_to`` take it."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def sync(self) -> None:
        """Wait until the disk has every line: before a checkpoint, against power cuts.

        Raises:
            UserError: The disk could not take them.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> FileIO:
        try:
            return open(self.path, "ab", buffering=0)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _rewrite(self, until: int | None, key: str) -> None:
        before = _content(self.path)
        kept = [
            line
            for line, record in _lines(self.path, before)
            if until is None or not isinstance(record.get(key), int | float) or record[key] <= until
        ]
        after = b"".join(kept)
        if after != before:
            write_atomically(self.path, after)
        self._digest, self._bytes = hashlib.sha256(after), len(after)


def _write_all(file: FileIO, content: bytes, path: Path) -> None:
    try:
        while content:
            content = content[file.write(content) :]
    except OSError as error:
        raise cannot_write(path, error) from error


def extent_problem(path: str | Path, extent: Any) -> str | None:
    """Return in one line why a file does not begin with what ``MetricsLog.extent`` told of it; None if it does.

    Raises:
        UserError: The file cannot be read.
    """
    size, checksum = (
        (extent.get(key) for key in ("bytes", "sha256")) if isinstance(extent, dict) else (None, None)
    )
    if not isinstance(size, int) or not isinstance(checksum, str):
        return (
            f"{path} cannot be compared: its checkpoint says {str(extent)[:40]!r}, expected bytes and sha256"
        )
    content = _content(Path(path))
    if len(content) < size:
        return f"{path} is truncated: found {len(content)} bytes, expected at least {size}"
    found = hashlib.sha256(content[:size]).hexdigest()
    if found == checksum:
        return None
    return (
        f"{path} is damaged: its first {size} bytes have the checksum {found[:12]}, expected {checksum[:12]}"
    )


def cut_to(path: str | Path, extent: Mapping[str, Any]) -> None:
    """Drop all that follows the part of a file that ``MetricsLog.extent`` told of; it is replaced atomically.

    Raises:
        UserError: The file cannot be read or written.
    """
    content = _content(Path(path))
    if len(content) > extent["bytes"]:
        write_atomically(path, content[: extent["bytes"]])


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics file; a last line that is still being written is left out.

    Raises:
        UserError: The file is missing, or a line other than the last is no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    return [record for _, record in _lines(path, _content(path))]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _lines(path: Path, content: bytes) -> list[tuple[bytes, dict[str, Any]]]:
    """Return each whole line, with its line end, and the object in it."""
    lines = content.splitlines(keepends=True)
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            found.append((line if line.endswith(b"\n") else line + b"\n", record))
        elif number < len(lines) or line.endswith(b"\n"):
            raise UserError(f"{path}, line {number}: expected a JSON object, found {line.strip()[:40]!r}")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class TensorBoardLog:
    """Writes figures as TensorBoard events; without TensorBoard installed it says so once and does nothing.

    Usable as a context manager.

    Args:
        folder: Where the event files go, e.g. a run's ``tensorboard`` folder.
        purge_step: For a resumed run: earlier events of this step and later ones are not to be shown.

    Raises:
        UserError: The folder cannot be written to.
    """

    _told = False

    def __init__(self, folder: str | Path, purge_step: int | None = None):
        self._file: FileIO | None = None
        try:
            # Not torch.utils.tensorboard, which loads far more and does no more for plain figures; and no writer with a
            # thread of its own, in which a full disk would be a traceback.
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            if not TensorBoardLog._told:
                TensorBoardLog._told = True
                _log.warning('TensorBoard is not installed: no events (pip install "lsnn-gym[tensorboard]")')
            return
        events: Any = event_pb2  # generated modules, opaque to type checkers
        summaries: Any = summary_pb2
        self._event, self._summary, self._record = events.Event, summaries.Summary, RecordWriter
        # The time puts the files in order; what is random keeps them apart, also where the clock was set back.
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self.path: Path = Path(folder) / name
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "xb", buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise cannot_write(folder, error) from error
        self._write(file_version="brain.Event:2")
        if purge_step is not None:
            self._write(step=purge_step, session_log=events.SessionLog(status=events.SessionLog.START))

    def log(self, step: int, figures: Mapping[str, Any]) -> None:
        """Write the numbers among ``figures`` as of ``step``; other values are left out.

        Raises:
            UserError: They cannot be written, e.g. the disk is full.
        """
        if self._file is None:
            return
        values = []
        for tag, figure in figures.items():
            number = figure.item() if hasattr(figure, "item") else figure
            if isinstance(number, int | float):
                values.append(self._summary.Value(tag=tag, simple_value=float(number)))
        self._write(step=step, summary=self._summary(value=values))

    def _write(self, **fields: Any) -> None:
        record = BytesIO()
        self._record(record).write(self._event(wall_time=time.time(), **fields).SerializeToString())
        if self._file is not None:
            _write_all(self._file, record.getvalue(), self.path)

    def close(self) -> None:
        """Close the event file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
