"""Regression as reinforcement learning: an agent in FunctionRegression-v0, from a config, judged beside references."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lsnn_gym.agents.actor_critic import ActorCritic
from lsnn_gym.agents.probing import probe_agent
from lsnn_gym.agents.rollout import collect_episodes
from lsnn_gym.envs.function_regression_vector import FunctionRegressionVectorEnv
from lsnn_gym.envs.functions import FUNCTION_FAMILIES
from lsnn_gym.experiment import experiment_of, family_of, load_experiment
from lsnn_gym.families.family import newest_weights
from lsnn_gym.families.reinforcement import ReinforcementExperiment, make_agent, make_env
from lsnn_gym.regression.episodes import RegressionSettings, draw_episodes
from lsnn_gym.regression.references import REFERENCES
from lsnn_gym.seeding import derived_seed
from lsnn_gym.training.run_folder import RunFolder
from tests.command_line import only_run, run

SMALL = (
    "--set=network.regular_neurons=8",
    "--set=network.adaptive_neurons=6",
    "--set=env.options.trials=6",
    "--set=agent.steps_per_observation=2",
    "--set=agent.encoding.neurons_per_value=6",
    "--set=agent.encoding.width=0.3",
    "--set=train.episodes_per_iteration=8",
    "--set=train.iterations=2",
    "--set=evaluate.episodes=9",
    "--set=evaluate.regression.first_trial=2",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("regression-rl")
    assert run("train", "regression-rl", *SMALL, f"--out={parent}", "--quiet") == 0
    return only_run(parent)


def test_a_training_leaves_errors_and_pictures(trained: Path):
    for name in ("learning_curve.png", "error_by_trial.png", "episode.mp4"):
        assert (trained / name).stat().st_size > 0
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert line["error"] == pytest.approx(-line["episode_return"] / 6)


def test_it_is_judged_beside_references_on_its_own_episodes(trained: Path, capsys):
    capsys.readouterr()
    assert run("evaluate", str(trained), "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["trials"] == [2, 6]
    assert figures["error"] == pytest.approx(np.mean(figures["error_by_trial"][1:]))
    assert figures["episode_return"] == pytest.approx(-sum(figures["error_by_trial"]), rel=1e-5)
    assert list(figures["references"]) == list(REFERENCES)
    episodes = draw_episodes(RegressionSettings(trials=6), 9, derived_seed(0, "environment"))
    assert figures["target_variance"] == pytest.approx(episodes.targets.var())
    last = (episodes.targets[1:] - episodes.targets[:-1]) ** 2
    found = figures["references"]["last_target"]["error_by_trial"][1:]
    assert found == pytest.approx(last.mean(axis=1).tolist())
    assert run("evaluate", str(trained)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:5] == ["squared", "error", "2", "to", "6"]
    assert lines[1].split()[:2] == ["agent", f"{figures['error']:.5f}"]


def test_trials_that_an_episode_does_not_have_are_refused(tmp_path: Path, capsys):
    arguments = [*SMALL, "--set=evaluate.regression.first_trial=7", f"--out={tmp_path}"]
    assert run("train", "regression-rl", *arguments) == 2
    assert "evaluate.regression.first_trial is 7" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_rewards_rise():
    """The mean of all targets is learnt within some twenty iterations."""
    overrides = tuple(each.removeprefix("--set=") for each in SMALL)
    experiment = load_experiment("regression-rl", (*overrides, "train.episodes_per_iteration=64"))
    assert isinstance(experiment, ReinforcementExperiment)
    trainer = family_of(experiment).make_trainer(experiment)
    returns = [float(trainer.run_iteration()["episode_return"] or 0.0) for _ in range(25)]
    assert FUNCTION_FAMILIES["two_layer_network"].target_scale == 1.0
    assert np.mean(returns[-3:]) > np.mean(returns[:3]) + 0.3


def acting(trained: Path) -> tuple[ActorCritic, FunctionRegressionVectorEnv]:
    """Return the trained agent, and its environment with one lane."""
    folder = RunFolder(trained)
    experiment = experiment_of(folder)
    assert isinstance(experiment, ReinforcementExperiment)
    env = make_env(experiment.env, 1)
    agent = newest_weights(make_agent(experiment, env), folder)
    assert isinstance(env.unwrapped, FunctionRegressionVectorEnv)
    return agent, env.unwrapped


@pytest.mark.parametrize("seen", [None, (1, 4), (6,)])
def test_being_asked_changes_nothing(trained: Path, seen):
    agent, env = acting(trained)
    probed = probe_agent(agent, env, seen, 5, deterministic=True)
    generator = torch.Generator().manual_seed(derived_seed(5, "film"))
    trajectory = collect_episodes(agent, env, generator, 5, deterministic=True)
    np.testing.assert_allclose(probed.predictions, trajectory.actions[:, 0, 0], rtol=1e-5)
    episodes = draw_episodes(RegressionSettings(trials=6), 1, 5)
    np.testing.assert_array_equal(probed.episodes.targets, episodes.targets)
    np.testing.assert_allclose(probed.episodes.inputs, episodes.inputs, atol=1e-6)
    assert trajectory.spikes is not None
    np.testing.assert_array_equal(probed.spikes, trajectory.spikes[:, 0] > 0)
    assert probed.seen == (tuple(range(6)) if seen is None else seen)
    assert probed.believed.shape == (len(probed.seen), len(probed.grid))
    assert np.abs(probed.believed).max() <= 1.0


def test_a_belief_is_what_the_agent_would_have_answered_there(trained: Path):
    """The point of the grid that is nearest to the input which came next."""
    agent, env = acting(trained)
    probed = probe_agent(agent, env, (3,), 5, deterministic=True)
    nearest = np.square(probed.grid - probed.episodes.inputs[3, 0]).sum(axis=1).argmin()
    assert probed.believed[0, nearest] == pytest.approx(probed.predictions[3], abs=0.1)
    assert np.ptp(probed.believed[0]) > 0.0


@pytest.mark.parametrize("name", ["film.gif", "picture.png"])
def test_an_episode_is_filmed_and_drawn(trained: Path, tmp_path: Path, name: str):
    assert run("render", str(trained), f"--out={tmp_path / name}") == 0
    assert (tmp_path / name).stat().st_size > 1000
