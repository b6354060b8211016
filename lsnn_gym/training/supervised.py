"""The supervised trainer: sequences of a task in, better weights out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from lsnn_gym.cores import CoreOutput, CoreSettings, LSNNCore, RecurrentCore, make_core
from lsnn_gym.counts import sums_of
from lsnn_gym.encoders import EncoderName, PictureEncoder
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.tasks.task import Batch, Score, Split, Task, generator_for, score, total
from lsnn_gym.training.auxiliary import AuxiliarySettings, AuxiliaryTasks
from lsnn_gym.training.checkpoint import Checkpoint
from lsnn_gym.training.denormals import flushed_denormals
from lsnn_gym.training.distributed import (
    broadcast_weights,
    gather_json,
    gather_lanes,
    global_firing_rate,
    global_mean,
    global_rate_loss,
    mean_figures,
    mean_of,
    rank,
    share_of,
    world_size,
)
from lsnn_gym.training.finite import Watched
from lsnn_gym.training.global_scores import global_loss, global_score, global_scores
from lsnn_gym.training.loop import Figures
from lsnn_gym.training.optimization import (
    connections,
    decayed,
    follow_scaling,
    make_checkpoint,
    restore_checkpoint,
    set_learning_rate,
    step,
)
from lsnn_gym.training.train_settings import BatchTrainSettings
from lsnn_gym.wiring import WiredMatrix

_STATE = "state"
"""Name of the carried state in a checkpoint."""


class ModelSettings(CoreSettings):
    """What reads the sequences."""

    encoder: EncoderName = Field(
        default="none", description="what turns a task's pictures into features before the core"
    )
    encoder_channels: int = Field(
        default=16, ge=1, description="of the encoder's first convolution; the later ones have twice as many"
    )
    encoder_features: int = Field(default=64, ge=2, description="into which a picture is encoded")
    encoder_scale: float = Field(default=1.0, gt=0, description="standard deviation of the features at first")

    def make_encoder(self, task: Task, generator: torch.Generator) -> PictureEncoder | None:
        """Return the encoder of a task's pictures with its initial weights; None for none.

        Raises:
            ValueError: If there is to be one, but the task shows no pictures, or too small ones.
        """
        if self.encoder == "none":
            return None
        if task.picture_shape is None:
            raise ValueError(f"encoder is {self.encoder!r}: expected 'none', as the task shows no pictures")
        return PictureEncoder(
            task.picture_shape, self.encoder_channels, self.encoder_features, generator, self.encoder_scale
        )


class SupervisedTrainSettings(BatchTrainSettings):
    """A supervised training run."""

    matching_weight: float = Field(
        default=0.0,
        ge=0,
        description="of the loss by which an encoder also learns features that tell a sequence's classes apart",
    )
    readout_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share by which readouts, auxiliary ones too, and adaptive feedback shrink each iteration",
    )
    carry_state: bool = Field(
        default=False,
        description="whether a batch goes on from the state in which the one before left the network",
    )
    validate_every: int = Field(default=100, ge=1, description="iterations from validation to validation")
    auxiliary: tuple[AuxiliarySettings, ...] = Field(
        default=(), description="further tasks trained beside, on the same spiking network"
    )


class TaskNetwork(nn.Module):
    """A recurrent core whose readouts are the logits of a task's classes, and what encodes pictures before it.

    Args:
        model: Which core.
        network: Of its spiking network.
        task: Says how many channels and classes there are.
        generator: Source of the initial weights.
        auxiliary: Tasks that share the spiking network.
        seed: Of their batches.

    Raises:
        ValueError: If there are auxiliary tasks, but no spiking network to share; if there is to be an encoder,
            but no picture.
    """

    def __init__(
        self,
        model: ModelSettings,
        network: NetworkSettings,
        task: Task,
        generator: torch.Generator,
        auxiliary: Sequence[AuxiliarySettings] = (),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network_settings = network
        self.encoder: PictureEncoder | None = model.make_encoder(task, generator)
        self.core: RecurrentCore = make_core(
            model,
            network,
            task.input_size if self.encoder is None else self.encoder.encoded_size(task.input_size),
            task.num_classes,
            steps_per_observation=1,
            generator=generator,
        )
        self.auxiliary: AuxiliaryTasks | None = None
        if auxiliary:
            if not isinstance(self.core, LSNNCore):
                raise ValueError(
                    f"core is {model.core!r}: auxiliary tasks need 'lsnn', a spiking network to share"
                )
            self.auxiliary = AuxiliaryTasks(auxiliary, self.core.network, generator, seed)

    def wired_matrices(self) -> list[WiredMatrix]:
        """Return all weight matrices whose connections or signs are managed."""
        if self.auxiliary is None or not isinstance(self.core, LSNNCore):
            return self.core.wired_matrices()
        return [*self.core.wired_matrices(), *self.auxiliary.wired_matrices(self.core.network)]

    def forward(self, inputs: Tensor, state: Any, noise: Tensor | None) -> tuple[CoreOutput, Any]:
        """Return readouts ``[T, B, K]`` and spikes ``[T, B, N]``, and the state after the last step.

        Args:
            inputs: ``[T, B, I]``.
            state: Before the first step.
            noise: From ``draw_noise``.
        """
        return self.run_core(self.encode(inputs), state, noise)

    def encode(self, inputs: Tensor) -> Tensor:
        """Return what the core reads ``[T, B, I']`` of ``inputs`` ``[T, B, I]``: themselves if nothing encodes them."""
        return inputs if self.encoder is None else self.encoder(inputs)

    def run_core(self, encoded: Tensor, state: Any, noise: Tensor | None) -> tuple[CoreOutput, Any]:
        """Do what ``forward`` does from ``encode``'s result ``[T, B, I']`` on."""
        never = encoded.new_zeros(encoded.shape[:2])
        return self.core(encoded[:, None], state, never, noise)

    def draw_noise(self, inputs: Tensor, seed: int, purpose: str, number: int) -> Tensor | None:
        """Return the core's noise for ``inputs`` ``[T, B, I]``, which follows from seed, purpose and number."""
        steps, size, _ = inputs.shape
        noise = self.core.draw_noise(steps, size, generator_for(seed, purpose, number))
        return None if noise is None else noise.to(inputs.device)


class SupervisedTrainer:
    """Trains a network on a task, one batch of sequences an iteration.

    Every random number of an iteration follows from the run's seed and the iteration's number. Of several ranks,
    each draws the whole batch and computes its share.

    Args:
        network: Trained in place.
        task: What it learns.
        settings: Of the training.
        seed: Of the run.

    Raises:
        UserError: If the ranks cannot have equal shares of a batch.
    """

    def __init__(
        self, network: TaskNetwork, task: Task, settings: SupervisedTrainSettings, seed: int
    ) -> None:
        self._share = share_of(settings.batch_size, "train.batch_size")
        broadcast_weights(network)
        self.network = network
        self.task = task
        self.settings = settings
        self.seed = seed
        self.finished_iterations: int = 0
        self.optimizer: torch.optim.Optimizer = settings.make_optimizer(
            network, network.wired_matrices(), network.network_settings.wiring, seed
        )
        self._device = next(network.parameters()).device
        self._carried: Any = None

    @flushed_denormals()
    def run_iteration(self) -> Figures:
        """Improve the network on one batch, and return the iteration's figures."""
        iteration, settings = self.finished_iterations, self.settings
        rate = decayed(settings, iteration)
        set_learning_rate(self.optimizer, rate)
        batch = self.task.training_batch(settings.batch_size, iteration, self.seed)
        figures: Figures = {"iteration": iteration + 1, **self._improve(batch, iteration)}
        figures["learning_rate"] = rate
        figures |= connections(self.optimizer)
        self.finished_iterations += 1
        if self._validates(iteration + 1):
            found = evaluate_network(
                self.network,
                self.task,
                "validation",
                settings.batch_size,
                self.seed,
                carry_state=settings.carry_state,
            )
            figures |= {f"validation_{name}": value for name, value in found.items()}
        return figures

    def _validates(self, finished: int) -> bool:
        return finished % self.settings.validate_every == 0 or finished == self.settings.iterations

    def _improve(self, whole: Batch, iteration: int) -> Figures:
        settings, network, share = self.settings, self.network, self._share
        batch = whole.lanes(share.first, share.size).to(self._device)
        steps = len(batch.inputs)
        state = network.core.initial_state(share.size) if self._carried is None else self._carried
        noise = network.draw_noise(whole.inputs, self.seed, "noise", iteration)
        noise = None if noise is None else share.of(noise, 1).to(self._device)
        encoded = network.encode(batch.inputs)
        output, after = network.run_core(encoded, state, noise)
        if settings.carry_state:
            self._carried = network.core.unpack(network.core.pack(after).detach())
        loss = global_loss(self.task, output.values, batch)
        figures: Figures = {
            "loss": mean_figures({"": loss.item()})[""],
            "simulation_steps": steps * share.total,
        }
        figures |= self.task.figures(global_score(output.values.detach(), batch))
        if output.spikes is not None:
            dt = network.network_settings.dt
            regulated = global_rate_loss(output.spikes, settings.target_rate, dt, output.counts)
            loss = loss + settings.rate_weight * regulated
            figures["rate_loss"] = regulated.item()
            figures["firing_rate_hz"] = global_firing_rate(output.spikes, output.counts)
        if settings.matching_weight and network.encoder is not None:
            matching = mean_of(network.encoder.matching_losses(encoded, batch.targets), empty=0.0)
            loss = loss + settings.matching_weight * matching
            figures["matching_loss"] = float(global_mean(matching.detach()))
        if network.auxiliary is not None and isinstance(network.core, LSNNCore):
            added, of_tasks = network.auxiliary.loss(network.core.network, iteration)
            loss = loss + added
            figures |= of_tasks
        watched = Watched(
            network,
            iteration,
            {"inputs": batch.inputs, "network's state": network.core.pack(after).detach()},
            lambda: {"encoded inputs": encoded, "noise": noise, "readouts": output.values},
        )
        figures["gradient_norm"] = step(self.optimizer, loss, settings.max_gradient_norm, watched).item()
        if settings.readout_decay and isinstance(network.core, LSNNCore):
            further = () if network.auxiliary is None else network.auxiliary.readouts()
            for readout in (network.core.readout, *further):
                readout.decay(settings.readout_decay)
                follow_scaling(self.optimizer, readout.weight, 1 - settings.readout_decay)
        return figures

    def checkpoint(self) -> Checkpoint:
        """Return everything needed to go on from here."""
        made = make_checkpoint(self.finished_iterations, self.network, self.optimizer)
        if self._carried is None:
            return made
        training = {**made.training, _STATE: gather_lanes(self.network.core.pack(self._carried), 0)}
        return Checkpoint(made.iteration, made.model, training, made.scalars)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``.

        Raises:
            UserError: If it belongs to another network or optimiser.
        """
        restore_checkpoint(checkpoint, self.network, self.optimizer, others=(_STATE,))
        carried = checkpoint.training.get(_STATE)
        self._carried = (
            None if carried is None else self.network.core.unpack(self._share.of(carried, 0).to(self._device))
        )
        self.finished_iterations = checkpoint.iteration


@torch.no_grad()
def evaluate_network(
    network: TaskNetwork,
    task: Task,
    split: Split,
    batch_size: int,
    seed: int,
    *,
    carry_state: bool = False,
) -> dict[str, float]:
    """Return a network's figures on all sequences of a split: loss, the task's figures, firing rate in Hz.

    Several ranks share the batches among them, except where each goes on from the one before.

    Args:
        network: Not changed.
        task: What it is judged on.
        split: Which sequences.
        batch_size: Sequences at once.
        seed: Of the network's noise.
        carry_state: Whether a batch goes on from the state that the one before left; the first starts at rest.
    """
    device = next(network.parameters()).device
    scores: list[dict[int | None, Score]] = []
    losses, spikes, neuron_steps = 0.0, 0.0, 0
    state = None
    for number, given in enumerate(task.batches(split, batch_size)):
        if not carry_state and number % world_size() != rank():
            continue
        batch = given.to(device)
        size = batch.inputs.shape[1]
        if state is None or not carry_state or size != batch_size:
            state = network.core.initial_state(size)
        noise = network.draw_noise(batch.inputs, seed, f"{split} noise", number)
        output, state = network(batch.inputs, state, noise)
        scores.append(score(output.values, batch))
        losses += scores[-1][None].asked * task.loss(output.values, batch).item()
        if output.spikes is not None:
            spikes += float(sums_of(output.spikes, output.counts).sum(dtype=torch.float64))
            neuron_steps += output.spikes.numel()
    scored = total(scores)
    if not carry_state:
        scored = global_scores(scored)
        told = gather_json([losses, spikes, neuron_steps])
        losses, spikes, neuron_steps = (sum(each) for each in zip(*told, strict=True))
    figures = {"loss": losses / scored[None].asked, **task.figures(scored)}
    # Spikes carry 1/dt, so their mean is a rate per ms.
    return figures | ({"firing_rate_hz": 1000 * spikes / neuron_steps} if neuron_steps else {})
