"""The compiled kernels of ANTLR's neurons (``engine/native/antlr_kernels.hpp``), whatever drives them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_double, c_int64, c_void_p

import torch
from torch import Tensor

from lsnn_gym.rules import compiled
from lsnn_gym.rules.compiled import Size


class Constants(ctypes.Structure):
    """``layered::AntlrConstants``."""

    _fields_ = compiled.fields(
        c_double,
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


class _Run(ctypes.Structure):
    """``layered::AntlrRun``."""

    _fields_ = (
        *compiled.fields(c_void_p, "drive", "bias"),
        ("neurons", c_int64),
        *compiled.fields(c_void_p, "state_current", "state_voltage", "state_spikes"),
        *compiled.fields(c_void_p, "current", "voltage", "slope", "spikes"),
    )


class _Errors(ctypes.Structure):
    """``layered::AntlrErrors``."""

    _fields_ = compiled.fields(
        c_void_p,
        "voltage",
        "slope",
        "spikes",
        "by_spike",
        "by_time",
        "by_current",
        "by_bias",
        "delayed",
    )


_KERNELS = compiled.Kernels(
    {
        "antlr_run": (POINTER(Size), POINTER(Constants), POINTER(_Run)),
        "antlr_errors": (POINTER(Size), POINTER(Constants), POINTER(_Errors)),
    }
)


def run(
    constants: Constants, drive: Tensor, bias: Tensor, state: Sequence[Tensor]
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
    arguments = _Run(
        drive.data_ptr(), biases.data_ptr(), biases.numel(), *compiled.pointers([*after, *record])
    )
    _KERNELS.call_for_lanes("antlr_run", drive, constants, arguments)
    return record, after


def errors(
    constants: Constants,
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
    arguments = _Errors(*compiled.pointers([*used, *given, by_current, by_bias, delayed]))
    _KERNELS.call_for_lanes("antlr_errors", used[0], constants, arguments)
    return by_current, by_bias, delayed
