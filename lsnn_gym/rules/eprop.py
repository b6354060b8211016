"""e-prop: gradients of a recurrent spiking network from traces that run forwards in time.

The gradient by a weight from i to j is ``sum_t L_j[t] e_ji[t]``: an eligibility trace e that synapse and neuron
know, times a learning signal L that is broadcast to the neuron. With L the total derivative of the loss by the
spike, this is backpropagation through time exactly; e-prop proper takes only what L is known at once. Nothing
here grows with the length of the sequence.

Axes: B networks, N neurons (j), P = I + N presynaptic channels (i): inputs, then neurons; K outputs. Weights
are ``[post, pre]``.

Source: Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein, Maass: A solution to the learning dilemma for
recurrent networks of spiking neurons, Nature Communications 11:3625, 2020, and the authors' code.

The same gradients come from autograd where a cell model with ``stops_spike_gradient`` is run by an engine and
read out by a ``LeakyReadout`` with the wanted feedback: for training loops that call ``loss.backward()``, at the
cost of memory that grows with the sequence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.engine import reference
from lsnn_gym.neurons import CellModel, NeuronParameters, SpikingState
from lsnn_gym.synapses import stack_by_delay


class EligibilityTraces(NamedTuple):
    """How the state of each neuron depends on each of its weights, by the neuron's own dynamics alone.

    Attributes:
        voltage: Of the voltage ``[B, N, P]``, or ``[B, 1, P]`` where it is the same for all neurons.
        adaptation: Of the adaptation ``[B, N, P]``.
        spike: Of the spike ``[B, N, P]``: the eligibility trace e.
        adapting: Of what enters the adaptation next ``[B, N, P]``: e, unless the cell adapts while refractory.
        filtered: e filtered as the readout filters the spikes ``[B, N, P]``.
    """

    voltage: Tensor
    adaptation: Tensor
    spike: Tensor
    adapting: Tensor
    filtered: Tensor


class EPropState(NamedTuple):
    """Everything that is carried from step to step.

    Attributes:
        cell: State of the B networks.
        activity: What was sent in the last D steps ``[B, D, P]``, the newest first.
        traces: Eligibility traces.
        filtered_spikes: Spikes as the readout sees them ``[B, N]``, filtered with kappa.
        slope: Pseudo-derivative of the last spikes by the voltage ``[B, N]``: psi, 0 where refractory.
    """

    cell: SpikingState
    activity: Tensor
    traces: EligibilityTraces
    filtered_spikes: Tensor
    slope: Tensor


class EPropSums(NamedTuple):
    """Sums over networks and steps, from which the gradients are made; zeros at the start.

    Attributes:
        weight: Gradient of the task loss by the weights ``[N, P]``, autapses 0.
        output: Gradient of the task loss by the readout weights ``[K, N]``.
        eligibility: Unfiltered eligibility traces ``[N, P]``, autapses 0.
        spikes: Spikes ``[N]``.
        samples: Networks times steps ``[]``.
    """

    weight: Tensor
    output: Tensor
    eligibility: Tensor
    spikes: Tensor
    samples: Tensor


@dataclass(frozen=True)
class EProp:
    """e-prop of one network: constants, and the step that carries the traces along.

    Attributes:
        neurons: Constants ``[N]`` each.
        model: Which published cell; any of them, LIF and ALIF. ``stops_spike_gradient`` changes nothing here.
        kappa: Decay of the readout's filter per step, 0 for none.
        dampening_factor: Of the pseudo-derivative.
        dt: Simulation step in ms.
        delay_index: For each weight ``[N, P]`` by how many steps its current is late; None for not at all.
    """

    neurons: NeuronParameters
    model: CellModel
    kappa: float
    dampening_factor: float = 0.3
    dt: float = 1.0
    delay_index: Tensor | None = None

    @property
    def max_delay(self) -> int:
        """Return D: over how many steps the currents of one step arrive."""
        return 1 if self.delay_index is None else int(self.delay_index.max()) + 1

    def initial_state(self, batch_size: int, num_inputs: int) -> EPropState:
        """Return ``batch_size`` networks of I = ``num_inputs`` inputs at rest."""
        alpha = self.neurons.membrane_decay
        size, depth = len(alpha), self.max_delay
        channels = num_inputs + size
        # If so, all neurons' voltages depend on their weights in the same way: one trace serves them all.
        alike = depth == 1 and self.model.reset_by == "baseline" and bool((alpha == alpha[0]).all())
        synapses = alpha.new_zeros(batch_size, size, channels)
        return EPropState(
            SpikingState.zeros(batch_size, size, depth, alpha.dtype, alpha.device),
            alpha.new_zeros(batch_size, depth, channels),
            EligibilityTraces(synapses[:, :1] if alike else synapses, synapses, synapses, synapses, synapses),
            alpha.new_zeros(batch_size, size),
            alpha.new_zeros(batch_size, size),
        )

    def initial_sums(self, num_inputs: int, num_outputs: int) -> EPropSums:
        """Return empty sums for a network of I = ``num_inputs`` inputs with K = ``num_outputs`` readouts."""
        alpha = self.neurons.membrane_decay
        size = len(alpha)
        synapses = alpha.new_zeros(size, num_inputs + size)
        return EPropSums(
            synapses, alpha.new_zeros(num_outputs, size), synapses, alpha.new_zeros(size), alpha.new_zeros(())
        )

    @torch.no_grad()
    def step(
        self, weight: Tensor, inputs: Tensor, state: EPropState, noise_current: Tensor | None = None
    ) -> EPropState:
        """Advance networks and traces by one simulation step.

        With ev, ea, e the traces of voltage, adaptation and spike, psi the pseudo-derivative of the spike by
        its argument s, and pre what arrives at the synapse::

            ea[t] = rho ea[t-1] + (1 - rho) e[t-1]
            ev[t] = alpha ev[t-1] + (1 - alpha) pre[t] - dt z[t-1] beta ea[t]
            e[t]  = psi[t] (ds/dv ev[t] + ds/dth beta ea[t]) / dt, or 0 within the refractory period

        where the model's choices replace the factors 1 - rho and 1 - alpha by 1, the last ea[t] of ev by
        ea[t-1] or 0, ev[t] in e by ev[t-1], and e[t-1] in ea by what e would be without refractoriness.

        Args:
            weight: Effective weights ``[N, I + N]``, autapses 0.
            inputs: ``[B, I]``.
            state: After the step before.
            noise_current: ``[B, N]`` or None.

        Raises:
            ValueError: If ``weight`` or ``inputs`` does not fit the state.
        """
        self._check_shapes(weight, inputs, state)
        before, model = state.cell, self.model
        if self.delay_index is not None:
            weight = stack_by_delay(weight, self.delay_index, state.activity.shape[1])
        cell, record = reference.step(
            self.neurons,
            weight,
            inputs,
            before,
            noise_current,
            dt=self.dt,
            dampening_factor=self.dampening_factor,
            model=model,
        )
        sent = torch.cat([inputs, before.spikes], dim=1)[:, None]
        activity = torch.cat([sent, state.activity[:, :-1]], dim=1)
        voltage, adaptation = self._advance_states(state, self._arriving(activity))

        decides = voltage if model.fires_on_new_voltage else state.traces.voltage
        by_voltage, by_threshold = self._slopes(record)
        ungated = by_voltage[:, :, None] * decides
        ungated += (by_threshold * self.neurons.beta)[:, :, None] * adaptation
        blocked = before.refractory > 0
        spike = torch.where(blocked[:, :, None], 0.0, ungated)
        filtered = torch.lerp(spike, state.traces.filtered, self.kappa)
        adapting = ungated if model.adapts_while_refractory else spike
        return EPropState(
            cell,
            activity,
            EligibilityTraces(voltage, adaptation, spike, adapting, filtered),
            torch.lerp(cell.spikes, state.filtered_spikes, self.kappa),
            torch.where(blocked, 0.0, by_voltage),
        )

    def _check_shapes(self, weight: Tensor, inputs: Tensor, state: EPropState) -> None:
        batch_size, _, channels = state.activity.shape
        size = len(self.neurons.beta)
        expected = {
            "weight": (weight, (size, channels)),
            "inputs": (inputs, (batch_size, channels - size)),
            "delay_index": (self.delay_index, (size, channels)),
        }
        for name, (tensor, shape) in expected.items():
            if tensor is not None and tensor.shape != shape:
                raise ValueError(
                    f"{name} is {tuple(tensor.shape)}: expected {shape} as the state was made so"
                )

    def _arriving(self, activity: Tensor) -> Tensor:
        """Return what arrives at the synapses now ``[B, N, P]``, or ``[B, 1, P]`` without delays."""
        if self.delay_index is None:
            return activity
        channel = torch.arange(activity.shape[2], device=activity.device)
        return activity[:, self.delay_index, channel]

    def _advance_states(self, state: EPropState, arriving: Tensor) -> tuple[Tensor, Tensor]:
        """Return the traces of voltage and adaptation after this step."""
        alpha, rho, _, beta, _ = (each[:, None] for each in self.neurons)
        traces, model = state.traces, self.model
        adapting = (1 - rho) * traces.adapting if model.scaled_adaptation else traces.adapting
        adaptation = rho * traces.adaptation + adapting
        alpha = alpha[: traces.voltage.shape[1]]
        voltage = alpha * traces.voltage + ((1 - alpha) * arriving if model.scaled_current else arriving)
        if model.reset_by != "baseline":
            reset_by = adaptation if model.reset_by == "current" else traces.adaptation
            voltage -= (self.dt * state.cell.spikes)[:, :, None] * beta * reset_by
        return voltage, adaptation

    def _slopes(self, record: reference.StepRecord) -> tuple[Tensor, Tensor]:
        """Return the pseudo-derivatives ``[B, N]`` of the spikes by voltage and threshold, refractory or not."""
        scaled = record.scaled_voltage
        psi = (1 - scaled.abs()).clamp_(min=0).mul_(self.dampening_factor / self.dt)
        if self.model.normalised_by_baseline:
            by_voltage = psi / self.neurons.threshold
            return by_voltage, -by_voltage
        by_voltage = psi / record.threshold
        return by_voltage, -by_voltage * (1 + scaled)

    @torch.no_grad()
    def accumulate(self, sums: EPropSums, state: EPropState, error: Tensor, feedback: Tensor) -> EPropSums:
        """Add what one step contributes to the gradients.

        The learning signal is ``L_j = sum_k error_k feedback_kj``; the weights' gradient grows by L times the
        filtered trace, the readout's by the error times the filtered spikes.

        Args:
            sums: So far.
            state: After the step.
            error: Derivative of the loss by the readouts ``[B, K]``: for half the squared error the output
                minus the target; for cross-entropy the probabilities minus the target's, times the factor
                with which the loss averages.
            feedback: ``[K, N]``: the readout weights (symmetric) or weights of their own (random, adaptive).
        """
        signal = error @ feedback
        traces = state.traces
        return EPropSums(
            sums.weight + _without_autapses(torch.einsum("bj,bji->ji", signal, traces.filtered)),
            sums.output + error.T @ state.filtered_spikes,
            sums.eligibility + _without_autapses(traces.spike.sum(0)),
            sums.spikes + state.cell.spikes.sum(0),
            sums.samples + len(signal),
        )

    def rate_gradient(self, sums: EPropSums, target_rate: float) -> Tensor:
        """Return the gradient ``[N, P]`` of ``1/2 sum_j (mean rate_j - target)^2``, rates in spikes per ms.

        It acts on the spikes themselves, so the traces are not filtered.

        Args:
            sums: Over the whole batch.
            target_rate: In Hz.
        """
        rate = sums.spikes / sums.samples / self.dt
        return (rate - target_rate / 1000)[:, None] * sums.eligibility / sums.samples / self.dt


def run_online(
    rule: EProp,
    weight: Tensor,
    readout: Tensor,
    feedback: Tensor,
    steps: Iterable[tuple[Tensor, Tensor]],
    state: EPropState,
) -> tuple[EPropSums, EPropState]:
    """Sum the gradients of half the squared error over a sequence that is seen one step at a time.

    Args:
        rule: Of the network.
        weight: Effective weights ``[N, I + N]``, autapses 0.
        readout: Readout weights ``[K, N]``.
        feedback: ``[K, N]``; ``readout`` itself for symmetric e-prop.
        steps: Inputs ``[B, I]`` and targets ``[B, K]`` of one step after another; not kept.
        state: Before the first step.

    Returns:
        The sums and the state after the last step.
    """
    sums = rule.initial_sums(weight.shape[1] - weight.shape[0], len(readout))
    for inputs, target in steps:
        state = rule.step(weight, inputs, state)
        error = F.linear(state.filtered_spikes, readout) - target
        sums = rule.accumulate(sums, state, error, feedback)
    return sums, state


def _without_autapses(by_weight: Tensor) -> Tensor:
    """Set the diagonal of the recurrent part of ``[N, I + N]`` to 0, in place."""
    by_weight[:, -len(by_weight) :].fill_diagonal_(0)
    return by_weight
