"""The trainer: learns, repeats itself, resumes bit for bit, and is judged as it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.regression.episodes import Episodes, RegressionSettings, draw_episodes
from lsnn_gym.regression.evaluation import EvaluateRegressionSettings, evaluate_regression
from lsnn_gym.regression.judging import judge
from lsnn_gym.regression.network import ModelSettings, RegressionNetwork
from lsnn_gym.regression.references import REFERENCES
from lsnn_gym.regression.trainer import RegressionTrainer, RegressionTrainSettings, squared_errors
from lsnn_gym.seeding import derived_seed

LINES = RegressionSettings(family="sinusoid", trials=8)
CODING = {"neurons_per_value": 10, "width": 0.2, "max_rate": 500.0, "spikes": "expected"}


def make_trainer(
    core: str = "lsnn", network: dict[str, Any] | None = None, **train: Any
) -> RegressionTrainer:
    model = ModelSettings.model_validate({"core": core, "steps_per_observation": 4, "coding": CODING})
    settings = NetworkSettings.model_validate(
        {"regular_neurons": 12, "adaptive_neurons": 8, "threshold": 0.03, **(network or {})}
    )
    made = RegressionNetwork(model, settings, LINES, torch.Generator().manual_seed(0))
    options = {"batch_size": 16, "learning_rate": 0.02, "rate_weight": 0.01, **train}
    return RegressionTrainer(made, LINES, RegressionTrainSettings.model_validate(options), 3)


def weights(trainer: RegressionTrainer) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in trainer.network.state_dict().items()}


def equal(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(each, others[name]) for name, each in some.items())


@pytest.mark.parametrize("core", ["lsnn", "lstm", "gru"])
def test_training_makes_the_error_fall(core):
    trainer = make_trainer(core)
    errors = [trainer.run_iteration()["error"] for _ in range(60)]
    assert np.mean(errors[-10:]) < 0.85 * np.mean(errors[:5])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "network", [{}, {"noise_std": 0.05}, {"wiring": {"kind": "deep_r", "connectivity": 0.3, "dale": True}}]
)
def test_a_resumed_training_goes_on_bit_for_bit(network):
    undisturbed, stopped, resumed = (make_trainer(network=network) for _ in range(3))
    figures = [undisturbed.run_iteration() for _ in range(4)]
    for _ in range(2):
        stopped.run_iteration()
    resumed.restore(stopped.checkpoint())
    assert [resumed.run_iteration() for _ in range(2)] == figures[2:]
    assert equal(weights(resumed), weights(undisturbed))


def test_the_first_loss_is_the_mean_squared_error_of_the_first_batch():
    trainer = make_trainer(skipped_trials=3)
    episodes = draw_episodes(LINES, 16, derived_seed(3, "functions", 0))
    with torch.no_grad():
        _, squares = squared_errors(trainer.network, episodes, derived_seed(3, "draws", 0))
    figures = trainer.run_iteration()
    assert figures["loss"] == pytest.approx(float(squares[3:].mean()), rel=1e-6)
    assert figures["error"] == pytest.approx(25 * float(squares.mean()), rel=1e-6)
    assert figures["last_error"] == pytest.approx(25 * float(squares[7].mean()), rel=1e-6)
    assert figures["simulation_steps"] == 8 * 4 * 16


def test_episodes_of_training_may_be_shorter():
    trainer = make_trainer(trials=3)
    episodes = draw_episodes(LINES.model_copy(update={"trials": 3}), 16, derived_seed(3, "functions", 0))
    with torch.no_grad():
        _, squares = squared_errors(trainer.network, episodes, derived_seed(3, "draws", 0))
    figures = trainer.run_iteration()
    assert figures["simulation_steps"] == 3 * 4 * 16
    assert figures["loss"] == pytest.approx(float(squares.mean()), rel=1e-6)


def test_a_checkpoint_of_another_network_is_refused():
    trainer = make_trainer()
    with pytest.raises(UserError, match="checkpoint of another network"):
        trainer.restore(make_trainer("lstm").checkpoint())


@torch.no_grad()
def test_judging_in_parts_equals_judging_one_after_the_other():
    network = make_trainer().network
    episodes = draw_episodes(LINES, 70, 5)
    judged = judge(network, episodes, 0)
    assert judged.squares.shape == (8, 70)
    for lane in (0, 63, 64, 69):
        one = Episodes(episodes.inputs[:, lane : lane + 1], episodes.targets[:, lane : lane + 1])
        _, squares = squared_errors(network, one, 0)
        np.testing.assert_allclose(judged.squares[:, lane], 25 * squares[:, 0].numpy(), rtol=1e-3, atol=1e-5)
    assert judged.firing_rate_hz is not None
    assert judged.firing_rate_hz > 0


def test_figures_are_of_the_trials_named_and_references_of_the_same_episodes():
    network = make_trainer().network
    settings = EvaluateRegressionSettings(first_trial=3, last_trial=5, seed=4, reference_trials=4)
    figures = evaluate_regression(network, LINES, settings, 20)
    episodes = draw_episodes(LINES, 20, derived_seed(4, "functions"))
    by_trial = judge(network, episodes, 4).squares.mean(axis=1)
    assert figures["error_by_trial"] == pytest.approx(by_trial.tolist())
    assert figures["error"] == pytest.approx(by_trial[2:5].mean())
    assert figures["error_share"] == pytest.approx(figures["error"] / episodes.targets.var())
    assert figures["trials"] == [3, 5]
    assert set(figures["references"]) == set(REFERENCES)
    last = (episodes.targets[1:] - episodes.targets[:-1]) ** 2
    assert figures["references"]["last_target"]["error_by_trial"][1:] == pytest.approx(
        last.mean(axis=1).tolist()
    )
    process = figures["references"]["gaussian_process"]["error_by_trial"]
    assert [trial for trial, error in enumerate(process) if error is not None] == [0, 1, 2, 3, 4, 7]
    assert figures["error_standard_error"] == pytest.approx(
        judge(network, episodes, 4).squares[2:5].mean(axis=0).std() / 20**0.5
    )
    quartiles = np.quantile(judge(network, episodes, 4).squares, (0.25, 0.5, 0.75), axis=1).T
    np.testing.assert_allclose(figures["quartiles_by_trial"], quartiles)
    lstm = make_trainer("lstm").network
    assert evaluate_regression(lstm, LINES, settings, 4)["firing_rate_hz"] is None


def test_other_families_are_mapped_onto_the_ranges_of_the_network_and_judged_with_references():
    network = make_trainer().network
    settings = EvaluateRegressionSettings(first_trial=2, last_trial=3, transfer=("polynomial",), trials=9)
    figures = evaluate_regression(
        network, LINES, settings, 10, {"mine": lambda *given: given[1].targets ** 2}
    )
    assert list(figures["transfer"]) == ["polynomial"]
    other = figures["transfer"]["polynomial"]
    narrow = LINES.model_copy(update={"family": "polynomial", "trials": 9})
    episodes = draw_episodes(narrow, 10, derived_seed(0, "functions"))
    # Inputs and targets as wide as those of the family trained on give errors that are as much larger.
    wide = Episodes(5.0 * episodes.inputs, 1.25 * episodes.targets)
    mapped = judge(network, wide, 0).squares / 1.25**2
    np.testing.assert_allclose(other["error_by_trial"], mapped.mean(axis=1), rtol=1e-4)
    assert len(other["error_by_trial"]) == len(figures["error_by_trial"]) == 9
    assert other["target_variance"] == pytest.approx(episodes.targets.var())
    assert set(other["references"]) == {*REFERENCES, "mine"}
    assert other["references"]["mine"]["error"] == pytest.approx((episodes.targets[1:3] ** 2).mean())


def test_by_default_transfer_is_to_all_families_with_as_many_inputs():
    settings = EvaluateRegressionSettings()
    assert settings.other_families("sinusoid") == ["polynomial", "gaussian_process"]
    assert settings.other_families("two_layer_network") == ["linear"]
    assert EvaluateRegressionSettings(transfer=()).other_families("linear") == []


def test_a_network_cannot_face_functions_of_another_number_of_inputs():
    with pytest.raises(ValueError, match="functions of family 'linear' have 2 inputs: expected 1"):
        make_trainer().network.facing(RegressionSettings(family="linear"))
