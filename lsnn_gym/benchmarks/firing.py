"""Weights that make every spiking layer fire alike, for what spikes cost is part of the comparison."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from lsnn_gym.benchmarks.layers import DifferentiatedLayer
from lsnn_gym.benchmarks.libraries import Library
from lsnn_gym.benchmarks.problem import Problem, draw_inputs

TARGET_RATE_HZ = 40.0
"""In the middle of 30 to 50 Hz; 4 % of neurons at every step of 1 ms."""

_LOWEST, _HIGHEST = 2.0**-8, 2.0**8
_HALVINGS = 24
_SAMPLES, _STEPS = 4, 500


def firing_rate_hz(spikes: torch.Tensor) -> float:
    """Return the mean firing rate of spikes ``[T, B, N]``, 0 or 1 at steps of 1 ms, in Hz."""
    return 1000 * float(spikes.detach().mean())


def find_gain(library: Library, problem: Problem, tolerance_hz: float = 4.0) -> float:
    """Return the gain of the weights with which a layer fires at about ``TARGET_RATE_HZ``.

    It is found by bisection, on a few sequences, as long as the problem's or shorter. What does not spike needs
    none: 1.

    Args:
        library: Whose layer it is.
        problem: What it computes.
        tolerance_hz: How near to the target is near enough.
    """
    if not library.spiking:
        return 1.0
    few = replace(problem, batch=min(problem.batch, _SAMPLES), steps=min(problem.steps, _STEPS))
    inputs = draw_inputs(few)
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    gain = 1.0
    for _ in range(_HALVINGS):
        gain = math.exp((low + high) / 2)
        layer = library.make(few, gain)
        assert isinstance(layer, DifferentiatedLayer)
        with torch.no_grad():
            rate = firing_rate_hz(layer.forward(inputs))
        if abs(rate - TARGET_RATE_HZ) <= tolerance_hz:
            break
        low, high = (math.log(gain), high) if rate < TARGET_RATE_HZ else (low, math.log(gain))
    return gain
