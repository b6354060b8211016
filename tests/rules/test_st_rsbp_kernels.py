"""ST-RSBP's compiled kernels: the numbers of the plain form, whatever the processor, the network or the threads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lsnn_gym.engine import native
from lsnn_gym.rules.decisions import count_spikes, decide_by_most
from lsnn_gym.rules.layers import DenseSynapses, Signal
from lsnn_gym.rules.st_rsbp import compiled
from lsnn_gym.rules.st_rsbp.layers import SpikingLayer
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron
from lsnn_gym.rules.st_rsbp.random_layers import grid_connections
from lsnn_gym.rules.st_rsbp.recurrent import solve
from lsnn_gym.rules.st_rsbp.rule import Recurrence, RSBPRule
from tests.rules.st_rsbp_networks import gradients, random_spikes, small_network

NEEDS_KERNELS = pytest.mark.skipif(compiled.unavailable is not None, reason=str(compiled.unavailable))


@NEEDS_KERNELS
@pytest.mark.parametrize("recurrence", list(Recurrence))
@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_equal_the_plain_form(recurrence: Recurrence, threads: int):
    inputs, labels = random_spikes(8, 90, 4, 20), torch.tensor([3, 1, 2, 0])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = []
        for by_kernels in (True, False):
            network = small_network(RSBPRule(recurrence=recurrence, compiled=by_kernels))
            signals = network(inputs)
            found.append((gradients(network, inputs, labels), [each.values for each in signals]))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*(each[1] for each in found), strict=True):
        assert one.sum() > 0
        assert torch.equal(one, other)
    for one, other in zip(*(each[0] for each in found), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))


@NEEDS_KERNELS
def test_kernels_of_every_processor_give_the_same_numbers():
    inputs, labels = random_spikes(8, 90, 2, 20), torch.tensor([3, 1])
    network, found = small_network(RSBPRule()), []
    try:
        for isa in range(native.kernels().choose_isa(-1) + 1):
            assert native.kernels().choose_isa(isa) == isa
            found.append(gradients(network, inputs, labels))
    finally:
        native.kernels().choose_isa(-1)
    for each in found[1:]:
        for one, other in zip(found[0], each, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@NEEDS_KERNELS
def test_kernels_equal_the_plain_form_for_any_number_of_neurons_and_any_values():
    # Widths that fill vectors, and that do not; values that are no spikes; gradients that differ over steps.
    generator = torch.Generator().manual_seed(9)
    for inputs, outputs, period in ((1, 1, 0), (17, 33, 3), (40, 80, 2), (5, 130, 1)):
        weight = torch.rand(outputs, inputs, generator=generator, dtype=torch.float64)
        values = random_spikes(10, 30, 6, inputs, rate=0.3)[:, ::2] * torch.rand(
            30, 1, inputs, generator=generator, dtype=torch.float64
        )
        by_spikes = torch.rand(30, 3, outputs, generator=generator, dtype=torch.float64)
        by_spikes[:, 1] = 0  # a sample without error, which is passed over
        found = []
        for by_kernels in (True, False):
            neuron = RSBPNeuron(0.05 * inputs, refractory_period=period)
            layer = SpikingLayer(DenseSynapses(), weight.clone(), neuron, RSBPRule(compiled=by_kernels))
            below = values.clone().requires_grad_()
            spikes = layer(Signal(below)).values
            spikes.backward(by_spikes)
            found.append((spikes, below.grad, layer.weight.grad))
        assert found[1][0].sum() > 0
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@NEEDS_KERNELS
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("neurons", [(1,), (63,), (2, 32), (65,), (3, 5, 10)])
def test_spikes_are_packed_a_bit_each(neurons: tuple[int, ...], kind: torch.dtype):
    spikes = random_spikes(3, 7, 2, *neurons, rate=0.4).to(kind)
    packed = compiled.pack(spikes)
    assert packed is not None
    number = spikes.shape[2:].numel()
    assert packed.bits.shape == (2, 7, -(-number // 64))
    bits = packed.bits[..., None] >> torch.arange(64) & 1
    assert torch.equal(bits.flatten(2)[..., :number], spikes.flatten(2).transpose(0, 1).long())
    assert not bits.flatten(2)[..., number:].any()
    assert torch.equal(packed.counts, spikes.sum(0))
    spikes[4, 1] = 0.5
    assert compiled.pack(spikes) is None


@NEEDS_KERNELS
def test_layers_pack_what_they_fire():
    signals = small_network(RSBPRule())(random_spikes(8, 90, 4, 20))
    for signal in signals:
        expected = compiled.pack(signal.values)
        assert signal.packed is not None
        assert expected is not None
        assert all(torch.equal(*each) for each in zip(signal.packed, expected, strict=True))
    decision = decide_by_most(signals[-1].values)
    found = count_spikes(signals, decision)
    for one, other in zip(
        found, count_spikes([Signal(*each[:3]) for each in signals], decision), strict=True
    ):
        assert torch.equal(one, other)


@NEEDS_KERNELS
def test_the_plain_form_serves_where_another_engine_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LSNN_GYM_ENGINE", "reference")
    assert all(each.packed is None for each in small_network(RSBPRule())(random_spikes(8, 90, 4, 20)))


@NEEDS_KERNELS
@pytest.mark.parametrize("outputs", [1, 33, 70])
def test_neurons_that_fire_without_input_are_the_layers_alone(outputs: int):
    found = []
    for by_kernels in (True, False):
        neuron = RSBPNeuron(0.5, slack=1.0)
        layer = SpikingLayer(DenseSynapses(), torch.zeros(outputs, 4), neuron, RSBPRule(compiled=by_kernels))
        found.append(layer(Signal(torch.zeros(9, 2, 4))))
    assert torch.equal(found[0].values, found[1].values)
    assert found[0].values.sum() == 2 * outputs * 8  # at every step but the first
    assert found[0].packed is not None
    assert torch.equal(found[0].packed.counts, found[1].values.sum(0))


@NEEDS_KERNELS
def test_iteration_says_which_systems_it_solved():
    generator = torch.Generator().manual_seed(0)
    mask = grid_connections((4, 4, 4), generator)
    mask.fill_diagonal_(False)
    links = compiled.Links.of(mask)
    others = torch.randn(6, len(links.post), generator=generator, dtype=torch.float64) * 0.1
    divisor = torch.rand(6, 64, generator=generator, dtype=torch.float64) + 0.3
    divisor[0, :5] = -1e-4
    right = torch.randn(6, 64, generator=generator, dtype=torch.float64)
    right[1] = 0
    divisor[2], others[2] = float("nan"), 0
    found, solved = compiled.solve(links, divisor, others, right)
    systems = torch.zeros(6, 64, 64, dtype=torch.float64)
    systems[:, links.post, links.pre] = others
    systems.diagonal(dim1=1, dim2=2).copy_(divisor)
    assert not solved[2]
    assert solved[1]
    assert solved.sum() >= 4
    torch.testing.assert_close(found[solved], solve(systems[solved], right[solved]), rtol=1e-8, atol=1e-8)


@NEEDS_KERNELS
@pytest.mark.parametrize("recurrence", list(Recurrence))
def test_systems_that_iteration_does_not_solve_are_solved_all_the_same(recurrence, monkeypatch):
    network, labels = small_network(RSBPRule(recurrence=recurrence)), torch.tensor([0, 1, 2])
    inputs = random_spikes(11, 90, 3, 20)
    expected = gradients(network, inputs, labels)
    whole = compiled.solve

    def fails_at_the_second(*arguments: Any) -> tuple[Tensor, Tensor]:
        found, solved = whole(*arguments)
        found[1], solved[1] = float("nan"), False
        return found, solved

    monkeypatch.setattr(compiled, "solve", fails_at_the_second)
    for one, other in zip(gradients(network, inputs, labels), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_kernels_see_a_mask_that_is_loaded():
    networks = [small_network(RSBPRule(), seed) for seed in (0, 1)]
    inputs = random_spikes(13, 60, 2, 20)
    networks[0](inputs)  # its links are known now
    networks[0].load_state_dict(networks[1].state_dict())
    for one, other in zip(networks[0](inputs), networks[1](inputs), strict=True):
        assert torch.equal(one.values, other.values)
