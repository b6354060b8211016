"""The recurrent cell as slowly and obviously as it can be written: one neuron at a time, in Python's floats."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lsnn_gym.neurons import CellModel, NeuronParameters, SpikingState


@dataclass
class Neuron:
    """One neuron, and what it remembers of the step before."""

    alpha: float
    rho: float
    threshold: float
    beta: float
    period: int
    voltage: float
    spike: float
    adaptation: float
    blocked: int
    due: list[float]


def advance(neuron: Neuron, model: CellModel, arriving: list[float], noise: float, dt: float) -> None:
    """Advance one neuron by one step; ``arriving[k]`` is the current that the synapses of delay k add."""
    due = [old + new for old, new in zip(neuron.due, arriving, strict=True)]
    crossed = neuron.threshold + neuron.beta * neuron.adaptation

    adds = neuron.spike
    if model.adapts_while_refractory:
        adds = 1 / dt if neuron.voltage > crossed else 0.0
    if model.scaled_adaptation:
        adds *= 1 - neuron.rho
    adaptation = neuron.rho * neuron.adaptation + adds
    threshold = neuron.threshold + neuron.beta * adaptation

    current = due[0] + noise
    if model.scaled_current:
        current *= 1 - neuron.alpha
    fall = {"current": threshold, "crossed": crossed, "baseline": neuron.threshold}[model.reset_by]
    voltage = neuron.alpha * neuron.voltage + current - neuron.spike * fall * dt

    deciding = voltage if model.fires_on_new_voltage else neuron.voltage
    fires = deciding > threshold and neuron.blocked == 0
    neuron.blocked = max(neuron.blocked - 1, 0)
    if fires:
        silenced = neuron.period - 1 if model.spike_counts_as_refractory else neuron.period
        neuron.blocked = max(silenced, 0)
    neuron.voltage, neuron.adaptation, neuron.due = voltage, adaptation, [*due[1:], 0.0]
    neuron.spike = 1 / dt if fires else 0.0


def run(
    parameters: NeuronParameters,
    weight: Tensor,
    inputs: Tensor,
    state: SpikingState,
    noise: Tensor,
    *,
    dt: float,
    model: CellModel,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return spikes, voltages and adaptations ``[T, B, N]``, with the arguments of ``reference.run``."""
    batch_size, max_delay, size = state.currents.shape
    num_inputs = inputs.shape[2]
    shown = [torch.zeros(len(inputs), batch_size, size, dtype=torch.float64) for _ in range(3)]
    for row in range(batch_size):
        neurons = [
            Neuron(
                *(float(each[n]) for each in parameters[:4]),
                period=int(parameters.refractory_period[n]),
                voltage=float(state.voltage[row, n]),
                spike=float(state.spikes[row, n]),
                adaptation=float(state.adaptation[row, n]),
                blocked=int(state.refractory[row, n]),
                due=state.currents[row, :, n].tolist(),
            )
            for n in range(size)
        ]
        for t in range(len(inputs)):
            activity = [*inputs[t, row].tolist(), *(each.spike for each in neurons)]
            for n, neuron in enumerate(neurons):
                arriving = [
                    sum((float(weight[k * size + n, i]) * activity[i] for i in range(num_inputs + size)), 0.0)
                    for k in range(max_delay)
                ]
                advance(neuron, model, arriving, float(noise[t, row, n]), dt)
            for n, neuron in enumerate(neurons):
                shown[0][t, row, n] = neuron.spike
                shown[1][t, row, n] = neuron.voltage
                shown[2][t, row, n] = neuron.adaptation
    return shown[0], shown[1], shown[2]
