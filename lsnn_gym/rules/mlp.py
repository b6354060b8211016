"""Networks without spikes, to compare with: rectified layers of the same architecture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lsnn_gym.rules.architecture import Convolution, Dense, Pool
from lsnn_gym.rules.classifier import Classifier, ClassifierSettings
from lsnn_gym.rules.decisions import Decision
from lsnn_gym.rules.layers import Signal, check_labels

ONLY_CROSS_ENTROPY: Mapping[str, str] = dict.fromkeys(
    ("count", "kernel", "latency", "train"), "without spikes there is cross-entropy only, 'softmax'"
)
"""Why networks without spikes have none of the losses of spikes."""


class MLPSettings(ClassifierSettings):
    """Rectified linear layers without spikes or time, by ordinary backpropagation: to compare with."""

    without_loss: ClassVar[Mapping[str, str]] = ONLY_CROSS_ENTROPY
    without_recurrence: ClassVar[str | None] = "it has no time; 'lstm' has"

    kind: Literal["mlp"] = "mlp"
    loss: Literal["softmax"] = Field(default="softmax", description="cross-entropy of the outputs")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of values that dense layers lose in training"
    )

    def make(
        self,
        architecture: str,
        shape: tuple[int, ...],
        num_classes: int,
        steps: int,
        generator: torch.Generator,
    ) -> MLPClassifier:
        """Return a network with its initial weights (errors as of ``ClassifierSettings.make``)."""
        modules: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initialisation takes no generator
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            for layer, inputs, outputs in self.placed(architecture, shape, num_classes):
                match layer:
                    case Dense(neurons, recurrent=False):
                        modules += [nn.Flatten(), nn.Linear(math.prod(inputs), neurons), nn.ReLU()]
                    case Convolution(channels, kernel, padding):
                        modules += [nn.Conv2d(inputs[0], channels, kernel, padding=padding or 0), nn.ReLU()]
                    case Pool(window):
                        modules.append(nn.MaxPool2d(window))
                    case _:
                        raise ValueError(f"layer R{outputs[0]}: expected no recurrent layer without spikes")
        return MLPClassifier(nn.ModuleList(modules[:-1]), self.dropout)


class MLPClassifier(Classifier):
    """A classifier without spikes, of the mean of its inputs over the steps.

    Args:
        modules: From ``[B, ...]`` to logits ``[B, K]``.
        dropout: Share of the values behind a dense layer's rectification that are lost in training.
    """

    def __init__(self, modules: nn.ModuleList, dropout: float) -> None:
        super().__init__()
        self.modules_in_order = modules
        self.dropout = dropout

    def forward(self, inputs: Tensor) -> tuple[Signal, ...]:
        """Return the logits as one step, ``[1, B, K]``."""
        values = inputs[0] if inputs.stride(0) == 0 else inputs.mean(0)
        for module in self.modules_in_order:
            values = module(values)
            if self.dropout and self.training and isinstance(module, nn.ReLU) and values.ndim == 2:
                kept = self.draws.uniform(tuple(values.shape)).to(values) >= self.dropout
                values = values * kept / (1 - self.dropout)
        return (Signal(values[None]),)

    def loss(self, signals: tuple[Signal, ...], labels: Tensor) -> Tensor:
        """Return the cross-entropy of the logits, mean over samples."""
        logits = signals[-1].values[0]
        check_labels(labels, *logits.shape)
        return F.cross_entropy(logits, labels)

    def operations(self, inputs: Tensor, signals: tuple[Signal, ...]) -> Tensor | None:
        """Return the multiplications of each sample ``[B]``: every weight is used, whatever the values."""
        if not self.fan_outs:
            return None
        each = sum(float(fan_out.sum()) for fan_out in self.fan_outs)
        return torch.full(inputs.shape[1:2], each, dtype=torch.float64)

    def decide(self, signals: tuple[Signal, ...]) -> Decision:
        """Return the class of the largest logit."""
        classes = signals[-1].values[0].argmax(1)
        return Decision(classes, torch.ones_like(classes))
