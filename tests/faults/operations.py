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

from lsnn_gym.atomic import cannot_write
from lsnn_gym.training import metrics

_FREEING = {"os.remove", "os.rmdir", "shutil.rmtree"}
_WATCHED = {"open", "os.rename", "os.mkdir", *_FREEING}


def die() -> None:
    """Die as by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def failing(code: int) -> Callable[[], None]:
    """Return what raises the system's error of this number."""

    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return fail


class Suffering:
    """Lets this process, which has no way back, suffer just before the ``number``-th operation on ``folder``, from 0.

    Operations are opening for writing, renaming, making and removing of files and folders, waiting for the disk, and
    a line of metrics, of which half is written.

    Args:
        number: Of the operation.
        folder: Operations elsewhere do not count.
        act: Dies or raises.
        ever_after: Whether it does so at each later one too, as a full disk does. Removing always works then.

    Attributes:
        came: Whether it came to that.
    """

    def __init__(
        self, number: int, folder: Path, act: Callable[[], None], *, ever_after: bool = False
    ) -> None:
        self.came = False
        self._number, self._act, self._ever_after = number, act, ever_after
        self._prefix = str(folder)
        self._done = 0
        self._fsync, self._write_all = os.fsync, metrics._write_all
        os.fsync = self._counted_fsync
        metrics._write_all = self._counted_write
        sys.addaudithook(self._hook)

    def _is_due(self, *, frees: bool = False) -> bool:
        self._done += 1
        due = self._done > self._number if self._ever_after else self._done == self._number + 1
        due = due and not (frees and self._ever_after)
        self.came |= due
        return due

    def _hook(self, event: str, given: tuple[Any, ...]) -> None:
        if event not in _WATCHED or not str(given[0]).startswith(self._prefix):
            return
        if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if self._is_due(frees=event in _FREEING):
            self._act()

    def _counted_fsync(self, descriptor: int) -> None:
        if self._is_due():
            self._act()
        self._fsync(descriptor)

    def _counted_write(self, file: FileIO, content: bytes, path: Path) -> None:
        if self._is_due():
            file.write(content[: len(content) // 2])
            try:
                self._act()
            except OSError as error:
                raise cannot_write(path, error) from error
        self._write_all(file, content, path)


def slow_disk(seconds: float) -> None:
    """Let each wait for the disk take ``seconds`` more, half of it before: most of a training then is saving."""
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        time.sleep(seconds / 2)
        fsync(descriptor)
        time.sleep(seconds / 2)

    os.fsync = slow
