"""Dense layers of ANTLR by the compiled kernels of ``engine/native/antlr_kernels.hpp``: only spikes cost time.

They take and give what ``SpikingLayer`` does in its plain form, to rounding. What a layer did is kept sample by sample,
``[B, T, N]``, of which the voltages say all: spikes are where they reach the threshold, slopes are their differences.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, c_int64, c_void_p
from typing import NamedTuple

from torch import Tensor

from lsnn_gym.rules import compiled
from lsnn_gym.rules.antlr.compiled import Constants
from lsnn_gym.rules.antlr.neuron import AntlrNeuron


class _Size(ctypes.Structure):
    """``layered::DenseSize``."""

    _fields_ = compiled.fields(c_int64, "steps", "batch", "inputs", "neurons")


class _Trains(ctypes.Structure):
    """``layered::Trains``."""

    _fields_ = (("at", c_void_p), ("step", c_int64), ("sample", c_int64))


class _Run(ctypes.Structure):
    """``layered::AntlrDenseRun``."""

    _fields_ = (
        ("values", _Trains),
        *compiled.fields(c_void_p, "weight", "bias"),
        *compiled.fields(c_void_p, "state_current", "state_voltage", "state_spikes"),
        *compiled.fields(c_void_p, "voltage", "spikes"),
        ("room", c_int64),
    )


class _Errors(ctypes.Structure):
    """``layered::AntlrDenseErrors``."""

    _fields_ = (
        *compiled.fields(_Trains, "values", "by_spike", "by_time"),
        ("voltage", c_void_p),
        ("room", c_int64),
        *compiled.fields(c_void_p, "by_weight", "by_bias", "by_current", "delayed"),
    )


class _Delays(ctypes.Structure):
    """``layered::AntlrDenseDelays``."""

    _fields_ = (("values", _Trains), *compiled.fields(c_void_p, "weight", "delayed", "by_timing"))


_KERNELS = compiled.Kernels(
    {
        f"antlr_dense_{name}": (POINTER(_Size), POINTER(Constants), POINTER(arguments))
        for name, arguments in {"run": _Run, "errors": _Errors, "delays": _Delays}.items()
    }
)


class DenseRun:
    """What a dense layer does, piece by piece of a sequence, from rest on.

    Args:
        neuron: Constants.
        weight: ``[post, pre]``.
        bias: ``[post]``.
        steps: T, of all pieces together.
        batch_size: B.

    Attributes:
        by_input: The weight turned round, ``[pre, post]``.
        voltage: v ``[B, T, post]``, before reset.
        spikes: s ``[B, T, post]``.
    """

    def __init__(
        self, neuron: AntlrNeuron, weight: Tensor, bias: Tensor, steps: int, batch_size: int
    ) -> None:
        self.by_input: Tensor = weight.detach().T.contiguous()
        room = (batch_size, steps, len(weight))
        self.voltage: Tensor = self.by_input.new_empty(room)
        self.spikes: Tensor = self.by_input.new_empty(room)
        self._constants = neuron.compiled_constants()
        self._bias = bias.detach()
        self._state = self.by_input.new_zeros(3, batch_size, len(weight))
        self._done = 0

    def advance(self, values: Tensor) -> Tensor:
        """Go on by the values ``[T', B, pre]``; return the spikes ``[T', B, post]``."""
        values = _side_by_side(values)
        start, self._done = self._done, self._done + len(values)
        run = _Run(
            _trains(values),
            self.by_input.data_ptr(),
            self._bias.data_ptr(),
            *(each.data_ptr() for each in self._state),
            self.voltage[:, start:].data_ptr(),
            self.spikes[:, start:].data_ptr(),
            self.voltage.stride(0),
        )
        _call("run", (*values.shape, len(self._bias)), self._constants, values, run)
        return self.spikes[:, start : self._done].transpose(0, 1)


class Wanted(NamedTuple):
    """Which errors of a dense layer are asked for, beside those of its biases."""

    by_weight: bool
    by_current: bool
    by_timing: bool


class DenseErrors(NamedTuple):
    """Errors of what came into a dense layer.

    Attributes:
        by_bias: q summed over steps and samples ``[post]``.
        by_weight: Derivative by the weights ``[post, pre]``, over beta_i; None if it was not asked for.
        by_current: gI ``[B, T, post]``; None if it was not asked for.
        by_timing: Of the inputs' times ``[B, T, pre]``; None if it was not asked for.
    """

    by_bias: Tensor
    by_weight: Tensor | None
    by_current: Tensor | None
    by_timing: Tensor | None


def dense_errors(
    constants: Constants,
    by_input: Tensor,
    voltage: Tensor,
    values: Tensor,
    given: Sequence[Tensor | None],
    wanted: Wanted,
) -> DenseErrors:
    """Return the errors of what came into a layer, all of whose samples began at rest.

    Args:
        constants: Of neurons and rule.
        by_input: Weights ``[pre, post]``.
        voltage: Of the layer's run.
        values: What came in ``[T, B, pre]``, in as many steps as count.
        given: gS and gT ``[T, B, post]``, None for zeros.
        wanted: What is asked for.
    """
    values = _side_by_side(values)
    steps, batch_size, inputs = values.shape
    neurons = voltage.shape[2]
    by_bias, by_step = values.new_empty(neurons), (batch_size, steps, neurons)
    by_weight = values.new_empty(inputs, neurons) if wanted.by_weight else None
    by_current = values.new_empty(by_step) if wanted.by_current else None
    delayed = values.new_empty(by_step) if wanted.by_timing else None
    errors = [None if each is None else _side_by_side(each) for each in given]
    found = _Errors(
        *map(_trains, (values, *errors)),
        voltage.data_ptr(),
        voltage.stride(0),
        *compiled.pointers([by_weight, by_bias, by_current, delayed]),
    )
    size = (steps, batch_size, inputs, neurons)
    _call("errors", size, constants, values, found)
    by_timing = None
    if delayed is not None:
        by_timing = values.new_empty(batch_size, steps, inputs)
        delays = _Delays(_trains(values), *compiled.pointers([by_input, delayed, by_timing]))
        _call("delays", size, constants, values, delays)
    return DenseErrors(by_bias, None if by_weight is None else by_weight.T, by_current, by_timing)


def _side_by_side(values: Tensor) -> Tensor:
    return values if values.stride(2) == 1 or values.shape[2] == 1 else values.contiguous()


def _trains(values: Tensor | None) -> _Trains:
    return _Trains() if values is None else _Trains(values.data_ptr(), values.stride(0), values.stride(1))


def _call(
    name: str,
    size: tuple[int, ...],
    constants: Constants,
    like: Tensor,
    argument: ctypes.Structure,
) -> None:
    given = (byref(_Size(*size)), byref(constants), byref(argument))
    what = f"what {size[2]} inputs send to {size[3]} neurons in {size[0]} steps"
    _KERNELS.call(f"antlr_dense_{name}", like.dtype, *given, what=what)
