"""The network: what it is shown, what it says, and that it is causal."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from lsnn_gym.cores import LSNNCore
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.regression.episodes import Episodes, RegressionSettings, draw_episodes
from lsnn_gym.regression.network import CodingSettings, ModelSettings, RegressionNetwork
from lsnn_gym.regression.trainer import squared_errors

SINUSOIDS = RegressionSettings(family="sinusoid", trials=6)


def make_network(core: str = "lsnn", spikes: str = "expected", **changes) -> RegressionNetwork:
    coding = CodingSettings.model_validate(
        {"neurons_per_value": 8, "width": 0.2, "max_rate": 500.0, "spikes": spikes}
    )
    model = ModelSettings.model_validate(
        {"core": core, "coding": coding, "steps_per_observation": 5, **changes}
    )
    network = NetworkSettings(regular_neurons=7, adaptive_neurons=5, noise_std=0.02)
    return RegressionNetwork(model, network, SINUSOIDS, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["sinusoid", "two_layer_network"])
def test_episodes_are_those_of_the_environment(family):
    settings = RegressionSettings(family=family, trials=7, noise_std=0.1)
    episodes = draw_episodes(settings, 3, 11)
    env = gym.make_vec("lsnn_gym/FunctionRegression-v0", num_envs=3, family=family, trials=7, noise_std=0.1)
    observations, infos = env.reset(seed=11)
    for trial in range(7):
        np.testing.assert_array_equal(observations[:, :-1], episodes.inputs[trial].astype(np.float32))
        np.testing.assert_array_equal(observations[:, -1], episodes.targets_before[trial].astype(np.float32))
        np.testing.assert_array_equal(infos["target"], episodes.targets[trial])
        observations, _, _, _, infos = env.step(np.zeros((3, 1)))


def test_what_is_shown_spans_minus_one_to_one():
    network = make_network()
    shown = network.shown(Episodes(np.array([[[-5.0]], [[2.5]]]), np.array([[5.0], [1.0]])))
    np.testing.assert_allclose(shown[:, 0], [[-1.0, 0.0], [0.5, 1.0]])
    networks = RegressionNetwork(
        ModelSettings(core="lstm"),
        NetworkSettings(),
        RegressionSettings(family="two_layer_network"),
        torch.Generator().manual_seed(0),
    )
    targets = networks.scaled_targets(Episodes(np.zeros((1, 3, 2)), np.array([[0.0, 0.5, 1.0]])))
    assert targets.tolist() == [[-1.0, 0.0, 1.0]]
    assert networks.in_targets_units(targets).tolist() == [[0.0, 0.5, 1.0]]
    assert networks.error_unit == 0.25


def test_default_fields_of_neighbouring_neurons_overlap():
    coding = CodingSettings()
    spacing = 2 / (coding.neurons_per_value - 1)
    assert math.exp(-0.5 * (spacing / coding.width) ** 2) > 0.5


@torch.no_grad()
def test_a_prediction_is_the_mean_readout_of_its_trial():
    network = make_network()
    episodes = draw_episodes(SINUSOIDS, 4, 0)
    shown = network.shown(episodes)
    draws = network.draw(shown, torch.Generator().manual_seed(1))
    found = network(shown, draws)
    rates = network.encoder(shown) / 1000
    state, values = network.core.initial_state(4), []
    assert draws.noise is not None
    for step in range(30):
        inputs = rates[step // 5][None, None]
        output, state = network.core(inputs, state, torch.zeros(1, 4), draws.noise[step : step + 1])
        values.append(output.values[0, :, 0])
    expected = torch.stack(values).reshape(6, 5, 4).mean(dim=1)
    torch.testing.assert_close(found.values, expected)
    assert found.spikes is not None
    assert found.spikes.shape == (30, 4, 12)


def test_the_readout_may_have_a_time_constant_a_neuron():
    core = make_network(tau_readout=(2.0, 8.0)).core
    assert isinstance(core, LSNNCore)
    taus = -1 / torch.as_tensor(core.readout.kappa).log()
    assert taus.shape == (12,)
    assert 2 <= taus.min() < 4 < 6 < taus.max() <= 8


@torch.no_grad()
@pytest.mark.parametrize("core", ["lsnn", "lstm", "gru"])
def test_a_prediction_does_not_depend_on_its_own_target_or_what_comes_later(core):
    network = make_network(core)
    episodes = draw_episodes(SINUSOIDS, 3, 0)
    inputs, targets = episodes.inputs.copy(), episodes.targets.copy()
    targets[2:] += 3.0
    inputs[3:] *= -0.5
    before, _ = squared_errors(network, episodes, 5)
    after, _ = squared_errors(network, Episodes(inputs, targets), 5)
    assert torch.equal(before.values[:3], after.values[:3])
    assert not torch.equal(before.values[3:], after.values[3:])
    assert (before.spikes is None) == (core != "lsnn")


@torch.no_grad()
def test_random_input_spikes_follow_the_rates_and_the_seed():
    network = make_network(spikes="bernoulli")
    episodes = draw_episodes(SINUSOIDS, 3, 0)
    shown = network.shown(episodes)
    draws = network.draw(shown, torch.Generator().manual_seed(1))
    assert draws.inputs is not None
    assert draws.inputs.shape == (30, 3, 16)
    one, again, other = (squared_errors(network, episodes, seed)[0].values for seed in (5, 5, 6))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_errors_are_squares_in_units_of_the_targets():
    network = make_network()
    episodes = draw_episodes(SINUSOIDS, 3, 0)
    predictions, squares = squared_errors(network, episodes, 0)
    said = network.in_targets_units(predictions.values).detach().double().numpy()
    np.testing.assert_allclose(
        network.error_unit * squares.detach().numpy(), (said - episodes.targets) ** 2, rtol=1e-4, atol=1e-6
    )
