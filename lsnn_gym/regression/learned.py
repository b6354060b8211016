"""References that have to be trained themselves, on what the network was trained on: an LSTM, and MAML.

They are trained when a run is judged for the first time, and kept in its folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

from lsnn_gym.atomic import write_atomically
from lsnn_gym.errors import UserError
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.regression.episodes import Episodes, FloatArray, RegressionSettings
from lsnn_gym.regression.judging import judge
from lsnn_gym.regression.maml import MAML, MAMLSettings
from lsnn_gym.regression.network import ModelSettings, RegressionNetwork
from lsnn_gym.regression.references import Reference
from lsnn_gym.regression.trainer import RegressionTrainer, RegressionTrainSettings
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.tensor_files import read_tensors

Weights = Mapping[str, Tensor]


class LSTMReferenceSettings(Settings):
    """The reference LSTM: as many units as the network has neurons, trained as it was, at a rate of its own."""

    learning_rate: float = Field(default=0.003, gt=0, description="at the start; it decays as the network's")
    iterations: int | None = Field(
        default=None, ge=1, description="by default as many as the network was trained for"
    )


class LearnedSettings(Settings):
    """Which references are trained."""

    lstm: LSTMReferenceSettings | None = Field(
        default=LSTMReferenceSettings(), description="null: none; an lstm run needs none"
    )
    maml: MAMLSettings | None = Field(default=None, description="null: none")


class Training(NamedTuple):
    """How the network that is judged came about.

    Attributes:
        model: Core and coding.
        network: Of the spiking core.
        regression: What it was trained on.
        train: How.
        seed: Of the run.
        iterations: That it has been trained for so far.
    """

    model: ModelSettings
    network: NetworkSettings
    regression: RegressionSettings
    train: RegressionTrainSettings
    seed: int
    iterations: int


def learned_references(settings: LearnedSettings, training: Training, folder: Path) -> dict[str, Reference]:
    """Return the references that are trained, from ``folder`` or, if they are not there yet, trained now.

    Args:
        settings: Which, and how.
        training: Of the network that they stand beside.
        folder: Where they are kept, made if need be.

    Raises:
        UserError: They cannot be kept there.
    """
    references: dict[str, Reference] = {}
    if settings.lstm is not None and training.model.core != "lstm":
        references["lstm"] = _lstm(settings.lstm, training, folder)
    if settings.maml is not None:
        references["maml"] = _maml(settings.maml, training, folder)
    return references


def _lstm(settings: LSTMReferenceSettings, training: Training, folder: Path) -> Reference:
    iterations = settings.iterations or training.iterations
    model = training.model.model_copy(update={"core": "lstm", "hidden_size": None})
    train = training.train.model_copy(
        update={"learning_rate": settings.learning_rate, "iterations": iterations, "device": "cpu"}
    )
    generator = torch.Generator().manual_seed(derived_seed(training.seed, "weights"))
    network = RegressionNetwork(model, training.network, training.regression, generator)

    def trained() -> Weights:
        trainer = RegressionTrainer(network, training.regression, train, training.seed)
        for _ in tqdm(range(iterations), desc="LSTM", unit="iteration", disable=None):
            trainer.run_iteration()
        return network.state_dict()

    made_with = [model, training.network, training.regression, train]
    path = folder / "lstm.safetensors"
    network.load_state_dict(_kept(path, made_with, training.seed, trained, network.state_dict()))

    def squared_errors(
        regression: RegressionSettings, episodes: Episodes, trials: Sequence[int]
    ) -> FloatArray:
        return judge(network.facing(regression), episodes, seed=0).squares

    return squared_errors


def _maml(settings: MAMLSettings, training: Training, folder: Path) -> Reference:
    functions = settings.functions or training.iterations * training.train.batch_size
    regression = training.regression
    settings = settings.model_copy(update={"functions": functions})

    def trained() -> Weights:
        learner = MAML(settings, regression, training.seed)
        learner.train(functions, show_progress=True)
        return learner.weights

    begun = MAML(settings, regression, training.seed).weights
    weights = _kept(folder / "maml.safetensors", [settings, regression], training.seed, trained, begun)
    return MAML(settings, regression, training.seed, dict(weights)).squared_errors


def _kept(
    path: Path, made_with: Sequence[Settings], seed: int, make: Callable[[], Weights], like: Weights
) -> Weights:
    """Return the weights kept in ``path``, if they were made with these settings; else make and keep them.

    Kept ones with other names or shapes than ``like`` are made anew, too.
    """
    recipe = json.dumps([seed, *(each.model_dump(mode="json") for each in made_with)])
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            known = _is_of((file.metadata() or {}).get("made_with", "[]"), made_with, seed)
        kept = read_tensors(path) if known else {}
        if {name: each.shape for name, each in kept.items()} == {
            name: each.shape for name, each in like.items()
        }:
            return kept
    except (OSError, SafetensorError, UserError):
        pass  # not there, or no such file: it is made anew
    weights = {name: each.contiguous() for name, each in make().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, safetensors.torch.save(weights, {"made_with": recipe}))
    return weights


def _is_of(recipe: str, made_with: Sequence[Settings], seed: int) -> bool:
    """Return whether weights of this recipe were made so; settings that were not there yet had their defaults."""
    try:
        of_seed, *known = json.loads(recipe)
        pairs = zip(made_with, map(json.dumps, known), strict=True)
        read = [type(each).model_validate_json(old) for each, old in pairs]
    except (TypeError, ValueError):  # no recipe, or one of other settings
        return False
    return of_seed == seed and read == list(made_with)
