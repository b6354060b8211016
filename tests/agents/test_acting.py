"""Agents that act in NumPy do what they do by their own modules, and leave the same to learn from."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import lsnn_gym  # noqa: F401 (registers the environments)
from lsnn_gym.agents.acting import Actor, DrawnAhead, NumpyActor, make_actor
from lsnn_gym.agents.actor_critic import ActorCritic, AgentSettings, EncodingSettings
from lsnn_gym.cores import LSNNState
from lsnn_gym.engine import native
from lsnn_gym.lanes import Share
from lsnn_gym.neurons import SpikingState
from lsnn_gym.recurrent import NetworkSettings

LANES, STEPS = 4, 70
"""More steps than random numbers are drawn for at once."""

compiled = pytest.mark.skipif(native.unavailable is not None, reason=str(native.unavailable))


def make_agent(
    core: Any = "lsnn", *, spikes: Any = "bernoulli", network: Any = None, **changes
) -> ActorCritic:
    env = gym.make("lsnn_gym/WaterMazeQuick-v0")
    encoding = EncodingSettings(events=(3, 2), neurons_per_value=8, neurons_per_event=3, spikes=spikes)
    settings = AgentSettings(core=core, encoding=encoding, **{"tau_readout": 4.0, **changes})
    values: dict[str, Any] = {
        "regular_neurons": 12,
        "adaptive_neurons": 8,
        "threshold": 0.02,
        "delay": (1, 3),
        "noise_std": 0.03,
        "refractory_period": 2.0,
    }
    made = NetworkSettings(**{**values, **(network or {})})
    generator = torch.Generator().manual_seed(0)
    return ActorCritic(settings, made, env.observation_space, env.action_space, generator)


def observations(steps: int = STEPS) -> np.ndarray:
    space = gym.make("lsnn_gym/WaterMazeQuick-v0").observation_space
    space.seed(3)
    drawn = np.stack([[space.sample() for _ in range(LANES)] for _ in range(steps)])
    drawn[..., 2:4] = drawn[..., 2:4] > 0.7
    return drawn


def tensors(state: LSNNState) -> tuple[torch.Tensor, ...]:
    assert isinstance(state.network, SpikingState)
    return (*state.network, state.readout)


@torch.no_grad()
def act(kind: type[Actor] | type[NumpyActor], agent: ActorCritic, *, deterministic: bool = False):
    actor = kind(agent, Share.all_of(LANES), torch.Generator().manual_seed(5), deterministic=deterministic)
    to_environment = np.stack([actor.act(each) for each in observations()])
    return to_environment, actor.acts(), actor.settled_state()


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several steps an observation": {"steps_per_observation": 3},
    "graded inputs": {"spikes": "expected"},
    "shared variance": {"action_variance": "shared"},
    "a time constant a neuron": {"tau_readout": (1.0, 8.0)},
    "both": {"tau_readout": (1.0, 8.0), "steps_per_observation": 3},
    "correlated exploration": {"exploration_time_constant": 5.0},
    "no noise, half steps": {"network": {"noise_std": 0.0, "dt": 0.5}, "steps_per_observation": 2},
}


@compiled
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_numpy_acts_as_the_modules_do(variant, deterministic):
    agent = make_agent(**VARIANTS[variant])
    actions, acts, state = act(NumpyActor, agent, deterministic=deterministic)
    expected, expected_acts, expected_state = act(Actor, agent, deterministic=deterministic)
    np.testing.assert_allclose(actions, expected, rtol=1e-4, atol=1e-6)
    assert actions.dtype == expected.dtype == np.float32
    assert torch.equal(acts.observations, expected_acts.observations)
    torch.testing.assert_close(acts.inputs, expected_acts.inputs, rtol=1e-5, atol=1e-7)
    assert acts.output.spikes is not None
    assert expected_acts.output.spikes is not None
    assert expected_acts.output.spikes.any()
    assert torch.equal(acts.output.spikes, expected_acts.output.spikes)
    torch.testing.assert_close(acts.actions, expected_acts.actions, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(acts.output.values, expected_acts.output.values, rtol=1e-4, atol=1e-6)
    if acts.noise is None or expected_acts.noise is None:
        assert acts.noise is expected_acts.noise is None
    else:
        assert torch.equal(acts.noise, expected_acts.noise)
    for value, wanted in zip(tensors(state), tensors(expected_state), strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-6)


@compiled
@pytest.mark.parametrize("tau_readout", [4.0, (1.0, 8.0)])
def test_what_was_done_comes_out_again_exactly(tau_readout):
    agent = make_agent(steps_per_observation=2, tau_readout=tau_readout)
    _, acts, state = act(NumpyActor, agent)
    start = torch.zeros(STEPS, LANES)
    start[0] = 1
    with torch.no_grad():
        output, after = agent.core(acts.inputs, agent.initial_state(LANES), start, acts.noise)
    assert acts.output.spikes is not None
    assert output.spikes is not None
    assert torch.equal(output.spikes, acts.output.spikes)
    assert torch.equal(output.values, acts.output.values)
    for value, expected in zip(tensors(state)[:-1], tensors(after)[:-1], strict=True):
        assert torch.equal(value, expected)


@compiled
@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        (lambda: make_agent(), NumpyActor),
        (lambda: make_agent("lstm"), Actor),
        (lambda: make_agent(network={"engine": "reference"}), Actor),
        (lambda: make_agent(network={"cell": "eprop-c"}), Actor),
        (lambda: make_agent().double(), Actor),
    ],
    ids=["lsnn", "lstm", "reference", "a cell that only the reference has", "float64"],
)
def test_the_quickest_actor_that_an_agent_can_have(agent, kind):
    made = agent()
    assert type(make_actor(made, Share.all_of(2), torch.Generator())) is kind
    if kind is Actor:
        with pytest.raises(ValueError, match="expected an agent with an LSNN core"):
            NumpyActor(made, Share.all_of(2), torch.Generator(), deterministic=False)


def drawn_for_actions(agent: ActorCritic, lanes: int, parts: int) -> np.ndarray:
    ahead = DrawnAhead(agent, Share.all_of(lanes), torch.Generator().manual_seed(1))
    return torch.cat([ahead.draw()[1] for _ in range(parts)]).numpy()


@pytest.mark.parametrize("time_constant", [0.0, 10.0])
def test_exploration_stays_alike_for_its_time_constant(time_constant):
    draws = drawn_for_actions(make_agent(exploration_time_constant=time_constant), 400, parts=5)
    # Every step's are standard normal, the first and those where one part of the draws follows another included.
    np.testing.assert_allclose(draws.std((1, 2)), 1, atol=0.12)
    for lag in (1, 10, 30):
        expected = np.exp(-lag / time_constant) if time_constant else 0.0
        together = (draws[lag:] * draws[:-lag]).mean((1, 2))
        np.testing.assert_allclose(together.mean(), expected, atol=0.02)
        np.testing.assert_allclose(together, expected, atol=0.2)


def test_exploration_does_not_depend_on_how_lanes_are_shared():
    agent = make_agent(exploration_time_constant=5.0)
    whole = drawn_for_actions(agent, LANES, parts=2)
    for first in range(0, LANES, 2):
        ahead = DrawnAhead(agent, Share(LANES, first, 2), torch.Generator().manual_seed(1))
        part = torch.cat([ahead.draw()[1] for _ in range(2)]).numpy()
        np.testing.assert_array_equal(part, whole[:, first : first + 2])


@torch.no_grad()
def test_what_is_known_of_the_policy_does_not_depend_on_how_it_explores():
    white, correlated = (make_agent(exploration_time_constant=each) for each in (0.0, 5.0))
    for kind in (Actor, NumpyActor) if native.unavailable is None else (Actor,):
        (_, first, _), (_, second, _) = (act(kind, agent) for agent in (white, correlated))
        # What is seen here does not follow from what was done, so that the policies' means are the same.
        assert torch.equal(first.output.values, second.output.values)
        assert not torch.equal(first.actions, second.actions)
        torch.testing.assert_close(first.actions[0], second.actions[0])
