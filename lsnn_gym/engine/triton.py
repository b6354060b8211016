"""The LSNN recurrence on a GPU: one Triton kernel forwards and one backwards, each for the whole sequence.

A program takes a tile of samples through all steps. Its neurons' state stays in registers; the spikes, or errors, of
earlier steps are read back block by block for the products with the recurrent weights, which the caches keep. All
that does not wait for the step before is a product over the whole sequence, outside of the kernels.

**Not measured on a GPU yet.** Its numbers are tested in Triton's interpreter (``TRITON_INTERPRET=1``), on the CPU.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from typing import Any

import torch
from torch import Tensor

from lsnn_gym.engine import unrolled
from lsnn_gym.engine.unrolled import Adjoint, Constants, Kept, Loops, begin, supports
from lsnn_gym.neurons import LSNN, CellModel, NeuronParameters, SpikingState

__all__ = ["begin", "run", "supports", "unavailable"]

_SAMPLES = 16
"""Of a program: the least that a matrix unit takes."""
_BLOCK = 32
"""Presynaptic neurons that are read at a time."""


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _why_unavailable() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: pip install triton"
    if not torch.cuda.is_available() and not _interpreted():
        return "PyTorch finds no GPU (TRITON_INTERPRET=1 runs the kernels on the CPU, slowly, to test them)"
    return None


unavailable: str | None = _why_unavailable()


@functools.cache
def _kernels() -> Any:
    return importlib.import_module("lsnn_gym.engine.triton_kernels")


def run(
    neurons: NeuronParameters,
    weight: Tensor,
    inputs: Tensor,
    state: SpikingState,
    reset: Tensor | None,
    noise_current: Tensor | None,
    *,
    dt: float,
    dampening_factor: float,
    model: CellModel = LSNN,
    delay_index: Tensor | None = None,
) -> tuple[Tensor, SpikingState]:
    """Advance B networks through T simulation steps; see ``reference.run``, of which this is the equal.

    Tensors that are not on a GPU go through the unrolled engine. A reset inside the sequence divides it.

    Raises:
        ValueError: If the engine does not support ``model``.
        RuntimeError: If it is not available.
    """
    if not supports(model):
        raise ValueError(f"the triton engine does not implement {model}: use the reference engine")
    if unavailable:
        raise RuntimeError(f"the triton engine is not available: {unavailable}")
    if not (weight.is_cuda or _interpreted()):
        return unrolled.run(
            neurons,
            weight,
            inputs,
            state,
            reset,
            noise_current,
            dt=dt,
            dampening_factor=dampening_factor,
            model=model,
        )
    neurons = NeuronParameters(*(each.contiguous() for each in neurons))
    constants = Constants(neurons, dt, dampening_factor, model.stops_spike_gradient)
    loops = Loops(_forward, _adjoint)
    return unrolled.run_parts(loops, constants, weight, inputs, state, reset, noise_current)


def _forward(
    constants: Constants, weight: Tensor, inputs: Tensor, noise: Tensor | None, state: SpikingState
) -> tuple[Kept, Tensor, SpikingState]:
    steps, batch_size, num_inputs = inputs.shape
    num_delays, num_neurons = state.currents.shape[1:]
    shape = (steps, batch_size, num_neurons)
    recurrent = _recurrent_weights(weight, num_inputs, num_delays)
    due = _currents_from_outside(weight, inputs, noise, state)
    # emitted[t] is what was fired in step t - 1.
    emitted = inputs.new_empty(steps + 1, batch_size, num_neurons)
    emitted[0] = state.spikes
    threshold, scaled_voltage = inputs.new_empty(shape), inputs.new_empty(shape)
    blocked = torch.empty(shape, dtype=torch.int8, device=inputs.device)
    voltage, adaptation, refractory = (
        each.detach().clone(memory_format=torch.contiguous_format)
        for each in (state.voltage, state.adaptation, state.refractory)
    )
    _kernels().forward[(-(-batch_size // _SAMPLES),)](
        *constants.neurons,
        recurrent,
        due,
        emitted,
        voltage,
        adaptation,
        refractory,
        threshold,
        scaled_voltage,
        blocked,
        constants.dt,
        steps,
        batch_size,
        num_neurons,
        **_sizes(num_neurons, num_delays),
    )
    spikes = emitted[1:].clone()
    # What is sent in the last steps and arrives after them.
    for late in range(1, num_delays):
        for sent in range(max(0, steps - late), steps):
            arrives = sent + late
            if arrives >= steps:
                due[arrives] += emitted[sent] @ recurrent[late].T
    after = SpikingState(
        voltage, spikes[-1].clone(), adaptation, refractory, due[steps:].transpose(0, 1).contiguous()
    )
    presynaptic = torch.cat([inputs, emitted[:-1]], dim=2)
    return Kept(presynaptic, threshold, scaled_voltage, blocked.bool()), spikes, after


def _recurrent_weights(weight: Tensor, num_inputs: int, num_delays: int) -> Tensor:
    """Return ``[D, post, pre]``, contiguous."""
    return weight.detach()[:, num_inputs:].unflatten(0, (num_delays, -1)).contiguous()


def _currents_from_outside(
    weight: Tensor, inputs: Tensor, noise: Tensor | None, state: SpikingState
) -> Tensor:
    """Return the currents ``[T + D, B, N]`` that arrive at each step without the network's spikes."""
    steps, batch_size, num_inputs = inputs.shape
    num_delays, num_neurons = state.currents.shape[1:]
    due = inputs.new_zeros(steps + num_delays, batch_size, num_neurons)
    due[:num_delays] = state.currents.transpose(0, 1)
    for k, part in enumerate(weight[:, :num_inputs].chunk(num_delays)):
        due[k : k + steps] += inputs @ part.T
    if noise is not None:
        due[:steps] += noise
    return due


def _adjoint(adjoint: Adjoint, by_spikes: Tensor, by_after: SpikingState) -> tuple[Tensor, SpikingState]:
    constants, kept = adjoint.constants, adjoint.kept
    steps, batch_size, num_neurons = by_spikes.shape
    errors = by_spikes.new_empty(steps + adjoint.num_delays, batch_size, num_neurons)
    errors[steps:] = by_after.currents.transpose(0, 1)
    by_voltage, by_emitted, by_adaptation = (
        each.clone(memory_format=torch.contiguous_format)
        for each in (by_after.voltage, by_after.spikes, by_after.adaptation)
    )
    _kernels().backward[(-(-batch_size // _SAMPLES),)](
        *constants.neurons[:4],
        _recurrent_weights(adjoint.weight, adjoint.num_inputs, adjoint.num_delays),
        kept.presynaptic[:, :, adjoint.num_inputs :].contiguous(),
        kept.threshold,
        kept.scaled_voltage,
        adjoint.slope_over_threshold(),
        by_spikes.contiguous(),
        errors,
        by_voltage,
        by_emitted,
        by_adaptation,
        constants.dt,
        steps,
        batch_size,
        num_neurons,
        stops=constants.stops_spike_gradient,
        **_sizes(num_neurons, adjoint.num_delays),
    )
    currents = errors[: adjoint.num_delays].transpose(0, 1).contiguous()
    return errors, SpikingState(by_voltage, by_emitted, by_adaptation, by_voltage, currents)


def _sizes(num_neurons: int, num_delays: int) -> dict[str, int]:
    columns = max(16, 1 << (num_neurons - 1).bit_length())
    return {
        "delays": num_delays,
        "samples": _SAMPLES,
        "columns": columns,
        "block": min(columns, _BLOCK),
    }
