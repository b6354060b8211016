"""The compiled part of the rules: where it is, and what its kernels are called by.

Kernels take and give what the plain forms beside the neurons do, to rounding, and are chosen there wherever they fit:
on the CPU, unless ``LSNN_GYM_ENGINE`` names another engine than ``native``. They are called by modules of this name
beside each rule.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Mapping, Sequence
from ctypes import c_int64
from typing import Any

import torch
from torch import Tensor

SUFFIXES = {torch.float32: "float", torch.float64: "double"}
"""Of the kernels' names, by the type of number."""


def fields(kind: type, *names: str) -> tuple[tuple[str, type], ...]:
    """Return those fields of a ``ctypes.Structure`` that are of one kind."""
    return tuple((name, kind) for name in names)


class Size(ctypes.Structure):
    """``layered::Size``: T, and how many neurons all samples have together."""

    _fields_ = fields(c_int64, "steps", "lanes")


def pointers(tensors: Sequence[Tensor | None]) -> list[int | None]:
    """Return where the tensors begin, None for none."""
    return [None if each is None else each.data_ptr() for each in tensors]


def library() -> ctypes.CDLL:
    """Return the compiled part.

    Raises:
        ImportError: If it was not built.
    """
    return ctypes.CDLL(str(importlib.import_module("lsnn_gym.engine.native._kernels").__file__))


def _load() -> tuple[ctypes.CDLL | None, str | None]:
    try:
        return library(), None
    except ImportError as error:
        return None, f"the compiled part is missing ({error}): it is built when the package is installed"


unavailable: str | None
_LIBRARY, unavailable = _load()
"""``unavailable``: why no kernel can be used here, or None."""


class Kernels:
    """Functions of the compiled part, by name and type of number.

    Args:
        arguments: What they take, by their names; threads come last, and are added.
        group: What comes before their names.
    """

    def __init__(self, arguments: Mapping[str, Sequence[Any]], group: str = "layered") -> None:
        self._functions: dict[tuple[str, torch.dtype], Any] = {}
        for name, taken in arguments.items():
            for kind, suffix in SUFFIXES.items():
                function = getattr(_LIBRARY, f"{group}_{name}_{suffix}", None)
                if function is not None:
                    function.argtypes = (*taken, c_int64)
                    self._functions[name, kind] = function

    def call(self, name: str, kind: torch.dtype, *arguments: Any, what: str) -> None:
        """Call the one for numbers of this type.

        Raises:
            ImportError: If the compiled part is of another version, and has no such function.
            MemoryError: If it lacked memory for ``what``.
        """
        function = self._functions.get((name, kind))
        if function is None:
            raise ImportError(
                f"the compiled part has no kernel {name}: expected it built from this version; "
                "install the package again"
            )
        if function(*arguments, torch.get_num_threads()):
            raise MemoryError(f"no memory for {what}")

    def call_for_lanes(
        self, name: str, like: Tensor, constants: ctypes.Structure, arguments: ctypes.Structure
    ) -> None:
        """Call one that takes a ``Size``, that of ``like`` ``[T, B, ...]``, and two records; errors as of ``call``."""
        size = Size(len(like), like[0].numel() if len(like) else 0)
        given = (ctypes.byref(size), ctypes.byref(constants), ctypes.byref(arguments))
        self.call(name, like.dtype, *given, what=f"{size.lanes} neurons in {size.steps} steps")


def fits(*tensors: Tensor) -> bool:
    """Return whether the kernels are there and take such tensors: of one type, float32 or float64, on the CPU."""
    kind = tensors[0].dtype
    if unavailable or kind not in SUFFIXES or os.environ.get("LSNN_GYM_ENGINE", "native") != "native":
        return False
    return all(each.dtype == kind and each.device.type == "cpu" for each in tensors)
