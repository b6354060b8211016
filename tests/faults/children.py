"""Children forked from a warm parent: they start in milliseconds, suffer, and die."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

CRASHED = 99
"""Exit status of a child whose work raised what nobody foresaw."""


class Ended(NamedTuple):
    """How a child ended: its exit status, or minus the number of the signal; and what it said on standard error."""

    status: int
    said: str


def run_child(
    work: Callable[[], int | None], errors: Path, signals: Sequence[tuple[float, signal.Signals]] = ()
) -> Ended:
    """Fork a child that does ``work`` and exits with what it returns; send it signals.

    Args:
        work: Done in the child; its standard output goes nowhere.
        errors: File for its standard error.
        signals: Each after so many seconds of waiting, one after the other.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which do nothing here
        child = os.fork()
    if child == 0:
        _do(work, errors)
    for seconds, number in signals:
        time.sleep(seconds)
        # A child that ended stays a zombie until it is waited for: the number cannot be another's.
        os.kill(child, number)
    _, status = os.waitpid(child, 0)
    return Ended(
        os.waitstatus_to_exitcode(status), errors.read_text(errors="replace") if errors.exists() else ""
    )


def _do(work: Callable[[], int | None], errors: Path) -> NoReturn:
    status = CRASHED
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        said = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        status = work() or 0
    except KeyboardInterrupt:
        status = 130  # as the command line's; it came when all was done
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
