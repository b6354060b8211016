"""Wired optimisers as users meet them: in place of any other, budget kept, resumed bit for bit, messages."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lsnn_gym.adam import EpsilonHatAdam
from lsnn_gym.rewiring import DeepR, Dense, FixedSparse
from lsnn_gym.training.optimizer_state import optimizer_tensors, restore_optimizer
from lsnn_gym.wiring import WiredMatrix, Wiring, draw_mask, draw_wiring, recurrent_signs
from tests.wired_nets import INNER, KINDS, MIXES, Net, deep_r, same, source, train, wired


def test_deep_r_on_a_linear_layer_finds_a_sparse_regression():
    # Of 40 inputs, each of 5 outputs follows about 3, with the sign that the synapse has.
    wiring = draw_wiring((5, 40), 0.15, source(2))
    truth = torch.where(draw_mask((5, 40), 0.075, source(3)), wiring.sign, 0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(40, 5)
    optimizer = DeepR(
        torch.optim.Adam(layer.parameters(), lr=0.02),
        [WiredMatrix(layer.weight, connectivity=0.15, l1=0.001, wiring=wiring)],
        source(),
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1000, gamma=0.3)
    for step in range(2000):
        inputs = torch.randn(64, 40, generator=source(step))
        loss = nn.functional.mse_loss(layer(inputs), inputs @ truth.T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert sum(optimizer.connections()) == optimizer.budget == 30
    found = layer.weight.detach()
    torch.testing.assert_close(found, truth, atol=0.02, rtol=0)
    assert ((found != 0) & (truth == 0)).sum() > 0
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * 0.09)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("resumed", [False, True], ids=["whole", "resumed"])
def test_the_budget_holds_over_a_thousand_steps(mix, resumed):
    net = Net()
    optimizer = deep_r(net, mix=mix, l1=0.05, temperature=1e-4)
    assert sum(optimizer.connections()) <= optimizer.budget
    rewired = 0
    for step in range(1000):
        if resumed and step % 100 == 50:
            stored = optimizer.state_dict()
            net = Net()
            optimizer = deep_r(net, mix=mix, l1=0.05, temperature=1e-4, seed=99)
            optimizer.load_state_dict(stored)
        train(net, optimizer, range(step, step + 1))
        counts = optimizer.connections()
        full = any(n == weight.numel() for n, weight in zip(counts, net.weights(), strict=True))
        assert sum(counts) == optimizer.budget or (full and sum(counts) < optimizer.budget)
        assert [int((weight != 0).sum()) for weight in net.weights()] == counts
        rewired += sum(optimizer.reconnected)
    assert rewired > 300


@pytest.mark.parametrize("inner", INNER)
def test_any_inner_optimiser_keeps_budget_and_signs(inner):
    net = Net()
    optimizer = deep_r(net, inner=inner)
    signs = [optimizer.wiring(index).sign for index in range(3)]
    before = net.loss(0).item()
    for step in range(200):
        train(net, optimizer, range(step, step + 1))
        assert sum(optimizer.connections()) == optimizer.budget
        for weight, sign in zip(net.weights(), signs, strict=True):
            assert bool((weight * sign >= 0).all())
    assert net.loss(0).item() < before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inner", ["momentum", "adam", "epsilon-hat"])
def test_resumed_from_tensors_and_json_it_goes_on_bit_for_bit(kind, inner):
    whole, stopped = Net(), Net()
    straight, first = (wired(net, kind, inner, temperature=0.01) for net in (whole, stopped))
    train(whole, straight, range(40))
    train(stopped, first, range(25))
    tensors, scalars = optimizer_tensors(first.inner, stopped.named_parameters())
    file = safetensors.torch.save(first.wiring_tensors())
    fresh = Net()
    fresh.load_state_dict(stopped.state_dict())
    second = wired(fresh, kind, inner, temperature=0.01, seed=7)
    restore_optimizer(second.inner, fresh.named_parameters(), tensors, json.loads(json.dumps(scalars)))
    second.restore_wiring(safetensors.torch.load(file))
    assert same(fresh, stopped)
    train(fresh, second, range(25, 40))
    assert same(fresh, whole)
    assert not same(stopped, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dict_is_a_snapshot(kind):
    net = Net()
    optimizer = wired(net, kind)
    train(net, optimizer, range(5))
    stored = {name: tensor.clone() for name, tensor in optimizer.state_dict()["wiring"].items()}
    snapshot = optimizer.state_dict()["wiring"]
    train(net, optimizer, range(5, 10))
    assert all(torch.equal(snapshot[name], tensor) for name, tensor in stored.items())


@pytest.mark.parametrize("inner", INNER)
def test_dense_is_the_inner_optimiser_bit_for_bit(inner):
    net, plain = Net(), Net()
    optimizer = wired(net, Dense, inner)
    if inner == "epsilon-hat":
        # Weights of both signs take sign * theta, which rounds alike.
        assert set(optimizer.wiring(0).sign.unique().tolist()) == {-1.0, 1.0}
    train(net, optimizer, range(30))
    train(plain, INNER[inner](plain.groups()), range(30))
    assert same(net, plain)


def test_fixed_sparse_connectivity_stays():
    net = Net()
    optimizer = wired(net, FixedSparse)
    masks = [weight != 0 for weight in net.weights()]
    assert [int(mask.sum()) for mask in masks] == [14, 19, 7]
    before = [weight.detach().clone() for weight in net.weights()]
    train(net, optimizer, range(300))
    crossed = 0
    for weight, mask, start in zip(net.weights(), masks, before, strict=True):
        assert torch.equal(weight != 0, mask)
        crossed += int((weight * start < 0).sum())
    assert crossed > 0
    assert optimizer.connections() == [14, 19, 7]


@pytest.mark.parametrize("kind", KINDS)
def test_dales_law_is_kept(kind):
    net = Net()
    signs = recurrent_signs(8)
    wiring = draw_wiring((8, 8), 0.5, source(), pre_signs=signs)
    matrix = WiredMatrix(net.recurrent.weight, 0.5, wiring=wiring, keep_signs=True)
    optimizer = kind(torch.optim.Adam(net.parameters(), lr=0.05), [matrix], source())
    assert torch.equal(net.recurrent.weight, wiring.weight().double())
    train(net, optimizer, range(200))
    assert bool((net.recurrent.weight * signs >= 0).all())
    assert bool((net.recurrent.weight == 0).any())


def test_momentum_does_not_reconnect():
    weight = nn.Parameter(torch.zeros(1, 2))
    wiring = Wiring(torch.tensor([[0.1, 0.5]]), torch.ones(1, 2))
    inner = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    optimizer = DeepR(inner, [WiredMatrix(weight, 1.0, l1=0.0, wiring=wiring)], source(), reconnect=False)
    for gradient in (1.0, -10.0, -10.0, 0.0):
        weight.grad = torch.tensor([[gradient, 0.0]])
        optimizer.step()
        assert weight.tolist() == [[0.0, 0.5]]
    assert optimizer.connections() == [1]


def test_the_learning_rate_is_the_current_one_of_the_matrix_own_group():
    one, two = (nn.Parameter(torch.zeros(1, 1)) for _ in range(2))
    inner = torch.optim.SGD([{"params": [one], "lr": 0.1}, {"params": [two], "lr": 0.2}], lr=9.0)
    start = Wiring(torch.ones(1, 1), -torch.ones(1, 1))
    optimizer = DeepR(inner, [WiredMatrix(each, 1.0, l1=1.0, wiring=start) for each in (one, two)], source())
    for group in optimizer.param_groups:
        group["lr"] /= 2
    one.grad, two.grad = torch.zeros(1, 1), torch.zeros(1, 1)
    optimizer.step()
    assert one.item() == pytest.approx(-0.95)
    assert two.item() == pytest.approx(-0.9)
    assert inner.param_groups[0]["lr"] == 0.05
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[1]["lr"] = 0.3
    assert inner.param_groups[1]["lr"] == 0.3


def test_noise_has_the_stated_size():
    weight = nn.Parameter(torch.zeros(100, 100, dtype=torch.float64))
    start = Wiring(torch.full((100, 100), 5.0), torch.ones(100, 100))
    matrix = WiredMatrix(weight, 1.0, l1=0.5, temperature=0.02, wiring=start)
    optimizer = DeepR(torch.optim.SGD([weight], lr=0.1), [matrix], source())
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    change = weight.detach() - 5
    assert change.std().item() == pytest.approx((2 * 0.1 * 0.02) ** 0.5, rel=0.03)
    assert change.mean().item() == pytest.approx(-0.05, abs=0.002)


def test_a_matrix_without_gradient_sits_the_step_out():
    net = Net()
    optimizer = deep_r(net, l1=1.0)
    train(net, optimizer, range(3))
    optimizer.zero_grad()
    assert all(weight.grad is None for weight in net.weights())
    before = [weight.detach().clone() for weight in net.weights()]
    optimizer.step()
    assert all(torch.equal(*pair) for pair in zip(net.weights(), before, strict=True))


def test_a_closure_gives_the_loss_and_its_gradient():
    net, other = Net(), Net()
    optimizer = deep_r(net)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = net.loss(0)
        loss.backward()
        return loss

    expected = net.loss(0).item()
    assert optimizer.step(closure).item() == expected
    train(other, deep_r(other), range(1))
    assert same(net, other)


def test_same_seed_same_training():
    nets = [Net(), Net(), Net()]
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        train(net, deep_r(net, seed=seed), range(20))
    assert same(nets[0], nets[1])
    assert not same(nets[0], nets[2])


def test_without_reconnection_connections_are_only_lost():
    net = Net()
    optimizer = DeepR(
        torch.optim.Adam(net.parameters(), lr=0.05),
        [WiredMatrix(net.recurrent.weight, 0.5, l1=0.1)],
        source(),
        reconnect=False,
    )
    counts = []
    for step in range(100):
        train(net, optimizer, range(step, step + 1))
        counts += optimizer.connections()
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0]
    assert optimizer.reconnected == [0]


def test_float32_keeps_the_budget():
    net = Net(torch.float32)
    optimizer = deep_r(net)
    train(net, optimizer, range(100))
    assert sum(optimizer.connections()) == optimizer.budget
    assert optimizer.wiring(0).theta.dtype == torch.float32


def test_epsilon_hat_by_hand():
    parameter = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = EpsilonHatAdam([parameter], lr=0.1, eps=1e-3)
    parameter.grad = torch.tensor([1e-3, 0.0], dtype=torch.float64)
    optimizer.step()
    # m = 1e-4, v = 1e-9, correction sqrt(0.001) / 0.1
    expected = 1 - 0.1 * 0.001**0.5 / 0.1 * 1e-4 / (1e-9**0.5 + 1e-3)
    assert parameter.tolist() == pytest.approx([expected, 2.0])
