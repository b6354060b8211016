"""LSTMs, to compare with: images row by row, anything else step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lsnn_gym.gates import open_forget_gates_
from lsnn_gym.rules.architecture import Dense
from lsnn_gym.rules.classifier import Classifier, ClassifierSettings
from lsnn_gym.rules.decisions import Decision
from lsnn_gym.rules.layers import Signal, check_labels
from lsnn_gym.rules.mlp import ONLY_CROSS_ENTROPY


class LSTMSettings(ClassifierSettings):
    """LSTM layers without spikes, of rows of images or of steps, by backpropagation through time: to compare with."""

    without_loss: ClassVar[Mapping[str, str]] = ONLY_CROSS_ENTROPY
    without_images: ClassVar[str | None] = "an LSTM sees rows or steps one after another"

    kind: Literal["lstm"] = "lstm"
    loss: Literal["softmax"] = Field(default="softmax", description="cross-entropy of the outputs")
    readout: Literal["last", "mean"] = Field(
        default="last",
        description="of the state after the last row or step, or of the mean over all: recordings end in silence",
    )
    forget_bias: float = Field(
        default=0.0,
        description="added at first to the biases of the forget gates; the logarithm of the steps to keep",
    )

    def make(
        self,
        architecture: str,
        shape: tuple[int, ...],
        num_classes: int,
        steps: int,
        generator: torch.Generator,
    ) -> LSTMClassifier:
        """Return a network with its initial weights; ``400`` and ``R400`` are the same here.

        Raises:
            ValueError: There is no hidden layer, or one that is not dense.
        """
        sizes = []
        for layer, _, _ in self.placed(architecture, shape, num_classes)[:-1]:
            assert isinstance(layer, Dense)
            sizes.append(layer.neurons)
        if not sizes:
            raise ValueError("there is no hidden layer: expected at least one LSTM layer, like 128")
        by_rows = len(shape) == 3
        with torch.random.fork_rng(devices=[]):  # PyTorch's own initialisation takes no generator
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            classifier = LSTMClassifier(
                shape[0] * shape[2] if by_rows else math.prod(shape),
                sizes,
                num_classes,
                by_rows,
                averages=self.readout == "mean",
            )
        for layer in classifier.layers:
            open_forget_gates_(layer, self.forget_bias)
        return classifier


class LSTMClassifier(Classifier):
    """LSTM layers one above the other, the last of which is read out.

    Args:
        inputs: Values a row or step.
        sizes: Cells of each layer.
        num_classes: K.
        by_rows: Whether inputs are images, of which the mean over the steps is seen row by row.
        averages: Whether the mean of its states is read out; else the last of them is.
    """

    def __init__(
        self, inputs: int, sizes: list[int], num_classes: int, by_rows: bool, averages: bool = False
    ) -> None:
        super().__init__()
        below = [inputs, *sizes[:-1]]
        self.layers: nn.ModuleList = nn.ModuleList(nn.LSTM(*each) for each in zip(below, sizes, strict=True))
        self.readout: nn.Linear = nn.Linear(sizes[-1], num_classes)
        self.by_rows = by_rows
        self.averages = averages

    def forward(self, inputs: Tensor) -> tuple[Signal, ...]:
        """Return the logits as one step, ``[1, B, K]``."""
        states = self._states(self._sequence(inputs))
        return (Signal(self.readout(states.mean(0) if self.averages else states[-1])[None]),)

    def _sequence(self, inputs: Tensor) -> Tensor:
        """Return what is seen one after another, ``[rows or T, B, values]``."""
        if not self.by_rows:
            return inputs.flatten(2)
        images = inputs[0] if inputs.stride(0) == 0 else inputs.mean(0)
        return images.permute(2, 0, 1, 3).flatten(2)

    def _states(self, values: Tensor) -> Tensor:
        for layer in self.layers:
            values = layer(values)[0]
        return values

    def loss(self, signals: tuple[Signal, ...], labels: Tensor) -> Tensor:
        """Return the cross-entropy of the logits, mean over samples."""
        logits = signals[-1].values[0]
        check_labels(labels, *logits.shape)
        return F.cross_entropy(logits, labels)

    def operations(self, inputs: Tensor, signals: tuple[Signal, ...]) -> Tensor | None:
        """Return the multiplications of each sample by weights ``[B]``: all of them at every row or step."""
        length = inputs.shape[3] if self.by_rows else len(inputs)
        within = sum(each.numel() for name, each in self.layers.named_parameters() if ".weight_" in name)
        each = length * within + self.readout.weight.numel()
        return torch.full(inputs.shape[1:2], float(each), dtype=torch.float64)

    def decide(self, signals: tuple[Signal, ...]) -> Decision:
        """Return the class of the largest logit."""
        classes = signals[-1].values[0].argmax(1)
        return Decision(classes, torch.ones_like(classes))
