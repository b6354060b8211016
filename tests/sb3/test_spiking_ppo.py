"""SpikingRecurrentPPO: sequences of one length, lean buffers, and what it logs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

pytest.importorskip("sb3_contrib")
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.logger import Logger

from lsnn_gym.agents.sb3 import SpikingRecurrentPPO
from lsnn_gym.agents.sb3.buffers import DictSequenceBuffer
from tests.sb3.made_env import Spaces

SMALL: dict[str, Any] = {"n_steps": 40, "batch_size": 40, "n_epochs": 1, "seed": 0, "device": "cpu"}


def make_model(
    env: Any = "CartPole-v1", policy: str = "MlpLsnnPolicy", policy_kwargs: Any = None, **changes: Any
) -> Any:
    kwargs = {"lstm_hidden_size": 12, **(policy_kwargs or {})}
    return SpikingRecurrentPPO(policy, env, policy_kwargs=kwargs, **{**SMALL, **changes})


CORES: dict[str, dict[str, Any]] = {
    "two cores": {},
    "one core": {"shared_lstm": True, "enable_critic_lstm": False},
    "two layers": {"n_lstm_layers": 2},
}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("sequence_length", [40, 10])
def test_a_rollout_comes_out_again_sequence_by_sequence(core, sequence_length):
    env = Spaces(spaces.Box(-1, 1, (3,)), spaces.Discrete(2))
    model = make_model(env, policy_kwargs=CORES[core], sequence_length=sequence_length, learning_rate=0.0)
    model.learn(80)  # the second rollout starts in the midst of episodes
    buffer = model.rollout_buffer
    assert buffer.episode_starts.sum() >= 4
    assert not buffer.episode_starts[0]
    seen = []
    for sample in buffer.get(20):
        with torch.no_grad():
            values, log_prob, _ = model.policy.evaluate_actions(
                sample.observations,
                sample.actions.long().flatten(),
                sample.lstm_states,
                sample.episode_starts,
            )
        torch.testing.assert_close(values.flatten(), sample.old_values, rtol=0, atol=2e-6)
        torch.testing.assert_close(log_prob, sample.old_log_prob, rtol=0, atol=2e-6)
        seen += sample.old_values.tolist()
    assert sorted(seen) == sorted(buffer.values.flatten().tolist())


def test_a_buffer_keeps_states_only_where_sequences_start():
    model = make_model(n_steps=120, batch_size=120, sequence_length=30)
    assert model.rollout_buffer.hidden_states_pi.shape == (4, 1, 1, model.policy.lstm_actor.hidden_size)


PICTURES = spaces.Dict({"image": spaces.Box(0, 255, (36, 36, 3), np.uint8), "box": spaces.Box(-1, 1, (3,))})


def test_dictionaries_and_truncation():
    model = make_model(Spaces(PICTURES, spaces.Box(-1, 1, (2,))), "MultiInputLsnnPolicy").learn(80)
    assert isinstance(model.rollout_buffer, DictSequenceBuffer)


def test_saved_and_loaded_it_goes_on(tmp_path):
    model = make_model(sequence_length=20).learn(40)
    model.save(tmp_path / "model")
    loaded: Any = SpikingRecurrentPPO.load(tmp_path / "model", env=model.get_env(), device="cpu")
    assert loaded.sequence_length == loaded.rollout_buffer.sequence_length == 20
    observed = model.get_env().reset()
    expected, _ = model.predict(observed, deterministic=True)
    assert np.array_equal(loaded.predict(observed, deterministic=True)[0], expected)
    loaded.learn(40)


class Recorded(Logger):
    """Keeps the last value of everything."""

    def __init__(self) -> None:
        super().__init__(None, [])
        self.kept: dict[str, Any] = {}

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        self.kept[key] = value


def test_rewiring_keeps_its_budget_and_is_saved(tmp_path):
    wiring = {"kind": "deep_r", "connectivity": 0.2}
    model = make_model(policy_kwargs={"lsnn_kwargs": {"wiring": wiring}}, n_epochs=3)
    model.set_logger(logger := Recorded())
    before = model.policy.optimizer.connections()
    model.learn(80)
    budget = model.policy.optimizer.budget
    assert sum(before) <= budget == logger.kept["train/connections"]
    weight = model.policy.lstm_actor.networks[0].recurrent_synapses.weight
    assert 0 < int((weight != 0).sum()) < 0.5 * weight.numel()
    model.save(tmp_path / "model")
    loaded: Any = SpikingRecurrentPPO.load(tmp_path / "model", env=model.get_env(), device="cpu")
    for name, tensor in model.policy.optimizer.wiring_tensors().items():
        assert torch.equal(loaded.policy.optimizer.wiring_tensors()[name], tensor)
    loaded.learn(40)


def test_the_rate_goes_where_it_is_wanted():
    rates = {}
    for target in (10.0, 300.0):
        kwargs = {"lsnn_kwargs": {"rate_weight": 10.0, "target_rate": target}}
        model = make_model(policy_kwargs=kwargs, n_epochs=40, learning_rate=0.003)
        model.set_logger(logger := Recorded())
        model.learn(80)
        rates[target] = logger.kept["train/firing_rate_hz"]
    assert rates[10.0] < 60 < 120 < rates[300.0]


def test_the_penalty_adds_its_gradient_whatever_the_loss():
    kwargs = {"lsnn_kwargs": {"rate_weight": 1.0, "target_rate": 0.0}}
    core = make_model(policy_kwargs=kwargs).policy.lstm_actor
    features, rest, starts = torch.randn(9, 2, 4), torch.zeros(2, core.hidden_size), torch.zeros(9, 2)
    gradients = []
    for factor in (0.0, 1.0):
        core.zero_grad()
        outputs, _ = core(features, rest, starts)
        (factor * outputs.sum()).backward()
        gradients.append(core.networks[0].input_synapses.weight.grad.clone())
    penalty, both = gradients
    core.settings = core.settings.model_copy(update={"rate_weight": 0.0})
    core.zero_grad()
    core(features, rest, starts)[0].sum().backward()
    assert penalty.abs().sum() > 0
    torch.testing.assert_close(both, penalty + core.networks[0].input_synapses.weight.grad)


@pytest.mark.parametrize("core", CORES)
def test_the_penalty_of_sequences_that_the_stock_buffer_padded_is_that_of_their_own_steps(core):
    from sb3_contrib import RecurrentPPO

    kwargs = {
        "lstm_hidden_size": 12,
        **CORES[core],
        "lsnn_kwargs": {"rate_weight": 1.0, "target_rate": 0.0},
    }
    policy: Any = RecurrentPPO(
        "MlpLsnnPolicy", "CartPole-v1", policy_kwargs=kwargs, seed=0, device="cpu"
    ).policy
    observed, actions = torch.randn(5, 4), torch.tensor([1, 0, 1, 1, 0])
    rest = (torch.zeros(1, 1, policy.lstm_actor.hidden_size),) * 2

    def found(padding: int) -> list[torch.Tensor]:
        policy.zero_grad()
        pad = torch.nn.functional.pad
        values, log_prob, _ = policy.evaluate_actions(
            pad(observed, (0, 0, 0, padding)),
            pad(actions, (0, padding)),
            RNNStates(rest, rest),
            torch.zeros(5 + padding),
        )
        # What is padded is kept out of the loss, as the stock algorithm does.
        (0 * (values.flatten() + log_prob)[:5].sum()).backward()
        synapses = policy.lstm_actor.networks[0].input_synapses
        return [policy.lstm_actor.rates_hz, synapses.weight.grad.clone()]

    rates, gradient = found(0)
    assert rates.min() > 0
    assert gradient.any()
    for padding in (1, 7):
        torch.testing.assert_close(found(padding), [rates, gradient])
    policy.pads_sequences = False
    assert found(7)[0][0] != rates[0]


@pytest.mark.parametrize("length", [7, 80])
def test_a_length_that_does_not_fit_is_refused(length):
    with pytest.raises(ValueError, match=f"sequence_length is {length}: expected a divisor of n_steps, 40"):
        make_model(sequence_length=length)


def test_other_policies_are_refused():
    from sb3_contrib.ppo_recurrent import MlpLstmPolicy

    with pytest.raises(TypeError, match="policy is a RecurrentActorCriticPolicy: expected MlpLsnnPolicy"):
        SpikingRecurrentPPO(MlpLstmPolicy, "CartPole-v1", **SMALL)  # type: ignore[arg-type]
