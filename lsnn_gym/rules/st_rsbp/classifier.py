"""Classifiers that learn by ST-RSBP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lsnn_gym.rules.architecture import Convolution, Dense, Placed, Pool
from lsnn_gym.rules.classifier import Classifier, ClassifierSettings
from lsnn_gym.rules.decisions import Decision, decide_by_most
from lsnn_gym.rules.layers import LayeredNetwork, Signal
from lsnn_gym.rules.st_rsbp.layers import SpikingLayer
from lsnn_gym.rules.st_rsbp.losses import count_loss, wish_for_labels
from lsnn_gym.rules.st_rsbp.network import (
    ConvolutionLayer,
    HiddenLayer,
    PoolLayer,
    reservoir_grid,
    st_rsbp_network,
)
from lsnn_gym.rules.st_rsbp.penalty import ExponentialPenalty
from lsnn_gym.rules.st_rsbp.recurrent import RecurrentLayer
from lsnn_gym.rules.st_rsbp.rule import Recurrence, RSBPRule


class STRSBPSettings(ClassifierSettings):
    """ST-RSBP: errors of spike counts by what whole trains do to each other (Zhang, Li, NeurIPS 2019)."""

    needs_spikes: ClassVar[bool] = True
    pools_fire: ClassVar[bool] = True
    without_loss: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("kernel", "latency", "train"),
        "its errors are of spike counts, whenever the spikes come; expected 'count' or 'softmax'",
    )

    kind: Literal["st-rsbp"] = "st-rsbp"
    tau_membrane: float = Field(default=64.0, ge=1, description="in steps")
    tau_synapse: float = Field(default=8.0, ge=1, description="in steps")
    refractory_period: int = Field(default=2, ge=0, description="in steps")
    thresholds: tuple[float, ...] = Field(
        default=(20.0,),
        min_length=1,
        description="one a layer, pools and the output included, or one for all",
    )
    inhibition: float = Field(default=1.0, ge=0, description="of output neurons among each other")
    initial_weight: float = Field(
        default=1.0, gt=0, description="weights are uniform up to it on either side of 0"
    )
    grid: tuple[int, int, int] | None = Field(
        default=None,
        description="sides of recurrent layers' grids; by default 5 x 5 x n, or nearest to a cube",
    )
    learns_recurrence: bool = Field(default=True, description="whether weights within recurrent layers learn")
    recurrence: Literal["intended", "released", "full"] = Field(
        default="intended",
        description="what recurrent layers solve for; released is what the authors' program does",
    )
    silent_ratio: float = Field(
        default=0.5, ge=0, description="derivative by the count of or onto a silent neuron"
    )
    smallest_divisor: float = Field(
        default=0.0, ge=0, description="layers without recurrence keep their divisor this far from 0"
    )
    continuous_psp: bool = Field(
        default=False,
        description="whether convolutions and pools use the S-PSP of continuous time, as published",
    )
    loss: Literal["count", "softmax"] = Field(
        default="count", description="distance from wanted counts, or cross-entropy of the counts"
    )
    desired_count: int = Field(default=35, ge=1, description="of the true class's spikes")
    undesired_count: int = Field(default=5, ge=0, description="of every other class's spikes, for loss count")
    margin: float = Field(
        default=5.0, ge=0, description="counts no farther off are left alone, for loss count"
    )
    softmax_beta: float = Field(default=0.2, gt=0, description="of loss softmax, per spike")
    boosted: bool = Field(
        default=True, description="whether examples decided wrongly weigh more from the next epoch on"
    )
    penalty: float = Field(
        default=0.0,
        ge=0,
        description="strength of the exponential penalty of weights, a sample; published: 10",
    )
    penalty_beta: float = Field(default=0.04, gt=0, description="its steepness")
    penalty_limit: float = Field(default=8.0, gt=0, description="its scale of weights")

    def make(
        self,
        architecture: str,
        shape: tuple[int, ...],
        num_classes: int,
        steps: int,
        generator: torch.Generator,
    ) -> STRSBPClassifier:
        """Return a network with its initial weights (errors as of ``ClassifierSettings.make``)."""
        if steps // self.desired_count <= self.refractory_period:
            most = steps // (self.refractory_period + 1)
            raise ValueError(
                f"rule.desired_count is {self.desired_count} in {steps} steps: expected at most {most}, "
                f"for neurons rest {self.refractory_period} steps after a spike"
            )
        *hidden, last = self.placed(architecture, shape, num_classes)
        thresholds = self._thresholds(len(hidden) + 1)
        layers = [self._layer(each, threshold) for each, threshold in zip(hidden, thresholds, strict=False)]
        seen = next((each.inputs for each in (*hidden, last) if isinstance(each.layer, Dense)), shape)
        network = st_rsbp_network(
            math.prod(seen),
            layers,
            num_classes,
            output_threshold=thresholds[-1],
            tau_membrane=self.tau_membrane,
            tau_synapse=self.tau_synapse,
            refractory_period=self.refractory_period,
            inhibition=self.inhibition,
            largest_weight=self.initial_weight,
            rule=RSBPRule(
                silent_ratio=self.silent_ratio,
                recurrence=Recurrence(self.recurrence),
                smallest_divisor=self.smallest_divisor,
                continuous_psp=self.continuous_psp,
            ),
            generator=generator,
        )
        return STRSBPClassifier(self, network)

    def _thresholds(self, layers: int) -> tuple[float, ...]:
        given = self.thresholds
        if len(given) not in (1, layers) or min(given) <= 0:
            raise ValueError(f"rule.thresholds is {list(given)}: expected 1 or {layers} numbers above 0")
        return given * layers if len(given) == 1 else given

    def _layer(self, placed: Placed, threshold: float) -> HiddenLayer | ConvolutionLayer | PoolLayer:
        match placed.layer:
            case Dense(neurons, recurrent=True):
                grid = self.grid or reservoir_grid(neurons)
                if math.prod(grid) != neurons:
                    raise ValueError(f"rule.grid is {list(grid)}: expected sides of {neurons} neurons")
                return HiddenLayer(grid, threshold, self.learns_recurrence)
            case Dense(neurons):
                return HiddenLayer(neurons, threshold)
            case Convolution(channels, kernel, padding):
                return ConvolutionLayer(placed.inputs[0], channels, kernel, threshold, padding or 0)
            case Pool(window):
                return PoolLayer(window, threshold)


class STRSBPClassifier(Classifier):
    """A classifier of :mod:`lsnn_gym.rules.st_rsbp.layers`; the class that fires most is decided for.

    Args:
        settings: Of loss and penalty.
        network: The layers.
    """

    def __init__(self, settings: STRSBPSettings, network: LayeredNetwork) -> None:
        super().__init__()
        self.settings = settings
        self.network = network
        self.penalty: ExponentialPenalty = ExponentialPenalty(
            settings.penalty, settings.penalty_beta, settings.penalty_limit
        )

    @property
    def sums_loss(self) -> bool:
        """Return true: gradients are those of the authors' single samples, added up."""
        return True

    @property
    def boosts(self) -> bool:
        """Return whether the settings ask for it."""
        return self.settings.boosted

    def forward(self, inputs: Tensor) -> tuple[Signal, ...]:
        """Return the spikes of each layer."""
        return self.network(inputs)

    def loss(self, signals: tuple[Signal, ...], labels: Tensor) -> Tensor:
        """Return the loss that the settings name, without penalty, summed over samples."""
        return self._loss(signals[-1], labels, None)

    def weighted_loss(
        self, signals: tuple[Signal, ...], labels: Tensor, sample_weight: Tensor | None
    ) -> Tensor:
        """Return the loss of weighted samples and, of each, the penalty."""
        loss = self._loss(signals[-1], labels, sample_weight)
        if not self.settings.penalty:
            return loss
        return loss + len(labels) * self.penalty(self.network.layers)

    def _loss(self, output: Signal, labels: Tensor, sample_weight: Tensor | None) -> Tensor:
        settings = self.settings
        if settings.loss == "count":
            return count_loss(
                output,
                labels,
                desired=settings.desired_count,
                undesired=settings.undesired_count,
                margin=settings.margin,
                sample_weight=sample_weight,
            )
        wish = wish_for_labels(output, labels, settings.desired_count)
        logits = settings.softmax_beta * output.values.sum(0)
        losses = F.cross_entropy(logits, labels, reduction="none")
        return (losses if sample_weight is None else losses * sample_weight).sum() + wish

    def within(self) -> list[Tensor | None]:
        """Return the synapses within reservoirs, and those by which output neurons inhibit each other."""
        found: list[Tensor | None] = []
        for layer in self.network.layers:
            own = layer.same_layer() if isinstance(layer, RecurrentLayer | SpikingLayer) else None
            found.append(None if own is None else own.detach().count_nonzero(0))
        return found

    def decide(self, signals: tuple[Signal, ...]) -> Decision:
        """Return the class that fired most."""
        return decide_by_most(signals[-1].values)
