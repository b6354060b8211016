"""Exported policies: the same predictions again, no pickle anywhere, and clear words for what does not fit."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import safetensors.torch
import torch
from gymnasium import spaces
from torch import nn

pytest.importorskip("sb3_contrib")
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize

from lsnn_gym.agents.sb3 import (
    CoreSettings,
    SpikingCore,
    SpikingFeaturesExtractor,
    SpikingRecurrentPPO,
    export_policy,
    load_policy,
)
from lsnn_gym.agents.sb3.normalized_policy import NormalizedPolicy
from lsnn_gym.agents.sb3.plain_json import (
    decode_schedule,
)
from lsnn_gym.errors import UserError

LSNN: dict[str, Any] = {
    "lstm_hidden_size": 12,
    "lsnn_kwargs": {"threshold": 0.05, "delay": (1, 3), "tau_membrane": (5.0, 20.0)},
}


class SpikingFeatures(BaseFeaturesExtractor):
    """Features of a spiking network that starts at rest for each observation."""

    def __init__(self, observation_space: spaces.Box, neurons: int = 6) -> None:
        super().__init__(observation_space, neurons)
        self.core = SpikingCore(observation_space.shape[0], neurons, 1, CoreSettings(threshold=1.0))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        rest = observations.new_zeros(len(observations), self.core.hidden_size)
        return self.core(observations[None], rest, torch.zeros(1, len(observations)))[0][0]


def recurrent(policy: str = "MlpLsnnPolicy", **kwargs: Any) -> Any:
    kwargs = kwargs or LSNN
    settings: dict[str, Any] = {"n_steps": 20, "batch_size": 20, "n_epochs": 1, "seed": 0, "device": "cpu"}
    return RecurrentPPO(policy, "CartPole-v1", policy_kwargs=kwargs, **settings)


def feedforward(kind: Any, policy: str = "MlpPolicy", env: Any = "CartPole-v1", **kwargs: Any) -> Any:
    return kind(policy, env, seed=0, device="cpu", policy_kwargs=kwargs)


MODELS: dict[str, Any] = {
    "lsnn": recurrent,
    "lsnn, two layers": lambda: recurrent(n_lstm_layers=2, **LSNN),
    "lsnn, one core": lambda: recurrent(shared_lstm=True, enable_critic_lstm=False, **LSNN),
    "lstm": lambda: recurrent("MlpLstmPolicy", lstm_hidden_size=9, n_lstm_layers=2, enable_critic_lstm=False),
    "ppo": lambda: feedforward(PPO, net_arch={"pi": [8], "vf": [7, 5]}, activation_fn=nn.ReLU),
    "ppo, features apart": lambda: feedforward(PPO, share_features_extractor=False, net_arch=[8]),
    "a2c": lambda: feedforward(A2C, net_arch=[8]),
    "lsnn with deep r": lambda: recurrent(
        lstm_hidden_size=12,
        lsnn_kwargs={"threshold": 0.05, "wiring": {"kind": "deep_r", "connectivity": 0.5}},
    ),
    "spiking recurrent ppo": lambda: SpikingRecurrentPPO(
        "MlpLsnnPolicy", "CartPole-v1", n_steps=20, batch_size=20, device="cpu", policy_kwargs=LSNN
    ),
    **{
        f"spiking features, {rule}": lambda rule=rule: feedforward(
            PPO,
            net_arch=[16],
            features_extractor_class=SpikingFeaturesExtractor,
            features_extractor_kwargs={"features_dim": 12, "rule": rule},
        )
        for rule in ("bptt", "eprop", "tssl-bp", "antlr")
    },
    "ones own features": lambda: feedforward(
        PPO, features_extractor_class=SpikingFeatures, features_extractor_kwargs={"neurons": 5}
    ),
    "dqn": lambda: feedforward(DQN, net_arch=[32], features_extractor_class=SpikingFeatures),
    "sac": lambda: feedforward(SAC, env="Pendulum-v1", net_arch=[8]),
    "sac, gsde": lambda: SAC(
        "MlpPolicy", "Pendulum-v1", use_sde=True, device="cpu", policy_kwargs={"net_arch": [8]}
    ),
    "td3": lambda: feedforward(TD3, env="Pendulum-v1", net_arch=[8], share_features_extractor=True),
}


def predictions(policy: Any, observations: list[Any], start: bool = False) -> list[Any]:
    """Actions of one environment, the state handed on."""
    actions, state = [], None
    for time, observation in enumerate(observations):
        starts = np.array([time == 0 or (start and time == 5)])
        action, state = policy.predict(observation, state, episode_start=starts, deterministic=True)
        actions.append(np.asarray(action).tolist())
    return actions


def samples(space: spaces.Space, number: int = 40) -> list[Any]:
    if isinstance(space, spaces.Box):
        generator = np.random.default_rng(0)
        return list(generator.normal(0, 3, (number, *space.shape)).astype(np.float32))
    space.seed(0)
    return [space.sample() for _ in range(number)]


def load_without_pickle(folder: Path, **kwargs: Any) -> Any:
    """Load a policy where nothing can be unpickled."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a pickle was read")

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
            patch.setattr(module, name, refuse)
        return load_policy(folder, **kwargs)


@pytest.mark.parametrize("name", MODELS)
def test_predictions_come_out_again(tmp_path, name):
    model = MODELS[name]()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.policy.parameters():  # off the values that a new policy has
            scale = 0.6 if parameter.dim() > 1 else 0.05  # greater biases would decide alone
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    export_policy(model, tmp_path)
    loaded = load_without_pickle(tmp_path, classes=[SpikingFeatures])
    assert type(loaded) is type(model.policy)
    for key, value in model.policy.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
    observations = samples(model.observation_space)
    expected = predictions(model, observations, start=True)
    assert predictions(loaded, observations, start=True) == expected
    assert any(each != expected[0] for each in expected)


@pytest.mark.parametrize("name", ["lsnn", "sac"])
def test_the_policy_alone_can_be_exported(tmp_path, name):
    policy = MODELS[name]().policy
    export_policy(policy, tmp_path)
    loaded = load_policy(tmp_path)
    observations = samples(policy.observation_space)
    assert predictions(loaded, observations) == predictions(policy, observations)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["algorithm"] is None
    assert config["learning_rate"]["values"] == [3e-4] * 101


class Pictures(gym.Env[Any, Any]):
    observation_space = spaces.Dict(
        [
            ("picture", spaces.Box(0, 255, (36, 36, 3), np.uint8)),
            ("box", spaces.Box(-1, 1, (3,))),
            ("a", spaces.Discrete(3)),
        ]
    )
    action_space = spaces.MultiDiscrete([3, 2])

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, True, {}


def test_dictionaries_of_pictures(tmp_path):
    model = RecurrentPPO("MultiInputLsnnPolicy", Pictures(), device="cpu", policy_kwargs=LSNN)
    export_policy(model, tmp_path, figures={"mean return": 3.5})
    loaded: Any = load_policy(tmp_path)
    # Features are joined in the order of the keys, which is not the alphabet's.
    assert list(loaded.observation_space.spaces) == ["picture", "box", "a"]
    observations = samples(Pictures.observation_space, 5)
    assert predictions(loaded, observations) == predictions(model, observations)


def test_normalisation_goes_along(tmp_path):
    env = VecNormalize(make_vec_env("CartPole-v1", 2, seed=0), clip_obs=2.0)
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu").learn(256)
    export_policy(model, tmp_path)
    loaded = load_without_pickle(tmp_path)
    assert isinstance(loaded, NormalizedPolicy)
    env.training = False
    raw = np.array([[3.0, 0.1, -0.1, -2.0], [0.01, -0.5, 0.2, 1.0]], np.float32)
    normalised: Any = env.normalize_obs(raw)
    np.testing.assert_array_equal(loaded.normalization.apply(raw), normalised)
    expected, _ = model.predict(normalised, deterministic=True)
    np.testing.assert_array_equal(loaded.predict(raw, deterministic=True)[0], expected)
    judged: Any = evaluate_policy(loaded, make_vec_env("CartPole-v1", 2, seed=3), 4)[0]  # type: ignore[arg-type]
    same: Any = evaluate_policy(model, set_seed(env, 3), 4)[0]
    assert judged == same
    # A later export without it leaves nothing of it behind.
    env.norm_obs = False
    export_policy(model, tmp_path)
    assert not (tmp_path / "normalization.safetensors").exists()
    assert not isinstance(load_policy(tmp_path), NormalizedPolicy)


def set_seed(env: VecNormalize, seed: int) -> VecNormalize:
    env.norm_reward = False
    env.seed(seed)
    return env


def test_dictionaries_are_normalised_by_key(tmp_path):
    env = VecNormalize(make_vec_env(Pictures, 1), norm_obs_keys=["box"])
    model = PPO("MultiInputPolicy", env, n_steps=8, batch_size=8, device="cpu")
    for _ in range(5):
        env.reset()
    export_policy(model, tmp_path)
    loaded: Any = load_policy(tmp_path)
    observation = Pictures.observation_space.sample()
    normalised: Any = env.normalize_obs(observation)
    ours = loaded.normalization.apply(observation)
    for key, value in normalised.items():
        np.testing.assert_array_equal(ours[key], value)
    assert np.abs(ours["box"] - observation["box"]).max() > 0.01


def test_what_is_in_the_folder(tmp_path):
    model = PPO(
        "MlpPolicy", "CartPole-v1", learning_rate=lambda left: 1e-3 * left**2, gamma=0.97, device="cpu"
    )
    folder = export_policy(
        model, tmp_path / "new" / "folder", figures={"mean return": 480.25}, description="Balances | poles."
    )
    assert sorted(each.name for each in folder.iterdir()) == [
        "README.md",
        "config.json",
        "policy.safetensors",
    ]
    for file in folder.iterdir():
        content = file.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))  # neither pickle nor zip, torch.save's
        for module in (b"cnumpy", b"cloudpickle", b"ctorch", b"__reduce__"):
            assert module not in content
    config = json.loads((folder / "config.json").read_text())
    assert config["env_id"] == "CartPole-v1"
    assert config["algorithm"] == "PPO"
    assert config["figures"] == {"mean return": 480.25}
    assert config["settings"]["gamma"] == 0.97
    assert config["settings"]["clip_range"] == {"kind": "constant", "value": 0.2}
    assert decode_schedule(config["learning_rate"])(0.5) == pytest.approx(2.5e-4)
    assert "optimizer_class" not in config["arguments"]
    card = (folder / "README.md").read_text()
    assert card.startswith(
        '---\nlibrary_name: lsnn-gym\npipeline_tag: reinforcement-learning\ntags:\n- "reinf'
    )
    assert "\n# PPO with ActorCriticPolicy on `CartPole-v1`\n\nBalances | poles.\n" in card
    assert "| mean return | 480.25 |" in card
    assert "| gamma | `0.97` |" in card
    assert "| learning_rate | `0.001 to 0, by schedule` |" in card


def test_the_cards_code_works(tmp_path):
    model = recurrent()
    export_policy(model, tmp_path)
    code = (tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"observation": np.zeros(4, np.float32)}
    exec(code.replace("path/to/this/folder", tmp_path.as_posix()), names)
    assert names["action"] in (0, 1)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return export_policy(feedforward(PPO, net_arch=[8]), tmp_path)


def change(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_that_do_not_fit_are_refused(exported):
    path = exported / "policy.safetensors"
    weights = safetensors.torch.load_file(path)
    wrong = {**weights, "action_net.weight": torch.zeros(3, 8)}
    safetensors.torch.save_file(wrong, path)
    with pytest.raises(UserError) as caught:
        load_policy(exported)
    assert str(caught.value) == (
        f"{path}: 'action_net.weight' has the shape (3, 8): expected (2, 8), as the arguments say"
    )
    safetensors.torch.save_file({**weights, "more": torch.zeros(1)}, path)
    with pytest.raises(
        UserError, match="has weights 'more', which ActorCriticPolicy with its arguments has not"
    ):
        load_policy(exported)
    del weights["action_net.bias"]
    safetensors.torch.save_file(weights, path)
    with pytest.raises(UserError, match=r"has no weights 'action_net.bias': ActorCriticPolicy with its"):
        load_policy(exported)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"policy.safetensors is cut off or no safetensors file"):
        load_policy(exported)
    path.unlink()
    with pytest.raises(UserError, match=r"cannot read .*policy.safetensors: No such file"):
        load_policy(exported)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "is no config of an exported policy: expected the format 'lsnn_gym-policy'"),
        ({"version": 2}, "has version 2: expected 1"),
        (
            {"policy": "os:system"},
            r"the class os:system is of none of the packages .*give it as classes=\[system\]",
        ),
        ({"policy": "torch.nnx:Evil"}, "the class torch.nnx:Evil is of none of the packages"),
        ({"policy": "torch.nn:Linear"}, "torch.nn:Linear is no class of BasePolicy"),
        ({"policy": "stable_baselines3.ppo.ppo:PPO"}, "PPO is no class of BasePolicy"),
        (
            {"policy": "stable_baselines3.nowhere:X"},
            "the class stable_baselines3.nowhere:X cannot be found: No module",
        ),
        (
            {"arguments": {"net_arch": [8]}},
            "cannot be made with the arguments of the config: TypeError: .*missing",
        ),
        (
            {"arguments": {"a": {"$class": "builtins:eval"}}},
            "the class builtins:eval is of none of the packages",
        ),
        ({"learning_rate": {"kind": "linaer"}}, "unknown kind of schedule 'linaer': did you mean 'linear'?"),
        (
            {"arguments": {"observation_space": {"$space": {"kind": "Bx"}}}},
            "unknown kind of space 'Bx': did you",
        ),
    ],
)
def test_configs_that_do_not_fit_are_refused(exported, changes, message):
    change(exported, **changes)
    with pytest.raises(UserError, match=message):
        load_policy(exported)


def test_files_that_are_no_configs_are_refused(exported):
    (exported / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json is no JSON"):
        load_policy(exported)
    (exported / "config.json").write_text('{"format": "lsnn_gym-policy", "version": 1}')
    with pytest.raises(UserError, match="has no 'policy'"):
        load_policy(exported)
    with pytest.raises(UserError, match=r"cannot read .*config.json: No such file"):
        load_policy(exported / "nowhere")


def test_ones_own_classes_have_to_be_given(tmp_path):
    export_policy(MODELS["ones own features"](), tmp_path)
    with pytest.raises(UserError, match=r"SpikingFeatures is of none .*classes=\[SpikingFeatures\]"):
        load_policy(tmp_path)


def test_what_cannot_be_written_down_is_refused_at_once(tmp_path):
    model = feedforward(PPO, features_extractor_class=SpikingFeatures)
    model.policy.features_extractor_kwargs = {"neurons": lambda: 6}
    with pytest.raises(UserError, match=r"arguments.features_extractor_kwargs.neurons is <function"):
        export_policy(model, tmp_path)
    model.policy.features_extractor_kwargs = {"neurons": 7}  # not what it was made with
    with pytest.raises(UserError, match=r"the policy: 'features_extractor.core.* has the shape .* expected"):
        export_policy(model, tmp_path)
    assert not list(tmp_path.iterdir())
