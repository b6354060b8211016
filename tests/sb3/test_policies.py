"""Spiking policies in RecurrentPPO: by name, in all spaces, saved and loaded, and exact where PPO needs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

pytest.importorskip("sb3_contrib")
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.evaluation import evaluate_policy

from lsnn_gym.agents.sb3 import CoreSettings, MlpLsnnPolicy, SpikingCore
from tests.sb3.made_env import Spaces

SIZES: dict[str, Any] = {
    "lstm_hidden_size": 12,
    "lsnn_kwargs": {"threshold": 0.5, "steps_per_observation": 3},
}
CORES: dict[str, dict[str, Any]] = {
    "two cores": {},
    "one core": {"shared_lstm": True, "enable_critic_lstm": False},
    "no memory of the critic": {"enable_critic_lstm": False},
    "two layers": {"n_lstm_layers": 2},
}


def make_model(policy: str = "MlpLsnnPolicy", env: Any = "CartPole-v1", **changes: Any) -> Any:
    kwargs = {**SIZES, **changes}
    return RecurrentPPO(
        policy, env, n_steps=40, batch_size=40, n_epochs=1, seed=0, device="cpu", policy_kwargs=kwargs
    )


OBSERVATIONS: dict[str, tuple[str, spaces.Space]] = {
    "box": ("MlpLsnnPolicy", spaces.Box(-1, 1, (3,))),
    "discrete": ("MlpLsnnPolicy", spaces.Discrete(4)),
    "multi-discrete": ("MlpLsnnPolicy", spaces.MultiDiscrete([3, 4])),
    "multi-binary": ("MlpLsnnPolicy", spaces.MultiBinary(3)),
    "image": ("CnnLsnnPolicy", spaces.Box(0, 255, (36, 36, 3), np.uint8)),
    "dictionary": (
        "MultiInputLsnnPolicy",
        spaces.Dict({"image": spaces.Box(0, 255, (36, 36, 3), np.uint8), "box": spaces.Box(-1, 1, (3,))}),
    ),
}
ACTIONS: dict[str, spaces.Space] = {
    "box": spaces.Box(-1, 1, (2, 2)),
    "discrete": spaces.Discrete(3),
    "multi-discrete": spaces.MultiDiscrete([3, 2]),
    "multi-binary": spaces.MultiBinary(3),
}


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("action", ACTIONS)
def test_all_spaces_train_and_predict(observation, action):
    policy, space = OBSERVATIONS[observation]
    env = Spaces(space, ACTIONS[action])
    model = make_model(policy, env).learn(40)
    observed, _ = env.reset()
    chosen, state = model.predict(observed)
    assert env.action_space.contains(chosen)
    again, _ = model.predict(observed, state, episode_start=np.array([True]), deterministic=True)
    first, _ = model.predict(observed, deterministic=True)
    assert np.array_equal(again, first)


@pytest.mark.parametrize("core", CORES)
def test_log_probabilities_of_a_rollout_come_out_again(core):
    found = []

    class Watched(MlpLsnnPolicy):
        def evaluate_actions(self, *args: Any) -> Any:  # type: ignore[override]
            found.append(super().evaluate_actions(*args))
            return found[-1]

    kwargs = {**SIZES, **CORES[core]}
    model: Any = RecurrentPPO(
        Watched,
        "CartPole-v1",
        n_steps=40,
        batch_size=40,
        n_epochs=1,
        seed=0,
        device="cpu",
        policy_kwargs=kwargs,
    )
    model.learn(40)
    values, log_probs, _ = found[0]  # before the first update
    buffer = model.rollout_buffer
    assert buffer.episode_starts[1:].any()
    # In whatever order, and padded: the values are those of the rollout.
    rollout = sorted(zip(buffer.values.flatten(), buffer.log_probs.flatten(), strict=True))
    again = set(zip(values.flatten().tolist(), log_probs.tolist(), strict=True))
    for value, log_prob in rollout:
        assert min(max(abs(value - each[0]), abs(log_prob - each[1])) for each in again) < 1e-6


@pytest.mark.parametrize("core", CORES)
def test_a_sequence_equals_its_steps_with_resets(core):
    policy = make_model(**CORES[core]).policy
    generator = torch.Generator().manual_seed(0)
    observations = torch.randn(5, 20, 4, generator=generator)  # [environments, steps, ...]
    starts = (torch.rand(5, 20, generator=generator) < 0.2).float()
    shape = (1, 5, policy.lstm_actor.hidden_size)
    rest = (torch.zeros(shape), torch.zeros(shape))
    states = RNNStates(rest, rest)
    actions = torch.randint(2, (5, 20), generator=generator)
    with torch.no_grad():
        values, log_probs, _ = policy.evaluate_actions(
            observations.flatten(0, 1), actions.flatten(), states, starts.flatten()
        )
        for t in range(20):
            latent_pi, latent_vf, states = policy._latents(observations[:, t], states, starts[:, t])
            distribution = policy._get_action_dist_from_latent(latent_pi)
            expected = distribution.log_prob(actions[:, t])
            torch.testing.assert_close(log_probs.view(5, 20)[:, t], expected, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(
                values.view(5, 20)[:, t], policy.value_net(latent_vf)[:, 0], rtol=1e-6, atol=1e-6
            )


@pytest.mark.parametrize("core", CORES)
def test_algorithm_and_policy_are_saved_and_loaded(tmp_path, core):
    model = make_model(**CORES[core]).learn(40)
    observed = model.get_env().reset()
    expected, _ = model.predict(observed, deterministic=True)
    model.save(tmp_path / "model")
    loaded: Any = RecurrentPPO.load(tmp_path / "model", env=model.get_env(), device="cpu")
    model.policy.save(tmp_path / "policy")
    policy: Any = MlpLsnnPolicy.load(tmp_path / "policy", device="cpu")
    for other in (loaded.policy, policy):
        for name, value in model.policy.state_dict().items():
            assert torch.equal(other.state_dict()[name], value)
        assert np.array_equal(other.predict(observed, deterministic=True)[0], expected)
    loaded.learn(40)
    episode_return: Any = evaluate_policy(loaded, loaded.get_env(), n_eval_episodes=2, warn=False)[0]
    assert episode_return > 0


@pytest.mark.parametrize(("joint", "reaches"), [(True, True), (False, False)])
def test_the_value_trains_a_shared_core_if_it_is_joint(joint, reaches):
    changes = {**CORES["one core"], "lsnn_kwargs": {**SIZES["lsnn_kwargs"], "joint_critic": joint}}
    policy = make_model(**changes).policy
    shape = (1, 2, policy.lstm_actor.hidden_size)
    rest = (torch.zeros(shape), torch.zeros(shape))
    values, _, _ = policy.evaluate_actions(
        torch.randn(20, 4), torch.zeros(20), RNNStates(rest, rest), torch.zeros(20)
    )
    policy.zero_grad()
    values.sum().backward()
    gradients = [each.grad for each in policy.lstm_actor.parameters()]
    assert any(each is not None and each.abs().sum() > 0 for each in gradients) == reaches


def test_zeros_are_the_state_of_rest():
    core = SpikingCore(3, 7, 2, CoreSettings(delay=(1, 3), bias=False))
    outputs, state = core(torch.zeros(4, 2, 3), torch.zeros(2, core.hidden_size), torch.zeros(4, 2))
    assert outputs.shape == (4, 2, 7)
    assert state.shape == (2, core.hidden_size) == (2, 2 * 7 * 7 + 7)
    assert not outputs.any()
    assert not state.any()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"lstm_kwargs": {"dropout": 0.5}}, TypeError, "a spiking network takes lsnn_kwargs instead"),
        ({"lsnn_kwargs": {"treshold": 1.0}}, ValueError, "treshold"),
        ({"lsnn_kwargs": {"noise_std": 0.1}}, ValueError, "noise_std is 0.1: expected 0"),
        ({"shared_lstm": True}, AssertionError, "You must choose between"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        make_model(**changes)
