"""The compiled kernels through their plain interface: the structures they take, and whether they are there."""

from __future__ import annotations

import ctypes
import importlib
from ctypes import POINTER, c_double, c_int32, c_int64, c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor

RESETS = {"current": 0, "crossed": 1, "baseline": 2}
"""``CellModel.reset_by`` as the kernels number it."""


class Plan(ctypes.Structure):
    """``lsnn::Plan`` of problem.hpp: which kernels compute a sequence, and how its samples are spread."""

    _fields_ = tuple((name, c_int64) for name in ("variant", "lanes", "blocks", "threads"))


class Problem(ctypes.Structure):
    """``lsnn::Problem``."""

    _fields_ = (
        ("plan", Plan),
        *((name, c_int64) for name in ("steps", "batch", "inputs", "neurons", "delays")),
        *(
            (name, c_int32)
            for name in (
                "fires_on_new_voltage",
                "normalised_by_baseline",
                "reset_by",
                "scaled_current",
                "scaled_adaptation",
                "stops_spike_gradient",
            )
        ),
        *((name, c_double) for name in ("dt", "dampening_factor")),
        *(
            (name, c_void_p)
            for name in (
                "membrane_decay",
                "adaptation_decay",
                "threshold",
                "beta",
                "refractory_period",
                "x",
                "noise",
                "reset",
            )
        ),
    )


class State(ctypes.Structure):
    """``lsnn::State``."""

    _fields_ = tuple(
        (name, c_void_p) for name in ("voltage", "spikes", "adaptation", "refractory", "currents")
    )


class Tape(ctypes.Structure):
    """``lsnn::Tape``."""

    _fields_ = tuple(
        (name, c_void_p) for name in ("voltage", "adaptation", "spikes", "blocked", "inputs", "plain")
    )


class Gradients(ctypes.Structure):
    """``lsnn::Gradients``."""

    _fields_ = (
        ("by_spikes", c_void_p),
        ("by_after", State),
        ("by_weight", c_void_p),
        ("by_noise", c_void_p),
        ("by_input", c_void_p),
        ("by_before", State),
        ("skips_input_weights", c_int32),
        ("delay", c_void_p),
    )


class Functions(NamedTuple):
    """The kernels for one type of number."""

    prepare: Any
    release: Any
    forward: Any
    backward: Any
    begin: Any
    step: Any
    write: Any
    finish: Any


def _functions(library: ctypes.CDLL, suffix: str) -> Functions:
    found = Functions(*(getattr(library, f"lsnn_{name}_{suffix}") for name in Functions._fields))
    found.prepare.argtypes = [c_void_p, c_int64, c_int64, c_int64, c_int64]
    found.prepare.restype = c_void_p
    found.release.argtypes = [c_void_p]
    found.release.restype = None
    found.forward.argtypes = [POINTER(Problem), c_void_p, POINTER(State), POINTER(State), c_void_p, c_void_p]
    found.backward.argtypes = [POINTER(Problem), c_void_p, POINTER(Tape), POINTER(Gradients)]
    found.begin.argtypes = [POINTER(Problem), c_void_p, POINTER(State)]
    found.begin.restype = c_void_p
    found.step.argtypes = [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]
    found.step.restype = None
    found.write.argtypes = [c_void_p, POINTER(State)]
    found.write.restype = None
    found.finish.argtypes = [c_void_p]
    found.finish.restype = None
    return found


class Library:
    """The loaded kernels.

    Args:
        path: Of the compiled module.
    """

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.lsnn_segment_steps.restype = c_int64
        self._library.lsnn_segment_steps.argtypes = [c_int64, c_int64]
        self._library.lsnn_plan.restype = None
        self._library.lsnn_plan.argtypes = [*[c_int64] * 5, POINTER(Plan)]
        self._functions = {
            torch.float32: _functions(self._library, "float"),
            torch.float64: _functions(self._library, "double"),
        }

    def functions(self, dtype: torch.dtype) -> Functions:
        """Return the kernels for numbers of ``dtype``: float32 or float64."""
        return self._functions[dtype]

    def plan(self, steps: int, batch: int, inputs: int, neurons: int, threads: int) -> Plan:
        """Return how to compute a sequence with at most ``threads`` threads."""
        plan = Plan()
        self._library.lsnn_plan(steps, batch, inputs, neurons, threads, plan)
        return plan

    def segment_steps(self, neurons: int, lanes: int) -> int:
        """Return after how many steps the tape keeps the adaptation again."""
        return self._library.lsnn_segment_steps(neurons, lanes)

    def choose_isa(self, wanted: int = -1) -> int:
        """Use the kernels for a lesser processor: 0 for any, 1 with AVX2, 2 with AVX-512; -1 for this one's best.

        Returns:
            Which are in use now: not ``wanted`` where this processor lacks that.
        """
        return self._library.lsnn_choose_isa(wanted)


def load() -> tuple[Library | None, str | None]:
    """Return the kernels or, where they are missing, the reason."""
    try:
        module = importlib.import_module("lsnn_gym.engine.native._kernels")
    except ImportError as error:
        return None, f"its compiled part is missing ({error}): it is built when the package is installed"
    return Library(str(module.__file__)), None


class PreparedWeights:
    """Weights ``[D * N, I + N]`` in the kernels' own form, released with the object.

    Args:
        functions: Of the weights' type.
        weight: Contiguous, on the CPU.
        num_delays: D.
        lanes: Samples that the kernels compute side by side.
    """

    def __init__(self, functions: Functions, weight: Tensor, num_delays: int, lanes: int) -> None:
        num_neurons = len(weight) // num_delays
        num_inputs = weight.shape[1] - num_neurons
        self._release = functions.release
        self.handle: Any = functions.prepare(weight.data_ptr(), num_inputs, num_neurons, num_delays, lanes)
        if not self.handle:
            raise MemoryError(f"no memory for weights {tuple(weight.shape)} in the native engine's form")

    def __del__(self) -> None:
        """Give the memory back."""
        if getattr(self, "handle", None):
            self._release(self.handle)


def pointers(tensors: tuple[Tensor, ...]) -> State:
    """Return the addresses of a state's five tensors."""
    return State(*(each.data_ptr() for each in tensors))
