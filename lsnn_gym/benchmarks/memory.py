"""How much memory a layer takes at its peak, measured in a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from lsnn_gym.benchmarks.libraries import Library
from lsnn_gym.benchmarks.problem import Problem, draw_inputs, draw_output_gradient
from lsnn_gym.benchmarks.timing import number_of_threads
from lsnn_gym.training.denormals import flushed_denormals
from lsnn_gym.training.results import peak_memory_bytes

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


class OutOfMemoryError(Exception):
    """The process that measured was ended from outside, most likely for want of memory."""


def peak_of_layer(library: Library, problem: Problem, gain: float, threads: int) -> int | None:
    """Return by how many bytes a process grows while a layer computes a batch and its gradients.

    What counts is the peak over what the process holds after imports, after the layer and its inputs were made
    and after two steps were computed, which loads what is loaded late.

    Args:
        library: Whose layer it is.
        problem: What it computes.
        gain: Of its weights.
        threads: PyTorch's.

    Returns:
        Bytes of resident memory, or None where the system does not tell.

    Raises:
        OutOfMemoryError: The process was ended from outside.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        try:
            return pool.submit(_measure, library, problem, gain, threads).result()
        except BrokenProcessPool:
            raise OutOfMemoryError("its process was ended, most likely for want of memory") from None


def _measure(library: Library, problem: Problem, gain: float, threads: int) -> int | None:
    with number_of_threads(threads), flushed_denormals():
        layer = library.make(problem, gain)
        inputs, by_outputs = draw_inputs(problem), draw_output_gradient(problem)
        layer.learn(inputs[:2], by_outputs[:2])
        return growth_during(lambda: layer.learn(inputs, by_outputs))


def growth_during(call: Callable[[], object]) -> int | None:
    """Return by how many bytes this process's resident memory grows at most during a call; None if unknown."""
    gc.collect()
    _give_back_freed_memory()
    # Without this the peak so far stands for what is held, which may hide some growth.
    with contextlib.suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)
    before = _peak()
    call()
    after = _peak()
    return None if before is None or after is None else max(0, after - before)


def _peak() -> int | None:
    # Not the peak that getrusage tells on Linux: a process inherits it from the one that started it.
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return peak_memory_bytes()


def _give_back_freed_memory() -> None:
    """Let the C library return freed memory to the system: using it again would not be seen."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
