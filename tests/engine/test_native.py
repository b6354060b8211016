"""The native engine equals the reference, whatever the network, the inputs and the processor."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lsnn_gym.engine import choose_engine, native, reference
from lsnn_gym.engine.native import library
from lsnn_gym.errors import UserError
from lsnn_gym.neurons import CELL_MODELS, LSNN, CellModel, NeuronParameters, SpikingState
from lsnn_gym.synapses import stack_by_delay

pytestmark = pytest.mark.skipif(native.unavailable is not None, reason=str(native.unavailable))

CLOSEST = 1e-5
"""Voltages nearer to a threshold than this, relative to it, may fall on its other side in float32."""


@dataclass(frozen=True)
class Configuration:
    """What a drawn case depends on."""

    seed: int
    steps: int
    batch: int
    inputs: int
    neurons: int
    delays: int
    period: int
    dt: float
    connectivity: float
    input_kind: str
    resets: bool
    noise: bool
    model: CellModel
    one_delay: bool = False


CONFIGURATIONS = st.builds(
    Configuration,
    seed=st.integers(0, 2**32),
    steps=st.integers(1, 70),
    batch=st.integers(1, 35),
    inputs=st.integers(1, 40),
    neurons=st.integers(1, 40),
    delays=st.integers(1, 5),
    period=st.integers(0, 4),
    dt=st.sampled_from([1.0, 0.5]),
    connectivity=st.sampled_from([0.05, 0.2, 0.5, 1.0]),
    input_kind=st.sampled_from(["spikes", "values", "few values"]),
    resets=st.booleans(),
    noise=st.booleans(),
    model=st.sampled_from(
        [
            replace(model, stops_spike_gradient=stops)
            for model in CELL_MODELS.values()
            if native.supports(model)
            for stops in (False, True)
        ]
    ),
    one_delay=st.booleans(),
)


@dataclass
class Case:
    """Arguments of ``run``."""

    neurons: NeuronParameters
    weight: Tensor
    inputs: Tensor
    state: SpikingState
    reset: Tensor | None
    noise: Tensor | None
    options: dict[str, Any]
    delay_index: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Case:
        return Case(
            NeuronParameters(*(each.to(dtype) for each in self.neurons)),
            self.weight.to(dtype),
            self.inputs.to(dtype),
            SpikingState(*(each.to(dtype) for each in self.state)),
            self.reset,
            None if self.noise is None else self.noise.to(dtype),
            self.options,
            self.delay_index,
        )


def draw(c: Configuration) -> Case:
    generator = torch.Generator().manual_seed(c.seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        # Numbers that float32 holds exactly, so that both types start from the same.
        drawn = torch.rand(shape, generator=generator, dtype=torch.float32)
        return (low + (high - low) * drawn).to(torch.float64)

    neurons = NeuronParameters(
        uniform(c.neurons, low=0.6, high=0.95),
        uniform(c.neurons, low=0.8, high=0.999),
        uniform(c.neurons, low=0.2, high=0.5),
        uniform(c.neurons, high=2.0) * (torch.arange(c.neurons) % 2),
        torch.randint(0, c.period + 1, (c.neurons,), generator=generator).double(),
    )
    scale = (c.connectivity * (c.inputs + c.neurons)) ** -0.5
    weight = uniform(c.delays * c.neurons, c.inputs + c.neurons, low=-2 * scale, high=4 * scale)
    weight = weight * (uniform(*weight.shape) < c.connectivity)
    inputs = uniform(c.steps, c.batch, c.inputs)
    if c.input_kind == "spikes":
        inputs = (inputs > 0.8).double() / c.dt
    elif c.input_kind == "few values":
        inputs = inputs * (uniform(*inputs.shape) > 0.9)
    state = SpikingState(
        uniform(c.batch, c.neurons),
        (uniform(c.batch, c.neurons) > 0.7).double() / c.dt,
        uniform(c.batch, c.neurons, high=0.1),
        torch.randint(0, c.period + 1, (c.batch, c.neurons), generator=generator).double(),
        uniform(c.batch, c.delays, c.neurons, low=-0.2, high=0.2),
    )
    reset = uniform(c.steps, c.batch) > 0.9 if c.resets else None
    noise = uniform(c.steps, c.batch, c.neurons, low=-0.3, high=0.3) if c.noise else None
    options = {"dt": c.dt, "dampening_factor": 0.3, "model": c.model}
    delay_index = None
    if c.one_delay:
        delay_index = torch.randint(
            c.delays, (c.neurons, c.inputs + c.neurons), generator=generator, dtype=torch.int64
        )
    return Case(neurons, weight, inputs, state, reset, noise, options, delay_index)


def outcome(run: Any, case: Case) -> tuple[Tensor, SpikingState, list[Tensor]]:
    """Return spikes, the state after, and the gradients of a loss on both by all that can have one.

    That by the weight is returned where it is asked for, and 0 elsewhere.
    """
    leaves = [
        each.detach().clone().requires_grad_()
        for each in (case.weight, case.inputs, *case.state, case.noise)
        if each is not None
    ]
    state = SpikingState(*leaves[2:7])._replace(refractory=case.state.refractory)
    noise = None if case.noise is None else leaves[7]
    options = {**case.options, "delay_index": case.delay_index}
    spikes, after = run(case.neurons, leaves[0], leaves[1], state, case.reset, noise, **options)
    generator = torch.Generator().manual_seed(1)
    total = leaves[0].sum() * 0
    for each in (spikes, after.voltage, after.spikes, after.adaptation, after.currents):
        factors = torch.randn(each.shape, generator=generator, dtype=torch.float64)
        total = total + (each * factors.to(each.dtype)).sum()
    del leaves[5]  # refractory
    by_weight, *others = torch.autograd.grad(total, leaves, materialize_grads=True)
    if case.delay_index is not None:
        by_weight = (
            stack_by_delay(torch.ones_like(case.delay_index), case.delay_index, num_delays(case)) * by_weight
        )
    return spikes.detach(), after, [by_weight, *others]


def num_delays(case: Case) -> int:
    return case.state.currents.shape[1]


def margin(case: Case) -> float:
    """Return how near any voltage came to its threshold, relative to the threshold."""
    nearest = float("inf")
    state = case.state
    for t in range(len(case.inputs)):
        if case.reset is not None:
            state = state.keep(~case.reset[t])
        noise = None if case.noise is None else case.noise[t]
        state, record = reference.step(
            case.neurons, case.weight, case.inputs[t], state, noise, **case.options
        )
        nearest = min(nearest, float(record.scaled_voltage.abs().min()))
    return nearest


def largest_error(found: Tensor, expected: Tensor, floor: float = 0.0) -> float:
    """Return the largest difference relative to the largest expected value."""
    largest = max(float(expected.abs().max()) if expected.numel() else 0.0, floor)
    return float((found - expected).abs().max()) / largest if largest and found.numel() else 0.0


@pytest.mark.slow
@given(configuration=CONFIGURATIONS)
@settings(max_examples=500, deadline=None)
def test_native_equals_reference(configuration):
    case = draw(configuration)
    spikes, after, gradients = outcome(native.run, case)
    expected, expected_after, expected_gradients = outcome(reference.run, case)
    assert torch.equal(spikes, expected)
    for value, wanted in zip(after, expected_after, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    for value, wanted in zip(gradients, expected_gradients, strict=True):
        assert largest_error(value, wanted, 1e-3) < 1e-10
    if margin(case) < CLOSEST:
        return
    single, _, single_gradients = outcome(native.run, case.to(torch.float32))
    assert torch.equal(single, expected.float())
    rounded_gradients = outcome(reference.run, nudged(case))[2]
    own_gradients = outcome(reference.run, case.to(torch.float32))[2]
    for value, rounded, own, wanted in zip(
        single_gradients, rounded_gradients, own_gradients, expected_gradients, strict=True
    ):
        # More than what rounding does to the numbers that it starts from, or to the reference in float32, no engine
        # can give.
        by_rounding = 10 * largest_error(rounded, wanted, 1e-3)
        of_reference = 3 * largest_error(own.double(), wanted, 1e-3)
        assert largest_error(value.double(), wanted, 1e-3) < max(1e-5, by_rounding, of_reference)


def nudged(case: Case) -> Case:
    """Return the case with all its numbers changed by about a rounding of float32."""
    generator = torch.Generator().manual_seed(2)

    def nudge(tensor: Tensor) -> Tensor:
        return tensor * (1 + 2**-24 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))

    return replace(
        case,
        neurons=NeuronParameters(*map(nudge, case.neurons))._replace(
            refractory_period=case.neurons.refractory_period
        ),
        weight=nudge(case.weight),
        inputs=nudge(case.inputs),
        state=case.state._replace(
            voltage=nudge(case.state.voltage),
            adaptation=nudge(case.state.adaptation),
            currents=nudge(case.state.currents),
        ),
        noise=None if case.noise is None else nudge(case.noise),
    )


def example(**changes: Any) -> Case:
    """Return a case in which all parts of the kernels have work."""
    drawn = Configuration(3, 50, 37, 20, 50, 2, 2, 1.0, 0.2, "spikes", True, True, LSNN)
    return draw(replace(drawn, **changes))


@pytest.mark.parametrize("isa", [0, 1, 2])
@pytest.mark.parametrize("connectivity", [0.2, 1.0])
@pytest.mark.parametrize("one_delay", [True, False])
def test_the_kernels_for_lesser_processors_are_equal(isa, connectivity, one_delay):
    kernels = native.kernels()
    try:
        if kernels.choose_isa(isa) != isa:
            pytest.skip("this processor lacks the instructions")
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
            case = example(connectivity=connectivity, one_delay=one_delay)
            assert margin(case) > CLOSEST
            spikes, _, gradients = outcome(native.run, case.to(dtype))
            expected, _, expected_gradients = outcome(reference.run, case)
            assert torch.equal(spikes.double(), expected)
            for value, wanted in zip(gradients, expected_gradients, strict=True):
                assert largest_error(value.double(), wanted) < tolerance
    finally:
        kernels.choose_isa()


@pytest.mark.parametrize("connectivity", [0.2, 1.0])
def test_results_do_not_depend_on_what_runs_beside_them(connectivity):
    case = example(connectivity=connectivity, delays=1).to(torch.float32)
    with torch.no_grad():
        spikes, after = run_part(case, slice(None))
        for lane in (0, 5, 36):
            alone, alone_after = run_part(case, slice(lane, lane + 1))
            assert torch.equal(alone[:, 0], spikes[:, lane])
            assert torch.equal(alone_after.voltage[0], after.voltage[lane])


def run_part(case: Case, lanes: slice) -> tuple[Tensor, SpikingState]:
    assert case.reset is not None
    assert case.noise is not None
    return native.run(
        case.neurons,
        case.weight,
        case.inputs[:, lanes],
        SpikingState(*(each[lanes] for each in case.state)),
        case.reset[:, lanes],
        case.noise[:, lanes],
        **case.options,
    )


@pytest.mark.parametrize("one_delay", [True, False])
def test_the_number_of_threads_changes_no_spike(one_delay):
    case = example(steps=200, neurons=60, batch=64, input_kind="values", one_delay=one_delay).to(
        torch.float32
    )
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(outcome(native.run, case))
    finally:
        torch.set_num_threads(threads)
    for spikes, after, gradients in found[1:]:
        assert torch.equal(spikes, found[0][0])
        assert torch.equal(after.voltage, found[0][1].voltage)
        for value, expected in zip(gradients, found[0][2], strict=True):
            assert largest_error(value, expected) < 1e-5


def test_tensors_that_are_not_contiguous_are_read_rightly():
    case = example().to(torch.float32)
    assert case.noise is not None
    apart = replace(
        case,
        weight=case.weight.T.contiguous().T,
        inputs=case.inputs.transpose(0, 1).contiguous().transpose(0, 1),
        noise=case.noise.transpose(0, 2).contiguous().transpose(0, 2),
        neurons=case.neurons._replace(threshold=torch.tensor(0.3).expand(50)),
    )
    case.neurons = case.neurons._replace(threshold=torch.full((50,), 0.3))
    for found, expected in zip(outcome(native.run, apart)[2], outcome(native.run, case)[2], strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("delay_index", "message"),
    [
        (torch.full((50, 70), 2), "delay_index goes from 2 to 2: expected 0 to 1"),
        (torch.full((50, 70), -1), "delay_index goes from -1 to -1: expected 0 to 1"),
        (torch.zeros(50, 50, dtype=torch.int64), r"delay_index is \[50, 50\]: expected \[50, 70\]"),
    ],
)
def test_delays_that_there_are_not_are_refused(delay_index, message):
    with pytest.raises(ValueError, match=message):
        outcome(native.run, replace(example(), delay_index=delay_index))


def test_a_changed_weight_is_noticed_while_acting():
    case = example(noise=False, resets=False).to(torch.float32)
    with torch.no_grad():
        before, _ = native.run(case.neurons, case.weight, case.inputs, case.state, None, None, **case.options)
        case.weight.mul_(0.0)
        after, _ = native.run(case.neurons, case.weight, case.inputs, case.state, None, None, **case.options)
    assert not torch.equal(before, after)


@pytest.mark.parametrize("what", ["half precision", "trained constants"])
def test_what_the_kernels_cannot_do_is_left_to_the_reference(what):
    case = example(batch=3).to(torch.bfloat16 if what == "half precision" else torch.float64)
    if what == "trained constants":
        case.neurons.threshold.requires_grad_()
    run = [
        engine.run(case.neurons, case.weight, case.inputs, case.state, None, None, **case.options)
        for engine in (native, reference)
    ]
    assert torch.equal(run[0][0], run[1][0])
    if what == "trained constants":
        run[0][0].sum().backward()
        assert case.neurons.threshold.grad is not None


def test_structures_have_the_layout_of_the_header():
    # A plan of 4 int64, 5 int64, 6 int32, 2 double and 8 pointers.
    assert ctypes.sizeof(library.Problem) == 4 * 8 + 5 * 8 + 6 * 4 + 2 * 8 + 8 * 8
    # A pointer, 2 states of 5 pointers, 3 pointers, an int32 with padding, a pointer.
    assert ctypes.sizeof(library.Gradients) == (1 + 5 + 3 + 5) * 8 + 8 + 8


class TestWithoutTheCompiledPart:
    def test_another_engine_serves_and_that_is_said(self, monkeypatch, caplog):
        monkeypatch.setattr(native, "unavailable", "its compiled part is missing")
        monkeypatch.delenv("LSNN_GYM_ENGINE", raising=False)
        from lsnn_gym import engine

        engine._fastest.cache_clear()
        try:
            assert choose_engine() is engine.ENGINES["unrolled"]
            choose_engine()
        finally:
            engine._fastest.cache_clear()
        assert [record.getMessage() for record in caplog.records] == [
            "the native engine cannot be used, a slower one serves: its compiled part is missing"
        ]

    def test_asking_for_it_is_an_error(self, monkeypatch):
        monkeypatch.setattr(native, "unavailable", "its compiled part is missing")
        with pytest.raises(
            UserError, match="engine 'native' cannot be used here: its compiled part is missing"
        ):
            choose_engine("native")
