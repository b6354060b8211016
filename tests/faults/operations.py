"""What a child process is made to suffer at one of its operations on files: death, or an error of the system."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

from lsnn_gym.training import metrics

_WATCHED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}


def die() -> None:
    """Die as by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def failing(code: int) -> Callable[[], None]:
    """Return what raises the system's error of this number."""

    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return fail


def at_operation(number: int, folder: Path, act: Callable[[], None], *, ever_after: bool = False) -> None:
    """Let this process, which has no way back, ``act`` just before the ``number``-th operation on ``folder``, from 0.

    Operations are opening for writing, renaming, making and removing of files and folders, waiting for the disk, and
    a line of metrics, of which half is written.

    Args:
        number: Of the operation.
        folder: Operations elsewhere do not count.
        act: Dies or raises.
        ever_after: Whether it does so at each later one too, as a full disk does. Removing always works.
    """
    done = 0
    prefix = str(folder)
    fsync, write_all = os.fsync, metrics._write_all

    def count(frees: bool = False) -> bool:
        nonlocal done
        done += 1
        return (done > number if ever_after else done == number + 1) and not (frees and ever_after)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event not in _WATCHED or not str(given[0]).startswith(prefix):
            return
        if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if count(frees=event in ("os.remove", "os.rmdir")):
            act()

    def counted_fsync(descriptor: int) -> None:
        if count():
            act()
        fsync(descriptor)

    def counted_write(file: FileIO, content: bytes, path: Path) -> None:
        def half() -> None:
            file.write(content[: len(content) // 2])
            act()

        if count():
            try:
                half()
            except OSError as error:
                raise metrics.cannot_write(path, error) from error
        write_all(file, content, path)

    os.fsync = counted_fsync
    metrics._write_all = counted_write
    sys.addaudithook(hook)


def slow_disk(seconds: float) -> None:
    """Let each wait for the disk take ``seconds`` more, half of it before: most of a training then is saving."""
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(seconds / 2)
        fsync(descriptor)
        time.sleep(seconds / 2)

    os.fsync = slow
