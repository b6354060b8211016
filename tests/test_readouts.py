"""Leaky readouts: filters, gradients, and errors that come back by feedback weights."""

from __future__ import annotations

import pytest
import torch

from lsnn_gym.readouts import LeakyReadout
from lsnn_gym.rules.broadcast import Feedback


def slow_readout(
    readout: LeakyReadout, spikes: torch.Tensor, state: torch.Tensor, reset: torch.Tensor
) -> torch.Tensor:
    """Filter products or, of neurons with time constants of their own, spikes, one step at a time."""
    outputs = []
    own = isinstance(readout.kappa, torch.Tensor)
    for t in range(len(spikes)):
        state = state * (1 - reset[t][:, None])
        entering = spikes[t] if own else spikes[t] @ readout.weight.T
        state = readout.kappa * state + (1 - readout.kappa) * entering
        outputs.append((state @ readout.weight.T if own else state) + readout.bias)
    return torch.stack(outputs)


@pytest.fixture(params=[5.0, (1.0, 9.0)], ids=["one time constant", "a time constant a neuron"])
def readout_case(request):
    generator = torch.Generator().manual_seed(0)
    readout = LeakyReadout(7, 3, tau=request.param, dt=1.0, generator=generator).double()
    spikes = (torch.rand(20, 4, 7, generator=generator) > 0.6).double()
    reset = (torch.rand(20, 4, generator=generator) > 0.85).double()
    size = (4, 7 if isinstance(request.param, tuple) else 3)
    assert readout.initial_state(4).shape == size
    state = torch.randn(size, generator=generator, dtype=torch.float64)
    return readout, spikes, state, reset


def test_readout_equals_the_slow_form_with_gradients(readout_case):
    readout, spikes, state, reset = readout_case
    results = []
    for run in (lambda *given: readout(*given)[0], lambda *given: slow_readout(readout, *given)):
        leaves = [spikes.clone().requires_grad_(), state.clone().requires_grad_()]
        outputs = run(*leaves, reset)
        weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        gradients = torch.autograd.grad((outputs * weights).sum(), [*leaves, readout.weight, readout.bias])
        results.append((outputs, *gradients))
    for value, expected in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)


def test_readout_step_by_step_is_the_sequence_bit_for_bit(readout_case):
    readout, spikes, state, reset = readout_case
    readout, spikes, state = readout.float(), spikes.float(), state.float()
    whole, after = readout(spikes, state, reset)
    for t in range(len(spikes)):
        one, state = readout(spikes[t : t + 1], state, reset[t : t + 1])
        assert torch.equal(one[0], whole[t])
    assert torch.equal(state, after)


def test_outputs_at_the_ends_of_groups_are_those_of_all_steps(readout_case):
    readout, spikes, state, reset = readout_case
    starts = reset.clone()
    starts.view(5, 4, 4)[:, 1:] = 0  # a network starts anew before a group
    spikes.requires_grad_()
    results = []
    for values, after in (readout(spikes, state, starts), readout.at_ends(spikes, state, starts, 4)):
        last = values if len(values) == 5 else values[3::4]
        gradient = torch.autograd.grad(last.square().sum(), (spikes, readout.weight))
        results.append((last, after, *gradient))
    for value, expected in zip(*results, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)


def test_groups_one_by_one_are_the_sequence_bit_for_bit(readout_case):
    readout, spikes, state, _ = readout_case
    readout, spikes, state = readout.float(), spikes.float(), state.float()
    whole, after = readout.at_ends(spikes, state, None, 4)
    for number, group in enumerate(spikes.split(4)):
        one, state = readout.at_ends(group, state, None, 4)
        assert torch.equal(one[0], whole[number])
    assert torch.equal(state, after)


def test_time_constants_are_drawn_from_the_range():
    generator = torch.Generator().manual_seed(0)
    readout = LeakyReadout(2000, 1, tau=(1.0, 9.0), dt=0.5, generator=generator)
    assert isinstance(readout.kappa, torch.Tensor)
    taus = -0.5 / readout.kappa.double().log()
    assert 1.0 <= taus.min() < 1.1 < 8.9 < taus.max() <= 9.0
    # Kept with the weights: a readout that was saved filters as it did.
    assert torch.equal(readout.state_dict()["kappa"], readout.kappa)


def readout_with(kind: Feedback, like: LeakyReadout | None = None) -> LeakyReadout:
    generator = torch.Generator().manual_seed(1)
    own = like is not None and isinstance(like.kappa, torch.Tensor)
    return LeakyReadout(
        7, 3, tau=(1.0, 9.0) if own else 5.0, dt=1.0, generator=generator, feedback=kind
    ).double()


@pytest.mark.parametrize("kind", Feedback)
def test_errors_come_back_by_the_chosen_feedback(kind, readout_case):
    like, spikes, state, reset = readout_case
    readout = readout_with(kind, like)
    spikes.requires_grad_()
    outputs, _ = readout(spikes, state, reset)
    outputs.sum().backward()
    by_spikes = spikes.grad
    assert by_spikes is not None
    feedback = readout.weight if readout.feedback_weight is None else readout.feedback_weight
    # The last step's spikes reach the last outputs only, through 1 - kappa and the feedback.
    expected = (1 - readout.kappa) * feedback.detach().sum(0)
    torch.testing.assert_close(by_spikes[-1], expected.expand(4, -1))
    parameters = dict(readout.named_parameters())
    assert ("feedback_weight" in parameters) == (kind is Feedback.ADAPTIVE)
    if kind is Feedback.ADAPTIVE:
        torch.testing.assert_close(parameters["feedback_weight"].grad, readout.weight.grad)


@pytest.mark.parametrize("kind", Feedback)
def test_decay_spares_random_feedback(kind):
    readout = readout_with(kind)
    before = {name: tensor.clone() for name, tensor in readout.state_dict().items()}
    readout.decay(0.25)
    torch.testing.assert_close(readout.weight.detach(), 0.75 * before["weight"])
    if readout.feedback_weight is not None:
        kept = 1.0 if kind is Feedback.RANDOM else 0.75
        torch.testing.assert_close(readout.feedback_weight.detach(), kept * before["feedback_weight"])
