"""Asking a network what it believes: at the right moment, in copies, and without teaching it anything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lsnn_gym.envs.functions import FUNCTION_FAMILIES, Linear
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.regression.episodes import Episodes, RegressionSettings, draw_episodes
from lsnn_gym.regression.network import CodingSettings, ModelSettings, RegressionNetwork
from lsnn_gym.regression.probing import input_grid, probe_episode
from lsnn_gym.regression.trainer import squared_errors
from lsnn_gym.seeding import derived_seed


def make_network(regression: RegressionSettings, core: str = "lsnn", spikes: str = "expected"):
    coding = CodingSettings.model_validate(
        {"neurons_per_value": 8, "width": 0.2, "max_rate": 500.0, "spikes": spikes}
    )
    model = ModelSettings.model_validate({"core": core, "coding": coding, "steps_per_observation": 5})
    network = NetworkSettings(regular_neurons=7, adaptive_neurons=5, threshold=0.02, delay=(1, 3))
    return RegressionNetwork(model, network, regression, torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize(
    ("core", "spikes"), [("lsnn", "expected"), ("lsnn", "bernoulli"), ("lstm", "expected")]
)
@pytest.mark.parametrize("seen", [None, (1, 3), (6,), ()])
def test_being_asked_changes_nothing(core, spikes, seen):
    regression = RegressionSettings(family="sinusoid", trials=6)
    network = make_network(regression, core, spikes)
    probed = probe_episode(network, regression, seen, 4)
    episodes = draw_episodes(regression, 1, 4)
    undisturbed, _ = squared_errors(network, episodes, derived_seed(4, "draws"))
    np.testing.assert_array_equal(probed.episodes.targets, episodes.targets)
    said = network.in_targets_units(undisturbed.values)[:, 0].double().numpy()
    np.testing.assert_array_equal(probed.predictions, said)
    assert probed.seen == (tuple(range(6)) if seen is None else seen)
    assert probed.believed.shape == (len(probed.seen), len(probed.grid))
    if core == "lsnn":
        assert undisturbed.spikes is not None
        assert probed.spikes is not None
        np.testing.assert_array_equal(probed.spikes, undisturbed.spikes[:, 0].numpy() > 0)
    else:
        assert probed.spikes is None


@torch.no_grad()
@pytest.mark.parametrize("core", ["lsnn", "lstm"])
@pytest.mark.parametrize("seen", [0, 2, 5, 6])
def test_a_belief_is_what_the_next_trial_would_have_answered(core, seen):
    """Against an episode in which that very input came next."""
    regression = RegressionSettings(family="linear", trials=6)
    network = make_network(regression, core)
    probed = probe_episode(network, regression, (seen,), 4)
    episodes = draw_episodes(regression, 1, 4)
    for place in (0, 100, len(probed.grid) - 1):
        inputs = np.concatenate([episodes.inputs[:seen], probed.grid[None, None, place]])
        targets = np.concatenate([episodes.targets[:seen], [[0.0]]])
        predictions, _ = squared_errors(network, Episodes(inputs, targets), 0)
        answer = network.in_targets_units(predictions.values)[-1, 0]
        assert probed.believed[0, place] == pytest.approx(float(answer), abs=1e-5)


def test_values_are_those_of_the_function_and_numbers_beyond_the_episode_are_left_out():
    regression = RegressionSettings(family="two_layer_network", trials=6)
    probed = probe_episode(make_network(regression), regression, (1, 5, 10, 20), 0)
    assert probed.seen == (1, 5)
    family = FUNCTION_FAMILIES["two_layer_network"]
    trials = family.values(probed.parameters, probed.episodes.inputs.swapaxes(0, 1))
    np.testing.assert_allclose(trials[0].clip(0, 1), probed.episodes.targets[:, 0])
    np.testing.assert_allclose(
        probed.values, family.values(probed.parameters, probed.grid[None])[0].clip(0, 1)
    )


def test_a_grid_runs_from_end_to_end():
    sinusoid, plane = (input_grid(FUNCTION_FAMILIES[name]) for name in ("sinusoid", "linear"))
    assert sinusoid is not None
    assert plane is not None
    assert sinusoid[[0, -1]].tolist() == [[-5.0], [5.0]]
    assert plane[[0, -1]].tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert plane[1, 0] == -1.0
    assert plane[1, 1] > -1.0  # the second input varies fastest


def test_functions_of_more_inputs_are_not_asked_about_as_a_whole(monkeypatch):
    class Deep(Linear):
        input_size = 3
        parameter_shapes = {"slopes": (3,), "offset": ()}  # noqa: RUF012

        def draw(self, generators):
            drawn = np.stack([each.uniform(-1.0, 1.0, 4) for each in generators])
            return {"slopes": drawn[:, :3], "offset": drawn[:, 3]}

    monkeypatch.setitem(FUNCTION_FAMILIES, "deep", Deep())
    regression = RegressionSettings(family="deep", trials=4)
    probed = probe_episode(make_network(regression), regression, (1, 2), 0)
    assert probed.seen == ()
    assert probed.predictions.shape == (4,)
