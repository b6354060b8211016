"""Files that are either whole or not there, whatever kills the process that writes them."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsnn_gym.errors import UserError


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write ``content`` to ``path``: a reader, or a restart, sees the old file or the new one, never a part.

    Text is written as UTF-8 without changing line ends.

    Raises:
        UserError: The file cannot be written there; what was at ``path`` is untouched.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a hidden name beside ``path`` to write to; on success it becomes ``path``, else it is removed.

    The name ends as ``path`` does, for writers that go by the suffix.

    Raises:
        UserError: The file cannot be written there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:100]}.{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the disk has the folder's list of names (new and renamed files)."""
    if os.name == "nt":  # folders cannot be opened there, and need not be
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: str | Path, error: Exception) -> UserError:
    """Return the one-line error for a place that cannot be written to."""
    return UserError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}")
