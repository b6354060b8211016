"""ST-RSBP's convolution and pooling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.grad import conv2d_input, conv2d_weight

from lsnn_gym.rules.layers import DenseSynapses, LayeredNetwork, Signal
from lsnn_gym.rules.st_rsbp.continuous import continuous_responses
from lsnn_gym.rules.st_rsbp.layers import SpikingLayer
from lsnn_gym.rules.st_rsbp.losses import (
    count_loss,
)
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron, spike_psp
from lsnn_gym.rules.st_rsbp.penalty import ExponentialPenalty
from lsnn_gym.rules.st_rsbp.pooling import SpikingPool
from lsnn_gym.rules.st_rsbp.random_layers import convolution, output
from lsnn_gym.rules.st_rsbp.rule import RSBPRule
from tests.rules import obvious_st_rsbp, obvious_synapses
from tests.rules.st_rsbp_networks import TABLE, random_spikes


def test_convolution_is_a_dense_layer_with_shared_weights():
    image, rule = (2, 5, 6), RSBPRule(table=TABLE, compiled=False)
    synapses, size = obvious_synapses.convolution(image, 3, 3, 2, 1, 1)
    generator = torch.Generator().manual_seed(3)
    layer = convolution(2, 3, 3, RSBPNeuron(1.2), rule, stride=2, padding=1, generator=generator).double()
    assert layer.neuron.slack == 0
    unrolled = torch.zeros(math.prod(size), math.prod(image), dtype=torch.float64)
    for post, pre, index in synapses:
        unrolled[post, pre] = layer.weight[index].item()
    same = SpikingLayer(DenseSynapses(), unrolled, layer.neuron, rule)
    # Every dense pair counts as a synapse: silence has a say by 0 weights only.
    inputs = [random_spikes(4, 40, 2, *image, rate=0.2).requires_grad_() for _ in range(2)]
    spikes = [each(Signal(x)).values.flatten(2) for each, x in zip((layer, same), inputs, strict=True)]
    assert torch.equal(*spikes)
    assert 20 < spikes[0].sum() < 0.3 * spikes[0].numel()
    error = torch.randn(2, math.prod(size), generator=generator, dtype=torch.float64)
    for each in spikes:
        (each.sum(0) * error).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    assert layer.weight.grad is not None
    assert same.weight.grad is not None
    shared = np.zeros(layer.weight.shape)
    for post, pre, index in synapses:
        shared[index] += same.weight.grad[post, pre].item()
    torch.testing.assert_close(layer.weight.grad, torch.as_tensor(shared))


@pytest.mark.parametrize("continuous", [False, True])
def test_pool_fires_by_the_windows_sums_and_shares_errors_out_by_psps(continuous: bool):
    neuron, images = RSBPNeuron(0.6), random_spikes(5, 40, 1, 2, 5, 4, rate=0.2).requires_grad_()
    signal = SpikingPool(2, neuron, RSBPRule(continuous_psp=continuous))(Signal(images))
    windows, size = obvious_synapses.windows((2, 5, 4), 2)
    assert signal.values.shape[2:] == size
    error = torch.randn(math.prod(size), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (signal.values.sum(0).flatten() * error).sum().backward()
    inputs, spikes = images.detach().flatten(2)[:, 0], signal.values.detach().flatten(2)[:, 0]
    expected = torch.zeros(40, dtype=torch.float64)
    for o, members in enumerate(windows):
        drive = inputs[:, members].sum(1)[:, None, None]
        assert torch.equal(neuron.run(drive).spikes.flatten(), spikes[:, o])
        for i in members:
            form = obvious_st_rsbp.continuous_psp if continuous else obvious_st_rsbp.spike_psp
            psp = form(64, 8, 2, inputs[:, i].numpy(), spikes[:, o].numpy())
            if inputs[:, i].any():
                expected[i] = error[o] / 4 * psp / inputs[:, i].sum()
    assert spikes.sum() > 10
    assert images.grad is not None
    torch.testing.assert_close(images.grad[0, 0].flatten(), expected)


@pytest.mark.parametrize("constants", [(64.0, 8.0, 2), (8.0, 3.0, 0), (6.0, 9.0, 4)])
def test_continuous_psp_is_the_obvious_one(constants: tuple[float, float, int]):
    neuron = RSBPNeuron(0.5, *constants)
    pre = random_spikes(6, 60, 2, 3, rate=0.3)
    post = neuron.run(2 * random_spikes(7, 60, 2, 4, rate=0.5)).spikes
    assert post.sum() > 10
    found = spike_psp(continuous_responses(neuron, post), pre)
    for b, o, i in np.ndindex(2, 4, 3):
        trains = pre[:, b, i].numpy(), post[:, b, o].numpy()
        expected = obvious_st_rsbp.continuous_psp(*constants, *trains)
        assert found[b, o, i].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_continuous_psp_is_near_the_discrete_one():
    neuron = RSBPNeuron(4.0)
    pre = random_spikes(8, 400, 4, 20, rate=0.1)
    post = neuron.run(pre @ torch.rand(20, 10, generator=torch.Generator().manual_seed(0)).double()).spikes
    continuous = spike_psp(continuous_responses(neuron, post), pre)
    discrete = spike_psp(neuron.responses(post), pre)
    assert (continuous / discrete).mean().item() == pytest.approx(1, abs=0.06)


def test_continuous_convolution_teaches_silent_neurons_as_published():
    rule = RSBPRule(continuous_psp=True, own_effect=False)
    layer = convolution(1, 2, 2, RSBPNeuron(1e3), rule).double()
    images = random_spikes(9, 40, 3, 1, 4, 4, rate=0.2).requires_grad_()
    error = torch.rand(3, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spikes = layer(Signal(images)).values
    assert not spikes.any()
    (spikes.sum(0) * error).sum().backward()
    active = (images.detach().sum(0) > 0).double()
    expected = conv2d_weight(active, layer.weight.shape, 0.1 * error / 1e3)
    torch.testing.assert_close(layer.weight.grad, expected)
    below = conv2d_input(active.shape, layer.weight, 0.5 * error / 1e3)
    assert images.grad is not None
    torch.testing.assert_close(images.grad[0], below)


def test_convolutional_network_learns_something():
    generator = torch.Generator().manual_seed(0)
    rule = RSBPRule(table=TABLE)
    network = LayeredNetwork(
        [
            convolution(1, 4, 3, RSBPNeuron(1.0), rule, generator=generator),
            SpikingPool(2, RSBPNeuron(0.7)),
            output(16, 3, RSBPNeuron(1.0), rule, generator=generator),
        ]
    )
    labels = torch.arange(3).repeat(3)
    chance = torch.rand(3, 1, 6, 6, generator=generator) * 0.4
    inputs = (torch.rand(50, 9, 1, 6, 6, generator=generator) < chance[labels]).float()
    optimizer, losses = torch.optim.Adam(network.parameters(), lr=0.02), []
    for _ in range(25):
        optimizer.zero_grad()
        loss = count_loss(network(inputs)[-1], labels, desired=10, undesired=2, margin=1)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_bad_images_are_named():
    neuron = RSBPNeuron(1.0)
    with pytest.raises(
        ValueError, match=r"^pooling of values \(1, 1, 2\): expected \[T, B, channels, height, width\]$"
    ):
        SpikingPool(2, neuron)(Signal(torch.zeros(1, 1, 2)))
    with pytest.raises(ValueError, match=r"^images are 1 x 4: expected at least the pool's 2$"):
        SpikingPool(2, neuron)(Signal(torch.zeros(3, 1, 2, 1, 4)))
    with pytest.raises(ValueError, match=r"^window is 0: expected at least 1 pixel$"):
        SpikingPool(0, neuron)
    with pytest.raises(ValueError, match=r"^inhibition is 1.0: expected 0 in a layer that is not dense$"):
        SpikingLayer(convolution(1, 1, 2, neuron).synapses, torch.zeros(1, 1, 2, 2), neuron, inhibition=1.0)
    with pytest.raises(ValueError, match=r"^limit is 0: expected above 0$"):
        ExponentialPenalty(limit=0)
    with pytest.raises(
        ValueError, match=r"^tau_membrane and tau_synapse are both 8: expected two that differ$"
    ):
        continuous_responses(RSBPNeuron(1.0, 8, 8), torch.zeros(3, 1, 2))
