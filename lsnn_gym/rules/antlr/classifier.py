"""Classifiers that learn by ANTLR, or by either of its halves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from lsnn_gym.rules.antlr.layers import AntlrLayer, convolution, dense
from lsnn_gym.rules.antlr.losses import count_loss, latency_loss, train_distances, train_loss
from lsnn_gym.rules.antlr.network import AntlrNetwork
from lsnn_gym.rules.antlr.neuron import AntlrNeuron, AntlrRule
from lsnn_gym.rules.antlr.pooling import AveragePool, MaxPool
from lsnn_gym.rules.architecture import Convolution, Dense, Pool
from lsnn_gym.rules.classifier import Classifier, ClassifierSettings
from lsnn_gym.rules.decisions import Decision, decide_by_first, decide_by_most
from lsnn_gym.rules.layers import Signal, check_labels


class AntlrSettings(ClassifierSettings):
    """ANTLR: errors of whether and of when there is a spike, weighted (Kim, Kim, Kim, NeurIPS 2020)."""

    needs_spikes: ClassVar[bool] = True
    without_loss: ClassVar[Mapping[str, str]] = {
        "kernel": "distance from a spike train is called 'train' here",
        "softmax": "cross-entropy is of first spikes, called 'latency'; counts have 'count'",
    }
    without_recurrence: ClassVar[str | None] = "its errors of spike times go through layers without delay"

    kind: Literal["antlr"] = "antlr"
    activation: float = Field(default=1.0, ge=0, description="weight of errors by whether there is a spike")
    timing: float = Field(default=1.0, ge=0, description="weight of errors by when there is one")
    timing_penalty: float = Field(
        default=0.0, ge=0, description="push on the weights of silent neurons; 100 with timing alone"
    )
    surrogate_height: float = Field(default=1.0, gt=0, description="slope at the threshold")
    surrogate_sharpness: float = Field(default=3.0, gt=0, description="how fast the slope falls")
    current_decay: float = Field(default=0.99, ge=0, le=1, description="per step")
    voltage_decay: float = Field(default=0.99, ge=0, le=1, description="per step")
    loss: Literal["latency", "count", "train"] = Field(
        default="latency",
        description="of first spikes, or of the numbers of spikes, or of spikes from those of a random train a class",
    )
    softmax_beta: float = Field(default=1 / 6, gt=0, description="of loss latency, per step")
    no_spike_weight: float = Field(default=0.1, ge=0, description="of loss latency: of a silent true class")
    desired_count: float = Field(default=1.0, ge=0, description="of the true class's spikes, for loss count")
    undesired_count: float = Field(default=0.0, ge=0, description="of other classes' spikes, for loss count")
    kernel_decay: float = Field(default=0.9, ge=0, lt=1, description="of loss train's filter, per step")
    target_rate: float = Field(default=0.05, gt=0, le=1, description="of loss train's trains, spikes a step")
    decision: Literal["first", "most"] = Field(
        default="first",
        description="the class that fires first, or most; with loss train the nearest train's",
    )
    stops_early: bool = Field(
        default=True, description="with loss latency: stop once every output of a batch has fired"
    )
    pool: Literal["average", "max"] = Field(default="average", description="what P2 is")

    @model_validator(mode="after")
    def _check_weights(self) -> AntlrSettings:
        if not self.activation and not self.timing:
            raise ValueError("activation and timing are both 0: expected one above 0, else nothing is learnt")
        return self

    def own_padding(self, kernel: int) -> int:
        """Return half the kernel, as published."""
        return kernel // 2

    def make(
        self,
        architecture: str,
        shape: tuple[int, ...],
        num_classes: int,
        steps: int,
        generator: torch.Generator,
    ) -> AntlrClassifier:
        """Return a network with its initial weights (errors as of ``ClassifierSettings.make``)."""
        neuron = AntlrNeuron.normalised(self.current_decay, self.voltage_decay, steps)
        rule = AntlrRule(
            self.activation,
            self.timing,
            self.timing_penalty,
            self.surrogate_height,
            self.surrogate_sharpness,
        )
        layers: list[AntlrLayer] = []
        for layer, inputs, _ in self.placed(architecture, shape, num_classes):
            match layer:
                case Dense(neurons, recurrent=False):
                    layers.append(dense(math.prod(inputs), neurons, neuron, rule, generator=generator))
                case Convolution(channels, kernel, padding):
                    layers.append(
                        convolution(
                            inputs[0], channels, kernel, neuron, rule, padding=padding, generator=generator
                        )
                    )
                case Pool(window):
                    layers.append(AveragePool(window) if self.pool == "average" else MaxPool(window))
                case _:
                    raise ValueError(f"layer R{layer.neurons}: expected no recurrent layer with this rule")
        targets = None
        if self.loss == "train":
            drawn = torch.rand(steps, num_classes, num_classes, generator=generator)
            targets = (drawn < self.target_rate).to(torch.get_default_dtype())
        return AntlrClassifier(self, layers, targets)


class AntlrClassifier(Classifier):
    """A classifier of :mod:`lsnn_gym.rules.antlr.layers`.

    Args:
        settings: Of loss and decision.
        layers: From the input up.
        targets: For loss train: the spikes that each class is to get, ``[T, classes, outputs]``.
    """

    targets: Tensor

    def __init__(
        self, settings: AntlrSettings, layers: list[AntlrLayer], targets: Tensor | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        if targets is not None:
            self.register_buffer("targets", targets)
        stops_early = settings.stops_early and settings.loss == "latency"
        self.network: AntlrNetwork = AntlrNetwork(layers, stops_early=stops_early)

    def forward(self, inputs: Tensor) -> tuple[Signal, ...]:
        """Return spikes and their timing of each layer, of n <= T steps."""
        return self.network(inputs)

    def loss(self, signals: tuple[Signal, ...], labels: Tensor) -> Tensor:
        """Return the loss that the settings name."""
        output, settings = signals[-1], self.settings
        if settings.loss == "latency":
            return latency_loss(output, labels, settings.softmax_beta, settings.no_spike_weight)
        if settings.loss == "train":
            return train_loss(output, self.targets[:, labels], settings.kernel_decay)
        _, batch_size, num_classes = output.values.shape
        check_labels(labels, batch_size, num_classes)
        is_label = F.one_hot(labels, num_classes).bool()
        counts = torch.where(is_label, settings.desired_count, settings.undesired_count)
        return count_loss(output, counts.to(output.values))

    def decide(self, signals: tuple[Signal, ...]) -> Decision:
        """Return the class that fired first, or most, or whose wanted train is nearest."""
        spikes = signals[-1].values
        if self.settings.loss == "train":
            distances = train_distances(spikes, self.targets, self.settings.kernel_decay)
            steps = torch.full((len(distances),), len(spikes), device=spikes.device)
            return Decision(distances.argmin(1), steps)
        return decide_by_first(spikes) if self.settings.decision == "first" else decide_by_most(spikes)
