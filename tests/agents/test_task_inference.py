"""What agents tell of the task: the targets, the loss, that it is learnt, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import lsnn_gym  # noqa: F401 (registers the environments)
from lsnn_gym.agents.actor_critic import ActorCritic, AgentSettings, EncodingSettings
from lsnn_gym.agents.ppo import PPO, PPOSettings, ppo_loss
from lsnn_gym.agents.rollout import Trajectory, collect_episodes
from lsnn_gym.agents.task_inference import TaskInferenceSettings, check_task_inference, inference_targets
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import experiment_from, family_of
from lsnn_gym.recurrent import NetworkSettings

GOAL = TaskInferenceSettings(info="goal", size=2, seen_from=(0, 1))


def make_agent(core: Any = "lsnn", inferred: TaskInferenceSettings | None = GOAL) -> ActorCritic:
    env = gym.make("lsnn_gym/WaterMazeQuick-v0")
    encoding = EncodingSettings(events=(2, 3), neurons_per_value=10, neurons_per_event=3, spikes="expected")
    return ActorCritic(
        AgentSettings(core=core, encoding=encoding, tau_readout=3.0, task_inference=inferred),
        NetworkSettings(regular_neurons=15, adaptive_neurons=15, threshold=0.03, tau_membrane=5.0),
        env.observation_space,
        env.action_space,
        torch.Generator().manual_seed(0),
    )


def episodes(agent: ActorCritic, lanes: int = 4) -> Trajectory:
    env = gym.make_vec("lsnn_gym/WaterMazeQuick-v0", num_envs=lanes, max_steps=20)
    return collect_episodes(agent, env, torch.Generator().manual_seed(0), 0, info_keys=("goal",))


def test_the_way_to_the_goal_is_a_unit_vector_from_where_the_agent_is():
    observations = torch.tensor([[[0.5, 0.5, 0.0], [1.0, -1.0, 0.0]]])
    infos = {"goal": np.array([[[0.5, -0.5], [0.4, -0.2]]])}
    found = inference_targets(GOAL, observations, infos)
    torch.testing.assert_close(found, torch.tensor([[[0.0, -1.0], [-0.6, 0.8]]]))
    itself = TaskInferenceSettings(info="goal", size=2)
    torch.testing.assert_close(
        inference_targets(itself, observations, infos), torch.tensor(infos["goal"]).float()
    )


def test_on_the_goal_there_is_no_direction():
    found = inference_targets(GOAL, torch.tensor([[[0.5, 0.5]]]), {"goal": np.array([[[0.5, 0.5]]])})
    assert found.tolist() == [[[0.0, 0.0]]]


def test_one_number_may_come_without_an_axis_of_its_own():
    task = TaskInferenceSettings(info="amplitude", size=1)
    found = inference_targets(task, torch.zeros(3, 2, 4), {"amplitude": np.arange(6.0).reshape(3, 2)})
    assert found.tolist() == [[[0.0], [1.0]], [[2.0], [3.0]], [[4.0], [5.0]]]


@pytest.mark.parametrize("core", ["lsnn", "lstm", "gru"])
def test_the_loss_is_the_weighted_squared_error_over_valid_steps(core: str):
    agent = make_agent(core)
    stored = episodes(agent)
    valid = stored.valid.clone()
    valid[12:, 1] = 0
    stored = stored._replace(valid=valid)
    policy, _ = agent.replay(stored.inputs, agent.initial_state(4), stored.episode_start, stored.noise)
    assert policy.told is not None
    assert policy.told.shape == (20, 4, 2)
    zero = torch.zeros(20, 4)
    settings = PPOSettings()
    heavy = GOAL.model_copy(update={"weight": 3.0})
    plain, _ = ppo_loss(policy, stored, zero, zero, settings)
    loss, parts = ppo_loss(policy, stored, zero, zero, settings, 1.0, heavy)
    expected = 0.0
    for t in range(20):
        for b in range(4):
            way = stored.infos["goal"][t, b] - stored.observations[t, b, :2].numpy()
            error = policy.told[t, b].detach().numpy() - way / np.linalg.norm(way)
            expected += valid[t, b].item() * (error**2).sum()
    expected /= valid.sum().item()
    assert parts["inference_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert (loss - plain).item() == pytest.approx(3 * expected, rel=1e-5)


@pytest.mark.parametrize("core", ["lsnn", "lstm"])
def test_what_is_told_comes_nearer_to_the_truth(core: str):
    agent = make_agent(core)
    stored = episodes(agent, 16)
    stored = stored._replace(rewards=torch.zeros_like(stored.rewards), values=torch.zeros_like(stored.values))
    ppo = PPO(agent, PPOSettings(learning_rate=0.01, rate_weight=0.0, entropy_weight=0.0))
    losses = [ppo.update(stored, 0, torch.Generator().manual_seed(0))["inference_loss"] for _ in range(40)]
    # Not knowing the goal, nothing is better than its mean direction, of error 1.
    assert losses[-1] < 0.75 < losses[0]


def test_without_it_nothing_is_told():
    agent = make_agent(inferred=None)
    stored = episodes(agent)
    policy, _ = agent.replay(stored.inputs, agent.initial_state(4), stored.episode_start, stored.noise)
    assert policy.told is None
    assert "inference_loss" not in PPO(agent, PPOSettings()).update(stored, 0, torch.Generator())


def test_trainer_keeps_the_info_that_it_needs():
    experiment = experiment_from(
        {
            "name": "a",
            "network": {"regular_neurons": 8, "adaptive_neurons": 4},
            "env": {"id": "lsnn_gym/WaterMazeQuick-v0", "options": {"max_steps": 10}},
            "agent": {"task_inference": {"info": "goal", "size": 2}},
            "train": {"episodes_per_iteration": 4},
        },
        "a",
    )
    loss = family_of(experiment).make_trainer(experiment).run_iteration()["inference_loss"]
    assert loss is not None
    assert loss > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"info": "gaol"}, "unknown info 'gaol': did you mean 'goal'"),
        ({"size": 3, "seen_from": ()}, r"size is 3: info 'goal' is float64 \(2,\) of each environment"),
        ({"info": "names"}, "size is 2: info 'names' is object"),
        ({"seen_from": (0,)}, "seen_from has 1 indices: expected 2, as many as size"),
        ({"seen_from": (0, 4)}, "seen_from has 4: expected indices from 0 to 3"),
        ({"seen_from": (-1, 0)}, "seen_from has -1: expected indices from 0 to 3"),
    ],
)
def test_what_the_environment_does_not_report_is_refused(changes: dict[str, Any], message: str):
    infos = {"goal": np.zeros((3, 2)), "_goal": np.ones(3, bool), "names": np.array([None] * 3)}
    with pytest.raises(UserError, match=rf"^agent\.task_inference.*{message}"):
        check_task_inference(GOAL.model_copy(update=changes), infos, 3, 4)
