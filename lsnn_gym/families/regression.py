"""Networks that learn to regress functions within an episode: settings, trainer, figures and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import model_validator

from lsnn_gym.families.family import (
    Family,
    RecurrentExperimentSettings,
    finished_iterations,
    newest_weights,
    on_device,
)
from lsnn_gym.families.regression_reports import (
    asked_numbers,
    course_panels,
    draw_errors_by_trial,
    draw_probed,
    error_headline,
    errors_by_trial,
    regression_replay,
    regression_rows,
    regression_table,
)
from lsnn_gym.pictures import learning_curves
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.regression.episodes import RegressionSettings
from lsnn_gym.regression.evaluation import EvaluateRegressionSettings, evaluate_regression
from lsnn_gym.regression.filming import show_regression
from lsnn_gym.regression.learned import Training, learned_references
from lsnn_gym.regression.network import ModelSettings, RegressionNetwork
from lsnn_gym.regression.probing import ProbedEpisode, probe_episode
from lsnn_gym.regression.trainer import RegressionTrainer, RegressionTrainSettings
from lsnn_gym.report_parts.parts import Parts
from lsnn_gym.report_parts.weights import matrices
from lsnn_gym.seeding import derived_seed
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.run_folder import RunFolder


class RegressionExperiment(RecurrentExperimentSettings):
    """Everything that a result of regression depends on."""

    regression: RegressionSettings
    model: ModelSettings = ModelSettings()
    train: RegressionTrainSettings = RegressionTrainSettings()
    evaluate: EvaluateRegressionSettings = EvaluateRegressionSettings()

    @model_validator(mode="after")
    def _check(self) -> RegressionExperiment:
        trials = self.regression.trials
        self.evaluate.check(self.evaluate.trials or trials, "evaluate")
        try:
            self.evaluate.other_families(self.regression.family)
        except ValueError as error:
            raise ValueError(f"evaluate.transfer: {error}") from None
        trained = self.train.trials or trials
        if trained > trials:
            raise ValueError(f"train.trials is {trained}: expected at most regression.trials, {trials}")
        if self.train.skipped_trials >= trained:
            raise ValueError(
                f"train.skipped_trials is {self.train.skipped_trials}: expected less than {trained}"
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

    def network(self, run: RunFolder, experiment: RegressionExperiment) -> RegressionNetwork:
        """Return the network that a run has trained."""
        return newest_weights(_make_network(experiment), run)

    def evaluate(
        self, run: RunFolder, experiment: RegressionExperiment, number: int | None = None
    ) -> dict[str, Any]:
        """Judge a run's network and the references on the same episodes.

        References that are trained are kept in the run's folder ``references``.
        """
        network = self.network(run, experiment)
        settings = experiment.evaluate
        training = Training(
            experiment.model,
            experiment.network,
            experiment.regression,
            experiment.train,
            experiment.seed,
            finished_iterations(run),
        )
        learned = learned_references(settings, training, run.path / "references")
        return evaluate_regression(
            network, experiment.regression, settings, number or settings.episodes, learned
        )

    def headline(self, figures: Mapping[str, Any]) -> dict[str, str]:
        """Return the mean error of a batch, that of its last trial, and the firing rate."""
        return error_headline(figures)

    def figure(self, experiment: RegressionExperiment) -> str:
        """Return the error, in the metrics that of all trials, in the results that of those judged."""
        return "error"

    def table(self, figures: dict[str, Any]) -> str:
        """Lay the errors of agent and references out, a row each: over the trials judged, and at some trials."""
        return regression_table(figures)

    def draw_learning_curve(self, run: RunFolder, figures: dict[str, Any]) -> None:
        """Draw the course of the training and, into ``error_by_trial.png``, errors against examples seen."""
        metrics = read_metrics(run.metrics)
        learning_curves(metrics, course_panels(metrics), run.learning_curve, title=run.path.name)
        draw_errors_by_trial(run, figures)

    def default_pictures(self, run: RunFolder) -> list[Path]:
        """Return the paths of the film and the picture of an episode."""
        return [run.episode, run.path / "episode.png"]

    def draw(self, run: RunFolder, experiment: RegressionExperiment, path: Path, seed: int = 0) -> None:
        """Draw one episode, as a film or a picture: what the network believed of the function, and its spikes."""
        draw_probed(
            partial(self._probed, run, experiment, seed),
            experiment.regression.functions,
            path,
            _groups(experiment.network),
            experiment.network.dt,
            title=f"{run.path.name}, episode {seed}",
        )

    def show(self, run: RunFolder, experiment: RegressionExperiment, seed: int = 0) -> None:
        """Show the film of an episode in a window."""
        probed = self._probed(run, experiment, seed, None)
        network = experiment.network
        show_regression(probed, experiment.regression.functions, _groups(network), network.dt)

    def report(
        self,
        run: RunFolder,
        experiment: RegressionExperiment,
        figures: dict[str, Any],
        episodes: int,
        seed: int,
    ) -> Parts:
        """Show what was believed of functions as examples came in, and errors by trial beside the references."""
        regression, network = experiment.regression, experiment.network
        asked = asked_numbers(regression.trials)
        replays = [
            regression_replay(
                self._probed(run, experiment, each, asked),
                regression.functions,
                _groups(network),
                network.dt,
                f"Function of seed {each}",
            )
            for each in range(seed, seed + episodes)
        ]
        return Parts(
            regression_rows(figures),
            course_panels(read_metrics(run.metrics)),
            replays,
            [errors_by_trial(figures)],
            matrices(_make_network(experiment)),
            matrices(newest_weights(_make_network(experiment), run)),
        )

    def _probed(
        self, run: RunFolder, experiment: RegressionExperiment, seed: int, seen: Sequence[int] | None
    ) -> ProbedEpisode:
        network = self.network(run, experiment)
        return probe_episode(network, experiment.regression, seen, seed)


def _groups(network: NetworkSettings) -> dict[str, int]:
    return {"regular": network.regular_neurons, "adaptive": network.adaptive_neurons}


def _make_network(experiment: RegressionExperiment) -> RegressionNetwork:
    generator = torch.Generator().manual_seed(derived_seed(experiment.seed, "weights"))
    network = RegressionNetwork(experiment.model, experiment.network, experiment.regression, generator)
    return on_device(network, experiment.train.device)
