"""Spiking features for every algorithm of Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3

from lsnn_gym.agents.sb3 import SpikingFeaturesExtractor
from tests.sb3.made_env import Spaces

RULES = ["bptt", "eprop", "tssl-bp", "antlr"]
BOX = spaces.Box(-1, 1, (3,))


def make(space: spaces.Space = BOX, **kwargs: Any) -> SpikingFeaturesExtractor:
    torch.manual_seed(0)
    return SpikingFeaturesExtractor(space, 16, **kwargs)


@pytest.mark.parametrize("rule", RULES)
def test_features_follow_the_observation_alone_and_are_trained(rule):
    extractor = make(rule=rule, layers=2)
    observed = 3 * torch.randn(40, 3)
    features = extractor(observed)
    assert features.shape == (40, 16)
    # No state is kept, and samples do not touch each other.
    torch.testing.assert_close(extractor(observed[3:5]), features[3:5])
    head = torch.nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*extractor.parameters(), *head.parameters()], lr=0.01)
    target = observed.prod(1, keepdim=True).tanh()
    losses = []
    for _ in range(60):
        loss = ((head(extractor(observed)) - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Better than a head on features that do not learn can do.
    with torch.no_grad():
        fixed = torch.cat([features, torch.ones(40, 1)], 1)
        best = fixed @ torch.linalg.lstsq(fixed, target, driver="gelsd").solution
    assert losses[-1] < min(0.7 * losses[0], float(((best - target) ** 2).mean()) + 0.15)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5),
        spaces.Box(0, 255, (36, 36, 3), np.uint8),
        spaces.Dict({"a": spaces.Box(-1, 1, (2, 2)), "b": spaces.Discrete(3)}),
    ],
)
def test_spaces(space):
    algorithm = PPO(
        "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy",
        Spaces(space, spaces.Discrete(2)),
        **_kwargs(),
    )
    algorithm.learn(16)


def _kwargs(**features: Any) -> dict[str, Any]:
    return {
        "n_steps": 16,
        "batch_size": 16,
        "n_epochs": 1,
        "device": "cpu",
        "policy_kwargs": {
            "features_extractor_class": SpikingFeaturesExtractor,
            "features_extractor_kwargs": {"features_dim": 8, "steps": 4, **features},
        },
    }


ALGORITHMS: dict[type[Any], tuple[str, dict[str, Any]]] = {
    PPO: ("CartPole-v1", {"n_steps": 16, "batch_size": 16, "n_epochs": 1}),
    A2C: ("CartPole-v1", {"n_steps": 8}),
    DQN: ("CartPole-v1", {"learning_starts": 8, "buffer_size": 50}),
    SAC: ("Pendulum-v1", {"learning_starts": 8, "buffer_size": 50, "batch_size": 8}),
    TD3: ("Pendulum-v1", {"learning_starts": 8, "buffer_size": 50, "batch_size": 8}),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda each: each.__name__)
def test_every_algorithm_takes_it_and_saves_it(algorithm, tmp_path):
    env, settings = ALGORITHMS[algorithm]
    policy_kwargs = {
        "features_extractor_class": SpikingFeaturesExtractor,
        "features_extractor_kwargs": {"features_dim": 8, "steps": 4, "recurrent": True},
        "net_arch": [8],
    }
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", policy_kwargs=policy_kwargs, **settings)
    model.learn(16)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", device="cpu")
    observed = model.get_env().reset()
    assert np.array_equal(
        loaded.predict(observed, deterministic=True)[0], model.predict(observed, deterministic=True)[0]
    )


def test_recurrent_synapses_are_there_on_request_only():
    for recurrent in (False, True):
        extractor = make(recurrent=recurrent)
        extractor(3 * torch.randn(20, 3)).sum().backward()
        weight = dict(extractor.named_parameters())["network.networks.0.recurrent_synapses.weight"]
        assert bool(weight.any()) == recurrent
        assert weight.requires_grad == recurrent


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"rule": "tssl"}, "unknown rule 'tssl': did you mean 'tssl-bp'"),
        ({"rule": "antlr", "recurrent": True}, "recurrent is True: expected False, as antlr"),
        ({"treshold": 1.0}, "treshold"),
        (
            {"rule": "st-rsbp"},
            r"^rule is 'st-rsbp', which learns from spike trains, while observations are currents: expected bptt,",
        ),
        (
            {"wiring": {"kind": "deep_r", "connectivity": 0.2}},
            r"^wiring is \{'kind': 'deep_r', 'connectivity': 0\.2\}: expected none, as the algorithm's optimiser would",
        ),
        ({"wiring": {"dale": True}, "rule": "eprop"}, r"^wiring is \{'dale': True\}: expected none"),
    ],
)
def test_what_does_not_fit_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)
