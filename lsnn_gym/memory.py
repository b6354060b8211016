"""Large tensors in memory that is used again: memory fresh from the system costs more time than the kernels.

The system hands out pages of zeros, one by one, when they are first written to. Blocks here come in large pages and,
once the tensors that used them are gone, wait for the next tensor of about their size.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import threading
import weakref

import torch
from torch import Tensor

SMALLEST = 4 << 20
"""Bytes from which on a tensor is worth a block."""

_SPARE_BLOCKS = 8
_SLACK = 1.25


class BlockPool:
    """Blocks of memory for tensors, kept for the next one when a tensor is gone.

    Attributes:
        spare: Blocks that wait, the one freed last at the end: at most eight, and none much larger than the tensor
            that it is given to.
    """

    def __init__(self) -> None:
        self.spare: list[mmap.mmap] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor."""
        count = math.prod(shape)
        size = count * dtype.itemsize
        if size < SMALLEST:
            return torch.empty(shape, dtype=dtype)
        block = self._take(size) or _new_block(size)
        view = (ctypes.c_char * size).from_buffer(block)
        # The tensor's storage holds the view, and nothing else does.
        weakref.finalize(view, self._give_back, block).atexit = False
        return torch.frombuffer(view, dtype=dtype, count=count).view(shape)

    def _take(self, size: int) -> mmap.mmap | None:
        with self._lock:
            for index in reversed(range(len(self.spare))):
                if size <= len(self.spare[index]) <= _SLACK * size:
                    return self.spare.pop(index)
            # Other sizes than those that wait are wanted now.
            del self.spare[: max(0, len(self.spare) - _SPARE_BLOCKS + 1)]
        return None

    def _give_back(self, block: mmap.mmap) -> None:
        with self._lock:
            self.spare.append(block)
            del self.spare[:-_SPARE_BLOCKS]


def _new_block(size: int) -> mmap.mmap:
    # Private: memory that could be shared with other processes comes in small pages only.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    block = mmap.mmap(-1, size, **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


POOL = BlockPool()
"""The blocks of this process."""


def pooled_like(tensor: Tensor) -> Tensor:
    """Return an uninitialised tensor of the shape, type and device of ``tensor``, from the pool if it can be."""
    if tensor.device.type != "cpu":
        return torch.empty_like(tensor, memory_format=torch.contiguous_format)
    return POOL.empty(tuple(tensor.shape), tensor.dtype)
