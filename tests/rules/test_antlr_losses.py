"""ANTLR's losses: what they say of output spikes, their errors, their limits."""

from __future__ import annotations

import math

import pytest
import torch

from lsnn_gym.rules.antlr.losses import (
    clip_gradients_,
    exponential_kernel,
    latency_errors,
    latency_loss,
    train_distances,
    train_errors,
)
from lsnn_gym.rules.antlr.neuron import COMBINED
from tests.rules.antlr_networks import gradients, normal, random_network, random_spikes


def test_train_loss_is_what_its_error_of_spikes_says():
    target = random_spikes(20, 2, 3, seed=2)
    spikes = normal(1, 20, 2, 3).requires_grad_()
    kernel = exponential_kernel(0.7, 20)
    residual = torch.zeros(20 + len(kernel) - 1, 2, 3, dtype=torch.float64)
    for k, value in enumerate(kernel):
        residual = residual + value * torch.nn.functional.pad(
            spikes - target, (0, 0, 0, 0, k, len(kernel) - 1 - k)
        )
    loss = residual.square().sum() / (20 * 2)
    errors = train_errors(spikes.detach(), target, 0.7)
    assert errors.loss.item() == pytest.approx(loss.item())
    torch.testing.assert_close(errors.by_spike, torch.autograd.grad(loss, spikes)[0])


def test_kernel_ends_before_what_is_too_small():
    assert len(exponential_kernel(0.5, 300)) == 20  # 0.5^19 is the last above 1e-6
    assert len(exponential_kernel(0.9, 30)) == 30
    assert len(exponential_kernel(0.0, 30)) == 1
    with pytest.raises(
        ValueError, match=r"^decay 0.99 makes the loss's kernel 300 steps long: expected at most 201$"
    ):
        exponential_kernel(0.99, 300)
    assert len(exponential_kernel(0.99, 201)) == 201
    with pytest.raises(ValueError, match=r"^decay of the loss's kernel is 1.0: expected from 0 to below 1$"):
        exponential_kernel(1.0, 30)


def test_latency_loss_by_hand():
    # Three steps, one sample: outputs fire first at step 0 and at step 2, the label's never.
    spikes = torch.tensor([[[1.0, 0, 0]], [[1, 0, 0]], [[0, 1, 0]]])
    errors = latency_errors(spikes, torch.tensor([2]), softmax_beta=0.5, no_spike_weight=0.25)
    assert errors.logits.tolist() == [[1.5, 0.5, 0.0]]
    chance = torch.tensor([1.5, 0.5, 0.0]).softmax(0)
    assert errors.cross_entropy.item() == pytest.approx(-math.log(chance[2]))
    assert errors.no_spike.item() == 0.25
    assert errors.by_spike[:, 0].tolist() == [[0, 0, -0.25]] * 3
    assert errors.by_time[0, 0].tolist() == pytest.approx([-0.5 * chance[0].item(), 0, 0])
    assert errors.by_time[1, 0].tolist() == [0, 0, 0]
    assert errors.by_time[2, 0].tolist() == pytest.approx([0, -0.5 * chance[1].item(), 0])


def test_latency_error_of_time_is_the_derivative_by_when_the_spikes_come():
    first = torch.tensor([[3.0, 7.0, 5.0], [1.0, 2.0, 8.0]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 0])
    loss = torch.nn.functional.cross_entropy((10 - first) / 6, labels)
    (expected,) = torch.autograd.grad(loss, first)
    spikes = torch.nn.functional.one_hot(first.long(), 10).permute(2, 0, 1).double()
    errors = latency_errors(spikes, labels)
    assert errors.cross_entropy.item() == pytest.approx(loss.item())
    torch.testing.assert_close(errors.by_time.sum(0), expected)


def test_scaled_loss_scales_both_errors():
    network = random_network(COMBINED)
    loss = latency_loss(network(random_spikes(40, 3, 10))[-1], torch.tensor([0, 1, 2]))
    once = gradients(network, loss)
    loss = latency_loss(network(random_spikes(40, 3, 10))[-1], torch.tensor([0, 1, 2]))
    for one, other in zip(once, gradients(network, 3 * loss), strict=True):
        assert one.any()
        torch.testing.assert_close(3 * one, other)


def test_gradients_are_cut_element_by_element():
    weight = torch.nn.Parameter(torch.zeros(5))
    weight.grad = torch.tensor([0.5, -3.0, float("nan"), float("inf"), 1.0])
    untouched = torch.nn.Parameter(torch.zeros(1))
    clip_gradients_([weight, untouched])
    assert weight.grad.tolist() == [0.5, -1.0, 0.0, 1.0, 1.0]
    assert untouched.grad is None


def test_distances_from_trains_are_the_losses_of_trains():
    generator = torch.Generator().manual_seed(4)
    spikes, targets = ((torch.rand(30, size, 6, generator=generator) < 0.2).double() for size in (3, 4))
    found = train_distances(spikes, targets, 0.8)
    assert found.shape == (3, 4)
    for b in range(3):
        for c in range(4):
            loss = train_errors(spikes[:, b : b + 1], targets[:, c : c + 1], 0.8).loss
            assert found[b, c].item() == pytest.approx(30 * loss.item(), rel=1e-9)
    assert float(train_distances(targets, targets, 0.8).diagonal().abs().max()) < 1e-9
