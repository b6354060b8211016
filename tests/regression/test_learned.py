"""References that are trained: what they are trained on, and that they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.regression import learned
from lsnn_gym.regression.episodes import RegressionSettings, draw_episodes
from lsnn_gym.regression.judging import judge
from lsnn_gym.regression.learned import LearnedSettings, Training, learned_references
from lsnn_gym.regression.network import ModelSettings, RegressionNetwork
from lsnn_gym.regression.trainer import RegressionTrainer, RegressionTrainSettings
from lsnn_gym.seeding import derived_seed

WAVES = RegressionSettings(family="sinusoid", trials=5)
SETTINGS = LearnedSettings.model_validate(
    {"lstm": {"learning_rate": 0.01}, "maml": {"hidden_units": 6, "batch_size": 5, "most_steps": 2}}
)


def training(core: str = "lsnn", iterations: int = 3, seed: int = 2) -> Training:
    model = ModelSettings.model_validate({"core": core, "coding": {"neurons_per_value": 6, "width": 0.3}})
    network = NetworkSettings(regular_neurons=5, adaptive_neurons=3)
    train = RegressionTrainSettings.model_validate({"batch_size": 4, "learning_rate": 0.5})
    return Training(model, network, WAVES, train, seed, iterations)


def test_the_lstm_is_one_of_equal_size_trained_as_the_network_was(tmp_path: Path):
    found = learned_references(SETTINGS, training(), tmp_path)["lstm"]
    how = training()
    model = how.model.model_copy(update={"core": "lstm"})
    generator = torch.Generator().manual_seed(derived_seed(2, "weights"))
    network = RegressionNetwork(model, how.network, WAVES, generator)
    assert network.core.initial_state(1)[0].shape == (1, 8)
    train = how.train.model_copy(update={"learning_rate": 0.01})
    trainer = RegressionTrainer(network, WAVES, train, 2)
    for _ in range(3):
        trainer.run_iteration()
    episodes = draw_episodes(WAVES, 6, 0)
    np.testing.assert_allclose(found(WAVES, episodes, range(5)), judge(network, episodes, 0).squares)


def test_maml_sees_as_many_functions_as_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(learned.MAML, "train", lambda self, functions, **_: seen.append(functions))
    learned_references(SETTINGS, training(iterations=7), tmp_path)
    assert seen == [28]


def test_they_are_kept_until_something_they_rest_on_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    episodes = draw_episodes(WAVES, 6, 0)

    def errors(**changes) -> dict[str, np.ndarray]:
        found = learned_references(SETTINGS, training(**changes), tmp_path)
        return {name: each(WAVES, episodes, range(5)) for name, each in found.items()}

    first = errors()
    assert {path.name for path in tmp_path.iterdir()} == {"lstm.safetensors", "maml.safetensors"}
    with monkeypatch.context() as patched:

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("trained again")

        patched.setattr(learned.RegressionTrainer, "run_iteration", refuse)
        patched.setattr(learned.MAML, "train", refuse)
        for name, each in errors().items():
            np.testing.assert_array_equal(each, first[name])
        with pytest.raises(AssertionError, match="trained again"):
            errors(seed=3)
    other = errors(iterations=4)
    assert all(not np.array_equal(each, first[name]) for name, each in other.items())
    (tmp_path / "lstm.safetensors").write_bytes(b"damaged")
    for name, each in errors(iterations=4).items():
        np.testing.assert_array_equal(each, other[name])


def test_they_are_kept_though_settings_came_that_were_not_there_yet(tmp_path: Path, monkeypatch):
    def rewrite(change: Callable[[list[dict[str, Any]]], None]) -> None:
        with safetensors.safe_open(str(path), "pt") as file:
            recipe = json.loads(file.metadata()["made_with"])
        weights = safetensors.torch.load(path.read_bytes())
        change(recipe[1:])
        path.write_bytes(safetensors.torch.save(weights, {"made_with": json.dumps(recipe)}))

    path = tmp_path / "lstm.safetensors"
    only_lstm = LearnedSettings.model_validate({"maml": None})
    learned_references(only_lstm, training(), tmp_path)
    ours = path.read_bytes()

    def older(recipe: list[dict[str, Any]]) -> None:
        model = recipe[0]
        assert model.pop("forget_bias") == 0
        model["core"] = model.pop("core")  # in another order

    rewrite(older)
    with monkeypatch.context() as patched:
        patched.setattr(learned.RegressionTrainer, "run_iteration", None)
        learned_references(only_lstm, training(), tmp_path)
    for name, value in (("forget_bias", 1.0), ("forget_bias", "much"), ("long_gone", 2)):
        rewrite(lambda recipe, name=name, value=value: recipe[0].update({name: value}))
        learned_references(only_lstm, training(), tmp_path)
        assert path.read_bytes() == ours, "made anew"


def test_an_lstm_needs_no_lstm_beside_it_and_null_is_none(tmp_path: Path):
    assert set(learned_references(SETTINGS, training("lstm"), tmp_path)) == {"maml"}
    none = LearnedSettings.model_validate({"lstm": None})
    assert learned_references(none, training(), tmp_path / "other") == {}
    assert not (tmp_path / "other").exists()
