"""e-prop: its traces are the derivatives they stand for, for every cell model, and cost no memory over time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lsnn_gym.engine import reference
from lsnn_gym.neurons import CELL_MODELS, EPROP_A, CellModel, NeuronParameters, SpikingState
from lsnn_gym.rules.eprop import EProp, EPropState, run_online
from lsnn_gym.synapses import stack_by_delay
from tests.rules import obvious_eprop

STEPS, BATCH, INPUTS, SIZE, OUTPUTS = 40, 2, 3, 5, 2
MODELS = pytest.mark.parametrize("model", CELL_MODELS.values(), ids=list(CELL_MODELS))
LATE = pytest.mark.parametrize("max_delay", [1, 3])


class Case:
    """A small random network of LIF and ALIF neurons with its readout, inputs and targets, in float64."""

    def __init__(
        self, model: CellModel, *, max_delay: int = 1, alike: bool = True, seed: int = 1, dt: float = 1.0
    ):
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
            return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)

        scale = 1.0 if model.scaled_current else 0.2
        alpha = torch.full((SIZE,), 0.85, dtype=torch.float64) if alike else uniform(SIZE, low=0.7, high=0.95)
        self.neurons = NeuronParameters(
            membrane_decay=alpha,
            adaptation_decay=uniform(SIZE, low=0.9, high=0.98),
            threshold=uniform(SIZE, low=0.2, high=0.4),
            beta=uniform(SIZE, low=0.2, high=0.6) * (torch.arange(SIZE) % 2),
            refractory_period=torch.tensor([0.0, 1, 2, 3, 2], dtype=torch.float64),
        )
        weight = uniform(SIZE, INPUTS + SIZE, low=-0.5, high=1.5) * scale
        weight[:, INPUTS:].fill_diagonal_(0)
        self.weight = weight.requires_grad_()
        delays = torch.randint(0, max_delay, (SIZE, INPUTS + SIZE), generator=generator)
        delays[0, 0] = max_delay - 1
        self.delay_index = delays if max_delay > 1 else None
        self.inputs = uniform(STEPS, BATCH, INPUTS)
        self.targets = uniform(STEPS, BATCH, OUTPUTS)
        self.readout = uniform(OUTPUTS, SIZE, low=-1.0)
        self.feedback = uniform(OUTPUTS, SIZE, low=-1.0)
        self.model = model
        self.rule = EProp(self.neurons, model, 0.9, dt=dt, delay_index=self.delay_index)

    def stacked(self) -> Tensor:
        """Return the weights as the engines take them."""
        if self.delay_index is None:
            return self.weight
        return stack_by_delay(self.weight, self.delay_index, self.rule.max_delay)

    def spikes(self, model: CellModel) -> Tensor:
        """Return the spikes with their gradient by the reference engine."""
        rest = SpikingState.zeros(BATCH, SIZE, self.rule.max_delay, dtype=torch.float64)
        options = {"dt": self.rule.dt, "dampening_factor": 0.3, "model": model}
        return reference.run(self.neurons, self.stacked(), self.inputs, rest, None, None, **options)[0]

    def gradient(self, loss: Tensor) -> Tensor:
        """Return the gradient of a loss by the weights, autapses 0."""
        (gradient,) = torch.autograd.grad(loss, self.weight)
        gradient[:, INPUTS:].fill_diagonal_(0)
        return gradient

    def states(self) -> list[EPropState]:
        """Return the states of the traces' run."""
        state, states = self.rule.initial_state(BATCH, INPUTS), []
        for inputs in self.inputs:
            state = self.rule.step(self.weight, inputs, state)
            states.append(state)
        return states

    def from_traces(self, signal: Tensor) -> Tensor:
        """Return the sum over time of signals ``[T, B, N]`` times unfiltered eligibility traces."""
        eligibility = torch.stack([state.traces.spike for state in self.states()])
        gradient = torch.einsum("tbj,tbji->ji", signal, eligibility)
        gradient[:, INPUTS:].fill_diagonal_(0)
        return gradient

    def filtered(self, spikes: Tensor) -> Tensor:
        """Return spikes ``[T, B, N]`` as the readout sees them."""
        filtered = [torch.zeros_like(spikes[0])]
        for each in spikes:
            filtered.append(0.9 * filtered[-1] + 0.1 * each)
        return torch.stack(filtered[1:])

    def total_signal(self, direct: Tensor) -> Tensor:
        """Return the total derivative of the loss by every communicated spike ``[T, B, N]``.

        Of a step, the derivative by the spikes before it with and without stopped gradient differ by what
        went through synapses and reset, which is what counts: the way through the adaptation is the traces'.
        """
        states = [state.cell for state in self.states()]
        rest = SpikingState.zeros(BATCH, SIZE, self.rule.max_delay, dtype=torch.float64)
        adjoint = SpikingState(*(torch.zeros_like(each) for each in rest))
        communicated = torch.zeros_like(direct[0])
        signals = []
        for t in reversed(range(STEPS)):
            signals.append(direct[t] + communicated)
            after = [adjoint.voltage, adjoint.spikes + direct[t], adjoint.adaptation, adjoint.currents]
            before = states[t - 1] if t else rest
            adjoint = self._backwards(before, t, after, stops=False)
            communicated = adjoint.spikes - self._backwards(before, t, after, stops=True).spikes
        return torch.stack(signals[::-1])

    def _backwards(self, before: SpikingState, t: int, after: list[Tensor], *, stops: bool) -> SpikingState:
        leaves = SpikingState(*(each.detach().requires_grad_() for each in before))
        state, _ = reference.step(
            self.neurons,
            self.stacked().detach(),
            self.inputs[t],
            leaves._replace(refractory=before.refractory),
            None,
            dt=self.rule.dt,
            dampening_factor=0.3,
            model=replace(self.model, stops_spike_gradient=stops),
        )
        outputs = [state.voltage, state.spikes, state.adaptation, state.currents]
        depends = [n for n, each in enumerate(outputs) if each.requires_grad]
        wanted = [leaves.voltage, leaves.spikes, leaves.adaptation, leaves.currents]
        found = torch.autograd.grad(
            [outputs[n] for n in depends], wanted, [after[n] for n in depends], materialize_grads=True
        )
        return SpikingState(found[0], found[1], found[2], before.refractory, found[3])


def random_signal(seed: int = 3) -> Tensor:
    """Return direct derivatives of some loss by the spikes ``[T, B, N]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(STEPS, BATCH, SIZE, generator=generator, dtype=torch.float64)


def assert_same(value: Tensor, expected: Tensor) -> None:
    assert expected.abs().max() > 0
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-11 * float(expected.abs().max()))


@MODELS
@LATE
@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_with_the_total_signal_it_is_backpropagation_through_time(model, max_delay, dt):
    case = Case(model, max_delay=max_delay, alike=False, dt=dt)
    direct = random_signal()
    spikes = case.spikes(model)
    assert 0 < spikes.count_nonzero() < spikes.numel() / 2
    by_bptt = case.gradient((direct * spikes).sum())
    assert_same(case.from_traces(case.total_signal(direct)), by_bptt)
    assert not torch.allclose(case.from_traces(direct), by_bptt)


@MODELS
@LATE
def test_with_the_direct_signal_it_is_autograd_with_stopped_spikes(model, max_delay):
    case = Case(model, max_delay=max_delay, alike=False)
    direct = random_signal()
    by_autograd = case.gradient((direct * case.spikes(replace(model, stops_spike_gradient=True))).sum())
    assert_same(case.from_traces(direct), by_autograd)


@pytest.mark.parametrize("model", [CELL_MODELS["eprop-a"], CELL_MODELS["eprop-b"], CELL_MODELS["eprop-c"]])
def test_one_voltage_trace_serves_neurons_that_are_alike(model):
    case = Case(model, alike=True)
    direct = random_signal()
    assert case.states()[-1].traces.voltage.shape == (BATCH, 1, INPUTS + SIZE)
    by_autograd = case.gradient((direct * case.spikes(replace(model, stops_spike_gradient=True))).sum())
    assert_same(case.from_traces(direct), by_autograd)


@pytest.mark.parametrize("symmetric", [True, False])
def test_online_gradients_are_the_obvious_ones(symmetric):
    case = Case(EPROP_A)
    alpha, _, _, beta, _ = case.neurons
    neurons = case.neurons._replace(
        adaptation_decay=torch.full((SIZE,), 0.95, dtype=torch.float64),
        threshold=torch.full((SIZE,), 0.3, dtype=torch.float64),
        refractory_period=torch.full((SIZE,), 3.0, dtype=torch.float64),
    )
    rule = replace(case.rule, neurons=neurons)
    feedback = case.readout if symmetric else case.feedback
    sums, _ = run_online(
        rule,
        case.weight,
        case.readout,
        feedback,
        zip(case.inputs[:, :1], case.targets[:, :1], strict=True),
        rule.initial_state(1, INPUTS),
    )
    constants = obvious_eprop.Constants(float(alpha[0]), 0.95, 0.3, beta.tolist(), 3, 0.3, 0.9)
    by_input, by_recurrent = obvious_eprop.gradients(
        constants,
        case.weight[:, :INPUTS].tolist(),
        case.weight[:, INPUTS:].tolist(),
        case.readout.tolist(),
        feedback.tolist(),
        case.inputs[:, 0].tolist(),
        case.targets[:, 0].tolist(),
    )
    expected = torch.cat(
        [torch.tensor(each, dtype=torch.float64) for each in (by_input, by_recurrent)], dim=1
    )
    assert_same(sums.weight, expected)


@MODELS
def test_readout_and_rate_gradients_are_autograds(model):
    case = Case(model, dt=0.5)
    steps = zip(case.inputs, case.targets, strict=True)
    state = case.rule.initial_state(BATCH, INPUTS)
    sums, _ = run_online(case.rule, case.weight, case.readout, case.readout, steps, state)
    readout = case.readout.requires_grad_()
    spikes = case.spikes(replace(model, stops_spike_gradient=True))
    output = case.filtered(spikes.detach()) @ readout.T
    (by_readout,) = torch.autograd.grad(0.5 * ((output - case.targets) ** 2).sum(), readout)
    assert_same(sums.output, by_readout)
    rate = spikes.mean((0, 1)) / 0.5
    assert_same(case.rule.rate_gradient(sums, 20.0), case.gradient(0.5 * ((rate - 0.02) ** 2).sum()))


def test_without_adaptation_a_neuron_is_a_lif_neuron():
    case = Case(EPROP_A)
    lif = replace(case.rule, neurons=case.neurons._replace(beta=torch.zeros_like(case.neurons.beta)))
    states = []
    for rule in (case.rule, lif):
        state = rule.initial_state(BATCH, INPUTS)
        for inputs in case.inputs:
            state = rule.step(torch.cat([case.weight[:, :INPUTS], torch.zeros(SIZE, SIZE)], 1), inputs, state)
        states.append(state)
    regular = case.neurons.beta == 0
    of_inputs = [state.traces.spike[:, :, :INPUTS] for state in states]
    assert torch.equal(of_inputs[0][:, regular], of_inputs[1][:, regular])
    assert not torch.equal(of_inputs[0], of_inputs[1])


def test_memory_does_not_grow_with_the_sequence():
    case = Case(EPROP_A, max_delay=3)
    held: list[int] = []

    def steps(number: int) -> Iterator[tuple[Tensor, Tensor]]:
        for t in range(number):
            if t == number - 1:
                gc.collect()
                tensors = [each for each in gc.get_objects() if type(each) is Tensor]
                held.append(sum(each.untyped_storage().nbytes() for each in tensors))
            yield case.inputs[t % STEPS], case.targets[t % STEPS]

    for number in (10, 1000):
        run_online(
            case.rule,
            case.weight,
            case.readout,
            case.feedback,
            steps(number),
            case.rule.initial_state(BATCH, INPUTS),
        )
    assert held[1] <= held[0]


def losses_while_learning(*, random: bool, learns_weights: bool) -> list[float]:
    """Return half the squared error of each of 50 repetitions of one small pattern."""
    generator = torch.Generator().manual_seed(0)
    steps, inputs, size = 60, 10, 20
    # Decays of membrane and adaptation, threshold, beta, refractory period.
    neurons = NeuronParameters(*(torch.full((size,), value) for value in (0.95, 0.99, 0.5, 0.1, 2.0)))
    rule = EProp(neurons, EPROP_A, 0.9)
    arriving = (torch.rand(steps, 1, inputs, generator=generator) < 0.1).float()
    target = torch.sin(torch.arange(steps) / 6)[:, None, None]
    weight = torch.randn(size, inputs + size, generator=generator) * 0.3
    weight[:, inputs:].fill_diagonal_(0)
    readout = torch.randn(1, size, generator=generator) * 0.2
    feedback = torch.randn(1, size, generator=generator) if random else readout
    optimiser = torch.optim.Adam([weight, readout] if learns_weights else [readout], lr=0.03)
    losses = []
    for _ in range(50):
        state, sums, loss = rule.initial_state(1, inputs), rule.initial_sums(inputs, 1), 0.0
        for spikes, wanted in zip(arriving, target, strict=True):
            state = rule.step(weight, spikes, state)
            error = state.filtered_spikes @ readout.T - wanted
            sums = rule.accumulate(sums, state, error, feedback)
            loss += 0.5 * error.square().sum().item()
        weight.grad, readout.grad = sums.weight, sums.output
        optimiser.step()
        losses.append(loss)
    return losses


@pytest.mark.parametrize("random", [False, True])
def test_learning_the_weights_helps_where_the_readout_alone_cannot_do_it(random):
    learnt = losses_while_learning(random=random, learns_weights=True)
    readout_only = losses_while_learning(random=random, learns_weights=False)
    assert learnt[0] == readout_only[0]
    assert min(learnt[-10:]) < 0.6 * min(readout_only)


def test_shapes_that_do_not_fit_are_named():
    case = Case(EPROP_A)
    state = case.rule.initial_state(BATCH, INPUTS)
    with pytest.raises(ValueError, match=r"weight is \(5, 7\): expected \(5, 8\)"):
        case.rule.step(case.weight[:, 1:], case.inputs[0], state)
    with pytest.raises(ValueError, match=r"inputs is \(1, 3\): expected \(2, 3\)"):
        case.rule.step(case.weight, case.inputs[0, :1], state)
