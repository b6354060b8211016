"""The trainer of classifiers: epochs of labelled examples in, better weights out, whichever the rule."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lsnn_gym.classification.boosting import Boost
from lsnn_gym.classification.division import Divided
from lsnn_gym.classification.evaluation import Judgement, everywhere, judge, judge_batch
from lsnn_gym.errors import UserError
from lsnn_gym.lanes import Share
from lsnn_gym.rules.antlr.losses import clip_gradients_
from lsnn_gym.rules.classifier import Classifier
from lsnn_gym.rules.tssl_bp.layers import clip_weights_
from lsnn_gym.seeding import derived_seed
from lsnn_gym.tasks.task import shuffled_indices
from lsnn_gym.training.checkpoint import Checkpoint
from lsnn_gym.training.denormals import flushed_denormals
from lsnn_gym.training.distributed import broadcast_weights, gather_lanes, share_of, world_size, writes
from lsnn_gym.training.finite import Watched
from lsnn_gym.training.loop import Figures
from lsnn_gym.training.optimization import (
    LayeredOptimizerName,
    decayed,
    make_checkpoint,
    make_optimizer,
    restore_checkpoint,
    set_learning_rate,
    step,
)
from lsnn_gym.training.results import MemoryGrowth
from lsnn_gym.training.train_settings import TrainSettings

CHOSEN = "chosen:"
"""Begins the names, in a checkpoint, of the weights that validation chose."""


class ClassificationTrainSettings(TrainSettings):
    """A training run in epochs. What is called an iteration elsewhere is a part of an epoch here."""

    epochs: int = Field(default=100, ge=1, description="passes through the training examples")
    parts_per_epoch: int = Field(default=10, ge=1, description="lines of metrics an epoch")
    batch_size: int = Field(default=100, ge=1, description="examples a step of the optimiser")
    evaluate_every: int = Field(
        default=1, ge=1, description="epochs from validation (and test) to the next; the last has one always"
    )
    checkpoint_every: int = Field(default=10, ge=1, description="parts between checkpoints")
    optimizer: LayeredOptimizerName = Field(default="adamw", description="adamw decouples the weight decay")
    learning_rate: float = Field(default=5e-4, gt=0, description="at the start")
    layer_rates: tuple[float, ...] = Field(
        default=(), description="factors on the learning rate, one a layer that learns; by default 1"
    )
    learning_rate_schedule: Literal["constant", "step", "inverse-root", "cosine"] = Field(
        default="constant",
        description="step: times learning_rate_decay; inverse-root: over the root of the epoch's number from 1; "
        "cosine: along half a wave that would be at 0 after the last epoch",
    )
    learning_rate_decay: float = Field(default=0.1, gt=0, le=1, description="of schedule step ...")
    learning_rate_decay_every: int = Field(default=10, ge=1, description="... after every so many epochs")
    weight_decay: float = Field(default=0.01, ge=0, description="of the optimiser")
    max_gradient_norm: float | None = Field(
        default=None, gt=0, description="gradients are scaled down to this norm"
    )
    largest_gradient: float | None = Field(
        default=None, gt=0, description="each element of the gradients is cut to it"
    )
    largest_weight: float | None = Field(
        default=None, gt=0, description="parameters are cut to it after each step"
    )

    @property
    def iterations(self) -> int:
        """Return how many parts all epochs have."""
        return self.epochs * self.parts_per_epoch

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        match self.learning_rate_schedule:
            case "step":
                return decayed(self, epoch)
            case "inverse-root":
                return self.learning_rate / (epoch + 1) ** 0.5
            case "cosine":
                return self.learning_rate * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
            case "constant":
                return self.learning_rate


class ClassificationTrainer:
    """Trains a classifier; what its gradients are is the rule's business.

    Every random number follows from the run's seed and the number of epoch or batch. Several ranks share each batch; a
    last one that cannot be shared equally is learnt from by all of them.

    Args:
        network: Trained in place.
        data: What it learns from and is judged by.
        settings: Of the training.
        evaluation_batch_size: Examples at once in validation and test.
        seed: Of the run.

    Raises:
        UserError: If the ranks cannot have equal shares of a batch.
    """

    def __init__(
        self,
        network: Classifier,
        data: Divided,
        settings: ClassificationTrainSettings,
        evaluation_batch_size: int,
        seed: int,
    ) -> None:
        self.network = network
        self.data = data
        self.settings = settings
        self.evaluation_batch_size = evaluation_batch_size
        self.seed = seed
        self.finished_iterations: int = 0
        self.optimizer: torch.optim.Optimizer = make_optimizer(
            network,
            (),
            learning_rate=settings.learning_rate,
            epsilon=1e-8,
            wiring="dense",
            seed=0,
            name=settings.optimizer,
            weight_decay=settings.weight_decay,
            fused=True,
            layer_rates=settings.layer_rates,
        )
        self._device = next(network.parameters()).device
        self._chosen: dict[str, Tensor] = {}
        self._chosen_accuracy = -1.0
        self._chosen_epoch = 0
        self._costs: dict[str, float] = {}
        self._is_fresh = True
        self._boost = Boost(data.train.labels) if network.boosts else None
        share_of(settings.batch_size, "train.batch_size")
        broadcast_weights(network)

    @property
    def batches_per_epoch(self) -> int:
        """Return how many steps of the optimiser an epoch has."""
        return -(-len(self.data.train) // self.settings.batch_size)

    @flushed_denormals()
    def run_iteration(self) -> Figures:
        """Go through one part of an epoch; after its last, judge the network on validation and test examples."""
        settings = self.settings
        epoch, part = divmod(self.finished_iterations, settings.parts_per_epoch)
        rate = settings.rate(epoch)
        set_learning_rate(self.optimizer, rate)
        bounds = [each * self.batches_per_epoch // settings.parts_per_epoch for each in (part, part + 1)]
        order = torch.from_numpy(
            shuffled_indices(len(self.data.train), len(self.data.train), epoch, self.seed)
        )
        size = settings.batch_size
        self.network.train()
        judgement, norms, memory = Judgement(), [], None
        started = time.perf_counter()
        for number in range(*bounds):
            index = order[number * size : (number + 1) * size]
            with MemoryGrowth() if self._is_fresh else nullcontext() as growth:
                found, norm = self._improve(index, epoch * self.batches_per_epoch + number)
            if growth is not None:
                memory = None if growth.bytes is None else growth.bytes / max(1, found.examples)
                self._is_fresh = False
            judgement = judgement.plus(found)
            norms.append(norm)
        judgement = everywhere(judgement)
        self._costs = {"learning_seconds": time.perf_counter() - started, "samples": judgement.examples}
        if memory is not None:
            self._costs["memory_per_sample_bytes"] = memory
        self.network.eval()
        figures: Figures = {"iteration": self.finished_iterations + 1, "epoch": epoch + 1}
        figures |= judgement.figures()
        figures["simulation_steps"] = judgement.steps
        figures["gradient_norm"] = float(torch.stack(norms).mean()) if norms else None
        figures["learning_rate"] = rate
        self.finished_iterations += 1
        if part + 1 == settings.parts_per_epoch:
            if self._boost is not None:
                figures["largest_sample_weight"] = self._boost.end_epoch()
            figures |= self._judge(epoch + 1)
        return figures

    def costs(self) -> dict[str, float]:
        """Return seconds of learning and samples of the last part, and the memory of the process's first batch."""
        return self._costs

    def _improve(self, index: Tensor, number: int) -> tuple[Judgement, Tensor]:
        settings, network = self.settings, self.network
        is_shared = len(index) % world_size() == 0
        share = share_of(len(index), "batch") if is_shared else Share.all_of(len(index))
        seed = derived_seed(self.seed, "coding", number)
        inputs = self.data.train.inputs(index, seed, share).to(self._device)
        network.draws.begin(derived_seed(self.seed, "dropout", number), share)
        everyones, index = index, share.of(index, 0)
        labels = self.data.train.labels[index].to(self._device)
        signals = network(inputs)
        weights = None if self._boost is None else self._boost.weights[index].to(self._device)
        loss = network.weighted_loss(signals, labels, weights)
        # Gradients are averaged over the ranks: a sum over samples is their number times what they average to.
        ranks = share.total // share.size if network.sums_loss else 1
        outputs = {f"values of layer {place}": each.values for place, each in enumerate(signals, start=1)}
        watched = Watched(network, number, {"inputs": inputs}, lambda: outputs)
        norm = step(self.optimizer, ranks * loss, settings.max_gradient_norm, watched, self._cut_gradients)
        if settings.largest_weight is not None:
            clip_weights_(network.parameters(), settings.largest_weight)
        if self._boost is not None:
            decided = network.decide(signals).classes
            self._boost.decided[everyones] = (gather_lanes(decided, 0) if is_shared else decided).cpu()
        counts = is_shared or writes()
        return judge_batch(network, signals, labels, loss) if counts else Judgement(), norm

    def _cut_gradients(self, parameters: Sequence[Tensor]) -> None:
        if self.settings.largest_gradient is not None:
            clip_gradients_(parameters, self.settings.largest_gradient)

    def _judge(self, epoch: int) -> Figures:
        if epoch % self.settings.evaluate_every and epoch < self.settings.epochs:
            return {}
        figures: Figures = {}
        for split in ("validation", "test"):
            examples = self.data.validation if split == "validation" else self.data.test
            if examples is None:
                continue
            own = judge(self.network, examples, self.evaluation_batch_size, share_of(world_size(), "ranks"))
            found = everywhere(own).figures()
            figures |= {f"{split}_{name}": value for name, value in found.items()}
        accuracy = figures.get("validation_accuracy")
        if accuracy is not None and accuracy > self._chosen_accuracy:
            self._chosen_accuracy, self._chosen_epoch = accuracy, epoch
            self._chosen = {name: each.detach().clone() for name, each in self.network.state_dict().items()}
        return figures

    def checkpoint(self) -> Checkpoint:
        """Return everything needed to go on from here, with the weights that validation chose so far."""
        made = make_checkpoint(self.finished_iterations, self.network, self.optimizer)
        training = dict(made.training) | {CHOSEN + name: each for name, each in self._chosen.items()}
        training |= {} if self._boost is None else self._boost.tensors()
        chosen = {"epoch": self._chosen_epoch, "validation_accuracy": self._chosen_accuracy}
        return Checkpoint(made.iteration, made.model, training, {**made.scalars, "chosen": chosen})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``.

        Raises:
            UserError: If it belongs to another network or optimiser.
        """
        chosen = chosen_weights(checkpoint)
        others = [CHOSEN + name for name in chosen]
        if self._boost is not None:
            others += self._boost.tensors()
        restore_checkpoint(checkpoint, self.network, self.optimizer, others)
        if self._boost is not None:
            self._boost.restore(checkpoint)
        self._chosen = {name: each.to(self._device) for name, each in chosen.items()}
        if self._chosen:
            self._chosen_epoch, self._chosen_accuracy = chosen_figures(checkpoint)
        self.finished_iterations = checkpoint.iteration


def chosen_figures(checkpoint: Checkpoint) -> tuple[int, float]:
    """Return the epoch that validation chose, and its accuracy.

    Raises:
        UserError: The checkpoint does not say.
    """
    told = checkpoint.scalars.get("chosen")
    epoch, accuracy = (
        (told.get(key) for key in ("epoch", "validation_accuracy")) if isinstance(told, dict) else (0, 0)
    )
    if type(epoch) is not int or not isinstance(accuracy, float):
        raise UserError("the checkpoint has weights that validation chose, but not when: expected 'chosen'")
    return epoch, accuracy


def chosen_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the weights that validation chose, by name; none where nothing was validated yet."""
    return {
        name.removeprefix(CHOSEN): each
        for name, each in checkpoint.training.items()
        if name.startswith(CHOSEN)
    }
