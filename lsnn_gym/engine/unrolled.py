"""The LSNN recurrence with its gradient written out: the reference's numbers without autograd's bookkeeping.

One ``autograd.Function`` spans the whole sequence. Forwards it keeps what the error needs; backwards it runs
the adjoint equations and takes all weight gradients in one product a delay. Plain tensor operations
throughout, so it runs wherever PyTorch does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.neurons import LSNN, CellModel, NeuronParameters, SpikingState

unavailable: str | None = None


def begin(*args: Any, **options: Any) -> None:
    """Return None: to act, call ``run`` for every step."""


def supports(model: CellModel) -> bool:
    """Return whether the cell's equations are written out here: the published code's, by either rule."""
    return replace(model, stops_spike_gradient=False) == LSNN


class Constants(NamedTuple):
    """What a sequence takes besides tensors with gradients."""

    neurons: NeuronParameters
    dt: float
    dampening_factor: float
    stops_spike_gradient: bool


class Kept(NamedTuple):
    """What the forward pass keeps: activity ``[T, B, I + N]``, the others ``[T, B, N]``."""

    presynaptic: Tensor
    threshold: Tensor
    scaled_voltage: Tensor
    blocked: Tensor | None


def run(
    neurons: NeuronParameters,
    weight: Tensor,
    inputs: Tensor,
    state: SpikingState,
    reset: Tensor | None,
    noise_current: Tensor | None,
    *,
    dt: float,
    dampening_factor: float,
    model: CellModel = LSNN,
    delay_index: Tensor | None = None,
) -> tuple[Tensor, SpikingState]:
    """Advance B networks through T simulation steps; see ``reference.run``, of which this is the equal.

    A reset inside the sequence divides it: the parts are run one after the other.

    Raises:
        ValueError: If the engine does not support ``model``.
    """
    if not supports(model):
        raise ValueError(f"the unrolled engine does not implement {model}: use the reference engine")
    constants = Constants(neurons, dt, dampening_factor, model.stops_spike_gradient)
    return run_parts(Loops(_forward, Adjoint.run), constants, weight, inputs, state, reset, noise_current)


def run_parts(
    loops: Loops,
    constants: Constants,
    weight: Tensor,
    inputs: Tensor,
    state: SpikingState,
    reset: Tensor | None,
    noise_current: Tensor | None,
) -> tuple[Tensor, SpikingState]:
    """Run a sequence, divided where networks start anew, by loops of one's own; see ``reference.run``."""
    parts = []
    resets_at = [False] if reset is None else reset.bool().any(dim=1).tolist()
    starts = [0, *(t for t, any_reset in enumerate(resets_at) if any_reset and t > 0)]
    for start, end in zip(starts, [*starts[1:], len(inputs)], strict=True):
        if reset is not None and resets_at[start]:
            state = state.keep(~reset[start].bool())
        noise = None if noise_current is None else noise_current[start:end]
        if torch.is_grad_enabled():
            spikes, *after = _Sequence.apply(loops, constants, weight, inputs[start:end], noise, *state)  # type: ignore[misc]
            state = SpikingState(*after)
        else:
            _, spikes, state = loops.forward(constants, weight, inputs[start:end], noise, state)
        parts.append(spikes)
    return parts[0] if len(parts) == 1 else torch.cat(parts), state


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        loops: Loops,
        constants: Constants,
        weight: Tensor,
        inputs: Tensor,
        noise: Tensor | None,
        *state: Tensor,
    ):
        before = SpikingState(*state)
        kept, spikes, after = loops.forward(constants, weight, inputs, noise, before)
        ctx.loops, ctx.constants = loops, constants
        ctx.has_noise = noise is not None
        ctx.num_inputs = inputs.shape[2]
        ctx.num_delays = before.currents.shape[1]
        ctx.save_for_backward(weight, *kept)
        ctx.mark_non_differentiable(after.refractory)
        return (spikes, *after)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor):  # type: ignore[override]
        weight, *saved = ctx.saved_tensors
        adjoint = Adjoint(ctx.constants, weight, Kept(*saved), ctx.num_inputs, ctx.num_delays)
        errors, before = ctx.loops.adjoint(adjoint, gradients[0], SpikingState(*gradients[1:]))
        _, _, needs_weight, needs_inputs, needs_noise, *_ = ctx.needs_input_grad
        return (
            None,
            None,
            adjoint.weight_gradient(errors) if needs_weight else None,
            adjoint.input_gradient(errors) if needs_inputs else None,
            errors[: len(gradients[0])] if ctx.has_noise and needs_noise else None,
            *before[:3],
            None,
            before.currents,
        )


def _forward(
    constants: Constants, weight: Tensor, inputs: Tensor, noise: Tensor | None, state: SpikingState
) -> tuple[Kept, Tensor, SpikingState]:
    neurons, dt, *_ = constants
    alpha, rho, baseline, beta, period = neurons
    steps, batch_size, num_inputs = inputs.shape
    num_delays, num_neurons = state.currents.shape[1:]
    shape = (steps, batch_size, num_neurons)
    presynaptic = inputs.new_empty(steps, batch_size, num_inputs + num_neurons)
    thresholds, scaled, spikes = inputs.new_empty(shape), inputs.new_empty(shape), inputs.new_empty(shape)
    # due[t] is the current that arrives at step t: a delay buffer that need not be shifted.
    due = inputs.new_zeros(steps + num_delays, batch_size, num_neurons)
    due[:num_delays] = state.currents.transpose(0, 1)
    refractory = bool((period > 0).any()) or bool((state.refractory > 0).any())
    blocked = torch.empty(shape, dtype=torch.bool, device=inputs.device) if refractory else None

    voltage, emitted, adaptation, waiting, _ = state
    one_minus_alpha, one_minus_rho = 1 - alpha, 1 - rho
    for t in range(steps):
        # In memory of its own: where rows begin in memory may decide how their product is rounded.
        row = torch.cat([inputs[t], emitted], dim=1)
        presynaptic[t] = row
        arriving = F.linear(row, weight).view(batch_size, num_delays, num_neurons)
        due[t : t + num_delays] += arriving.transpose(0, 1)
        adaptation = (rho * adaptation).addcmul_(one_minus_rho, emitted)
        threshold = torch.addcmul(baseline, beta, adaptation, out=thresholds[t])
        scaled_voltage = torch.sub(voltage, threshold, out=scaled[t]).div_(threshold)
        current = due[t] if noise is None else due[t] + noise[t]
        voltage = (alpha * voltage).addcmul_(one_minus_alpha, current).addcmul_(emitted, threshold, value=-dt)
        fired = scaled_voltage > 0
        if blocked is not None:
            fired &= ~torch.gt(waiting, 0, out=blocked[t])
            waiting = torch.where(fired, period, (waiting - 1).clamp_(min=0))
        emitted = spikes[t].copy_(fired) if dt == 1 else torch.div(fired, dt, out=spikes[t])
    after = SpikingState(
        voltage, emitted.clone(), adaptation, waiting.clone(), due[steps:].transpose(0, 1).contiguous()
    )
    return Kept(presynaptic, thresholds, scaled, blocked), spikes, after


class Loops(NamedTuple):
    """The two loops over the steps, which are all that is not a product over the whole sequence.

    Attributes:
        forward: Takes constants, weight, inputs, noise current and state; returns what the error needs, the spikes
            and the state after.
        adjoint: Takes an ``Adjoint`` and the derivatives of the loss by spikes and state after; returns those by the
            arriving currents ``[T + D, B, N]`` and by the state before.
    """

    forward: Callable[..., tuple[Kept, Tensor, SpikingState]]
    adjoint: Callable[..., tuple[Tensor, SpikingState]]


class Adjoint:
    """The equations of ``reference.step`` run backwards.

    With g_q the derivative of the loss by quantity q after a step, psi the pseudo-derivative and u = 1 - alpha::

        e[t]    = u g_v[t]                                               error of the current arriving at t
        a       = g_z[t] psi / (th dt)
        g_th    = -dt z[t-1] g_v[t] - a v[t-1] / th
        g_b     = g_b[t] + beta g_th
        g_z[t-1] = outside - dt th g_v[t] + (1 - rho) g_b + sum_k e[t+k] W_rec^(k)
        g_v[t-1] = alpha g_v[t] + a
        g_b[t-1] = rho g_b

    Where the spikes' gradient is stopped, g_z[t-1] = outside + (1 - rho) g_b.
    """

    def __init__(
        self, constants: Constants, weight: Tensor, kept: Kept, num_inputs: int, num_delays: int
    ) -> None:
        self.constants = constants
        self.weight = weight
        self.kept = kept
        self.num_inputs = num_inputs
        self.num_delays = num_delays

    def slope_over_threshold(self) -> Tensor:
        """Return the derivative of the spikes by the voltages they were compared at ``[T, B, N]``."""
        _, threshold, scaled_voltage, blocked = self.kept
        slope = (
            (1 - scaled_voltage.abs()).clamp_(min=0).mul_(self.constants.dampening_factor / self.constants.dt)
        )
        if blocked is not None:
            slope.masked_fill_(blocked, 0.0)
        return slope.div_(threshold)

    def run(self, by_spikes: Tensor, by_after: SpikingState) -> tuple[Tensor, SpikingState]:
        """Return the errors of the arriving currents ``[T + D, B, N]`` and of the state before the sequence.

        Args:
            by_spikes: Derivative of the loss by the spikes ``[T, B, N]``.
            by_after: And by the state after the last step.
        """
        alpha, rho, _, beta, _ = self.constants.neurons
        dt = self.constants.dt
        steps, batch_size, num_neurons = by_spikes.shape
        recurrent_weight = self.weight[:, self.num_inputs :]
        emitted = self.kept.presynaptic[:, :, self.num_inputs :]
        slope = self.slope_over_threshold()
        errors = by_spikes.new_empty(steps + self.num_delays, batch_size, num_neurons)
        errors[steps:] = by_after.currents.transpose(0, 1)
        by_voltage, by_emitted, by_adaptation = by_after.voltage, by_after.spikes, by_after.adaptation
        one_minus_alpha, one_minus_rho, reset_scale = 1 - alpha, 1 - rho, -dt
        for t in reversed(range(steps)):
            torch.mul(by_voltage, one_minus_alpha, out=errors[t])
            fires = (by_emitted + by_spikes[t]).mul_(slope[t])
            by_threshold = (emitted[t] * by_voltage).mul_(reset_scale)
            by_threshold.sub_(fires).addcmul_(fires, self.kept.scaled_voltage[t], value=-1)
            by_adaptation = by_threshold.mul_(beta).add_(by_adaptation)
            if self.constants.stops_spike_gradient:
                by_emitted = one_minus_rho * by_adaptation
            else:
                window = errors[t : t + self.num_delays].transpose(0, 1).reshape(batch_size, -1)
                by_emitted = torch.addcmul(
                    (self.kept.threshold[t] * by_voltage).mul_(reset_scale), one_minus_rho, by_adaptation
                ).addmm_(window, recurrent_weight)
            by_voltage = torch.addcmul(fires, alpha, by_voltage)
            by_adaptation = rho * by_adaptation
        currents = errors[: self.num_delays].transpose(0, 1).contiguous()
        return errors, SpikingState(by_voltage, by_emitted, by_adaptation, by_voltage, currents)

    def weight_gradient(self, errors: Tensor) -> Tensor:
        """Return the derivative of the loss by the weights ``[D * N, I + N]``."""
        presynaptic = self.kept.presynaptic.flatten(0, 1)
        steps = len(self.kept.presynaptic)
        by_delay = [errors[k : k + steps].flatten(0, 1).T @ presynaptic for k in range(self.num_delays)]
        return torch.cat(by_delay)

    def input_gradient(self, errors: Tensor) -> Tensor:
        """Return the derivative of the loss by the inputs ``[T, B, I]``."""
        steps, batch_size, _ = self.kept.presynaptic.shape
        weights = self.weight[:, : self.num_inputs].chunk(self.num_delays)
        total = sum(errors[k : k + steps].flatten(0, 1) @ weight for k, weight in enumerate(weights))
        assert isinstance(total, Tensor)
        return total.view(steps, batch_size, self.num_inputs)
