"""What every training by gradient descent on batches is told: optimiser, rates, checkpoints, where it runs."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.training.optimization import OptimizerName, make_optimizer
from lsnn_gym.wiring import WiredMatrix, WiringSettings


class TrainSettings(Settings):
    """What has nothing to do with what is learnt."""

    checkpoints_kept: int = Field(default=3, ge=1, description="older ones are removed")
    threads: int | None = Field(
        default=None, ge=1, description="of PyTorch; by default as many as there are cores"
    )
    device: str = Field(default="cpu", description="cpu, cuda or cuda:N")


class BatchTrainSettings(TrainSettings):
    """A training run on batches of sequences."""

    iterations: int = Field(default=1000, ge=1, description="optimiser steps")
    batch_size: int = Field(default=128, ge=1, description="sequences in each")
    optimizer: OptimizerName = Field(default="adam", description="Adam as PyTorch has it, or TensorFlow 1")
    learning_rate: float = Field(default=0.01, gt=0, description="at the start")
    learning_rate_decay: float = Field(default=0.5, gt=0, le=1, description="factor on the learning rate ...")
    learning_rate_decay_every: int = Field(default=1000, ge=1, description="... every so many iterations")
    adam_epsilon: float = Field(default=1e-8, gt=0, description="Adam's epsilon")
    max_gradient_norm: float | None = Field(
        default=None, gt=0, description="gradients are scaled down to this norm"
    )
    rate_weight: float = Field(
        default=0.1, ge=0, description="of (rate - target)^2, summed over neurons, per ms^2"
    )
    target_rate: float = Field(default=10.0, ge=0, description="firing rate aimed at, in Hz")
    checkpoint_every: int = Field(default=100, ge=1, description="iterations between checkpoints")

    def make_optimizer(
        self, module: nn.Module, matrices: Sequence[WiredMatrix], wiring: WiringSettings, seed: int
    ) -> Optimizer:
        """Make the optimiser of all trained parameters of ``module``; see ``optimization.make_optimizer``.

        Args:
            module: What is trained.
            matrices: Those of its weights whose connections or signs are managed.
            wiring: How.
            seed: Of the training.
        """
        return make_optimizer(
            module,
            matrices,
            learning_rate=self.learning_rate,
            epsilon=self.adam_epsilon,
            wiring=wiring.kind,
            seed=derived_seed(seed, "rewiring"),
            name=self.optimizer,
        )
