"""One process at a time in a folder, by a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsnn_gym.atomic import cannot_write
from lsnn_gym.errors import UserError

_NAME = ".lock"
_FAR = 1 << 30
"""Which byte is locked on Windows, where nobody could read the others."""

_log = logging.getLogger(__name__)
_held: set[int] = set()


class _TakenError(Exception):
    """Another process holds the lock."""


@contextmanager
def holding(folder: Path, doing: str) -> Iterator[None]:
    """While entered, no other process that asks gets into ``folder``, on this machine or where it is shared.

    The file ``.lock`` in it says who is there. What is locked is the open file: the kernel drops it with the process.

    Args:
        folder: That exists.
        doing: What is done there, for the message to others: "training".

    Raises:
        UserError: Another process is there, or the folder cannot be written to.
    """
    path = folder / _NAME
    try:
        descriptor = _acquired(path)
    except _TakenError:
        raise UserError(
            f"{folder}: {_holder(path)} is {doing} there; expected one process at a time"
        ) from None
    except OSError as error:
        raise cannot_write(path, error) from error
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)
        if os.name == "nt":  # where no file goes away that is open
            os.close(descriptor)
        with contextlib.suppress(OSError):
            path.unlink()
        if os.name != "nt":
            os.close(descriptor)


def _acquired(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, path)
            # The one who had it may have removed the file that was opened here: then it locks nobody out.
            if os.name == "nt" or _same_file(descriptor, path):
                with contextlib.suppress(OSError):  # a full disk: then it is not said who is there
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _lock(descriptor: int, path: Path) -> None:
    if os.name == "nt":
        import msvcrt

        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            raise _TakenError from None
        os.lseek(descriptor, 0, os.SEEK_SET)
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _TakenError from None
    except OSError as error:
        # Some shared file systems have no locks: better without than not at all.
        _log.warning("%s cannot be locked (%s): nothing keeps other processes out", path, error.strerror)


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()[:200] or "another process"
    return "another process"


def _let_go() -> None:
    """Close in a forked child what its parent holds: else the child would hold it on when the parent is dead."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
