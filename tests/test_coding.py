"""Encoders and readouts against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from lsnn_gym.coding import GaussianPopulationEncoder, bernoulli_spikes, expected_spikes


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
