"""Encoders and readouts against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from lsnn_gym.coding import GaussianPopulationEncoder, LeakyReadout, bernoulli_spikes, expected_spikes


def test_population_rates_are_the_papers():
    encoder = GaussianPopulationEncoder(2, 40)
    values = torch.tensor([[0.3, -0.7]])
    rates = encoder(values)[0].view(2, 40)
    for value, population in zip((0.3, -0.7), rates, strict=True):
        for index in range(40):
            preferred = -1 + 2 * index / 39
            assert population[index] == pytest.approx(
                500 * math.exp(-100 * (preferred - value) ** 2), rel=1e-3, abs=1e-3
            )


def test_every_value_in_range_excites_some_neuron():
    encoder = GaussianPopulationEncoder(1, 20, width=0.1)
    rates = encoder(torch.linspace(-1, 1, 101)[:, None])
    assert rates.amax(dim=1).min() > 400


def test_spikes_come_at_the_rate_and_repeat_with_the_draws():
    rates = torch.tensor([0.0, 100.0, 500.0, 1000.0]).expand(20000, 4)
    uniform = torch.rand(20000, 4, generator=torch.Generator().manual_seed(0))
    spikes = bernoulli_spikes(rates, uniform, dt=0.5)
    assert set(spikes.unique().tolist()) == {0.0, 2.0}
    torch.testing.assert_close(spikes.mean(0) * 1000, rates[0], rtol=0.05, atol=0.0)
    assert torch.equal(spikes, bernoulli_spikes(rates, uniform, dt=0.5))
    torch.testing.assert_close(expected_spikes(rates, dt=0.5)[0] * 1000, rates[0])


def slow_readout(
    readout: LeakyReadout, spikes: torch.Tensor, state: torch.Tensor, reset: torch.Tensor
) -> torch.Tensor:
    """Filter every neuron's spikes one step at a time, then weigh them."""
    outputs = []
    for t in range(len(spikes)):
        state = state * (1 - reset[t][:, None])
        state = readout.kappa * state + (1 - readout.kappa) * (spikes[t] @ readout.weight.T)
        outputs.append(state + readout.bias)
    return torch.stack(outputs)


@pytest.fixture
def readout_case():
    generator = torch.Generator().manual_seed(0)
    readout = LeakyReadout(7, 3, tau=5.0, dt=1.0, generator=generator).double()
    spikes = (torch.rand(20, 4, 7, generator=generator) > 0.6).double()
    reset = (torch.rand(20, 4, generator=generator) > 0.85).double()
    state = torch.randn(4, 3, generator=generator, dtype=torch.float64)
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
