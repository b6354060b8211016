"""Encoders, which turn analogue values into rates and spikes of input neurons."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GaussianPopulationEncoder(nn.Module):
    """Codes each of V analogue values by the firing rates of a population of neurons with Gaussian tuning.

    The neurons' preferred values are evenly spaced from ``low`` to ``high``; the rate is
    ``max_rate * exp(-(preferred - value)^2 / (2 width^2))``.

    Args:
        num_values: V.
        neurons_per_value: Neurons of one population.
        low: Lowest preferred value.
        high: Highest preferred value.
        width: Standard deviation of the tuning curve, in units of the value.
        max_rate: In Hz.

    Source: Bellec et al., NIPS 2018, section 5, where the exponent is -100 (preferred - value)^2 on [-1, 1].
    """

    preferred: Tensor

    def __init__(
        self,
        num_values: int,
        neurons_per_value: int,
        *,
        low: float = -1.0,
        high: float = 1.0,
        width: float = math.sqrt(1 / 200),
        max_rate: float = 500.0,
    ) -> None:
        super().__init__()
        self.output_size: int = num_values * neurons_per_value
        self.width = width
        self.max_rate = max_rate
        self.register_buffer("preferred", torch.linspace(low, high, neurons_per_value))

    def forward(self, values: Tensor) -> Tensor:
        """Return rates in Hz ``[..., V * neurons_per_value]`` for ``values`` ``[..., V]``."""
        distance = values[..., None] - self.preferred
        return (self.max_rate * torch.exp(distance.square() * (-0.5 / self.width**2))).flatten(-2)


def bernoulli_spikes(rates: Tensor, uniform: Tensor, dt: float) -> Tensor:
    """Return spikes (0 or 1/dt) of neurons that fire with ``rates``.

    Args:
        rates: In Hz, any shape.
        uniform: Draws from [0, 1) of the same shape: given, so that a stored trajectory can be repeated.
        dt: Simulation step in ms.
    """
    fired = (uniform < rates * (dt / 1000.0)).to(rates.dtype)
    return fired if dt == 1 else fired / dt


def expected_spikes(rates: Tensor, dt: float) -> Tensor:
    """Return the mean of ``bernoulli_spikes``: a deterministic, graded input of the same strength."""
    return (rates * (dt / 1000.0)).clamp(max=1.0) / dt


def latency_steps(intensities: Tensor, last: int = 24) -> Tensor:
    """Return at which step each channel fires its one spike: the brighter, the earlier; -1 for never.

    The step is ``last - last * intensity`` without its fraction, rounded as written here: in float32 another
    order of the same operations moves some spikes by a step.

    Args:
        intensities: Any shape, from 0, which never fires, to 1, which fires at step 0.
        last: Step at which the faintest fire.

    Raises:
        ValueError: If an intensity is outside of 0 to 1.

    Source: Kim, Kim, Kim, NeurIPS 2020, section 4, and the authors' code.
    """
    if not bool(((intensities >= 0) & (intensities <= 1)).all()):
        raise ValueError(
            f"intensities go from {intensities.min():g} to {intensities.max():g}: expected 0 to 1"
        )
    return torch.where(intensities > 0, (last - last * intensities).long(), -1)
