"""Actor-critics of every core behind one interface, and episodes that can be repeated exactly."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import lsnn_gym  # noqa: F401 (registers the environments)
from lsnn_gym.agents.actor_critic import (
    ActorCritic,
    AgentSettings,
    Draws,
    EncodingSettings,
    ObservationEncoder,
)
from lsnn_gym.agents.rollout import Trajectory, collect_episodes
from lsnn_gym.recurrent import NetworkSettings

NETWORK = NetworkSettings(
    regular_neurons=12,
    adaptive_neurons=8,
    threshold=0.02,
    delay=(1, 3),
    noise_std=0.03,
    refractory_period=2.0,
)
CORES = ("lsnn", "lstm", "gru")


def maze(num_envs: int = 5):
    return gym.make_vec("lsnn_gym/WaterMazeQuick-v0", num_envs=num_envs, max_steps=25)


def make_agent(env, core: Any = "lsnn", seed: int = 0, **changes) -> ActorCritic:
    encoding = EncodingSettings(
        events=(2, 3), neurons_per_value=8, neurons_per_event=3, spikes=changes.pop("spikes", "bernoulli")
    )
    settings = AgentSettings(core=core, encoding=encoding, tau_readout=4.0, **changes)
    generator = torch.Generator().manual_seed(seed)
    return ActorCritic(settings, NETWORK, env.single_observation_space, env.single_action_space, generator)


def collect(agent: ActorCritic, env, seed: int = 3, **options) -> Trajectory:
    return collect_episodes(agent, env, torch.Generator().manual_seed(seed), seed, **options)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("steps", [1, 3])
def test_recomputed_log_probabilities_equal_the_rollouts_exactly(core, steps):
    env = maze()
    agent = make_agent(env, core, steps_per_observation=steps)
    stored = collect(agent, env)
    policy, _ = agent.replay(stored.inputs, agent.initial_state(5), stored.episode_start, stored.noise)
    assert torch.equal(policy.log_prob(stored.actions), stored.log_probs)
    assert torch.equal(policy.value, stored.values)
    if core == "lsnn":
        assert policy.spikes is not None
        assert stored.spikes is not None
        assert policy.spikes.shape == (25 * steps, 5, 20)
        assert policy.spikes.any()
        assert torch.equal(policy.spikes, stored.spikes)
        assert stored.noise is not None


def test_another_noise_gives_other_spikes():
    env = maze()
    agent = make_agent(env)
    stored = collect(agent, env)
    assert stored.noise is not None
    other = stored.noise.roll(1, dims=0)
    policy, _ = agent.replay(stored.inputs, agent.initial_state(5), stored.episode_start, other)
    assert policy.spikes is not None
    assert stored.spikes is not None
    assert not torch.equal(policy.spikes, stored.spikes)


@pytest.mark.parametrize("core", CORES)
def test_same_seed_same_episodes(core):
    one, same, other = (
        collect(make_agent(env, core), env, seed) for env, seed in ((maze(), 3), (maze(), 3), (maze(), 4))
    )
    assert torch.equal(one.actions, same.actions)
    assert torch.equal(one.rewards, same.rewards)
    assert not torch.equal(one.actions, other.actions)


@pytest.mark.parametrize("core", CORES)
def test_an_episode_start_inside_a_sequence_resets_the_state(core):
    env = maze()
    agent = make_agent(env, core, spikes="expected")
    stored = collect(agent, env)
    later = None if stored.noise is None else stored.noise[10:]
    fresh, _ = agent.replay(stored.inputs[10:], agent.initial_state(5), stored.episode_start[10:] * 0, later)
    start = stored.episode_start.clone()
    start[10, 2] = 1
    whole, _ = agent.replay(stored.inputs, agent.initial_state(5), start, stored.noise)
    torch.testing.assert_close(whole.mean[10:, 2], fresh.mean[:, 2])
    assert not torch.allclose(whole.mean[10:, 1], fresh.mean[:, 1])


@pytest.mark.parametrize("core", CORES)
def test_gradient_reaches_the_first_step(core):
    env = maze()
    agent = make_agent(env, core, spikes="expected")
    stored = collect(agent, env)
    observations = stored.observations.clone().requires_grad_()
    draws = Draws(None, stored.noise)
    policy, _ = agent(observations, agent.initial_state(5), stored.episode_start, draws)
    policy.value[-1].sum().backward()
    assert observations.grad is not None
    assert observations.grad[0].abs().sum() > 0


def test_selected_episodes_are_those_selected():
    env = maze()
    stored = collect(make_agent(env), env, info_keys=("goal",))
    chosen = stored.episodes(torch.tensor([3, 1]))
    assert torch.equal(chosen.actions, stored.actions[:, [3, 1]])
    for name, axis in (("noise", 1), ("inputs", 2)):
        values, all_values = getattr(chosen, name), getattr(stored, name)
        assert torch.equal(values, all_values.index_select(axis, torch.tensor([3, 1])))
    assert np.array_equal(chosen.infos["goal"], stored.infos["goal"][:, [3, 1]])


class _Uneven(gym.vector.VectorEnv):
    """Lane i ends after i + 2 steps, terminated if i is even, else truncated; NEXT_STEP autoreset."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self):
        self.num_envs = 3
        self.single_observation_space = spaces.Box(-1, 1, (2,))
        self.single_action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros((3, 2), np.float32), {}

    def step(self, actions):
        self.time += 1
        ended = self.time == np.arange(3) + 2
        even = np.arange(3) % 2 == 0
        return np.full((3, 2), self.time / 10, np.float32), np.ones(3), ended & even, ended & ~even, {}


def test_episodes_of_different_length_are_masked_and_only_cut_off_ones_bootstrapped():
    env = _Uneven()
    settings = AgentSettings(encoding=EncodingSettings(neurons_per_value=5, neurons_per_event=1))
    agent = ActorCritic(
        settings,
        NETWORK,
        env.single_observation_space,
        env.single_action_space,
        torch.Generator().manual_seed(0),
    )
    stored = collect(agent, env)
    assert stored.valid.T.tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert stored.last_value[1] != 0
    assert stored.last_value[[0, 2]].tolist() == [0, 0]


def test_events_fire_their_group_in_the_first_simulation_step():
    space = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 1.0], np.float32))
    settings = EncodingSettings(events=(1,), neurons_per_value=4, neurons_per_event=3, spikes="expected")
    encoder = ObservationEncoder(space, settings, dt=1.0)
    encoded = encoder(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), 2, None)
    assert encoded.shape == (1, 2, 2, 7)
    assert encoded[0, :, 0, 4:].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert not encoded[0, :, 1, 4:].any()


def test_actions_are_in_units_of_the_action_spaces_range():
    def actions(space: spaces.Box) -> list[list[float]]:
        agent = ActorCritic(
            AgentSettings(), NETWORK, spaces.Box(-1, 1, (1,)), space, torch.Generator().manual_seed(0)
        )
        return agent.environment_actions(torch.tensor([[-1.0], [0.5], [1.0]])).tolist()

    assert actions(spaces.Box(-1, 1, (1,))) == [[-1], [0.5], [1]]
    assert actions(spaces.Box(0, 4, (1,))) == [[0], [3], [4]]
    assert actions(spaces.Box(-np.inf, np.inf, (1,))) == [[-1], [0.5], [1]]


@pytest.mark.parametrize(
    ("observation_space", "action_space", "events", "message"),
    [
        (spaces.Discrete(3), spaces.Box(-1, 1, (2,)), (), "observation space is Discrete"),
        (spaces.Box(-1, 1, (2,)), spaces.Discrete(3), (), "action space is Discrete"),
        (spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-1, 1, (2,)), (), "expected finite bounds"),
        (
            spaces.Box(-1, 1, (2,)),
            spaces.Box(-1, 1, (2,)),
            (2,),
            "encoding.events has 2: expected indices from 0 to 1",
        ),
    ],
)
def test_spaces_that_do_not_fit_are_named(observation_space, action_space, events, message):
    settings = AgentSettings(encoding=EncodingSettings(events=events))
    with pytest.raises(ValueError, match=message):
        ActorCritic(settings, NETWORK, observation_space, action_space, torch.Generator())
