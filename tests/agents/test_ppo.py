"""The loss and its parts against their definitions; one update in the right direction."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from lsnn_gym.agents.actor_critic import ActorCritic, AgentSettings, EncodingSettings, PolicyOutput
from lsnn_gym.agents.ppo import PPO, PPOSettings, discounted_advantages, ppo_loss
from lsnn_gym.agents.rollout import Trajectory, collect_episodes
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.tasks.scoring import rate_loss


def slow_advantages(rewards, values, lengths, last_value, discount, gae_lambda):
    """Sum the discounted temporal-difference errors of each episode, term by term."""
    result = np.zeros_like(rewards)
    for b, length in enumerate(lengths):
        following = [*values[1:length, b], last_value[b]]
        delta = [rewards[t, b] + discount * following[t] - values[t, b] for t in range(length)]
        for t in range(length):
            result[t, b] = sum((discount * gae_lambda) ** (k - t) * delta[k] for k in range(t, length))
    return result


@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.97, 0.95), (0.99, 1.0), (1.0, 0.0)])
def test_advantages_equal_the_slow_form(discount, gae_lambda):
    rng = np.random.default_rng(0)
    lengths = [6, 9, 1]
    rewards, values = rng.normal(size=(2, 9, 3))
    last_value = rng.normal(size=3)
    valid = np.arange(9)[:, None] < np.array(lengths)
    result = discounted_advantages(
        torch.tensor(rewards),
        torch.tensor(values),
        torch.tensor(valid, dtype=torch.float64),
        torch.tensor(last_value),
        discount,
        gae_lambda,
    )
    expected = slow_advantages(rewards, values, lengths, last_value, discount, gae_lambda)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_with_lambda_1_the_advantage_is_the_return_less_the_value():
    rewards = torch.tensor([[0.0], [0.0], [1.0]])
    values = torch.tensor([[0.3], [0.2], [0.1]])
    result = discounted_advantages(rewards, values, torch.ones(3, 1), torch.zeros(1), 0.9, 1.0)
    torch.testing.assert_close(result + values, torch.tensor([[0.81], [0.9], [1.0]]))


def two_step_batch(log_probs: list[float]) -> Trajectory:
    column = torch.zeros(2, 1)
    return Trajectory(
        observations=torch.zeros(2, 1, 1),
        actions=torch.zeros(2, 1, 1),
        log_probs=torch.tensor(log_probs)[:, None],
        values=column,
        rewards=column,
        valid=torch.tensor([[1.0], [1.0]]),
        episode_start=column,
        last_value=torch.zeros(1),
        inputs=torch.zeros(2, 1, 1, 1),
        noise=None,
        spikes=None,
        infos={},
    )


def test_loss_of_a_worked_example():
    # Density of a standard normal at 0: ln 1/sqrt(2 pi); ratios of 1.5 and 0.5.
    at_zero = -0.5 * np.log(2 * np.pi)
    batch = two_step_batch([at_zero - np.log(1.5), at_zero - np.log(0.5)])
    policy = PolicyOutput(torch.zeros(2, 1, 1), torch.ones(2, 1, 1), torch.tensor([[1.0], [0.0]]), None)
    advantages, returns = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.0], [2.0]])
    settings = PPOSettings(clip_range=0.2, value_weight=0.5, entropy_weight=0.1)
    loss, parts = ppo_loss(policy, batch, advantages, returns, settings)
    # Clipped at 1.2 where the advantage is positive; at 0.8 where it is negative and the ratio too low.
    surrogate = (1.2 * 2.0 + 0.8 * -1.0) / 2
    entropy = 0.5 * np.log(2 * np.pi * np.e)
    assert parts["policy_loss"].item() == pytest.approx(-surrogate, rel=1e-5)
    assert parts["value_loss"].item() == pytest.approx((1 + 4) / 2)
    assert loss.item() == pytest.approx(-surrogate + 0.5 * 2.5 - 0.1 * entropy, rel=1e-5)
    assert parts["clip_share"].item() == 1.0


def test_steps_after_the_end_do_not_count():
    policy = PolicyOutput(torch.zeros(2, 1, 1), torch.ones(2, 1, 1), torch.zeros(2, 1), None)
    settings = PPOSettings()
    batch = two_step_batch([-0.5, -0.7])._replace(valid=torch.tensor([[1.0], [0.0]]))
    one, _ = ppo_loss(policy, batch, torch.tensor([[1.0], [5.0]]), torch.tensor([[1.0], [9.0]]), settings)
    other, _ = ppo_loss(policy, batch, torch.tensor([[1.0], [-3.0]]), torch.tensor([[1.0], [2.0]]), settings)
    assert one == other


def test_rate_loss_is_in_spikes_per_ms():
    spikes = torch.zeros(100, 2, 3)
    spikes[::10, :, 0] = 1  # 100 Hz
    assert rate_loss(spikes, 10.0).item() == pytest.approx(0.09**2 + 2 * 0.01**2, rel=1e-5)


def make_agent(env) -> ActorCritic:
    return ActorCritic(
        AgentSettings(encoding=EncodingSettings(events=(2, 3), spikes="expected")),
        NetworkSettings(regular_neurons=20, adaptive_neurons=10),
        env.single_observation_space,
        env.single_action_space,
        torch.Generator().manual_seed(0),
    )


def make_env():
    return gym.make_vec("lsnn_gym/WaterMazeQuick-v0", num_envs=6, max_steps=20)


def test_learning_rate_is_halved_as_the_paper_has_it():
    ppo = PPO(make_agent(make_env()), PPOSettings())
    rates = [ppo.learning_rate(i) for i in (0, 4999, 5000, 10000)]
    assert rates == [0.01, 0.01, 0.005, 0.0025]


@pytest.mark.parametrize("minibatches", [1, 3])
def test_an_update_raises_the_probability_of_what_was_better(minibatches):
    env = make_env()
    agent = make_agent(env)
    stored = collect_episodes(agent, env, torch.Generator().manual_seed(0), 0)
    # Reward for going right, at once.
    stored = stored._replace(rewards=stored.actions[..., 0], values=torch.zeros_like(stored.values))
    settings = PPOSettings(
        learning_rate=0.01, epochs=4, minibatches=minibatches, discount=0.0, rate_weight=0.0
    )
    before, _ = agent.replay(stored.inputs, agent.initial_state(6), stored.episode_start, stored.noise)
    parts = PPO(agent, settings).update(stored, 0, torch.Generator().manual_seed(0))
    after, _ = agent.replay(stored.inputs, agent.initial_state(6), stored.episode_start, stored.noise)
    assert after.mean[..., 0].mean() > before.mean[..., 0].mean() + 0.01
    assert np.isfinite(list(parts.values())).all()


def test_figures_are_means_over_the_steps_taken_where_episodes_do_not_divide_evenly():
    env = make_env()
    agent = make_agent(env)
    stored = collect_episodes(agent, env, torch.Generator().manual_seed(0), 0)
    policy, _ = agent.replay(stored.inputs, agent.initial_state(6), stored.episode_start, stored.noise)
    # Six episodes make three groups of two, not four.
    settings = PPOSettings(learning_rate=1e-9, minibatches=4)
    parts = PPO(agent, settings).update(stored, 0, torch.Generator().manual_seed(0))
    assert parts["entropy"] == pytest.approx(policy.entropy().mean().item(), rel=1e-4)
