"""The compiled kernels of ``engine/native/tssl_kernels.hpp``: neurons over whole sequences, their errors, and pools.

They take and give what the plain forms beside the neurons and pools do, to rounding. Of what neurons did only their
drive is kept: on the way back they are run again, which takes no longer than to keep all and read it.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_double, c_int64, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor

from lsnn_gym.memory import POOL, pooled_like
from lsnn_gym.rules import compiled
from lsnn_gym.rules.compiled import Size


class Constants(ctypes.Structure):
    """``layered::TsslConstants``."""

    _fields_ = compiled.fields(
        c_double,
        "tau_membrane",
        "tau_synapse",
        "threshold",
        "width",
        "farthest",
        "steepest",
        "surrogate",
        "through_reset",
    )


class _Run(ctypes.Structure):
    """``layered::TsslRun``."""

    _fields_ = compiled.fields(c_void_p, "drive", "gains", "spikes", "trace")


class _Errors(ctypes.Structure):
    """``layered::TsslErrors``."""

    _fields_ = compiled.fields(c_void_p, "drive", "gains", "by_trace", "error")


class _Windows(ctypes.Structure):
    """``layered::Windows``."""

    _fields_ = (*compiled.fields(c_int64, "images", "height", "width", "side"), ("gain", c_double))


_KERNELS = compiled.Kernels(
    {
        "tssl_run": (POINTER(Size), POINTER(Constants), POINTER(_Run)),
        "tssl_errors": (POINTER(Size), POINTER(Constants), POINTER(_Errors)),
        "window_sums": (POINTER(_Windows), c_void_p, c_void_p),
        "window_errors": (POINTER(_Windows), c_void_p, c_void_p),
    }
)


class Drive(NamedTuple):
    """What drives neurons.

    Attributes:
        values: J ``[T, B, ...]``, contiguous; or of one step ``[1, B, ...]``, which comes at every step with a gain.
        gains: ``[T]``, or None.
    """

    values: Tensor
    gains: Tensor | None

    @property
    def steps(self) -> int:
        """Return T."""
        return len(self.values if self.gains is None else self.gains)


def run(constants: Constants, drive: Drive) -> tuple[Tensor, Tensor]:
    """Return traces and spikes ``[T, B, ...]`` of neurons at rest before."""
    values = drive.values
    shape = (drive.steps, *values.shape[1:])
    trace, spikes = (POOL.empty(shape, values.dtype) for _ in range(2))
    _KERNELS.call_for_lanes("tssl_run", trace, constants, _Run(*compiled.pointers([*drive, spikes, trace])))
    return trace, spikes


def errors(constants: Constants, drive: Drive, by_trace: Tensor) -> Tensor:
    """Return the error of ``drive.values``, in their shape, given G ``[T, B, ...]``."""
    by_trace = by_trace.contiguous()
    error = pooled_like(drive.values)
    _KERNELS.call_for_lanes(
        "tssl_errors", by_trace, constants, _Errors(*compiled.pointers([*drive, by_trace, error]))
    )
    return error


def window_sums(values: Tensor, side: int, gain: float) -> Tensor:
    """Return ``gain`` times the sums over windows ``[..., height / side, width / side]``, rounded down."""
    values = values.contiguous()
    windows = _windows(values.shape, side, gain)
    shape = (*values.shape[:-2], values.shape[-2] // side, values.shape[-1] // side)
    sums = POOL.empty(shape, values.dtype)
    _call_windows("window_sums", values, sums, windows)
    return sums


def window_errors(by_sum: Tensor, shape: torch.Size, side: int, gain: float) -> Tensor:
    """Return the error of what ``window_sums`` summed, of the given shape, from that of the sums."""
    by_sum = by_sum.contiguous()
    error = POOL.empty(tuple(shape), by_sum.dtype)
    windows = _windows(shape, side, gain)
    _call_windows("window_errors", by_sum, error, windows)
    return error


def _windows(shape: torch.Size, side: int, gain: float) -> _Windows:
    return _Windows(shape[:-2].numel(), *shape[-2:], side, gain)


def _call_windows(name: str, given: Tensor, found: Tensor, windows: _Windows) -> None:
    where = (given.data_ptr(), found.data_ptr())
    _KERNELS.call(name, given.dtype, byref(windows), *where, what=f"{windows.images} images")
