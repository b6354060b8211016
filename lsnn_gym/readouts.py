"""Leaky readouts, which turn spikes into values."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lsnn_gym.memory import pooled_like
from lsnn_gym.neurons import TimeConstant, decay, draw_in_range
from lsnn_gym.rules.broadcast import Feedback, broadcast_linear, stepwise_product
from lsnn_gym.wiring import Wiring, initial_weight


class _LeakyFilter(torch.autograd.Function):
    """``y[t] = kappa y[t-1] + (1 - kappa) x[t]``, its gradient written out: T is long and each step tiny."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, state: Tensor, reset: Tensor | None, kappa: float | Tensor
    ) -> Tensor:  # type: ignore[override]
        ctx.kappa = kappa
        ctx.resets = _resets(reset, len(values))
        return _filter(values, state, ctx.resets, kappa)

    @staticmethod
    def backward(ctx: Any, by_filtered: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        error = pooled_like(by_filtered).copy_(by_filtered)
        earlier = torch.zeros_like(error[0])
        for current, kept in zip(reversed(error.unbind()), reversed(ctx.resets), strict=True):
            earlier = current.add_(earlier) * ctx.kappa
            earlier = earlier if kept is None else torch.where(kept, earlier, 0.0)
        return error.mul_(1 - ctx.kappa), earlier, None, None


def _filter(values: Tensor, state: Tensor, resets: list[Tensor | None], kappa: float | Tensor) -> Tensor:
    filtered = torch.mul(values, 1 - kappa, out=pooled_like(values))
    for current, kept in zip(filtered.unbind(), resets, strict=True):
        state = state if kept is None else torch.where(kept, state, 0.0)
        each = isinstance(kappa, Tensor)
        state = current.addcmul_(state, kappa) if each else current.add_(state, alpha=kappa)
    return filtered


def _resets(reset: Tensor | None, steps: int) -> list[Tensor | None]:
    """Return, a step each, which rows ``[B, 1]`` keep their state, or None where all do."""
    if reset is None:
        return [None] * steps
    kept = ~reset.bool()[:, :, None]
    return [
        None if whole else each for each, whole in zip(kept, kept.flatten(1).all(1).tolist(), strict=True)
    ]


def low_pass(
    values: Tensor, kappa: float | Tensor, state: Tensor | None = None, reset: Tensor | None = None
) -> Tensor:
    """Return ``y[t] = kappa y[t-1] + (1 - kappa) x[t]``, ``[T, B, K]``, differentiable.

    Args:
        values: x ``[T, B, K]``, e.g. spikes or their products with weights.
        kappa: exp(-dt / tau), or one each ``[K]``, a constant.
        state: y before the first step ``[B, K]``; None for rest.
        reset: ``[T, B]``, non-zero where y starts anew; None for nowhere.
    """
    start = torch.zeros_like(values[0]) if state is None else state
    if not torch.is_grad_enabled():
        return _filter(values, start, _resets(reset, len(values)), kappa)
    return _LeakyFilter.apply(values, start, reset, kappa)  # type: ignore[return-value]


def low_pass_at_ends(
    values: Tensor, kappa: Tensor, state: Tensor, episode_start: Tensor | None = None
) -> Tensor:
    """Return what ``low_pass`` of T * S simulation steps is at the end of each of T environment steps, ``[T, B, N]``.

    Args:
        values: x ``[T, S, B, N]``, S simulation steps an environment step.
        kappa: Decay of a simulation step, one each ``[N]``, a constant.
        state: y before the first step ``[B, N]``.
        episode_start: ``[T, B]``, non-zero where y starts anew before that environment step; None for nowhere.
    """
    steps = values.shape[1]
    if steps == 1:
        return low_pass(values[:, 0], kappa, state, episode_start)
    # Of one environment step alone; all T at once.
    within = values[:, 0]
    for each in values.unbind(1)[1:]:
        within = within * kappa + each
    whole = kappa**steps
    return low_pass(within * ((1 - kappa) / (1 - whole)), whole, state, episode_start)


class LeakyReadout(nn.Module):
    """Linear readouts of low-pass filtered spikes.

    ``y[t] = kappa y[t-1] + (1 - kappa) W z[t]`` and the output is ``y[t] + bias``, with kappa = exp(-dt / tau).
    Filtering the K products is the same as filtering the N spikes, and cheaper. Where the neurons' spikes are
    filtered with time constants of their own, ``kappa`` is one each, and ``y[t] = W s[t]`` of filtered spikes
    ``s[t] = kappa s[t-1] + (1 - kappa) z[t]``.

    Args:
        num_neurons: N.
        num_outputs: K.
        tau: Time constant of the filter in ms, or a range to draw each neuron's from, uniformly.
        dt: Simulation step in ms.
        generator: Source of the initial weights, N(0, 1) / sqrt(N) times ``scale``, and of the feedback: random
            weights are N(0, 1), adaptive ones are drawn as the readout's.
        scale: Factor on the initial weights.
        wiring: Initial weights with fixed signs, instead of drawn ones.
        feedback: By which weights errors come back to the neurons.

    Attributes:
        weight: ``[K, N]``.
        kappa: A number or, of neurons with time constants of their own, ``[N]``.
        state_size: Numbers a network that the filters keep: K or, of such neurons, N.
        feedback_weight: ``[K, N]``: a parameter if adaptive, a buffer if random, None if symmetric.

    Source: Bellec et al., NIPS 2018; feedback as in Bellec, Scherr et al., Nature Communications 2020.
    """

    sign: Tensor | None
    kappa: float | Tensor
    feedback_weight: Tensor | None

    def __init__(
        self,
        num_neurons: int,
        num_outputs: int,
        *,
        tau: TimeConstant,
        dt: float,
        generator: torch.Generator,
        scale: float = 1.0,
        wiring: Wiring | None = None,
        feedback: Feedback = Feedback.SYMMETRIC,
    ) -> None:
        super().__init__()
        shape = (num_outputs, num_neurons)
        if isinstance(tau, tuple):
            taus = draw_in_range(tau, num_neurons, generator)
            self.register_buffer("kappa", decay(taus, dt).to(torch.get_default_dtype()))
        else:
            self.kappa = math.exp(-dt / tau)
        self.state_size: int = num_neurons if isinstance(tau, tuple) else num_outputs
        self.weight: nn.Parameter = nn.Parameter(initial_weight(shape, generator, scale, wiring))
        self.register_buffer("sign", None if wiring is None else wiring.sign)
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(num_outputs))
        if feedback is Feedback.ADAPTIVE:
            self.feedback_weight = nn.Parameter(initial_weight(shape, generator))
        else:
            drawn = torch.randn(shape, generator=generator) if feedback is Feedback.RANDOM else None
            self.register_buffer("feedback_weight", drawn)

    def initial_state(self, batch_size: int) -> Tensor:
        """Return the filters at rest ``[B, state_size]``."""
        return self.weight.new_zeros(batch_size, self.state_size)

    def forward(self, spikes: Tensor, state: Tensor, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read ``spikes`` ``[T, B, N]`` out.

        Args:
            spikes: Of the network.
            state: The filters ``[B, state_size]`` before the first step.
            reset: ``[T, B]``, non-zero where a network starts anew.

        Returns:
            Outputs ``[T, B, K]`` and the filters after the last step.
        """
        if isinstance(self.kappa, Tensor):
            filtered = low_pass(spikes, self.kappa, state, reset)
            return self._weighed(filtered) + self.bias, filtered[-1]
        filtered = low_pass(self._weighed(spikes), self.kappa, state, reset)
        return filtered + self.bias, filtered[-1]

    def at_ends(
        self, spikes: Tensor, state: Tensor, reset: Tensor | None, steps: int
    ) -> tuple[Tensor, Tensor]:
        """Do what ``forward`` does, for the outputs at the end of every ``steps`` simulation steps ``[T, B, K]``.

        Args:
            spikes: Of T * ``steps`` simulation steps ``[T * steps, B, N]``.
            state: The filters ``[B, state_size]`` before the first step.
            reset: ``[T * steps, B]``, non-zero where a network starts anew: before one of these T groups.
            steps: Simulation steps a group.
        """
        if isinstance(self.kappa, Tensor):
            starts = None if reset is None else reset[::steps]
            filtered = low_pass_at_ends(spikes.unflatten(0, (-1, steps)), self.kappa, state, starts)
            return self._weighed(filtered) + self.bias, filtered[-1]
        outputs, state = self(spikes, state, reset)
        # Contiguous, so that what follows rounds alike for one step and for many.
        return outputs[steps - 1 :: steps].contiguous(), state

    def _weighed(self, values: Tensor) -> Tensor:
        if self.feedback_weight is None:
            return stepwise_product(values, self.weight)
        return broadcast_linear(values, self.weight, self.feedback_weight)

    @torch.no_grad()
    def decay(self, rate: float) -> None:
        """Shrink readout and adaptive feedback weights by the factor 1 - ``rate``, after an optimiser step.

        With equal gradients and equal decay the two grow alike. Random feedback stays as it is.
        """
        self.weight.mul_(1 - rate)
        if isinstance(self.feedback_weight, nn.Parameter):
            self.feedback_weight.mul_(1 - rate)
