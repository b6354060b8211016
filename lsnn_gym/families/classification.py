"""Layered networks that learn to classify by one rule or another: settings, trainer, figures and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field, model_validator

from lsnn_gym.classification.coding import CodingSettings, RepeatCoding
from lsnn_gym.classification.division import DataSettings, Divided, load_divided
from lsnn_gym.classification.evaluation import confusions, judge
from lsnn_gym.classification.trainer import (
    ClassificationTrainer,
    ClassificationTrainSettings,
    chosen_figures,
    chosen_weights,
)
from lsnn_gym.errors import UserError
from lsnn_gym.families.family import (
    ExperimentSettings,
    Family,
    newest_checkpoint,
    newest_weights,
    on_device,
)
from lsnn_gym.families.sequence_replays import sequence_replay
from lsnn_gym.pictures import Panel, SequencePicture, draw_sequence, learning_curves
from lsnn_gym.report_parts.parts import Confusions, Parts, plain_rows
from lsnn_gym.report_parts.weights import matrices
from lsnn_gym.rules.architecture import parse_architecture
from lsnn_gym.rules.classifier import Classifier
from lsnn_gym.rules.operations import fan_outs
from lsnn_gym.rules.registry import RuleSettings
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.optimization import load_model
from lsnn_gym.training.run_folder import RunFolder

_CONFUSED = 1000
"""Test examples that a confusion matrix is made of."""


def _one_layer_as_text(value: object) -> object:
    """Return as text what YAML reads as a number: ``architecture: 400`` is a hidden layer like ``400-400`` is two."""
    return str(value) if type(value) is int else value


class EvaluateClassifierSettings(Settings):
    """How a trained network is judged."""

    batch_size: int = Field(default=250, ge=1, description="examples at once")


class ClassificationExperiment(ExperimentSettings):
    """Everything that a result of classification depends on."""

    data: DataSettings = DataSettings()
    coding: CodingSettings = RepeatCoding()
    rule: RuleSettings
    architecture: Annotated[str, BeforeValidator(_one_layer_as_text)] = Field(
        default="400-400", description="hidden layers from the input up, e.g. 15C5-P2-40C5-P2-300"
    )
    train: ClassificationTrainSettings = ClassificationTrainSettings()
    evaluate: EvaluateClassifierSettings = EvaluateClassifierSettings()

    @model_validator(mode="after")
    def _check(self) -> ClassificationExperiment:
        try:
            self.rule.check_layers(parse_architecture(self.architecture))
        except ValueError as error:
            raise ValueError(f"architecture: {error}") from None
        if self.rule.needs_spikes and self.coding.kind == "repeat":
            raise ValueError(
                f"coding is 'repeat': rule {self.rule.kind!r} learns from spikes, "
                "expected 'latency', 'rate' or 'events'"
            )
        return self


class Classification(Family[ClassificationExperiment]):
    """Layered networks that learn to classify, by any rule of ``lsnn-gym list rules`` that is for them."""

    def make_trainer(self, experiment: ClassificationExperiment) -> ClassificationTrainer:
        """Make the trainer of an experiment, at its start; the data are loaded first."""
        if experiment.train.threads is not None:
            torch.set_num_threads(experiment.train.threads)
        data = _load(experiment)
        network = _make_network(experiment, data)
        batch_size = experiment.evaluate.batch_size
        try:
            return ClassificationTrainer(network, data, experiment.train, batch_size, experiment.seed)
        except ValueError as error:
            raise UserError(f"train.layer_rates: {error}") from None

    def network(self, run: RunFolder, experiment: ClassificationExperiment) -> Classifier:
        """Return the network that a run has trained; the data say what shape it has."""
        return newest_weights(_make_network(experiment, _load(experiment)), run)

    def evaluate(
        self, run: RunFolder, experiment: ClassificationExperiment, number: int | None = None
    ) -> dict[str, Any]:
        """Judge a run's network on all test examples: as the last epoch left it, and as validation chose it."""
        if number is not None:
            raise UserError("--episodes is for agents: a classifier is judged on all test examples")
        data = _load(experiment)
        network = newest_weights(_make_network(experiment, data), run)
        size = experiment.evaluate.batch_size
        checkpoint = newest_checkpoint(run)
        figures: dict[str, Any] = {"epochs": checkpoint.iteration / experiment.train.parts_per_epoch}
        figures |= judge(network, data.test, size).figures()
        chosen = chosen_weights(checkpoint)
        if chosen:
            load_model(network, replace(checkpoint, model=chosen))
            found = judge(network, data.test, size).figures()
            figures |= {"chosen_epoch": chosen_figures(checkpoint)[0]}
            figures |= {f"chosen_{name}": value for name, value in found.items()}
        return figures | _best_by_test(run)

    def headline(self, figures: Mapping[str, Any]) -> dict[str, str]:
        """Return the epoch, loss and accuracy, and spikes."""
        shown = {"epoch": f"{figures['epoch'] if 'epoch' in figures else figures['epochs']:g}"}
        if "loss" in figures:
            shown |= {"loss": f"{figures['loss']:.3f}", "accuracy": f"{100 * figures['accuracy']:.1f} %"}
        if "test_accuracy" in figures:
            shown["test"] = f"{100 * figures['test_accuracy']:.2f} %"
        if "spikes_per_neuron" in figures:
            shown["spikes"] = f"{figures['spikes_per_neuron']:.2f} a neuron"
        return shown

    def figure(self, experiment: ClassificationExperiment) -> str:
        """Return the accuracy."""
        return "accuracy"

    def table(self, figures: dict[str, Any]) -> str:
        """Lay the figures out, a row each."""
        width = max(len(key) for key in figures) + 2
        return "\n".join(
            f"{key.replace('_', ' '):<{width}}{value:.4f}"
            if isinstance(value, float)
            else f"{key.replace('_', ' '):<{width}}{value}"
            for key, value in figures.items()
        )

    def draw_learning_curve(self, run: RunFolder, figures: dict[str, Any]) -> None:
        """Draw accuracy, loss and spikes."""
        metrics = read_metrics(run.metrics)
        learning_curves(metrics, _panels(metrics), run.learning_curve, title=run.path.name)

    def default_pictures(self, run: RunFolder) -> list[Path]:
        """Return the path of the picture of a test example."""
        return [run.path / "sequence.png"]

    def draw(self, run: RunFolder, experiment: ClassificationExperiment, path: Path, seed: int = 0) -> None:
        """Draw one test example: input, spikes, and what the output says; ``seed`` is its number."""
        if path.suffix.lower() != ".png":
            raise UserError(f"{path}: an example is drawn as a picture: expected a name that ends in .png")
        data = _load(experiment)
        _check_number(data, seed)
        network = newest_weights(_make_network(experiment, data), run).eval()
        picture = _picture(network, data, seed)
        draw_sequence(picture, path, title=f"{run.path.name}, test example {seed}")

    def show(self, run: RunFolder, experiment: ClassificationExperiment, seed: int = 0) -> None:
        """Refuse: an example is a picture."""
        raise UserError("--human is for agents in an environment: an example is drawn as a picture (--out)")

    def report(
        self,
        run: RunFolder,
        experiment: ClassificationExperiment,
        figures: dict[str, Any],
        episodes: int,
        seed: int,
    ) -> Parts:
        """Show test examples, which classes were taken for which, the course of the training, weights."""
        data = _load(experiment)
        _check_number(data, seed + episodes - 1)
        network = newest_weights(_make_network(experiment, data), run).eval()
        number = min(_CONFUSED, len(data.test))
        counts = confusions(network, data.test, data.num_classes, number, experiment.evaluate.batch_size)
        return Parts(
            plain_rows(figures),
            _panels(read_metrics(run.metrics)),
            [
                sequence_replay(_picture(network, data, each), f"Test example {each}")
                for each in range(seed, seed + episodes)
            ],
            [Confusions(f"what was taken for what, of the first {number:,} test examples", counts)],
            matrices(_make_network(experiment, data)),
            matrices(network),
        )


def _load(experiment: ClassificationExperiment) -> Divided:
    try:
        return load_divided(experiment.data, experiment.coding, experiment.seed)
    except ValueError as error:
        raise UserError(f"data: {error}") from None


def _make_network(experiment: ClassificationExperiment, data: Divided) -> Classifier:
    generator = torch.Generator().manual_seed(derived_seed(experiment.seed, "weights"))
    steps = experiment.coding.steps
    try:
        network = experiment.rule.make(
            experiment.architecture, data.train.shape, data.num_classes, steps, generator
        )
    except ValueError as error:
        raise UserError(f"architecture is {experiment.architecture!r}: {error}") from None
    placed = experiment.rule.placed(experiment.architecture, data.train.shape, data.num_classes)
    network.fan_outs = fan_outs(placed, experiment.rule.pools_fire)
    return on_device(network, experiment.train.device)


def _panels(metrics: Sequence[Mapping[str, Any]]) -> list[Panel]:
    known = {key for record in metrics for key in record}

    def panel(name: str, label: str) -> Panel:
        keys = {"training": name, "validation": f"validation_{name}", "test": f"test_{name}"}
        return Panel({each: key for each, key in keys.items() if key in known}, label)

    panels = [panel("accuracy", "accuracy"), panel("loss", "loss")]
    if "spikes_per_neuron" in known:
        panels.append(panel("spikes_per_neuron", "spikes a neuron and sample"))
    return panels


def _check_number(data: Divided, number: int) -> None:
    if number >= len(data.test):
        raise UserError(f"--seed is {number}: there are {len(data.test)} test examples, numbered from 0")


def _best_by_test(run: RunFolder) -> dict[str, Any]:
    """Return the best test accuracy of all epochs, as papers often report it, and when it was."""
    tested = [each for each in read_metrics(run.metrics) if each.get("test_accuracy") is not None]
    if not tested:
        return {}
    best = max(tested, key=lambda each: each["test_accuracy"])
    return {"best_on_test_accuracy": best["test_accuracy"], "best_on_test_epoch": best["epoch"]}


@torch.no_grad()
def _picture(network: Classifier, data: Divided, number: int) -> SequencePicture:
    device = next(network.parameters()).device
    inputs = data.test.inputs(torch.tensor([number]), number).to(device)
    signals = network(inputs)
    output = signals[-1].values
    fired = [each.spikes.flatten(2)[:, 0] for each in signals if each.spikes is not None]
    names = [f"layer {place}" for place in range(1, len(fired))] + ["output"]
    said = output.flatten(2)[:, 0].cumsum(0).softmax(-1)
    return SequencePicture(
        inputs=inputs[: len(output)].flatten(2)[:, 0].cpu().numpy(),
        spikes=torch.cat(fired, 1).cpu().numpy() > 0 if fired else None,
        groups={name: math.prod(each.shape[1:]) for name, each in zip(names, fired, strict=False)},
        probabilities=said.cpu().numpy(),
        targets=[int(data.test.labels[number])],
    )
