"""Networks that act a step at a time give the numbers of whole sequences, to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lsnn_gym.engine import native
from lsnn_gym.neurons import SpikingState
from lsnn_gym.recurrent import ActingState, NetworkSettings, SpikingRNN

ENGINES = ("native", "unrolled", "reference")
STEPS, INPUTS = 40, 13


def make_network(engine: Any = "native", **changes) -> SpikingRNN:
    if engine == "native" and native.unavailable:
        pytest.skip(native.unavailable)
    settings = NetworkSettings(
        regular_neurons=20,
        adaptive_neurons=17,
        delay=(1, 4),
        noise_std=0.03,
        refractory_period=3.0,
        engine=engine,
        **changes,
    )
    return SpikingRNN(settings, INPUTS, torch.Generator().manual_seed(0))


def drawn(network: SpikingRNN, batch_size: int, steps: int = STEPS) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = (torch.rand(steps, batch_size, INPUTS, generator=generator) < 0.2).float()
    reset = (torch.rand(steps, batch_size, generator=generator) < 0.05).float()
    noise = network.draw_noise(steps, batch_size, generator)
    assert noise is not None
    return inputs, reset, noise


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch_size", [1, 10, 37])
@pytest.mark.parametrize("steps_a_call", [1, 4])
@torch.no_grad()
def test_steps_give_the_sequence(engine, batch_size, steps_a_call):
    network = make_network(engine)
    inputs, reset, noise = drawn(network, batch_size)
    whole, after = network(inputs, network.initial_state(batch_size), reset, noise)
    assert whole.any()
    state = network.acting_state(batch_size)
    assert isinstance(state, ActingState) == (engine == "native")
    for start in range(0, STEPS, steps_a_call):
        part = slice(start, start + steps_a_call)
        spikes, state = network(inputs[part], state, reset[part], noise[part])
        assert torch.equal(spikes, whole[part])
    settled = state.settled() if isinstance(state, ActingState) else state
    for value, expected in zip(settled, after, strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("cell", ["lsnn-paper", "eprop-a", "eprop-b"])
@torch.no_grad()
def test_other_cells_act_alike(cell):
    network = make_network(cell=cell)
    inputs, reset, noise = drawn(network, 5)
    whole, _ = network(inputs, network.initial_state(5), reset, noise)
    state = network.acting_state(5)
    for t in range(STEPS):
        spikes, state = network(inputs[t : t + 1], state, reset[t : t + 1], noise[t : t + 1])
        assert torch.equal(spikes[0], whole[t])


@torch.no_grad()
def test_many_networks_are_spread_over_threads():
    network = make_network()
    inputs, reset, noise = drawn(network, 2500, steps=3)
    threads = torch.get_num_threads()
    try:
        found = []
        for number in (1, 3):
            torch.set_num_threads(number)
            state = network.acting_state(2500)
            found.append(network(inputs, state, reset, noise)[0])
    finally:
        torch.set_num_threads(threads)
    assert found[0].any()
    assert torch.equal(*found)


@torch.no_grad()
def test_changed_weights_are_used_from_the_next_step_on():
    network = make_network()
    inputs, _, noise = drawn(network, 5)
    state, expected_state = network.acting_state(5), network.initial_state(5)
    for t in range(STEPS):
        if t == STEPS // 2:
            network.input_synapses.weight.mul_(-0.5)
        spikes, state = network(inputs[t : t + 1], state, None, noise[t : t + 1])
        expected, expected_state = network(inputs[t : t + 1], expected_state, None, noise[t : t + 1])
        assert torch.equal(spikes, expected)


@torch.no_grad()
def test_a_settled_state_does_not_move_on():
    network = make_network()
    inputs, _, noise = drawn(network, 5)
    state = network.acting_state(5)
    network(inputs, state, None, noise)
    assert isinstance(state, ActingState)
    settled = state.settled()
    before = SpikingState(*(each.clone() for each in settled))
    network(inputs, state, None, noise)
    assert all(torch.equal(one, other) for one, other in zip(settled, before, strict=True))
    assert not torch.equal(settled.voltage, state.settled().voltage)


def test_gradients_and_other_batch_sizes_are_refused():
    network = make_network()
    inputs, reset, noise = drawn(network, 5)
    state = network.acting_state(5)
    with pytest.raises(RuntimeError, match="acting_state has no gradients"):
        network(inputs, state, reset, noise)
    with torch.no_grad(), pytest.raises(ValueError, match="state is of 5 networks: expected 4"):
        network(inputs[:, :4], state, reset[:, :4], noise[:, :4])


@torch.no_grad()
def test_what_the_kernels_lack_acts_by_the_reference():
    network = make_network(cell="eprop-c")
    assert isinstance(network.acting_state(3), SpikingState)
    double = make_network().double()
    assert isinstance(double.acting_state(3), ActingState)
    half = make_network().half()
    assert isinstance(half.acting_state(3), SpikingState)
