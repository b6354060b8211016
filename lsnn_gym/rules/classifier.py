"""What every rule offers to whoever trains a classifier by it: signals, a loss and a decision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import field_validator
from torch import Tensor, nn

from lsnn_gym.lanes import LaneDraws
from lsnn_gym.rules.architecture import Dense, Layer, Placed, Pool, parse_architecture, place_layers
from lsnn_gym.rules.decisions import Decision
from lsnn_gym.rules.layers import Signal
from lsnn_gym.settings import Settings


class Classifier(nn.Module, ABC):
    """A network of layers whose last has a neuron for each class; ``loss(...).backward()`` is its rule's.

    Attributes:
        draws: What is random in a forward pass comes from here: whoever trains begins it anew for each batch.
        fan_outs: Of the input and all layers of neurons but the last, see :mod:`lsnn_gym.rules.operations`;
            empty where operations are not to be counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draws: LaneDraws = LaneDraws()
        self.fan_outs: list[Tensor] = []

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

    def within(self) -> list[Tensor | None]:
        """Return, of each layer of neurons, the synapses of each onto its own layer ``[N]``; None for none."""
        return []

    def operations(self, inputs: Tensor, signals: tuple[Signal, ...]) -> Tensor | None:
        """Return synaptic operations of each sample ``[B]``: values that are not 0, by synapses they go through.

        Args:
            inputs: ``[T, B, ...]``.
            signals: What ``forward`` returned; steps that it left out do not count.
        """
        if not self.fan_outs:
            return None
        shown = inputs[: len(signals[-1].values)]
        came = shown.ne(0).to(torch.float32).sum(0)  # booleans are summed several times as slowly
        fired = [each for each in (signal.counts for signal in signals) if each is not None]
        total = torch.zeros(inputs.shape[1], dtype=torch.float64)
        for sent, fan_out in zip([came, *fired], self.fan_outs, strict=False):
            total += sent.flatten(1).cpu().double() @ fan_out.flatten().double()
        for sent, fan_out in zip(fired, self.within(), strict=False):
            if fan_out is not None:
                total += sent.flatten(1).cpu().double() @ fan_out.cpu().double()
        return total


class ClassifierSettings(Settings, ABC):
    """Which rule, with its constants; the layers are the same text for every rule.

    Attributes:
        needs_spikes: Whether inputs have to be spikes, 0 or 1.
        pools_fire: Whether pools are neurons.
        without_loss: Losses that other rules have and this one has not, each with the reason.
        without_recurrence: Why there are no recurrent layers; None where there are.
        without_images: Why there are neither convolutions nor pools; None where there are.
    """

    needs_spikes: ClassVar[bool] = False
    pools_fire: ClassVar[bool] = False
    without_loss: ClassVar[Mapping[str, str]] = {}
    without_recurrence: ClassVar[str | None] = None
    without_images: ClassVar[str | None] = None

    @field_validator("loss", mode="before", check_fields=False)
    @classmethod
    def _check_loss(cls, given: Any) -> Any:
        if isinstance(given, str) and given in cls.without_loss:
            raise ValueError(f"no loss of this rule: {cls.without_loss[given]}")
        return given

    def check_layers(self, layers: Iterable[Layer]) -> None:
        """Raise ``ValueError``, with the reason, if the rule has no such layers."""
        for layer in layers:
            if isinstance(layer, Dense) and layer.recurrent and self.without_recurrence:
                raise ValueError(
                    f"layer R{layer.neurons}: expected no recurrent layer with this rule, "
                    f"{self.kind!r}: {self.without_recurrence}"  # type: ignore[attr-defined]
                )
            if not isinstance(layer, Dense) and self.without_images:
                what = f"P{layer.window}" if isinstance(layer, Pool) else f"{layer.channels}C{layer.kernel}"
                raise ValueError(
                    f"layer {what}: expected dense layers with this rule, "
                    f"{self.kind!r}: {self.without_images}"  # type: ignore[attr-defined]
                )

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
