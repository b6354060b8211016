"""ANTLR's layers and networks of them: pools, convolutions, products, early stop."""

from __future__ import annotations

import pytest
import torch

from lsnn_gym.rules.antlr import network as antlr_network
from lsnn_gym.rules.antlr.layers import SpikingLayer, convolution, dense
from lsnn_gym.rules.antlr.network import run_together
from lsnn_gym.rules.antlr.neuron import COMBINED, AntlrNeuron
from lsnn_gym.rules.antlr.pooling import AveragePool, MaxPool
from lsnn_gym.rules.layers import DenseSynapses, Signal
from tests.rules.antlr_networks import normal, random_network, random_spikes


@pytest.mark.parametrize("piece", [1, 5, 7, 100])
def test_stopping_early_is_the_beginning_of_the_whole(piece: int, monkeypatch):
    monkeypatch.setattr(antlr_network, "PIECE", piece)
    inputs = random_spikes(60, 3, 10, density=0.4)
    whole = random_network(COMBINED)(inputs)
    short = random_network(COMBINED, stops_early=True)(inputs)
    first_spikes = whole[-1].values.argmax(0)
    assert whole[-1].values.any(0).all()
    steps = int(first_spikes.max()) + 1
    assert 1 < steps < 60
    assert len(short[-1].values) == steps
    for one, other in zip(whole, short, strict=True):
        torch.testing.assert_close(one.values[:steps], other.values)


def test_nothing_stops_while_one_output_is_silent():
    network = random_network(COMBINED, stops_early=True)
    with torch.no_grad():
        network.layers[1].weight[2] = -1.0  # type: ignore[index]
    assert len(network(random_spikes(40, 3, 10, density=0.4))[-1].values) == 40


def test_networks_side_by_side_stop_when_the_last_of_them_may():
    networks = [random_network(COMBINED, stops_early=True) for _ in range(2)]
    with torch.no_grad():
        for each in networks[1].parameters():
            each *= 0.6
    inputs = [random_spikes(80, 3, 10, seed=seed, density=0.4) for seed in (0, 1)]
    alone = [network(each) for network, each in zip(networks, inputs, strict=True)]
    lengths = [len(each[-1].values) for each in alone]
    assert lengths[0] != lengths[1]
    assert max(lengths) < 80
    together = run_together(networks, inputs)
    assert [len(each[-1].values) for each in together] == [max(lengths)] * 2
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one[-1].values, other[-1].values[: len(one[-1].values)])


def test_max_pool_sends_both_errors_to_the_first_of_the_largest():
    values = torch.tensor([[0.0, 1, 1, 0, 1], [1, 1, 0, 0, 1], [1, 1, 1, 1, 1]]).view(1, 1, 1, 3, 5)
    signal = Signal(values.requires_grad_(), torch.zeros_like(values).requires_grad_())
    pooled = MaxPool(2)(signal)
    assert pooled.values.flatten().tolist() == [1, 1]
    (pooled.values * torch.tensor([2.0, 3.0]) + pooled.timing * torch.tensor([5.0, 7.0])).sum().backward()
    for found, (first, second) in ((signal.values.grad, (2, 3)), (signal.timing.grad, (5, 7))):  # type: ignore[union-attr]
        assert found.flatten().tolist() == [0, first, second, *[0] * 12]  # type: ignore[union-attr]


def test_average_pool_spreads_both_errors_over_whole_windows():
    values = torch.arange(15.0).view(1, 1, 1, 3, 5)
    signal = Signal(values.requires_grad_(), torch.zeros_like(values).requires_grad_())
    pooled = AveragePool(2)(signal)
    assert pooled.values.flatten().tolist() == [3, 5]
    (pooled.values * 4 + pooled.timing * 8).sum().backward()
    for found, share in ((signal.values.grad, 1), (signal.timing.grad, 2)):  # type: ignore[union-attr]
        row = [share] * 4 + [0]
        assert found.flatten().tolist() == [*row, *row, *[0] * 5]  # type: ignore[union-attr]


def test_convolution_with_stride_and_dilation_is_as_many_dense_synapses():
    neuron, generator = AntlrNeuron(0.8, 0.9, 1.0, 0.5, 0.5), torch.Generator().manual_seed(0)
    layer = convolution(
        2, 3, 3, neuron, COMBINED, stride=2, padding=1, dilation=2, generator=generator
    ).double()
    with torch.no_grad():
        layer.weight.add_(0.2)
    inputs = random_spikes(10, 2, 2, 8, 7, density=0.3)
    output = layer(Signal(inputs))
    assert output.values.shape == (10, 2, 3, 3, 3)
    basis = torch.eye(2 * 8 * 7, dtype=torch.float64).view(1, -1, 2, 8, 7)
    matrix = layer.synapses.drive(basis, layer.weight).detach()[0].flatten(1).T
    other = SpikingLayer(dense(112, 27, neuron, COMBINED).synapses, matrix, neuron, COMBINED)
    flat = other(Signal(inputs.flatten(2)))
    assert torch.equal(output.values.flatten(2), flat.values)
    assert 0 < flat.values.sum() < flat.values.numel()
    factors = normal(3, 10, 2, 27)
    assert output.timing is not None
    (factors * (output.values.flatten(2) - output.timing.flatten(2))).sum().backward()
    assert flat.timing is not None
    (factors * (flat.values - flat.timing)).sum().backward()
    assert other.weight.grad is not None
    probe = layer.weight.detach().clone().requires_grad_()
    drives = layer.synapses.drive(basis, probe)[0].flatten(1).T
    (expected,) = torch.autograd.grad((drives * other.weight.grad).sum(), probe)
    torch.testing.assert_close(layer.weight.grad, expected)


def test_output_carries_no_timing_value_and_spikes_without_gradient():
    signals = random_network(COMBINED)(random_spikes(40, 3, 10))
    for each in signals:
        assert each.timing is not None
        assert each.spikes is not None
        assert not each.timing.any()
        assert each.timing.requires_grad
        assert not each.spikes.requires_grad
        assert torch.equal(each.spikes, each.values)


@pytest.mark.parametrize("share", [0.0, 0.004, 0.3])
def test_products_of_few_spikes_are_those_of_many(share: float):
    generator = torch.Generator().manual_seed(5)
    values = (torch.rand(20, 3, 2, 5, 6, generator=generator) < share).double()
    values[7:] = 0
    weight = torch.randn(100, 60, generator=generator, dtype=torch.float64)
    by_drive = torch.randn(20, 3, 100, generator=generator, dtype=torch.float64)
    synapses = DenseSynapses()
    with torch.no_grad():
        found = synapses.drive(values, weight), synapses.by_weight(by_drive, values, weight)
    expected = synapses.drive(values, weight), torch.einsum("tbo,tbi->oi", by_drive, values.flatten(2))
    for mine, its in zip(found, expected, strict=True):
        assert mine.is_contiguous()
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-12)
