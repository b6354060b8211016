"""Encoders, which turn analogue values into rates of input neurons, and readouts, which turn spikes into values."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lsnn_gym.wiring import Wiring, initial_weight


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
        self.output_size = num_values * neurons_per_value
        self.width = width
        self.max_rate = max_rate
        self.register_buffer("preferred", torch.linspace(low, high, neurons_per_value))

    def forward(self, values: Tensor) -> Tensor:
        """Return rates in Hz ``[..., V * neurons_per_value]`` for ``values`` ``[..., V]``."""
        distance = (values[..., None] - self.preferred) / self.width
        return (self.max_rate * torch.exp(-0.5 * distance * distance)).flatten(-2)


def bernoulli_spikes(rates: Tensor, uniform: Tensor, dt: float) -> Tensor:
    """Return spikes (0 or 1/dt) of neurons that fire with ``rates``.

    Args:
        rates: In Hz, any shape.
        uniform: Draws from [0, 1) of the same shape: given, so that a stored trajectory can be repeated.
        dt: Simulation step in ms.
    """
    return (uniform < rates * (dt / 1000.0)).to(rates.dtype) / dt


def expected_spikes(rates: Tensor, dt: float) -> Tensor:
    """Return the mean of ``bernoulli_spikes``: a deterministic, graded input of the same strength."""
    return (rates * (dt / 1000.0)).clamp(max=1.0) / dt


class _LeakyFilter(torch.autograd.Function):
    """``y[t] = kappa y[t-1] + (1 - kappa) x[t]``, its gradient written out: T is long and each step tiny."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, state: Tensor, reset: Tensor | None, kappa: float) -> Tensor:  # type: ignore[override]
        ctx.kappa = kappa
        ctx.resets = _resets(reset, len(values))
        filtered = (1 - kappa) * values
        for current, kept in zip(filtered.unbind(), ctx.resets, strict=True):
            state = state if kept is None else torch.where(kept, state, 0.0)
            state = current.add_(state, alpha=kappa)
        return filtered

    @staticmethod
    def backward(ctx: Any, by_filtered: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        error = by_filtered.clone()
        earlier = torch.zeros_like(error[0])
        for current, kept in zip(reversed(error.unbind()), reversed(ctx.resets), strict=True):
            earlier = current.add_(earlier) * ctx.kappa
            earlier = earlier if kept is None else torch.where(kept, earlier, 0.0)
        return error * (1 - ctx.kappa), earlier, None, None


def _resets(reset: Tensor | None, steps: int) -> list[Tensor | None]:
    """Return, a step each, which rows ``[B, 1]`` keep their state, or None where all do."""
    if reset is None:
        return [None] * steps
    kept = ~reset.bool()[:, :, None]
    return [
        None if whole else each for each, whole in zip(kept, kept.flatten(1).all(1).tolist(), strict=True)
    ]


def low_pass(
    values: Tensor, kappa: float, state: Tensor | None = None, reset: Tensor | None = None
) -> Tensor:
    """Return ``y[t] = kappa y[t-1] + (1 - kappa) x[t]``, ``[T, B, K]``, differentiable.

    Args:
        values: x ``[T, B, K]``, e.g. spikes or their products with weights.
        kappa: exp(-dt / tau).
        state: y before the first step ``[B, K]``; None for rest.
        reset: ``[T, B]``, non-zero where y starts anew; None for nowhere.
    """
    start = torch.zeros_like(values[0]) if state is None else state
    return _LeakyFilter.apply(values, start, reset, kappa)  # type: ignore[return-value]


class LeakyReadout(nn.Module):
    """Linear readouts of low-pass filtered spikes.

    ``y[t] = kappa y[t-1] + (1 - kappa) W z[t]`` and the output is ``y[t] + bias``, with kappa = exp(-dt / tau).
    Filtering the K products is the same as filtering the N spikes, and cheaper.

    Args:
        num_neurons: N.
        num_outputs: K.
        tau: Time constant of the filter in ms.
        dt: Simulation step in ms.
        generator: Source of the initial weights, N(0, 1) / sqrt(N) times ``scale``.
        scale: Factor on the initial weights.
        wiring: Initial weights with fixed signs, instead of drawn ones.
    """

    sign: Tensor | None

    def __init__(
        self,
        num_neurons: int,
        num_outputs: int,
        *,
        tau: float,
        dt: float,
        generator: torch.Generator,
        scale: float = 1.0,
        wiring: Wiring | None = None,
    ) -> None:
        super().__init__()
        self.kappa = math.exp(-dt / tau)
        self.weight = nn.Parameter(initial_weight((num_outputs, num_neurons), generator, scale, wiring))
        self.register_buffer("sign", None if wiring is None else wiring.sign)
        self.bias = nn.Parameter(torch.zeros(num_outputs))

    def initial_state(self, batch_size: int) -> Tensor:
        """Return the filters at rest ``[B, K]``."""
        return self.weight.new_zeros(batch_size, self.weight.shape[0])

    def forward(self, spikes: Tensor, state: Tensor, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read ``spikes`` ``[T, B, N]`` out.

        Args:
            spikes: Of the network.
            state: The filters ``[B, K]`` before the first step.
            reset: ``[T, B]``, non-zero where a network starts anew.

        Returns:
            Outputs ``[T, B, K]`` and the filters after the last step.
        """
        # A batch of T products, not one of T * B rows: each is then rounded as it is when acting, T = 1.
        products = torch.bmm(spikes, self.weight.T.expand(len(spikes), -1, -1))
        filtered = low_pass(products, self.kappa, state, reset)
        return filtered + self.bias, filtered[-1]
