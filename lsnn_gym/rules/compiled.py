"""The compiled kernels of ``engine/native/layered.hpp``: what neurons do over whole sequences, and their errors.

They take and give what the plain forms beside the neurons do, to rounding, and are chosen there wherever they fit: on
the CPU, unless ``LSNN_GYM_ENGINE`` names another engine than ``native``. Those of whole dense layers are called by
:mod:`lsnn_gym.rules.antlr.compiled`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Sequence
from ctypes import POINTER, byref, c_double, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

SUFFIXES = {torch.float32: "float", torch.float64: "double"}
"""Of the kernels' names, by the type of number."""


class _Size(ctypes.Structure):
    """``layered::Size``."""

    _fields_ = tuple((name, c_int64) for name in ("steps", "lanes"))


class TsslConstants(ctypes.Structure):
    """``layered::TsslConstants``."""

    _fields_ = tuple(
        (name, c_double)
        for name in ("tau_membrane", "tau_synapse", "threshold", "width", "farthest", "steepest")
    )


class _TsslRecord(ctypes.Structure):
    """``layered::TsslRecord``."""

    _fields_ = tuple((name, c_void_p) for name in ("increment", "membrane", "spikes", "trace"))


class AntlrConstants(ctypes.Structure):
    """``layered::AntlrConstants``."""

    _fields_ = tuple(
        (name, c_double)
        for name in (
            "current_decay",
            "voltage_decay",
            "current_gain",
            "voltage_gain",
            "bias_gain",
            "flattest",
            "activation",
            "timing",
            "sharpness",
        )
    )


class _AntlrRun(ctypes.Structure):
    """``layered::AntlrRun``."""

    _fields_ = (
        *((name, c_void_p) for name in ("drive", "bias")),
        ("neurons", c_int64),
        *((name, c_void_p) for name in ("state_current", "state_voltage", "state_spikes")),
        *((name, c_void_p) for name in ("current", "voltage", "slope", "spikes")),
    )


class _AntlrErrors(ctypes.Structure):
    """``layered::AntlrErrors``."""

    _fields_ = tuple(
        (name, c_void_p)
        for name in (
            "voltage",
            "slope",
            "spikes",
            "by_spike",
            "by_time",
            "by_current",
            "by_bias",
            "delayed",
        )
    )


_ARGUMENTS = {
    "tssl_run": (POINTER(TsslConstants), c_void_p, POINTER(_TsslRecord)),
    "tssl_errors": (POINTER(TsslConstants), POINTER(_TsslRecord), c_void_p, c_void_p),
    "antlr_run": (POINTER(AntlrConstants), POINTER(_AntlrRun)),
    "antlr_errors": (POINTER(AntlrConstants), POINTER(_AntlrErrors)),
}


def library() -> ctypes.CDLL:
    """Return the compiled part.

    Raises:
        ImportError: If it was not built.
    """
    return ctypes.CDLL(str(importlib.import_module("lsnn_gym.engine.native._kernels").__file__))


def _load() -> tuple[dict[tuple[str, torch.dtype], Any], str | None]:
    """Return the kernels by name and type of number or, where they are missing, the reason."""
    found: dict[tuple[str, torch.dtype], Any] = {}
    try:
        kernels = library()
        for name, arguments in _ARGUMENTS.items():
            for kind, suffix in SUFFIXES.items():
                function = getattr(kernels, f"layered_{name}_{suffix}")
                function.restype = None
                function.argtypes = (POINTER(_Size), *arguments, c_int64)
                found[name, kind] = function
    except (ImportError, AttributeError) as error:
        return {}, f"the compiled part is missing ({error}): it is built when the package is installed"
    return found, None


unavailable: str | None
_KERNELS, unavailable = _load()
"""``unavailable``: why the kernels cannot be used here, or None."""


def fits(*tensors: Tensor) -> bool:
    """Return whether the kernels are there and take such tensors: of one type, float32 or float64, on the CPU."""
    kind = tensors[0].dtype
    if unavailable or kind not in SUFFIXES or os.environ.get("LSNN_GYM_ENGINE", "native") != "native":
        return False
    return all(each.dtype == kind and each.device.type == "cpu" for each in tensors)


def tssl_run(constants: TsslConstants, drive: Tensor) -> list[Tensor]:
    """Return increment, membrane, spikes and trace ``[T, B, ...]``, given J of that shape."""
    drive = drive.contiguous()
    record = [torch.empty_like(drive) for _ in range(4)]
    _call("tssl_run", drive, byref(constants), drive.data_ptr(), byref(_TsslRecord(*pointers(record))))
    return record


def tssl_errors(constants: TsslConstants, record: Sequence[Tensor], by_trace: Tensor) -> Tensor:
    """Return D ``[T, B, ...]``, given what ``tssl_run`` returned and G."""
    by_trace, record = by_trace.contiguous(), [each.contiguous() for each in record]
    error = torch.empty_like(by_trace)
    of_record = _TsslRecord(*pointers(record))
    _call("tssl_errors", by_trace, byref(constants), byref(of_record), by_trace.data_ptr(), error.data_ptr())
    return error


def antlr_run(
    constants: AntlrConstants, drive: Tensor, bias: Tensor, state: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return current, voltage, slope and spikes ``[T, B, ...]``, and current, voltage and spikes after them.

    Args:
        constants: Of the neurons.
        drive: J ``[T, B, ...]``.
        bias: b, of a shape that fits ``[B, ...]`` and is the same for each sample.
        state: Current, voltage and spikes before ``[B, ...]``.
    """
    drive = drive.contiguous()
    biases = bias.expand(drive.shape[1:])[0].contiguous()
    after = [each.clone(memory_format=torch.contiguous_format) for each in state]
    record = [torch.empty_like(drive) for _ in range(4)]
    run = _AntlrRun(drive.data_ptr(), biases.data_ptr(), biases.numel(), *pointers([*after, *record]))
    _call("antlr_run", drive, byref(constants), byref(run))
    return record, after


def antlr_errors(
    constants: AntlrConstants,
    record: Sequence[Tensor],
    by_spike: Tensor | None,
    by_time: Tensor | None,
    delays: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return gI ``[T, B, ...]``, q summed over steps ``[B, ...]``, and C ``[T, B, ...]`` if ``delays`` asks for it.

    Args:
        constants: Of neurons and rule.
        record: Current, voltage, slope and spikes ``[T, B, ...]``.
        by_spike: gS, or None for zeros.
        by_time: gT, or None for zeros.
        delays: Whether C is wanted.
    """
    _, *used = (each.contiguous() for each in record)
    given = [None if each is None else each.contiguous() for each in (by_spike, by_time)]
    by_current, by_bias = torch.empty_like(used[0]), torch.empty_like(used[0][0])
    delayed = torch.empty_like(used[0]) if delays else None
    errors = _AntlrErrors(*pointers([*used, *given, by_current, by_bias, delayed]))
    _call("antlr_errors", used[0], byref(constants), byref(errors))
    return by_current, by_bias, delayed


def pointers(tensors: Sequence[Tensor | None]) -> list[int | None]:
    """Return where the tensors begin, None for none."""
    return [None if each is None else each.data_ptr() for each in tensors]


def _call(name: str, like: Tensor, *arguments: Any) -> None:
    steps = len(like)
    size = _Size(steps, like.numel() // steps if steps else 0)
    _KERNELS[name, like.dtype](byref(size), *arguments, torch.get_num_threads())
