"""What every rule offers to whoever trains a classifier by it: signals, a loss and a decision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from lsnn_gym.rules.architecture import Placed, parse_architecture, place_layers
from lsnn_gym.rules.decisions import Decision
from lsnn_gym.rules.layers import Signal
from lsnn_gym.settings import Settings


class Classifier(nn.Module, ABC):
    """A network of layers whose last has a neuron for each class; ``loss(...).backward()`` is its rule's.

    Attributes:
        draws: What is random in a forward pass comes from here: whoever trains seeds it for each batch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draws = torch.Generator()

    @property
    def sums_loss(self) -> bool:
        """Return whether the loss of a batch is a sum over samples, not a mean."""
        return False

    @abstractmethod
    def forward(self, inputs: Tensor) -> tuple[Signal, ...]:
        """Return the signal of each layer, given inputs ``[T, B, ...]``; the last is the output's."""

    @abstractmethod
    def loss(self, signals: tuple[Signal, ...], labels: Tensor) -> Tensor:
        """Return the loss of what ``forward`` returned, given the true classes ``[B]``."""

    @property
    def boosts(self) -> bool:
        """Return whether examples that were decided wrongly weigh more in the next epoch."""
        return False

    def weighted_loss(
        self, signals: tuple[Signal, ...], labels: Tensor, sample_weight: Tensor | None
    ) -> Tensor:
        """Return what is learnt by: the loss, with factors of the samples ``[B]`` where the rule ``boosts``."""
        return self.loss(signals, labels)

    @abstractmethod
    def decide(self, signals: tuple[Signal, ...]) -> Decision:
        """Return which classes the network decided for."""


class ClassifierSettings(Settings, ABC):
    """Which rule, with its constants; the layers are the same text for every rule.

    Attributes:
        needs_spikes: Whether inputs have to be spikes, 0 or 1.
    """

    needs_spikes: ClassVar[bool] = False

    @abstractmethod
    def make(
        self,
        architecture: str,
        shape: tuple[int, ...],
        num_classes: int,
        steps: int,
        generator: torch.Generator,
    ) -> Classifier:
        """Return a network with its initial weights.

        Args:
            architecture: Hidden layers, see :mod:`lsnn_gym.rules.architecture`.
            shape: Of the input each step: ``(N,)`` or ``(C, H, W)``.
            num_classes: K.
            steps: T.
            generator: Of the weights.

        Raises:
            ValueError: The rule has no such layers, or they do not fit.
        """

    def own_padding(self, kernel: int) -> int:
        """Return the zeros around the image of a convolution that does not name any."""
        return 0

    def placed(self, architecture: str, shape: tuple[int, ...], num_classes: int) -> tuple[Placed, ...]:
        """Return the layers that ``architecture`` names, and the output.

        Raises:
            ValueError: It names none, or they do not fit.
        """
        return place_layers(parse_architecture(architecture), shape, num_classes, self.own_padding)
