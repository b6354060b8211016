"""Seconds of things that take turns."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import lsnn_gym


def time_in_turns(turns: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Return the seconds of every repetition of every turn.

    All take their first turn, then all their second: a machine that is busy for a while slows all alike.

    Args:
        turns: What is timed, by name; it should have been called once before, for what only the first call does.
        repetitions: How often.
    """
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(repetitions):
        for name, turn in turns.items():
            gc.collect()  # not what another one left behind
            start = time.perf_counter()
            turn()
            seconds[name].append(time.perf_counter() - start)
    return seconds


@contextlib.contextmanager
def number_of_threads(threads: int | None) -> Iterator[int]:
    """Let PyTorch compute with ``threads`` inside the ``with`` block, None for what it is; give their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def describe_machine(threads: int) -> dict[str, Any]:
    """Return what times depend on besides the code: processor, system, versions, PyTorch's threads."""
    return {
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "threads": threads,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "lsnn_gym": lsnn_gym.__version__,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
