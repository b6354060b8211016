"""What the recurrent benchmarks compute: a layer's sizes, its inputs, and the weights that all libraries start from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.seeding import derived_seed

INPUT_DENSITY = 0.02
"""Share of inputs that are spikes: 20 Hz at 1 ms."""

TAU_MEMBRANE = 20.0
TAU_ADAPTATION = 700.0
THRESHOLD = 0.01
BETA = 1.8
"""Of all spiking layers, as far as they have them; times in ms."""

_RECURRENT_GAIN = 0.05
"""Of recurrent weights over that of input weights: with more, some of the peers' gradients grow beyond float32."""


@dataclass(frozen=True)
class Problem:
    """One recurrent layer over a batch of sequences.

    Attributes:
        inputs: I, input channels.
        regular_neurons: LIF neurons.
        adaptive_neurons: ALIF neurons.
        steps: T, simulation steps of 1 ms.
        batch: B, sequences.
        connectivity: Share of the synapses that exist, in (0, 1].
        seed: Of inputs and weights.
    """

    inputs: int
    regular_neurons: int
    adaptive_neurons: int
    steps: int
    batch: int
    connectivity: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.connectivity <= 1:
            raise ValueError(f"connectivity must be greater than 0 and at most 1, not {self.connectivity!r}")

    @property
    def neurons(self) -> int:
        """Return N, the number of neurons."""
        return self.regular_neurons + self.adaptive_neurons

    @property
    def settings(self) -> NetworkSettings:
        """Return our network's settings; all delays are one step, for the peers have none."""
        return NetworkSettings(
            regular_neurons=self.regular_neurons,
            adaptive_neurons=self.adaptive_neurons,
            tau_membrane=TAU_MEMBRANE,
            tau_adaptation=TAU_ADAPTATION,
            threshold=THRESHOLD,
            beta=BETA,
            refractory_period=5.0,
        )

    def generator(self, purpose: str) -> torch.Generator:
        """Return a source of random numbers of its own for every purpose."""
        return torch.Generator().manual_seed(derived_seed(self.seed, purpose))


SIZES: Mapping[str, Problem] = MappingProxyType(
    {
        "sequential-mnist": Problem(80, 120, 100, steps=784, batch=256),
        "navigation": Problem(160, 280, 120, steps=2000, batch=10),
        "regression": Problem(300, 180, 120, steps=1000, batch=16),
    }
)
"""Sizes of published LSNN experiments, by name."""


def draw_inputs(problem: Problem) -> Tensor:
    """Return random spikes ``[T, B, I]``, ``INPUT_DENSITY`` of them 1 and the others 0."""
    shape = (problem.steps, problem.batch, problem.inputs)
    return (torch.rand(shape, generator=problem.generator("inputs")) < INPUT_DENSITY).float()


def draw_output_gradient(problem: Problem) -> Tensor:
    """Return what stands for the derivative of a loss by the layer's outputs ``[T, B, N]``: normal draws."""
    shape = (problem.steps, problem.batch, problem.neurons)
    return torch.randn(shape, generator=problem.generator("output gradient"))


def draw_weights(problem: Problem, gain: float) -> tuple[Tensor, Tensor]:
    """Return dense input weights ``[N, I]``, ``gain`` N(0, 1) / sqrt(I), and weaker recurrent ones ``[N, N]``."""
    generator = problem.generator("weights")
    by_input, recurrent = (
        gain * torch.randn(problem.neurons, pre, generator=generator) / math.sqrt(pre)
        for pre in (problem.inputs, problem.neurons)
    )
    return by_input, _RECURRENT_GAIN * recurrent.fill_diagonal_(0.0)


def draw_sparse_weights(problem: Problem, gain: float) -> tuple[Tensor, Tensor]:
    """Return ``draw_weights``, all but a share ``connectivity`` set to 0 and the others larger for it."""
    generator = problem.generator("connections")
    share = problem.connectivity
    by_input, recurrent = (
        torch.where(torch.rand(each.shape, generator=generator) < share, each, 0.0) / math.sqrt(share)
        for each in draw_weights(problem, gain)
    )
    return by_input, recurrent
