"""Classifiers whose layers send traces: TSSL-BP's, and what they share with others of the same dynamics."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from lsnn_gym.rules.architecture import Convolution, Dense, Pool
from lsnn_gym.rules.classifier import Classifier, ClassifierSettings
from lsnn_gym.rules.decisions import Decision
from lsnn_gym.rules.layers import LayeredNetwork, Signal
from lsnn_gym.rules.tssl_bp.layers import InputTraces, LineDropout, SumPool, convolution, dense
from lsnn_gym.rules.tssl_bp.losses import (
    class_scores,
    count_loss,
    kernel_loss,
    published_target,
    softmax_loss,
)
from lsnn_gym.rules.tssl_bp.neuron import TSSLNeuron


class TraceClassifierSettings(ClassifierSettings):
    """Neurons that send the traces of their spikes, and what their output is to be."""

    without_loss: ClassVar[Mapping[str, str]] = {
        "latency": "first spikes do not decide here, sums of traces do; expected 'kernel', 'count' or 'softmax'",
        "train": "distance from a spike train is called 'kernel' here",
    }
    without_recurrence: ClassVar[str | None] = "its neurons send traces upwards only"

    tau_membrane: float = Field(default=5.0, ge=1, description="in steps")
    tau_synapse: float = Field(default=3.0, ge=1, description="of the traces, in steps")
    threshold: float = Field(default=1.0, gt=0, description="a spike is what passes it")
    weight_scale: float = Field(
        default=1.0, gt=0, description="factor on the initial weights of dense layers"
    )
    convolution_scale: float = Field(default=1.0, gt=0, description="factor on those of convolutions")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of lines that hidden layers lose in training"
    )
    loss: Literal["kernel", "count", "softmax"] = Field(
        default="kernel",
        description="distance from a wanted spike train, or from wanted counts, or cross-entropy of the counts",
    )
    desired_count: float = Field(default=15.0, description="of the true class's spikes, for loss count")
    undesired_count: float = Field(default=3.0, description="of every other class's spikes, for loss count")

    @abstractmethod
    def neuron(self) -> TSSLNeuron:
        """Return the neurons' constants, whose ``fire`` says what backward means."""

    def make(
        self,
        architecture: str,
        shape: tuple[int, ...],
        num_classes: int,
        steps: int,
        generator: torch.Generator,
    ) -> TraceClassifier:
        """Return a network with its initial weights (errors as of ``ClassifierSettings.make``)."""
        placed = self.placed(architecture, shape, num_classes)
        classifier = TraceClassifier(self)
        layers: list[nn.Module] = [InputTraces(self.tau_synapse)]
        for number, (layer, inputs, _) in enumerate(placed):
            match layer:
                case Dense(neurons, recurrent=False):
                    made: nn.Module = dense(
                        math.prod(inputs),
                        neurons,
                        self.neuron(),
                        weight_scale=self.weight_scale,
                        generator=generator,
                    )
                case Convolution(channels, kernel, padding):
                    made = convolution(
                        inputs[0],
                        channels,
                        kernel,
                        self.neuron(),
                        padding=padding or 0,
                        weight_scale=self.convolution_scale,
                        generator=generator,
                    )
                case Pool(window):
                    if inputs[1] % window or inputs[2] % window:
                        raise ValueError(
                            f"layer P{window} stands on images of {inputs[1]} x {inputs[2]}: "
                            f"expected a multiple of {window}"
                        )
                    made = SumPool(window)
                case _:
                    raise ValueError(f"layer R{layer.neurons}: expected no recurrent layer with this rule")
            layers.append(made)
            # A pool and what it stands on lose lines together.
            pooled_next = number + 1 < len(placed) and isinstance(placed[number + 1].layer, Pool)
            if self.dropout and number + 1 < len(placed) and not pooled_next:
                layers.append(LineDropout(self.dropout, classifier.draws))
        classifier.network = LayeredNetwork(layers)
        return classifier


class TraceClassifier(Classifier):
    """A classifier of :mod:`lsnn_gym.rules.tssl_bp.layers`; the largest sum of traces decides.

    Args:
        settings: Of neurons and loss.
    """

    network: LayeredNetwork

    def __init__(self, settings: TraceClassifierSettings) -> None:
        super().__init__()
        self.settings = settings

    @property
    def sums_loss(self) -> bool:
        """Return whether the loss is a sum over samples; cross-entropy is a mean."""
        return self.settings.loss != "softmax"

    def forward(self, inputs: Tensor) -> tuple[Signal, ...]:
        """Return traces and spikes of each layer."""
        return self.network(inputs)

    def loss(self, signals: tuple[Signal, ...], labels: Tensor) -> Tensor:
        """Return the loss that the settings name."""
        traces, settings = signals[-1].values, self.settings
        if settings.loss == "softmax":
            return softmax_loss(traces, labels)
        if settings.loss == "count":
            return count_loss(traces, labels, settings.desired_count, settings.undesired_count)
        target = published_target(labels, traces.shape[2], len(traces), settings.tau_synapse)
        return kernel_loss(traces, target.to(traces), settings.tau_synapse)

    def decide(self, signals: tuple[Signal, ...]) -> Decision:
        """Return the class of the largest sum of traces, known after the last step."""
        scores = class_scores(signals[-1].values)
        steps = len(signals[-1].values)
        return Decision(scores.argmax(1), torch.full((len(scores),), steps, device=scores.device))


class TSSLBPSettings(TraceClassifierSettings):
    """TSSL-BP: errors by what each spike changes of later spikes and traces (Zhang, Li, NeurIPS 2020)."""

    kind: Literal["tssl-bp"] = "tssl-bp"

    def neuron(self) -> TSSLNeuron:
        """Return neurons that learn by TSSL-BP."""
        return TSSLNeuron(self.tau_membrane, self.tau_synapse, self.threshold)
