"""Auxiliary tasks: supervised tasks that share the spiking network of whatever is trained.

Each has an encoder (synapses from its own input channels) and a readout of its own; the recurrent weights, the
neurons and their constants are the shared network's. In each optimiser step the weighted losses are added.

Source: Jaderberg and others: Reinforcement learning with unsupervised auxiliary tasks, ICLR 2017, for the idea.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from lsnn_gym.cores import draw_readout, wired_matrices
from lsnn_gym.lanes import Share
from lsnn_gym.neurons import TimeConstant
from lsnn_gym.readouts import LeakyReadout
from lsnn_gym.recurrent import SpikingRNN
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.synapses import Synapses
from lsnn_gym.tasks.registry import TaskSettings
from lsnn_gym.tasks.task import Batch, Split, Task, generator_for, score, total
from lsnn_gym.training.distributed import mean_figures, share_of
from lsnn_gym.training.global_scores import global_loss, global_score
from lsnn_gym.wiring import WiredMatrix


class AuxiliarySettings(Settings):
    """A supervised task that is trained beside the main one, on the same spiking network."""

    task: TaskSettings = Field(description="its name, or a section with kind and what is to differ")
    weight: float = Field(default=1.0, ge=0, description="of its loss")
    batch_size: int = Field(default=32, ge=1, description="sequences in each optimiser step")
    tau_readout: TimeConstant = Field(
        default=20.0, description="time constant of its readout in ms, or a range drawn from"
    )


class AuxiliaryHead(nn.Module):
    """What an auxiliary task has of its own: encoder and readout."""

    def __init__(self, settings: AuxiliarySettings, network: SpikingRNN, generator: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        self.task: Task = settings.task.make()
        self.encoder: Synapses = network.further_input_synapses(self.task.input_size, generator)
        self.readout: LeakyReadout = draw_readout(
            network, self.task.num_classes, settings.tau_readout, generator
        )

    def forward(self, network: SpikingRNN, batch: Batch, noise: Tensor | None) -> Tensor:
        """Return readouts ``[T, B, K]`` of a batch, the network starting at rest."""
        size = batch.inputs.shape[1]
        spikes, _ = network(
            batch.inputs, network.initial_state(size), noise=noise, input_synapses=self.encoder
        )
        outputs, _ = self.readout(spikes, self.readout.initial_state(size))
        return outputs


class AuxiliaryTasks(nn.Module):
    """All auxiliary tasks of a training.

    Args:
        settings: One a task.
        network: The shared network; not a part of this module.
        generator: Source of the initial weights.
        seed: Of the batches.
    """

    def __init__(
        self,
        settings: Sequence[AuxiliarySettings],
        network: SpikingRNN,
        generator: torch.Generator,
        seed: int,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.heads: nn.ModuleDict = nn.ModuleDict()
        for each in settings:
            name = each.task.kind
            count = sum(other.partition("#")[0] == name for other in self.heads)
            self.heads[f"{name}#{count + 1}" if count else name] = AuxiliaryHead(each, network, generator)

    def wired_matrices(self, network: SpikingRNN) -> list[WiredMatrix]:
        """Return the encoders' and readouts' matrices, where their connections or signs are managed."""
        parts = [part for head in self._heads().values() for part in (head.encoder, head.readout)]
        return wired_matrices(parts, network.settings.wiring)

    def readouts(self) -> list[LeakyReadout]:
        """Return the tasks' readouts."""
        return [head.readout for head in self._heads().values()]

    def look_for_data(self) -> None:
        """Read the data that the tasks train on, so that missing ones are noticed before training.

        Raises:
            UserError: Data are missing and cannot be had, or a batch cannot be shared among the ranks.
        """
        for head in self._heads().values():
            share_of(head.settings.batch_size, f"batch_size of the auxiliary task {head.settings.task.kind}")
            head.task.training_batch(1, 0, self.seed)

    def loss(self, network: SpikingRNN, number: int) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted sum of the tasks' losses, and their figures.

        Args:
            network: The shared one.
            number: Of the optimiser step, counted from 0: the batches follow from it.
        """
        weighted = network.input_synapses.weight.new_zeros(())
        figures: dict[str, float] = {}
        for name, head in self._heads().items():
            share = share_of(head.settings.batch_size, f"batch_size of the auxiliary task {name}")
            whole = head.task.training_batch(share.total, number, derived_seed(self.seed, name))
            batch, noise = self._prepared(network, whole, name, number, share)
            outputs = head(network, batch, noise)
            loss = global_loss(head.task, outputs, batch)
            weighted = weighted + head.settings.weight * loss
            scored = head.task.figures(global_score(outputs.detach(), batch))
            figures |= mean_figures({f"auxiliary/{name}/loss": loss.item()})
            figures |= {f"auxiliary/{name}/{key}": value for key, value in scored.items()}
        return weighted, figures

    @torch.no_grad()
    def evaluate(self, network: SpikingRNN, split: Split = "test") -> dict[str, dict[str, float]]:
        """Return each task's figures on a split."""
        found = {}
        for name, head in self._heads().items():
            parts = []
            for number, batch in enumerate(head.task.batches(split, head.settings.batch_size)):
                outputs = head(network, *self._prepared(network, batch, name, number))
                parts.append(score(outputs, batch.to(outputs.device)))
            found[name] = head.task.figures(total(parts))
        return found

    def _heads(self) -> dict[str, AuxiliaryHead]:
        return {name: head for name, head in self.heads.items() if isinstance(head, AuxiliaryHead)}

    def _prepared(
        self, network: SpikingRNN, batch: Batch, name: str, number: int, share: Share | None = None
    ) -> tuple[Batch, Tensor | None]:
        """Return the batch on the network's device, and noise for it; of both, only a share."""
        steps, size, _ = batch.inputs.shape
        noise = network.draw_noise(steps, size, generator_for(self.seed, f"noise of {name}", number))
        device = network.input_synapses.weight.device
        if share is not None:
            batch, noise = batch.lanes(share.first, share.size), None if noise is None else share.of(noise, 1)
        return batch.to(device), None if noise is None else noise.to(device)
