"""Every engine gives the reference's spikes and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsnn_gym.engine import ENGINES, choose_engine, reference
from lsnn_gym.errors import UserError
from lsnn_gym.neurons import NeuronParameters, SpikingState
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN

OTHERS = sorted(set(ENGINES) - {"reference", "triton"})
"""For triton see triton_cases.py."""


def random_case(seed: int, delays: int, refractory: int, dt: float, resets: bool, dtype: torch.dtype):
    """Draw a small network, its inputs, a non-rest state, noise and resets."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator, dtype=dtype)

    steps, batch, inputs, size = 23, 3, 4, 6
    neurons = NeuronParameters(
        membrane_decay=uniform(size, low=0.7, high=0.95),
        adaptation_decay=uniform(size, low=0.9, high=0.999),
        threshold=uniform(size, low=0.2, high=0.5),
        beta=uniform(size, high=2.0) * (torch.arange(size) % 2),
        refractory_period=torch.randint(0, refractory + 1, (size,), generator=generator).to(dtype),
    )
    weight = uniform(delays * size, inputs + size, low=-1.0, high=2.0)
    state = SpikingState(
        uniform(batch, size),
        (uniform(batch, size) > 0.7).to(dtype) / dt,
        uniform(batch, size, high=0.1),
        torch.zeros(batch, size, dtype=dtype),
        uniform(batch, delays, size, low=-0.2, high=0.2),
    )
    reset = (uniform(steps, batch) > 0.9) if resets else None
    noise = uniform(steps, batch, size, low=-0.3, high=0.3)
    return neurons, weight, uniform(steps, batch, inputs), state, reset, noise


def outcome(engine: str, case, dt: float):
    """Run an engine; return its spikes, its final state, and the gradients of a loss on all of them."""
    neurons, weight, inputs, state, reset, noise = case
    leaves = [
        each.clone().requires_grad_()
        for each in (weight, inputs, noise, state.voltage, state.spikes, state.adaptation, state.currents)
    ]
    start = SpikingState(leaves[3], leaves[4], leaves[5], state.refractory, leaves[6])
    spikes, after = ENGINES[engine].run(
        neurons, leaves[0], leaves[1], start, reset, leaves[2], dt=dt, dampening_factor=0.3
    )
    generator = torch.Generator().manual_seed(1)
    outputs = (spikes, after.voltage, after.spikes, after.adaptation, after.currents)
    terms = [
        (each * torch.randn(each.shape, generator=generator, dtype=each.dtype)).sum() for each in outputs
    ]
    loss = torch.stack(terms).sum()
    return spikes, after, torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("engine", OTHERS)
@given(
    seed=st.integers(0, 2**32),
    delays=st.integers(1, 4),
    refractory=st.integers(0, 3),
    dt=st.sampled_from([1.0, 0.5]),
    resets=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_engine_equals_reference(engine, seed, delays, refractory, dt, resets):
    case = random_case(seed, delays, refractory, dt, resets, torch.float64)
    spikes, after, gradients = outcome(engine, case, dt)
    spikes_expected, after_expected, gradients_expected = outcome("reference", case, dt)
    assert torch.equal(spikes, spikes_expected)
    for value, expected in zip(after, after_expected, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for value, expected in zip(gradients, gradients_expected, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max() + 1))


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_networks_with_delays_have_the_reference_gradients(engine: Any, checkpointing: bool):
    def gradients(name: Any) -> list[torch.Tensor]:
        settings = NetworkSettings(
            regular_neurons=11,
            adaptive_neurons=8,
            delay=(2, 6),
            threshold=0.1,
            engine=name,
            checkpointing=checkpointing,
        )
        network = SpikingRNN(settings, 5, torch.Generator().manual_seed(1)).double()
        inputs = (torch.rand(90, 18, 5, generator=torch.Generator().manual_seed(2)) > 0.8).double()
        spikes, _ = network(inputs, network.initial_state(18))
        assert spikes.sum() > 100
        factors = torch.randn(spikes.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        (spikes * factors).sum().backward()
        return [each.grad for each in network.parameters() if each.grad is not None]

    expected = gradients("reference")
    assert len(expected) == 2
    for value, wanted in zip(gradients(engine), expected, strict=True):
        assert torch.equal(value != 0, wanted != 0)
        torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))


@pytest.mark.parametrize("engine", [*OTHERS, "reference"])
def test_steps_one_by_one_give_the_sequence_bit_for_bit(engine):
    neurons, weight, inputs, state, reset, noise = random_case(5, 3, 2, 1.0, True, torch.float32)
    assert reset is not None
    run = ENGINES[engine].run
    options: dict[str, Any] = {"dt": 1.0, "dampening_factor": 0.3}
    whole, after = run(neurons, weight, inputs, state, reset, noise, **options)
    assert whole.sum() > 0
    for t in range(len(inputs)):
        step = slice(t, t + 1)
        spikes, state = run(neurons, weight, inputs[step], state, reset[step], noise[step], **options)
        assert torch.equal(spikes[0], whole[t])
    assert all(torch.equal(one, other) for one, other in zip(state, after, strict=True))


def test_the_state_before_a_reset_leaves_no_trace():
    neurons, weight, inputs, state, _, noise = random_case(7, 3, 2, 1.0, False, torch.float64)
    reset = torch.zeros(inputs.shape[:2])
    reset[9, 1] = 1
    options: dict[str, Any] = {"dt": 1.0, "dampening_factor": 0.3}
    spikes, after = reference.run(neurons, weight, inputs, state, reset, noise, **options)
    rest = SpikingState.zeros(3, 6, 3, dtype=torch.float64)
    fresh, fresh_after = reference.run(neurons, weight, inputs[9:], rest, None, noise[9:], **options)
    assert torch.equal(spikes[9:, 1], fresh[:, 1])
    assert torch.equal(after.voltage[1], fresh_after.voltage[1])
    assert not torch.equal(spikes[9:, 0], fresh[:, 0])


def test_engine_is_chosen_by_name_then_by_environment(monkeypatch):
    monkeypatch.setenv("LSNN_GYM_ENGINE", "reference")
    assert choose_engine() is reference
    assert choose_engine("unrolled") is ENGINES["unrolled"]
    monkeypatch.setenv("LSNN_GYM_ENGINE", "refrence")
    with pytest.raises(UserError, match="unknown engine 'refrence': did you mean 'reference'"):
        choose_engine()
