"""The LSNN recurrence in C++ for CPUs: only spikes and existing synapses cost time.

As many samples as fit a vector register are computed side by side, a block of them in one call for the whole
sequence, blocks spread over ``torch.get_num_threads()`` threads. The numbers are the reference's to rounding, spikes
and all.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lsnn_gym.engine import reference
from lsnn_gym.engine.native import library
from lsnn_gym.engine.native.session import Session
from lsnn_gym.memory import POOL
from lsnn_gym.neurons import LSNN, CellModel, NeuronParameters, SpikingState

unavailable: str | None
_LIBRARY, unavailable = library.load()
"""``unavailable``: why the engine cannot be used here, or None."""

_MOSTLY_ZERO = 0.25
"""Below this share of inputs other than 0 their weights' gradient is summed up input by input."""


def supports(model: CellModel) -> bool:
    """Return whether the engine has the cell."""
    return not model.adapts_while_refractory


def kernels() -> library.Library:
    """Return the compiled kernels.

    Raises:
        RuntimeError: If they are not available.
    """
    if _LIBRARY is None:
        raise RuntimeError(f"the native engine is not available: {unavailable}")
    return _LIBRARY


class _Constants(NamedTuple):
    """What a call takes besides tensors with gradients."""

    neurons: NeuronParameters
    dt: float
    dampening_factor: float
    model: CellModel
    reset: Tensor | None = None
    delay_index: Tensor | None = None


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

    What the kernels cannot do is left to the reference: tensors that are not on the CPU or neither all float32
    nor all float64, and gradients of the neurons' constants.

    Raises:
        ValueError: If the engine does not support ``model``, or ``delay_index`` does not fit.
        RuntimeError: If it is not available.
    """
    if not supports(model):
        raise ValueError(f"the native engine does not implement {model}: use the reference engine")
    if not _fits(neurons, weight, inputs, state, noise_current):
        options: dict[str, Any] = {"dt": dt, "dampening_factor": dampening_factor, "model": model}
        return reference.run(neurons, weight, inputs, state, reset, noise_current, **options)
    constants = _constants(neurons, dt, dampening_factor, model)
    if reset is not None:
        constants = constants._replace(reset=(reset != 0).contiguous())
    if delay_index is not None and state.currents.shape[1] > 1:
        constants = constants._replace(delay_index=_checked_delays(delay_index, weight, state))
    given = (weight, inputs, noise_current, *state)
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in given):
        spikes, *after = _Sequence.apply(constants, *given)  # type: ignore[misc]
        return spikes, SpikingState(*after)
    with torch.no_grad():
        spikes, after, _ = _Call(constants, weight, inputs, noise_current, state).forward(taped=False)
    return spikes, after


def begin(
    neurons: NeuronParameters,
    weight: Tensor,
    state: SpikingState,
    *,
    dt: float,
    dampening_factor: float,
    model: CellModel = LSNN,
) -> Session | None:
    """Return networks that act from ``state`` on, or None where the kernels cannot do that (see ``run``)."""
    batch_size, num_neurons = state.voltage.shape
    inputs = weight.new_zeros(1, batch_size, weight.shape[1] - num_neurons)
    with torch.no_grad():
        if not supports(model) or not _fits(neurons, weight, inputs, state, None):
            return None
        constants = _constants(neurons, dt, dampening_factor, model)
        call = _Call(constants, weight, inputs, None, state)
        return Session(call.functions, call.problem, call.prepared, call.state, keep=constants.neurons)


def _constants(neurons: NeuronParameters, dt: float, dampening_factor: float, model: CellModel) -> _Constants:
    neurons = NeuronParameters(*(each.contiguous() for each in neurons))
    if model.spike_counts_as_refractory:
        neurons = neurons._replace(refractory_period=(neurons.refractory_period - 1).clamp_(min=0))
    return _Constants(neurons, dt, dampening_factor, model)


def _checked_delays(delay_index: Tensor, weight: Tensor, state: SpikingState) -> Tensor:
    """Return the delays ``[N, I + N]`` as the kernels read them, who look nothing up that is not there."""
    num_delays, num_neurons = state.currents.shape[1:]
    expected = [num_neurons, weight.shape[1]]
    if list(delay_index.shape) != expected:
        raise ValueError(f"delay_index is {list(delay_index.shape)}: expected {expected}")
    low, high = map(int, delay_index.aminmax())
    if low < 0 or high >= num_delays:
        raise ValueError(f"delay_index goes from {low} to {high}: expected 0 to {num_delays - 1}")
    return delay_index.to(torch.int32).contiguous()


def _fits(
    neurons: NeuronParameters, weight: Tensor, inputs: Tensor, state: SpikingState, noise: Tensor | None
) -> bool:
    tensors = (weight, inputs, *neurons, *state, *(() if noise is None else (noise,)))
    dtype = weight.dtype
    alike = all(each.dtype is dtype and each.device.type == "cpu" for each in tensors)
    trained = torch.is_grad_enabled() and any(each.requires_grad for each in neurons)
    return alike and not trained and dtype in (torch.float32, torch.float64)


class _Tape(NamedTuple):
    """What the forward pass leaves to the backward pass (see problem.hpp)."""

    voltage: Tensor
    adaptation: Tensor
    spikes: Tensor
    blocked: Tensor
    inputs: Tensor
    plain: Tensor


class _Call:
    """One sequence, its tensors laid out as the kernels want them."""

    def __init__(
        self,
        constants: _Constants,
        weight: Tensor,
        inputs: Tensor,
        noise: Tensor | None,
        state: SpikingState,
        plan: library.Plan | None = None,
        prepared: library.PreparedWeights | None = None,
    ) -> None:
        self.constants = constants
        self.weight = weight
        self.inputs = inputs.contiguous()
        self.noise = None if noise is None else noise.contiguous()
        self.state = SpikingState(*(each.contiguous() for each in state))
        self.functions = kernels().functions(weight.dtype)
        self.num_delays, self.num_neurons = state.currents.shape[1:]
        steps, batch_size, num_inputs = inputs.shape
        self.plan = plan or kernels().plan(
            steps, batch_size, num_inputs, self.num_neurons, torch.get_num_threads()
        )
        self.prepared = prepared or _prepared(self.functions, weight, self.num_delays, self.plan.lanes)
        self.problem = self._problem()

    def _problem(self) -> library.Problem:
        steps, batch_size, num_inputs = self.inputs.shape
        constants = self.constants
        model = constants.model
        return library.Problem(
            self.plan,
            steps,
            batch_size,
            num_inputs,
            self.num_neurons,
            self.num_delays,
            model.fires_on_new_voltage,
            model.normalised_by_baseline,
            library.RESETS[model.reset_by],
            model.scaled_current,
            model.scaled_adaptation,
            model.stops_spike_gradient,
            constants.dt,
            constants.dampening_factor,
            *(each.data_ptr() for each in constants.neurons),
            self.inputs.data_ptr(),
            None if self.noise is None else self.noise.data_ptr(),
            None if constants.reset is None else constants.reset.data_ptr(),
        )

    def _empty(self, *shape: int) -> Tensor:
        return POOL.empty(shape, self.inputs.dtype)

    def forward(self, *, taped: bool) -> tuple[Tensor, SpikingState, _Tape | None]:
        """Return the spikes, the state after the sequence and, if ``taped``, what ``backward`` needs."""
        steps, batch_size, _ = self.inputs.shape
        spikes = self._empty(steps, batch_size, self.num_neurons)
        after = SpikingState(*(torch.empty_like(each) for each in self.state))
        tape = self._new_tape() if taped else None
        addresses = None if tape is None else ctypes.byref(library.Tape(*(each.data_ptr() for each in tape)))
        failed = self.functions.forward(
            self.problem,
            self.prepared.handle,
            library.pointers(self.state),
            library.pointers(after),
            spikes.data_ptr(),
            addresses,
        )
        _check(failed)
        return spikes, after, tape

    def _new_tape(self) -> _Tape:
        steps, batch_size, num_inputs = self.inputs.shape
        blocks, lanes = self.plan.blocks, self.plan.lanes
        segments = -(-steps // kernels().segment_steps(self.num_neurons, lanes))
        masks = torch.empty(2, blocks, steps, self.num_neurons, dtype=torch.int16)
        return _Tape(
            self._empty(blocks, steps * self.num_neurons * -(-batch_size // blocks) + lanes),
            self.inputs.new_empty(blocks, segments, self.num_neurons, lanes),
            masks[0],
            masks[1],
            torch.empty(blocks, steps, num_inputs, dtype=torch.int16),
            torch.empty(blocks, steps, dtype=torch.bool),
        )

    def backward(
        self, tape: _Tape, by_spikes: Tensor, by_after: SpikingState, needs: _Needs
    ) -> tuple[Tensor, Tensor | None, Tensor | None, SpikingState]:
        """Return the derivatives of the loss by weight, inputs, noise and the state before the sequence."""
        one_by_one = needs.inputs and self.num_delays > 1
        by_product = not one_by_one and self.num_delays == 1 and (needs.inputs or self._inputs_are_dense())
        by_weight = torch.empty_like(self.weight, memory_format=torch.contiguous_format)
        errors = self._empty(*by_spikes.shape) if needs.noise or by_product else None
        by_inputs = torch.empty_like(self.inputs) if one_by_one else None
        by_before = SpikingState(*(torch.empty_like(each) for each in self.state))
        gradients = library.Gradients(
            by_spikes.data_ptr(),
            library.pointers(by_after),
            by_weight.data_ptr(),
            None if errors is None else errors.data_ptr(),
            None if by_inputs is None else by_inputs.data_ptr(),
            library.pointers(by_before),
            by_product,
            None if self.constants.delay_index is None else self.constants.delay_index.data_ptr(),
        )
        addresses = library.Tape(*(each.data_ptr() for each in tape))
        _check(self.functions.backward(self.problem, self.prepared.handle, addresses, gradients))
        if by_product and errors is not None:
            num_inputs = self.inputs.shape[2]
            flat = errors.flatten(0, 1)
            by_weight[:, :num_inputs] = flat.T @ self.inputs.flatten(0, 1)
            if needs.inputs:
                by_inputs = (flat @ self.weight[:, :num_inputs]).view_as(self.inputs)
        return by_weight, by_inputs, errors if needs.noise else None, by_before

    def _inputs_are_dense(self) -> bool:
        # A few steps say enough, and all of them would take as long as the kernels.
        some = self.inputs[:: max(1, len(self.inputs) // 8)]
        return float(torch.count_nonzero(some)) > _MOSTLY_ZERO * some.numel()


class _Needs(NamedTuple):
    """Which gradients are asked for."""

    inputs: bool
    noise: bool


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, constants: _Constants, weight: Tensor, inputs: Tensor, noise: Tensor | None, *state: Tensor
    ):
        call = _Call(constants, weight, inputs, noise, SpikingState(*state))
        spikes, after, tape = call.forward(taped=True)
        assert tape is not None
        ctx.constants, ctx.plan, ctx.prepared = constants, call.plan, call.prepared
        # All of it, so that checkpointing can leave it out and compute it anew.
        ctx.save_for_backward(weight, call.inputs, noise, *call.state, *tape)
        ctx.mark_non_differentiable(after.refractory)
        return (spikes, *after)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor):  # type: ignore[override]
        weight, inputs, noise, *others = ctx.saved_tensors
        state, tape = SpikingState(*others[:5]), _Tape(*others[5:])
        call = _Call(ctx.constants, weight, inputs, noise, state, ctx.plan, ctx.prepared)
        by_spikes, *by_after = (each.contiguous() for each in gradients)
        _, _, needs_inputs, needs_noise, *_ = ctx.needs_input_grad
        by_weight, by_inputs, by_noise, by_before = call.backward(
            tape,
            by_spikes,
            SpikingState(*by_after),
            _Needs(needs_inputs, noise is not None and needs_noise),
        )
        return None, by_weight, by_inputs, by_noise, *by_before[:3], None, by_before.currents


def _prepared(
    functions: library.Functions, weight: Tensor, num_delays: int, lanes: int
) -> library.PreparedWeights:
    """Return the weights in the kernels' form, kept with the tensor while it does not change."""
    version, forms = getattr(weight, "_native_forms", (None, {}))
    if version != weight._version:
        forms = {}
        weight._native_forms = (weight._version, forms)  # type: ignore[attr-defined]
    if lanes not in forms:
        forms[lanes] = library.PreparedWeights(functions, weight.detach().contiguous(), num_delays, lanes)
    return forms[lanes]


def _check(failed: int) -> None:
    if failed:
        raise RuntimeError("the native engine ran out of memory or threads")
