"""Checks recorded runs of the LSNN cell: ``lsnn_*.npz``.

Every engine of the library runs the recorded network in float64 and in float32: once step by step, which shows
every state and carries the whole loss, and, where the loss is on spikes alone, once as a whole sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lsnn_gym.engine import ENGINES, Engine
from lsnn_gym.neurons import NeuronParameters, SpikingState, decay
from lsnn_gym.synapses import stack_by_delay
from tests.vectors.results import BadRecordingError, Recording, Result, compare, identical, spikes_agree

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
MATRICES = ("in", "rec")


class _Weights(NamedTuple):
    """One matrix, all ``[pre, post]`` as in the file.

    ``theta`` is what is trained, ``connection`` the weight with its sign (the leaf of the gradients),
    ``value`` what acts: in units of voltage and without autapses.
    """

    theta: Tensor
    sign: Tensor | None
    connection: Tensor
    value: Tensor
    delay: Tensor


@dataclass
class _Traces:
    """What a run shows, batch first as in the file: ``[B, T, ...]``; ``spike_steps`` are the graph's own."""

    spikes: Tensor
    voltage: Tensor
    adaptation: Tensor
    threshold: Tensor
    currents: Tensor
    spike_steps: list[Tensor]


class Case:
    """A recorded run as the library's own objects."""

    def __init__(self, recording: Recording, dtype: torch.dtype) -> None:
        self.recording = recording
        self.dtype = dtype
        self.dt = float(recording.setting("dt", default=1.0))
        inputs = recording.array("x")
        if inputs.ndim != 3:
            raise BadRecordingError(f"{recording.path}: x is {inputs.shape}, expected [batch, time, inputs]")
        self.batch_size, self.steps, self.num_inputs = inputs.shape
        self.num_neurons = recording.array("z").shape[-1]
        self.max_delay = int(recording.setting("n_delay"))
        self.period = int(recording.setting("n_refractory"))
        self.inputs = self.tensor("x").transpose(0, 1)
        self.neurons = self._neurons()
        self.matrices = {name: self._weights(name) for name in MATRICES}

    def tensor(self, name: str, *shape: int) -> Tensor:
        """Return a recorded array in the dtype of the case."""
        return torch.as_tensor(self.recording.array(name, shape or None).copy(), dtype=self.dtype)

    @property
    def voltage_unit(self) -> float:
        """Return V0."""
        return float(self.recording.setting("V0", default=1.0))

    def _neurons(self) -> NeuronParameters:
        size = self.num_neurons
        setting = self.recording.setting
        beta = self.tensor("beta", size) if "beta" in self.recording else torch.zeros(size, dtype=self.dtype)

        def constant(value: object) -> Tensor:
            return torch.as_tensor(value, dtype=torch.float64).expand(size).to(self.dtype)

        return NeuronParameters(
            membrane_decay=constant(decay(torch.as_tensor(setting("tau"), dtype=torch.float64), self.dt)),
            adaptation_decay=constant(
                decay(torch.as_tensor(setting("tau_adaptation", default=1.0), dtype=torch.float64), self.dt)
            ),
            threshold=constant(setting("thr")),
            beta=beta * self.voltage_unit,
            refractory_period=constant(float(self.period)),
        )

    def _weights(self, name: str) -> _Weights:
        shape = (self.num_inputs if name == "in" else self.num_neurons, self.num_neurons)
        theta = self.tensor(f"w_{name}_var", *shape)
        sign = self.tensor(f"sign_{name}", *shape) if f"sign_{name}" in self.recording else None
        delay = torch.as_tensor(self.recording.array(f"d_{name}", shape).copy())
        if int(delay.min()) < 0 or int(delay.max()) >= self.max_delay:
            raise BadRecordingError(f"{self.recording.path}: d_{name} is outside 0..{self.max_delay - 1}")
        connection = theta if sign is None else torch.where(theta > 0, sign * theta, 0.0)
        connection = connection.detach().clone().requires_grad_()
        value = connection * self.voltage_unit
        if name == "rec":
            value = value * (1 - torch.eye(self.num_neurons, dtype=self.dtype))
        return _Weights(theta, sign, connection, value, delay)

    def stacked(self) -> Tensor:
        """Return all weights as the engines take them, ``[D * N, I + N]``."""
        parts = [
            stack_by_delay(each.value.T, each.delay.T, self.max_delay) for each in self.matrices.values()
        ]
        return torch.cat(parts, dim=1)

    def start(self) -> SpikingState:
        """Return the state before the first step: recorded, or rest."""
        rest = SpikingState.zeros(self.batch_size, self.num_neurons, self.max_delay, dtype=self.dtype)
        if "state0_v" not in self.recording:
            return rest
        plane = (self.batch_size, self.num_neurons)
        adaptive = "state0_b" in self.recording
        return SpikingState(
            voltage=self.tensor("state0_v", *plane),
            spikes=self.tensor("state0_z", *plane),
            adaptation=self.tensor("state0_b", *plane) if adaptive else rest.adaptation,
            refractory=self._blocked_at_start(),
            currents=self.tensor("state0_i_future_buffer", *plane, self.max_delay)
            .transpose(1, 2)
            .contiguous(),
        )

    def _blocked_at_start(self) -> Tensor:
        """Return for how many steps the remembered spikes, newest last, still block: R for the newest."""
        memory = self.tensor("state0_z_buffer", self.batch_size, self.num_neurons, self.period)
        if self.period == 0:
            return memory.new_zeros(memory.shape[:2])
        left = torch.arange(1, self.period + 1, dtype=self.dtype)
        return torch.where(memory > 0, left, 0.0).amax(dim=2)

    def loss(self, spikes: Tensor, traces: _Traces | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, its rate term, and the firing rates in kHz, for spikes ``[B, T, N]``."""
        rate = spikes.mean(dim=(0, 1)) / self.dt
        target = float(self.recording.setting("f0"))
        shape = tuple(spikes.shape)
        regularisation = float(self.recording.setting("reg")) * ((rate - target) ** 2).sum()
        loss = (self.tensor("c_z", *shape) * spikes).sum() + regularisation
        if traces is not None:
            for name, trace in (("c_v", traces.voltage), ("c_thr", traces.threshold)):
                if name in self.recording:
                    loss = loss + (self.tensor(name, *shape) * trace).sum()
        return loss, regularisation, rate


def run_by_steps(case: Case, engine: Engine) -> _Traces:
    """Run the recorded network one step at a time, so that every state is seen."""
    weight, state = case.stacked(), case.start()
    # No weight acts on the first spikes: only with this are they part of the graph, and have a derivative.
    state.voltage.requires_grad_()
    states = []
    for t in range(case.steps):
        _, state = _run(engine, case, weight, case.inputs[t : t + 1], state)
        states.append(state)
    spikes = [each.spikes for each in states]
    for each in spikes:
        each.retain_grad()
    adaptation = torch.stack([each.adaptation for each in states], dim=1)
    return _Traces(
        spikes=torch.stack(spikes, dim=1),
        voltage=torch.stack([each.voltage for each in states], dim=1),
        adaptation=adaptation,
        threshold=case.neurons.threshold + case.neurons.beta * adaptation,
        currents=torch.stack([each.currents for each in states], dim=1).transpose(2, 3),
        spike_steps=spikes,
    )


def _run(
    engine: Engine, case: Case, weight: Tensor, inputs: Tensor, state: SpikingState
) -> tuple[Tensor, SpikingState]:
    gamma = float(case.recording.setting("dampening_factor"))
    return engine.run(case.neurons, weight, inputs, state, None, None, dt=case.dt, dampening_factor=gamma)


def check(path: Path | str) -> list[Result]:
    """Return the largest error of every quantity of a recorded run, for each dtype and engine."""
    recording = Recording(path)
    results = [recording.all_finite(), *_check_weights(Case(recording, torch.float64))]
    for dtype in TOLERANCES:
        for name, engine in ENGINES.items():
            if engine.unavailable:
                continue
            label = f"{str(dtype).removeprefix('torch.')} {name}"
            results += _check_by_steps(Case(recording, dtype), engine, f"{label} by steps: ")
            if "c_v" not in recording and "c_thr" not in recording:
                results += _check_sequence(Case(recording, dtype), engine, f"{label} whole: ")
    return results


def _check_weights(case: Case) -> list[Result]:
    results = []
    for name, matrix in case.matrices.items():
        results.append(compare(f"w_{name}_val", matrix.value, case.recording.array(f"w_{name}_val"), 1e-12))
        if f"theta_{name}" in case.recording:
            results.append(identical(f"theta_{name}", matrix.theta, case.recording.array(f"theta_{name}")))
        if f"{name}_neuron_sign" in case.recording and matrix.sign is not None:
            by_neuron = case.tensor(f"{name}_neuron_sign", len(matrix.sign))[:, None].expand_as(matrix.sign)
            results.append(identical(f"sign_{name}", by_neuron, case.recording.array(f"sign_{name}")))
        if f"W_{name}_delayed" in case.recording:
            stacked = stack_by_delay(matrix.value.T, matrix.delay.T, case.max_delay)
            by_delay = stacked.unflatten(0, (case.max_delay, -1)).permute(2, 1, 0)
            expected = case.recording.array(f"W_{name}_delayed")
            results.append(compare(f"W_{name}_delayed", by_delay, expected, 1e-12))
    return results


def _check_by_steps(case: Case, engine: Engine, label: str) -> list[Result]:
    recording, tolerance = case.recording, TOLERANCES[case.dtype]
    traces = run_by_steps(case, engine)
    loss, regularisation, rate = case.loss(traces.spikes, traces)
    loss.backward()
    before = torch.cat([case.start().voltage[:, None], traces.voltage[:, :-1]], dim=1)
    scaled = (before - traces.threshold) / traces.threshold
    by_spikes = [
        each.grad if each.grad is not None else torch.zeros_like(each) for each in traces.spike_steps
    ]
    found = {
        "v": traces.voltage,
        "b": traces.adaptation,
        "thr_trace": traces.threshold,
        "i_future_buffer": traces.currents,
        "v_scaled": scaled,
        "firing_rate": rate,
        "loss_reg": regularisation,
        "dloss_dz": torch.stack(by_spikes, dim=1),
    }
    results = [
        spikes_agree(label, traces.spikes, recording),
        compare(f"{label}loss", loss, recording.array("loss"), tolerance),
    ]
    results += [
        compare(label + name, value, recording.array(name), tolerance)
        for name, value in found.items()
        if name in recording or name in ("v", "i_future_buffer", "dloss_dz")
    ]
    if "min_margin" in recording and case.dtype == torch.float64:
        difference = float(scaled.detach().abs().min()) - float(recording.array("min_margin", ()))
        results.append(Result(f"{label}min_margin (absolute)", abs(difference), tolerance))
    return results + _check_gradients(case, label)


def _check_sequence(case: Case, engine: Engine, label: str) -> list[Result]:
    spikes, after = _run(engine, case, case.stacked(), case.inputs, case.start())
    loss, *_ = case.loss(spikes.transpose(0, 1))
    loss.backward()
    tolerance = TOLERANCES[case.dtype]
    last = case.recording.array("v")[:, -1]
    return [
        spikes_agree(label, spikes.transpose(0, 1), case.recording),
        compare(f"{label}last v", after.voltage, last, tolerance),
        *_check_gradients(case, label),
    ]


def _check_gradients(case: Case, label: str) -> list[Result]:
    results = []
    for name, matrix in case.matrices.items():
        gradient = matrix.connection.grad
        if gradient is None:
            raise BadRecordingError(f"{case.recording.path}: the loss does not depend on w_{name}")
        sign = torch.ones_like(gradient) if matrix.sign is None else matrix.sign
        dense = sign * gradient
        acts = torch.ones_like(gradient, dtype=torch.bool) if matrix.sign is None else matrix.theta > 0
        found = {
            f"g_w_{name}_var": torch.where(acts, dense, 0.0),
            f"g_weight_{name}": gradient,
            f"g_theta_dense_{name}": dense,
        }
        needed = list(found) if matrix.sign is not None else [f"g_w_{name}_var"]
        results += [
            compare(label + key, found[key], case.recording.array(key), TOLERANCES[case.dtype])
            for key in needed
        ]
    return results
