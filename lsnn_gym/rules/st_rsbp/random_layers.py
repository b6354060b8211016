"""Layers of ST-RSBP with random weights: dense, output and convolution, and the reservoirs of recurrent networks.

Source: Zhang, Li, NeurIPS 2019, and the authors' code.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lsnn_gym.rules.layers import ConvolutionSynapses, DenseSynapses, Pair
from lsnn_gym.rules.st_rsbp.layers import SpikingLayer
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron
from lsnn_gym.rules.st_rsbp.recurrent import RecurrentLayer
from lsnn_gym.rules.st_rsbp.rule import RSBPRule

INHIBITORY = 0.2
"""Probability that a neuron of a reservoir is inhibitory, as far as connections go."""
CONNECTED = ((0.3, 0.2), (0.4, 0.1))
"""Density of synapses from excitatory neurons onto excitatory and inhibitory ones, and from inhibitory ones."""
DENSITY, REACH = 1.5, 2.0
"""Factor of the densities, and the distance on the grid at which they have fallen to 1/e."""


def uniform(outputs: int, inputs: int, largest: float, generator: torch.Generator | None) -> Tensor:
    """Return weights ``[outputs, inputs]`` uniform in ``[-largest, largest]``, the same whatever their fan-in.

    A pre neuron's weights lie side by side in memory, as the compiled kernels read them.
    """
    return torch.empty(inputs, outputs).uniform_(-largest, largest, generator=generator).T


def dense(
    inputs: int,
    outputs: int,
    neuron: RSBPNeuron,
    rule: RSBPRule | None = None,
    *,
    largest_weight: float = 1.0,
    generator: torch.Generator | None = None,
) -> SpikingLayer:
    """Return a layer of ``outputs`` neurons that all see all ``inputs``.

    Args:
        inputs: Values a step.
        outputs: Neurons.
        neuron: Their constants.
        rule: How they learn.
        largest_weight: Initial weights are uniform up to here on either side of 0.
        generator: Of the weights; PyTorch's own if None.
    """
    return SpikingLayer(DenseSynapses(), uniform(outputs, inputs, largest_weight, generator), neuron, rule)


def output(
    inputs: int,
    outputs: int,
    neuron: RSBPNeuron,
    rule: RSBPRule | None = None,
    *,
    inhibition: float = 1.0,
    largest_weight: float = 1.0,
    generator: torch.Generator | None = None,
) -> SpikingLayer:
    """Return a dense layer whose neurons inhibit each other and hear from losses which should fire.

    Args:
        inputs: Values a step.
        outputs: Neurons, one a class.
        neuron: Their constants.
        rule: How they learn.
        inhibition: By how much a spike inhibits every other neuron.
        largest_weight: Initial weights are uniform up to here on either side of 0.
        generator: Of the weights; PyTorch's own if None.
    """
    weight = uniform(outputs, inputs, largest_weight, generator)
    return SpikingLayer(DenseSynapses(), weight, neuron, rule, inhibition=inhibition, is_output=True)


def convolution(
    inputs: int,
    outputs: int,
    kernel: Pair,
    neuron: RSBPNeuron,
    rule: RSBPRule | None = None,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    largest_weight: float = 1.0,
    generator: torch.Generator | None = None,
) -> SpikingLayer:
    """Return a layer of ``outputs`` channels of neurons, which fire only beyond the threshold itself.

    It learns as dense layers do, or with the authors' S-PSP of continuous time (``rule.continuous_psp``). Their
    divisor, which sums over all samples ever seen and cuts its fractions off, is not offered.

    Args:
        inputs: Channels below.
        outputs: Channels.
        kernel: Its size in pixels.
        neuron: Constants of the neurons; their ``slack`` is set to 0.
        rule: How they learn.
        stride: In pixels.
        padding: In pixels.
        dilation: In pixels.
        largest_weight: Initial weights are uniform up to here on either side of 0.
        generator: Of the weights; PyTorch's own if None.
    """
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    weight = torch.empty(outputs, inputs, *size)
    weight.uniform_(-largest_weight, largest_weight, generator=generator)
    synapses = ConvolutionSynapses(stride, padding, dilation)
    return SpikingLayer(synapses, weight, replace(neuron, slack=0.0), rule)


def grid_connections(grid: tuple[int, int, int], generator: torch.Generator | None = None) -> Tensor:
    """Return which neurons of a grid have synapses onto which ``[post, pre]``, drawn by kind and distance.

    Args:
        grid: Neurons along each side.
        generator: Of the draws; PyTorch's own if None.

    Raises:
        ValueError: If a side has no neuron.
    """
    if len(grid) != 3 or min(grid) < 1:
        raise ValueError(f"grid is {tuple(grid)}: expected three sides of at least one neuron")
    place = torch.cartesian_prod(*(torch.arange(side) for side in grid)).double()
    inhibitory = (torch.rand(len(place), generator=generator) < INHIBITORY).long()
    density = torch.tensor(CONNECTED, dtype=torch.float64)[inhibitory[None, :], inhibitory[:, None]]
    chance = DENSITY * density * torch.exp(-((torch.cdist(place, place) / REACH) ** 2))
    return torch.rand(chance.shape, generator=generator, dtype=torch.float64) < chance


def reservoir(
    inputs: int,
    grid: tuple[int, int, int],
    neuron: RSBPNeuron,
    rule: RSBPRule | None = None,
    *,
    largest_weight: float = 1.0,
    generator: torch.Generator | None = None,
) -> RecurrentLayer:
    """Return a recurrent layer whose neurons lie on a grid and mostly have synapses onto near ones.

    A neuron is inhibitory or not only as far as the number of its synapses goes: weights have any sign.

    Args:
        inputs: Values a step.
        grid: Neurons along each side; a layer has their product.
        neuron: Constants of the neurons.
        rule: How they learn.
        largest_weight: Initial weights are uniform up to here on either side of 0.
        generator: Of weights and synapses; PyTorch's own if None.
    """
    connected = grid_connections(grid, generator)
    number = len(connected)
    recurrent = uniform(number, number, largest_weight, generator) * connected
    return RecurrentLayer(uniform(number, inputs, largest_weight, generator), recurrent, neuron, rule)
