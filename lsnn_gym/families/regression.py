"""Networks that learn to regress functions within an episode: settings, trainer, figures and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import model_validator

from lsnn_gym.errors import UserError
from lsnn_gym.families.family import ExperimentSettings, Family, newest_weights, on_device
from lsnn_gym.pictures import Panel, RegressionPicture, draw_regression_episode, error_curves, learning_curves
from lsnn_gym.regression.episodes import RegressionSettings, draw_episodes
from lsnn_gym.regression.evaluation import EvaluateRegressionSettings, evaluate_regression
from lsnn_gym.regression.network import ModelSettings, RegressionNetwork
from lsnn_gym.regression.trainer import RegressionTrainer, RegressionTrainSettings, squared_errors
from lsnn_gym.seeding import derived_seed
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.run_folder import RunFolder

_SHOWN_TRIALS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
_WIDTH = 18


class RegressionExperiment(ExperimentSettings):
    """Everything that a result of regression depends on."""

    regression: RegressionSettings
    model: ModelSettings = ModelSettings()
    train: RegressionTrainSettings = RegressionTrainSettings()
    evaluate: EvaluateRegressionSettings = EvaluateRegressionSettings()

    @model_validator(mode="after")
    def _check(self) -> RegressionExperiment:
        judged, trials = self.evaluate, self.regression.trials
        if not judged.first_trial <= judged.last_trial or judged.first_trial > trials:
            raise ValueError(
                f"evaluate.first_trial is {judged.first_trial} and last_trial {judged.last_trial}: "
                f"expected them in order, the first of them at most {trials}"
            )
        if self.train.skipped_trials >= trials:
            raise ValueError(
                f"train.skipped_trials is {self.train.skipped_trials}: expected less than {trials}"
            )
        return self


class Regression(Family[RegressionExperiment]):
    """Networks that learn to regress, by backpropagation through whole episodes."""

    def make_trainer(self, experiment: RegressionExperiment) -> RegressionTrainer:
        """Make the trainer of an experiment, at its start."""
        if experiment.train.threads is not None:
            torch.set_num_threads(experiment.train.threads)
        network = _make_network(experiment)
        return RegressionTrainer(network, experiment.regression, experiment.train, experiment.seed)

    def evaluate(
        self, run: RunFolder, experiment: RegressionExperiment, number: int | None = None
    ) -> dict[str, Any]:
        """Judge a run's network and the references on the same episodes."""
        network = newest_weights(_make_network(experiment), run)
        settings = experiment.evaluate
        return evaluate_regression(network, experiment.regression, settings, number or settings.episodes)

    def headline(self, figures: Mapping[str, Any]) -> dict[str, str]:
        """Return the mean error of a batch, that of its last trial, and the firing rate."""
        shown = {"error": f"{figures['error']:.4f}"}
        if "last_error" in figures:
            shown["last"] = f"{figures['last_error']:.4f}"
        if figures.get("firing_rate_hz") is not None:
            shown["rate"] = f"{figures['firing_rate_hz']:.0f} Hz"
        return shown

    def figure(self, experiment: RegressionExperiment) -> str:
        """Return the error, in the metrics that of all trials, in the results that of those judged."""
        return "error"

    def table(self, figures: dict[str, Any]) -> str:
        """Lay the errors of agent and references out, a row each: over the trials judged, and at some trials."""
        first, last = figures["trials"]
        trials = [each for each in _SHOWN_TRIALS if each <= len(figures["error_by_trial"])]
        columns = [f"{first} to {last}", "of variance", *map(str, trials)]
        lines = [f"{'squared error':<{_WIDTH}}" + "".join(f"{column:>12}" for column in columns)]
        for name, row in {"agent": figures, **figures["references"]}.items():
            values = [row["error_by_trial"][trial - 1] for trial in trials]
            cells = [f"{row['error']:.5f}", f"{100 * row['error_share']:.2f} %"]
            cells += ["-" if value is None else f"{value:.5f}" for value in values]
            lines.append(f"{name.replace('_', ' '):<{_WIDTH}}" + "".join(f"{cell:>12}" for cell in cells))
        lines.append(f"targets' variance {figures['target_variance']:.5f}, {figures['episodes']} episodes")
        if figures["firing_rate_hz"] is not None:
            lines.append(f"firing rate {figures['firing_rate_hz']:.1f} Hz")
        return "\n".join(lines)

    def draw_learning_curve(self, run: RunFolder, figures: dict[str, Any]) -> None:
        """Draw the course of the training and, into ``error_by_trial.png``, errors against examples seen."""
        metrics = read_metrics(run.metrics)
        panels = [Panel({"all trials": "error", "last trial": "last_error"}, "squared error")]
        if any("firing_rate_hz" in record for record in metrics):
            panels.append(Panel({"all neurons": "firing_rate_hz"}, "firing rate (Hz)"))
        learning_curves(metrics, panels, run.learning_curve, title=run.path.name)
        rows = {"agent": figures, **figures["references"]}
        curves = {name.replace("_", " "): row["error_by_trial"] for name, row in rows.items()}
        error_curves(curves, run.path / "error_by_trial.png", title=run.path.name)

    def default_picture(self, run: RunFolder) -> Path:
        """Return the path of the picture of an episode."""
        return run.path / "episode.png"

    def draw(self, run: RunFolder, experiment: RegressionExperiment, path: Path, seed: int = 0) -> None:
        """Draw one episode: what should have been said, what the network said, and its spikes."""
        if path.suffix.lower() != ".png":
            raise UserError(
                f"{path}: an episode of regression is a picture: expected a name that ends in .png"
            )
        network = newest_weights(_make_network(experiment), run)
        episodes = draw_episodes(experiment.regression, 1, seed)
        with torch.no_grad():
            predictions, _ = squared_errors(network, episodes, derived_seed(seed, "draws"))
        spikes, settings = predictions.spikes, experiment.network
        picture = RegressionPicture(
            targets=episodes.targets[:, 0],
            predictions=network.in_targets_units(predictions.values)[:, 0].cpu().numpy(),
            spikes=None if spikes is None else spikes[:, 0].cpu().numpy() > 0,
            groups={"regular": settings.regular_neurons, "adaptive": settings.adaptive_neurons},
            dt=settings.dt,
        )
        draw_regression_episode(picture, path, title=f"{run.path.name}, episode {seed}")

    def show(self, run: RunFolder, experiment: RegressionExperiment, seed: int = 0) -> None:
        """Refuse: an episode of regression is a picture."""
        raise UserError("--human is for agents in an environment: regression is drawn as a picture (--out)")


def _make_network(experiment: RegressionExperiment) -> RegressionNetwork:
    generator = torch.Generator().manual_seed(derived_seed(experiment.seed, "weights"))
    network = RegressionNetwork(experiment.model, experiment.network, experiment.regression, generator)
    return on_device(network, experiment.train.device)
