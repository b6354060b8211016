"""Networks that learn a supervised task: from settings to a trainer, and how they are judged and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, model_validator

from lsnn_gym.cores import LSNNCore
from lsnn_gym.errors import UserError
from lsnn_gym.families.family import Family, RecurrentExperimentSettings, newest_weights, on_device
from lsnn_gym.families.sequence_replays import sequence_replay
from lsnn_gym.pictures import Panel, SequencePicture, draw_sequence, learning_curves
from lsnn_gym.report_parts.parts import Parts, plain_rows
from lsnn_gym.report_parts.weights import matrices
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.tasks.registry import TaskSettings
from lsnn_gym.tasks.task import IGNORED, Split
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.run_folder import RunFolder
from lsnn_gym.training.supervised import (
    ModelSettings,
    SupervisedTrainer,
    SupervisedTrainSettings,
    TaskNetwork,
    evaluate_network,
)


class EvaluateTaskSettings(Settings):
    """How a trained network is judged."""

    split: Split = Field(default="test", description="the sequences: test or validation")
    batch_size: int = Field(default=256, ge=1, description="sequences at once")


class SupervisedExperiment(RecurrentExperimentSettings):
    """Everything that a result on a supervised task depends on."""

    task: TaskSettings
    model: ModelSettings = ModelSettings()
    train: SupervisedTrainSettings = SupervisedTrainSettings()
    evaluate: EvaluateTaskSettings = EvaluateTaskSettings()

    @model_validator(mode="after")
    def _check(self) -> SupervisedExperiment:
        if self.train.matching_weight and self.model.encoder == "none":
            raise ValueError(
                f"train.matching_weight is {self.train.matching_weight}: expected 0 without a model.encoder"
            )
        return self


class Supervised(Family[SupervisedExperiment]):
    """Networks that learn a supervised task, by backpropagation through time or e-prop."""

    def make_trainer(self, experiment: SupervisedExperiment) -> SupervisedTrainer:
        """Make the trainer of an experiment, at its start; the data are looked for first."""
        if experiment.train.threads is not None:
            torch.set_num_threads(experiment.train.threads)
        network, task = self._make(experiment)
        # Data that are missing are to be noticed before a folder is made.
        task.training_batch(1, 0, experiment.seed)
        if network.auxiliary is not None:
            network.auxiliary.look_for_data()
        return SupervisedTrainer(network, task, experiment.train, experiment.seed)

    def network(self, run: RunFolder, experiment: SupervisedExperiment) -> TaskNetwork:
        """Return the network that a run has trained."""
        return newest_weights(self._make(experiment)[0], run)

    def evaluate(
        self, run: RunFolder, experiment: SupervisedExperiment, number: int | None = None
    ) -> dict[str, Any]:
        """Judge a run's network on the sequences that ``evaluate`` names."""
        if number is not None:
            raise UserError("--episodes is for agents: a task is judged on all sequences of its split")
        network, task = self._make(experiment)
        newest_weights(network, run)
        settings = experiment.evaluate
        figures: dict[str, Any] = {"split": settings.split}
        figures |= evaluate_network(
            network,
            task,
            settings.split,
            settings.batch_size,
            experiment.seed,
            carry_state=experiment.train.carry_state,
        )
        figures.setdefault("firing_rate_hz", None)
        if network.auxiliary is not None and isinstance(network.core, LSNNCore):
            figures["auxiliary"] = network.auxiliary.evaluate(network.core.network)
        return figures

    def headline(self, figures: Mapping[str, Any]) -> dict[str, str]:
        """Return loss, the task's figure and the firing rate."""
        shown = {"loss": f"{figures['loss']:.3f}"}
        for key in ("accuracy", *(key for key in figures if key.endswith("_error") and "/" not in key)):
            if key in figures and not key.startswith("validation"):
                shown[key.replace("_", " ")] = f"{100 * figures[key]:.1f} %"
        if figures.get("firing_rate_hz") is not None:
            shown["rate"] = f"{figures['firing_rate_hz']:.0f} Hz"
        return shown

    def figure(self, experiment: SupervisedExperiment) -> str:
        """Return the task's figure."""
        return experiment.task.make().figure

    def table(self, figures: dict[str, Any]) -> str:
        """Lay the figures out, a row each."""
        rows = {key: value for key, value in figures.items() if key != "auxiliary"}
        for name, row in figures.get("auxiliary", {}).items():
            rows |= {f"{name} {key}": value for key, value in row.items()}
        width = max(len(key) for key in rows) + 2
        return "\n".join(f"{key.replace('_', ' '):<{width}}{_shown(value)}" for key, value in rows.items())

    def draw_learning_curve(self, run: RunFolder, figures: dict[str, Any]) -> None:
        """Draw the task's figure, the loss and the firing rate."""
        metrics = read_metrics(run.metrics)
        learning_curves(metrics, _panels(metrics, figures), run.learning_curve, title=run.path.name)

    def default_pictures(self, run: RunFolder) -> list[Path]:
        """Return the path of the picture of a sequence."""
        return [run.path / "sequence.png"]

    def draw(self, run: RunFolder, experiment: SupervisedExperiment, path: Path, seed: int = 0) -> None:
        """Draw one sequence of the split: input, spikes, and what the readouts say; ``seed`` is its number."""
        if path.suffix.lower() != ".png":
            raise UserError(f"{path}: a sequence is drawn as a picture: expected a name that ends in .png")
        network, task = self._make(experiment)
        picture = _picture(newest_weights(network, run), task, experiment, seed)
        draw_sequence(picture, path, title=f"{run.path.name}, sequence {seed} of {experiment.evaluate.split}")

    def show(self, run: RunFolder, experiment: SupervisedExperiment, seed: int = 0) -> None:
        """Refuse: a sequence is a picture."""
        raise UserError("--human is for agents in an environment: a sequence is drawn as a picture (--out)")

    def report(
        self,
        run: RunFolder,
        experiment: SupervisedExperiment,
        figures: dict[str, Any],
        episodes: int,
        seed: int,
    ) -> Parts:
        """Show sequences of the split and what the readouts said, the course of the training, connections."""
        network, task = self._make(experiment)
        newest_weights(network, run)
        return Parts(
            plain_rows(figures),
            _panels(read_metrics(run.metrics), figures),
            [
                sequence_replay(
                    _picture(network, task, experiment, number),
                    f"Sequence {number} of {experiment.evaluate.split}",
                )
                for number in range(seed, seed + episodes)
            ],
            before=matrices(self._make(experiment)[0]),
            after=matrices(network),
        )

    def _make(self, experiment: SupervisedExperiment) -> tuple[TaskNetwork, Any]:
        """Make network and task."""
        task = experiment.task.make()
        generator = torch.Generator().manual_seed(derived_seed(experiment.seed, "weights"))
        try:
            network = TaskNetwork(
                experiment.model,
                experiment.network,
                task,
                generator,
                experiment.train.auxiliary,
                experiment.seed,
            )
        except ValueError as error:
            raise UserError(f"model: {error}") from None
        return on_device(network, experiment.train.device), task


def _panels(metrics: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> list[Panel]:
    known = {key for record in metrics for key in record}
    name = next(key for key in figures if key == "accuracy" or key.endswith("_error"))
    series = {"training": name, "validation": f"validation_{name}"}
    panels = [
        Panel({label: key for label, key in series.items() if key in known}, name.replace("_", " ")),
        Panel({"training": "loss"}, "loss"),
    ]
    if "firing_rate_hz" in known:
        panels.append(Panel({"all neurons": "firing_rate_hz"}, "firing rate (Hz)"))
    return panels


@torch.no_grad()
def _picture(
    network: TaskNetwork, task: Any, experiment: SupervisedExperiment, number: int
) -> SequencePicture:
    device = next(network.parameters()).device
    batch = _sequence(task.batches(experiment.evaluate.split, 64), number).to(device)
    noise = network.draw_noise(batch.inputs, experiment.seed, "picture noise", number)
    output, _ = network(batch.inputs, network.core.initial_state(1), noise)
    settings = experiment.network
    targets = batch.targets[:, 0].cpu().numpy()
    return SequencePicture(
        inputs=batch.inputs[:, 0].cpu().numpy(),
        spikes=None if output.spikes is None else output.spikes[:, 0].cpu().numpy() > 0,
        groups={"regular": settings.regular_neurons, "adaptive": settings.adaptive_neurons},
        probabilities=torch.softmax(output.values[:, 0], dim=-1).cpu().numpy(),
        targets=[None if target == IGNORED else int(target) for target in targets],
        dt=settings.dt,
    )


def _sequence(batches: Any, number: int) -> Any:
    """Return sequence ``number`` of the batches as a batch of one."""
    passed = 0
    for batch in batches:
        size = batch.targets.shape[1]
        if number < passed + size:
            lane = slice(number - passed, number - passed + 1)
            return type(batch)(batch.inputs[:, lane], batch.targets[:, lane])
        passed += size
    raise UserError(f"--seed is {number}: the split has only {passed} sequences, numbered from 0")


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
