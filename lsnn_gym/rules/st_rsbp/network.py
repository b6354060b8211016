"""Networks of ST-RSBP layers from sizes and thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lsnn_gym.rules.layers import LayeredNetwork
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron
from lsnn_gym.rules.st_rsbp.pooling import SpikingPool
from lsnn_gym.rules.st_rsbp.random_layers import convolution, dense, output, reservoir
from lsnn_gym.rules.st_rsbp.rule import RSBPRule


@dataclass(frozen=True)
class HiddenLayer:
    """A hidden layer.

    Attributes:
        size: Its neurons, or, of a reservoir, the sides of its grid.
        threshold: Of its neurons.
        learns_recurrence: Whether the weights within a reservoir learn.
    """

    size: int | tuple[int, int, int]
    threshold: float
    learns_recurrence: bool = True

    @property
    def num_neurons(self) -> int:
        """Return how many neurons it has."""
        return self.size if isinstance(self.size, int) else math.prod(self.size)


@dataclass(frozen=True)
class ConvolutionLayer:
    """A hidden layer of channels behind one kernel each.

    Attributes:
        inputs: Channels below.
        channels: Its own.
        kernel: Side of the kernel, in pixels.
        threshold: Of its neurons.
        padding: Zeros around the image, in pixels.
    """

    inputs: int
    channels: int
    kernel: int
    threshold: float
    padding: int = 0


@dataclass(frozen=True)
class PoolLayer:
    """A hidden layer of neurons that each sum a window of one channel.

    Attributes:
        window: Its side, in pixels.
        threshold: Of its neurons.
    """

    window: int
    threshold: float


PUBLISHED_IMAGES = (HiddenLayer(400, 20.0), HiddenLayer((5, 5, 16), 20.0))
"""400-R400 of the authors' (Fashion-)MNIST settings, whose output has a threshold of 15."""


def reservoir_grid(neurons: int) -> tuple[int, int, int]:
    """Return the sides of a grid of so many neurons: 5 x 5 x n as most of the authors', else nearest to a cube."""
    if neurons % 25 == 0:
        return 5, 5, neurons // 25
    sides = [each for each in range(1, neurons + 1) if neurons % each == 0]
    grids = [(a, b, neurons // (a * b)) for a in sides for b in sides if a <= b and neurons % (a * b) == 0]
    return min((each for each in grids if each[1] <= each[2]), key=sum)


def st_rsbp_network(
    inputs: int,
    hidden: Sequence[HiddenLayer | ConvolutionLayer | PoolLayer],
    outputs: int,
    *,
    output_threshold: float,
    tau_membrane: float = 64.0,
    tau_synapse: float = 8.0,
    refractory_period: int = 2,
    inhibition: float = 1.0,
    largest_weight: float = 1.0,
    rule: RSBPRule | None = None,
    generator: torch.Generator | None = None,
) -> LayeredNetwork:
    """Return a network of hidden layers and an output, with random weights.

    The authors' for (Fashion-)MNIST is ``st_rsbp_network(784, PUBLISHED_IMAGES, 10, output_threshold=15)``, which
    they train sample by sample: Adam, rate 1e-3 over the root of the epoch from 1. With batches the rate has to be
    chosen anew, for Adam's steps do not grow with the gradient.

    Args:
        inputs: Values a step that the first dense layer or reservoir sees.
        hidden: Layers from the input up; may be none.
        outputs: Classes.
        output_threshold: Of the output's neurons.
        tau_membrane: In steps, of all neurons.
        tau_synapse: In steps.
        refractory_period: In steps.
        inhibition: Of output neurons among each other.
        largest_weight: Initial weights are uniform up to here on either side of 0.
        rule: How all layers learn.
        generator: Of weights and synapses; PyTorch's own if None.
    """

    def neuron(threshold: float) -> RSBPNeuron:
        return RSBPNeuron(threshold, tau_membrane, tau_synapse, refractory_period)

    drawn: dict[str, Any] = {"largest_weight": largest_weight, "generator": generator}
    layers: list[nn.Module] = []
    for each in hidden:
        own = neuron(each.threshold)
        match each:
            case ConvolutionLayer(channels_below, channels, kernel, _, padding):
                layers.append(
                    convolution(channels_below, channels, kernel, own, rule, padding=padding, **drawn)
                )
            case PoolLayer(window):
                layers.append(SpikingPool(window, own, rule))
            case HiddenLayer(int(size)):
                layers.append(dense(inputs, size, own, rule, **drawn))
                inputs = size
            case HiddenLayer((a, b, c)):
                layer = reservoir(inputs, (a, b, c), own, rule, **drawn)
                layer.recurrent_weight.requires_grad_(each.learns_recurrence)
                layers.append(layer)
                inputs = each.num_neurons
    last = output(inputs, outputs, neuron(output_threshold), rule, inhibition=inhibition, **drawn)
    return LayeredNetwork([*layers, last])
