"""Checks recorded runs of e-prop: ``eprop_*.npz``, each in float64 and float32.

What a file holds tells which of five checks it gets: the factorisation of the gradient of backpropagation
through time, e-prop with its feedback, pattern generation, the broadcast readout, or the TIMIT cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from lsnn_gym.engine import reference
from lsnn_gym.neurons import CELL_MODELS, CellModel, NeuronParameters, SpikingState, decay
from lsnn_gym.rules.broadcast import broadcast_linear
from lsnn_gym.rules.eprop import EProp, EPropState
from tests.vectors.results import BadRecordingError, Recording, Result, compare, identical, spikes_agree

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
# Nearer to its threshold than this, a neuron may rightly fire in one precision and not in the other.
SMALLEST_MARGIN = 1e-5


class Case:
    """A recorded run as the library's own objects, and that run repeated."""

    def __init__(self, recording: Recording, dtype: torch.dtype, model: CellModel) -> None:
        self.recording = recording
        self.dtype = dtype
        self.model = model
        inputs = recording.array("x")
        if inputs.ndim != 3:
            raise BadRecordingError(f"{recording.path}: x is {inputs.shape}, expected [batch, time, inputs]")
        self.batch_size, self.steps, self.num_inputs = inputs.shape
        self.num_neurons = recording.array("z").shape[-1]
        self.dt = float(recording.setting("dt", default=1.0))
        self.gamma = float(recording.setting("dampening_factor", "gamma"))
        self.inputs = self.tensor("x").transpose(0, 1)
        self.weight = torch.cat([self._matrix("w_in"), self._matrix("w_rec")], dim=1).requires_grad_()
        self.neurons = self._neurons()
        self.rule = EProp(self.neurons, model, self._kappa(), self.gamma, self.dt)

    def tensor(self, name: str, *shape: int) -> Tensor:
        """Return a recorded array in the dtype of the case."""
        return torch.as_tensor(self.recording.array(name, shape or None).copy(), dtype=self.dtype)

    def readout(self, name: str) -> Tensor:
        """Return weights recorded as ``[N, K]`` as ``[K, N]``."""
        return self.tensor(name, self.num_neurons, self.recording.array("y_target").shape[-1]).T

    def _matrix(self, name: str) -> Tensor:
        if name == "w_in":
            return self.tensor(name, self.num_inputs, self.num_neurons).T
        return self.tensor(name, self.num_neurons, self.num_neurons).T.clone().fill_diagonal_(0)

    def _neurons(self) -> NeuronParameters:
        size, setting = self.num_neurons, self.recording.setting
        adaptive = "beta" in self.recording and self.recording.array("beta").any()

        def constant(value: float | Tensor) -> Tensor:
            return torch.as_tensor(value, dtype=torch.float64).expand(size).to(self.dtype)

        return NeuronParameters(
            membrane_decay=constant(decay(float(setting("tau_v", "tau")), self.dt)),
            adaptation_decay=constant(
                decay(float(setting("tau_a", "tau_adaptation", default=None if adaptive else 1.0)), self.dt)
            ),
            threshold=constant(float(setting("thr"))),
            beta=self.tensor("beta", size) if "beta" in self.recording else constant(0.0),
            refractory_period=constant(float(setting("n_refractory", "n_ref", default=0))),
        )

    def _kappa(self) -> float:
        tau = self.recording.setting("readout_tau", "tau_out", default=math.nan)
        kappa = self.recording.setting("kappa", default=math.exp(-self.dt / tau))
        return 0.0 if math.isnan(kappa) else float(kappa)

    @cached_property
    def states(self) -> list[EPropState]:
        """Return the state after each step, networks and traces."""
        state = self.rule.initial_state(self.batch_size, self.num_inputs)
        states = []
        for inputs in self.inputs:
            state = self.rule.step(self.weight, inputs, state)
            states.append(state)
        return states

    def over_time(self, choose: Callable[[EPropState], Tensor]) -> Tensor:
        """Return something of each state, ``[B, T, ...]``."""
        return torch.stack([choose(state) for state in self.states], dim=1)

    def differentiable_spikes(self, model: CellModel) -> Tensor:
        """Return the spikes ``[T, B, N]`` of the reference engine, with their gradient."""
        rest = SpikingState.zeros(self.batch_size, self.num_neurons, 1, dtype=self.dtype)
        spikes, _ = reference.run(
            self.neurons,
            self.weight,
            self.inputs,
            rest,
            None,
            None,
            dt=self.dt,
            dampening_factor=self.gamma,
            model=model,
        )
        return spikes

    def filtered(self, spikes: Tensor) -> Tensor:
        """Return spikes ``[T, B, N]`` as the readout sees them."""
        filtered = [torch.zeros_like(spikes[0])]
        for each in spikes:
            filtered.append(self.rule.kappa * filtered[-1] + (1 - self.rule.kappa) * each)
        return torch.stack(filtered[1:])

    def gradient(self, loss: Tensor) -> Tensor:
        """Return the gradient of a loss by the weights ``[N, I + N]``, autapses 0."""
        (gradient,) = torch.autograd.grad(loss, self.weight)
        return self.without_autapses(gradient)

    def without_autapses(self, by_weight: Tensor) -> Tensor:
        """Return ``[..., N, I + N]`` with the recurrent diagonal 0."""
        mask = torch.ones(self.num_neurons, self.num_inputs + self.num_neurons, dtype=self.dtype)
        mask[:, self.num_inputs :].fill_diagonal_(0)
        return by_weight * mask

    def compare(self, name: str, value: Tensor) -> Result:
        """Compare with the recorded array of this name."""
        label = f"{str(self.dtype).removeprefix('torch.')}: {name}"
        return compare(label, value, self.recording.array(name), TOLERANCES[self.dtype])

    def compare_split(self, name: str, value: Tensor, suffix: str = "") -> list[Result]:
        """Compare ``[..., N, I + N]`` with recorded arrays ``[..., pre, N]`` for inputs and neurons.

        Of the traces named eps, those of the inputs may be missing: they are not recorded everywhere.
        """
        parts = {"in": value[..., : self.num_inputs], "rec": value[..., self.num_inputs :]}
        names = {part: f"{name}_{part}{suffix}" for part in parts}
        return [
            self.compare(names[part], value.transpose(-1, -2))
            for part, value in parts.items()
            if names[part] in self.recording or not (name.startswith("eps") and part == "in")
        ]

    def compare_states(self) -> list[Result]:
        """Compare spikes, and voltages and adaptation where recorded, with those of the traces' networks."""
        label = f"{str(self.dtype).removeprefix('torch.')}: "
        spikes = self.over_time(lambda state: state.cell.spikes)
        results = [
            spikes_agree(label, spikes, self.recording),
            self.compare("v", self.over_time(lambda state: state.cell.voltage)),
        ]
        if "b" in self.recording:
            results.append(self.compare("b", self.over_time(lambda state: state.cell.adaptation)))
        if "v_scaled" in self.recording:
            results.append(self.compare("v_scaled", self.scaled_voltage()))
        return results

    def scaled_voltage(self) -> Tensor:
        """Return the distance from threshold ``[B, T, N]`` on which these models, all of them, fire."""
        voltage = self.over_time(lambda state: state.cell.voltage)
        adaptation = self.over_time(lambda state: state.cell.adaptation)
        threshold = self.neurons.threshold + self.neurons.beta * adaptation
        return (voltage - threshold) / (
            self.neurons.threshold if self.model.normalised_by_baseline else threshold
        )


def check(path: Path | str) -> list[Result]:
    """Return the largest error of every quantity recorded in a file, in float64 and float32."""
    recording = Recording(path)
    results = [recording.all_finite()]
    if "random_g_psp" in recording:
        return results + [each for dtype in TOLERANCES for each in _check_broadcast(recording, dtype)]
    check_case, model = _check_and_model(recording)
    for dtype in TOLERANCES:
        precise = Case(recording, torch.float64, model)
        if dtype is torch.float64 or float(precise.scaled_voltage().abs().min()) >= SMALLEST_MARGIN:
            results += check_case(Case(recording, dtype, model))
    return results


def _check_and_model(recording: Recording) -> tuple[Callable[[Case], list[Result]], CellModel]:
    if "learning_signal_total" in recording:
        return _check_factorisation, CELL_MODELS["eprop-a"]
    if "B_feedback" in recording:
        return _check_feedback, CELL_MODELS["eprop-a"]
    if "B_random" in recording:
        return _check_pattern_generation, CELL_MODELS["eprop-b"]
    if "c_z" in recording and "g_in" in recording:
        return _check_timit_cell, CELL_MODELS["eprop-c"]
    raise BadRecordingError(f"{recording.path}: its arrays are those of no known e-prop case")


def _check_factorisation(case: Case) -> list[Result]:
    """e-prop with the total learning signal is backpropagation through time."""
    target = case.tensor("y_target").transpose(0, 1)
    readout = case.readout("w_out")
    spikes = case.differentiable_spikes(case.model)
    output = case.filtered(spikes) @ readout.T
    loss = ((output - target) ** 2).mean()
    by_output = (2 * (output - target) / target.numel()).detach()
    signal = _total_learning_signal(case, by_output @ readout)
    eligibility = case.over_time(lambda state: state.traces.spike)
    results = [
        *case.compare_states(),
        case.compare("y_out", output.transpose(0, 1)),
        case.compare("loss", loss),
        case.compare("learning_signal_total", signal.transpose(0, 1)),
        case.compare("psi", case.over_time(lambda state: state.slope)),
        *case.compare_split("e", case.without_autapses(eligibility)),
    ]
    for name in ("voltage", "adaptation"):
        trace = case.over_time(lambda state, name=name: getattr(state.traces, name))
        trace = case.without_autapses(trace.expand_as(eligibility))
        results += case.compare_split(f"eps_{name[0]}", trace)
    by_eprop = case.without_autapses(torch.einsum("tbj,btji->ji", signal, eligibility))
    return [
        *results,
        *case.compare_split("g_eprop", by_eprop),
        *case.compare_split("g_bptt", case.gradient(loss)),
    ]


def _total_learning_signal(case: Case, by_filtered: Tensor) -> Tensor:
    """Return dE/dz ``[T, B, N]`` by readout, synapses and reset, backwards in time, for model A."""
    alpha, rho, threshold, beta, _ = case.neurons
    recurrent = case.weight.detach()[:, case.num_inputs :]
    slope = case.over_time(lambda state: state.slope).transpose(0, 1)
    direct = by_voltage = by_adaptation = torch.zeros_like(slope[0])
    signals = []
    for psi, by_value in zip(reversed(slope.unbind()), reversed(by_filtered.unbind()), strict=True):
        direct = case.rule.kappa * direct + (1 - case.rule.kappa) * by_value
        signal = direct + by_voltage @ recurrent - case.dt * threshold * by_voltage
        by_argument = psi * (signal + by_adaptation)
        by_voltage = by_argument + alpha * by_voltage
        by_adaptation = -beta * by_argument + rho * by_adaptation
        signals.append(signal)
    return torch.stack(signals[::-1])


def _check_feedback(case: Case) -> list[Result]:
    """Filtered traces and feedback weights, and the same by autograd."""
    target = case.tensor("y_target")
    readout, feedback = case.readout("w_out"), case.readout("B_feedback")
    output = case.over_time(lambda state: state.filtered_spikes) @ readout.T
    spikes = case.differentiable_spikes(replace(case.model, stops_spike_gradient=True))
    by_autograd = broadcast_linear(case.filtered(spikes), readout, feedback)
    results = []
    if case.recording.setting("feedback", default="") == "symmetric":
        results.append(identical("w_out and B_feedback", readout, feedback.numpy()))
    return [
        *results,
        *case.compare_states(),
        case.compare("y_out", output),
        case.compare("loss", 0.5 * ((output - target) ** 2).sum()),
        case.compare("learning_signal", (output - target) @ feedback),
        *case.compare_split(
            "e", case.without_autapses(case.over_time(lambda state: state.traces.filtered)), "_filtered"
        ),
        *case.compare_split("g_eprop", _online_gradients(case, readout, feedback)[0]),
        *case.compare_split(
            "g_autodiff", case.gradient(0.5 * ((by_autograd - target.transpose(0, 1)) ** 2).sum())
        ),
    ]


def _online_gradients(case: Case, readout: Tensor, feedback: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by weights, readout and, of the rate term, by the weights."""
    sums = case.rule.initial_sums(case.num_inputs, len(readout))
    for state, target in zip(case.states, case.tensor("y_target").unbind(1), strict=True):
        error = state.filtered_spikes @ readout.T - target
        sums = case.rule.accumulate(sums, state, error, feedback)
    target_rate = 1000 * float(case.recording.setting("f0", default=0.0) or 0.0)
    return sums.weight, sums.output, case.rule.rate_gradient(sums, target_rate)


def _check_pattern_generation(case: Case) -> list[Result]:
    """Symmetric and random feedback with rate regularisation, and the readout's gradient."""
    target = case.tensor("y_target")
    readout, strength = case.readout("w_out"), float(case.recording.setting("reg"))
    output = case.over_time(lambda state: state.filtered_spikes) @ readout.T
    spikes = case.differentiable_spikes(replace(case.model, stops_spike_gradient=True))
    rate_loss = 0.5 * ((spikes.mean((0, 1)) / case.dt - float(case.recording.setting("f0"))) ** 2).sum()
    by_autograd = case.filtered(spikes) @ readout.T
    loss = 0.5 * ((by_autograd - target.transpose(0, 1)) ** 2).sum()
    results = [
        *case.compare_states(),
        case.compare("y_out", output),
        case.compare("loss", 0.5 * ((output - target) ** 2).sum()),
        case.compare("loss_reg", rate_loss),
        *case.compare_split("g_autodiff", case.gradient(loss + strength * rate_loss)),
    ]
    for name, feedback in (("g_sym", readout), ("g_rand", case.readout("B_random"))):
        by_weight, by_output, by_rate = _online_gradients(case, readout, feedback)
        results += case.compare_split(name, by_weight + strength * by_rate)
        if feedback is readout:
            results.append(case.compare("g_out", by_output.T))
    return results


def _check_timit_cell(case: Case) -> list[Result]:
    """The cell that adapts while refractory: gradients of a loss on its spikes, stopped or not."""
    stops = bool(case.recording.setting("stop_gradients"))
    factors = case.tensor("c_z", case.batch_size, case.steps, case.num_neurons)
    spikes = case.differentiable_spikes(replace(case.model, stops_spike_gradient=stops))
    loss = (factors * spikes.transpose(0, 1)).sum()
    results = [
        *case.compare_states(),
        case.compare("loss", loss),
        *case.compare_split("g", case.gradient(loss)),
    ]
    if stops:
        eligibility = case.over_time(lambda state: state.traces.spike)
        by_traces = case.without_autapses(torch.einsum("btj,btji->ji", factors, eligibility))
        results += [
            replace(each, name=f"{each.name} by traces") for each in case.compare_split("g", by_traces)
        ]
    return results


def _check_broadcast(recording: Recording, dtype: torch.dtype) -> list[Result]:
    """Random and adaptive feedback of a readout."""
    results = []
    names = ("psp", "w_out", "B", "dy")
    for kind in ("random", "adaptive"):
        values, weight, feedback, by_output = (
            torch.as_tensor(recording.array(name).copy(), dtype=dtype) for name in names
        )
        values.requires_grad_()
        weight.requires_grad_()
        feedback.requires_grad_(kind == "adaptive")
        logits = broadcast_linear(values, weight.T, feedback.T)
        logits.backward(by_output)
        by_feedback = torch.zeros_like(feedback) if feedback.grad is None else feedback.grad
        found = {"logits": logits, "g_psp": values.grad, "g_w_out": weight.grad, "g_B": by_feedback}
        for name, value in found.items():
            label = f"{str(dtype).removeprefix('torch.')}: {kind}_{name}"
            assert value is not None
            results.append(compare(label, value, recording.array(f"{kind}_{name}"), TOLERANCES[dtype]))
    return results
