"""Wired optimisers as users meet them: in place of any other, budget kept, resumed bit for bit, messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lsnn_gym.adam import EpsilonHatAdam
from lsnn_gym.errors import UserError
from lsnn_gym.rewiring import BudgetError, DeepR, Dense, FixedSparse, WiredOptimizer
from lsnn_gym.training.optimizer_state import optimizer_tensors, restore_optimizer
from lsnn_gym.wiring import WiredMatrix, Wiring, draw_mask, draw_wiring, recurrent_signs

KINDS = [DeepR, FixedSparse, Dense]
INNER: dict[str, Callable[[list[dict]], torch.optim.Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.05),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.05),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=0.05),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.05),
    "nadam": lambda groups: torch.optim.NAdam(groups, lr=0.05),
    "rprop": lambda groups: torch.optim.Rprop(groups, lr=0.05),
    "epsilon-hat": lambda groups: EpsilonHatAdam(groups, lr=0.05),
}
# Connectivity of the matrices [8, 6], [8, 8], [3, 8]; the last of "overflow" can only be full.
MIXES = {
    "equal": (0.3, 0.3, 0.3),
    "unequal": (0.05, 0.6, 0.2),
    "overflow": (0.1, 0.1, 1.0),
    "one-full": (1.0, 0.1, 0.1),
    "nearly-none": (0.02, 0.02, 0.02),
}


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Net(nn.Module):
    """Three matrices and biases, with a loss that changes from step to step."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inputs = nn.Linear(6, 8, dtype=dtype)
            self.recurrent = nn.Linear(8, 8, dtype=dtype)
            self.readout = nn.Linear(8, 3, dtype=dtype)

    def weights(self) -> list[Tensor]:
        return [self.inputs.weight, self.recurrent.weight, self.readout.weight]

    def loss(self, step: int) -> Tensor:
        draws = torch.randn(16, 9, generator=source(step), dtype=self.inputs.weight.dtype)
        hidden = torch.tanh(self.inputs(draws[:, :6]))
        return (self.readout(torch.tanh(self.recurrent(hidden))) - draws[:, 6:]).square().mean()

    def groups(self) -> list[dict]:
        biases = [self.inputs.bias, self.recurrent.bias, self.readout.bias]
        return [{"params": self.weights()}, {"params": biases}]


Kind = TypeVar("Kind", bound=WiredOptimizer)


def deep_r(net: Net, inner: str = "adam", **settings) -> DeepR:
    return wired(net, DeepR, inner, **settings)


def wired(
    net: Net, kind: type[Kind], inner: str = "adam", mix: str = "equal", seed: int = 1, **settings
) -> Kind:
    matrices = [
        WiredMatrix(weight, connectivity, **settings)
        for weight, connectivity in zip(net.weights(), MIXES[mix], strict=True)
    ]
    return kind(INNER[inner](net.groups()), matrices, source(seed))


def train(net: Net, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        net.loss(step).backward()
        optimizer.step()


def same(one: Net, other: Net) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


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


# What cannot be


def overfull() -> DeepR:
    weight = nn.Parameter(torch.zeros(4, 5))
    wiring = Wiring(torch.ones(4, 5), torch.ones(4, 5))
    return DeepR(torch.optim.SGD([weight], lr=0.1), [WiredMatrix(weight, 0.5, wiring=wiring)], source())


def test_more_connections_than_the_budget_are_refused_at_the_start():
    with pytest.raises(BudgetError, match=r"20 connections \[20\]: the budget is 10"):
        overfull()


def test_more_connections_than_the_budget_are_refused_before_a_step():
    net = Net()
    optimizer = deep_r(net)
    train(net, optimizer, range(2))
    stored = optimizer.state_dict()
    stored["wiring"]["1/theta"].fill_(1.0)
    optimizer.load_state_dict(stored)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    with pytest.raises(BudgetError, match=r"connections \[\d+, 64, \d+\]: the budget is 40"):
        optimizer.step()
    assert all(torch.equal(*pair) for pair in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize("which", ["recurrent.weight", "readout.bias"])
def test_gradients_that_are_not_finite_are_refused_and_nothing_changes(which):
    net = Net()
    optimizer = deep_r(net)
    train(net, optimizer, range(2))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    gradient = net.get_parameter(which).grad
    assert gradient is not None
    gradient.view(-1)[:2] = torch.tensor([float("nan"), float("inf")])
    with pytest.raises(FloatingPointError, match=r"2 of \d+ gradients of parameter \d .* are not finite"):
        optimizer.step()
    assert all(torch.equal(*pair) for pair in zip(net.parameters(), before, strict=True))


def test_weights_changed_by_something_else_are_noticed():
    net = Net()
    optimizer = deep_r(net)
    with torch.no_grad():
        net.recurrent.weight.mul_(2)
    with pytest.raises(ValueError, match=r"matrix 1 \[8, 8\] was changed outside the optimiser"):
        optimizer.step()


def test_a_failing_inner_step_leaves_weights_and_gradients(monkeypatch):
    net = Net()
    optimizer = deep_r(net, inner="sgd")
    net.loss(0).backward()
    before = [(weight.detach().clone(), weight.grad) for weight in net.weights()]

    def fail() -> None:
        raise MemoryError("no room for the moments")

    monkeypatch.setattr(optimizer.inner, "step", fail)
    with pytest.raises(MemoryError):
        optimizer.step()
    for weight, (value, gradient) in zip(net.weights(), before, strict=True):
        assert torch.equal(weight, value)
        assert weight.grad is gradient


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda net: torch.optim.LBFGS(net.parameters()), "LBFGS cannot be wrapped"),
        (lambda net: deep_r(net), "DeepR cannot be wrapped"),
        (
            lambda net: torch.optim.SGD(net.inputs.parameters()),
            r"matrix 1 \[8, 8\] is not among the optimiser's",
        ),
    ],
)
def test_optimisers_that_do_not_fit_are_refused(build, message):
    net = Net()
    inner = build(net)
    before = [weight.detach().clone() for weight in net.weights()]
    with pytest.raises(ValueError, match=message):
        DeepR(inner, [WiredMatrix(weight, 0.3) for weight in net.weights()], source())
    assert all(torch.equal(*pair) for pair in zip(net.weights(), before, strict=True))


def test_a_matrix_given_twice_is_refused():
    net = Net()
    with pytest.raises(ValueError, match=r"matrix 1 \[8, 6\] is given twice"):
        DeepR(
            torch.optim.SGD(net.parameters()),
            [WiredMatrix(net.inputs.weight, 0.3), WiredMatrix(net.inputs.weight, 0.3)],
            source(),
        )


def test_state_of_other_matrices_is_refused_and_nothing_changes():
    net = Net()
    optimizer = deep_r(net)
    train(net, optimizer, range(3))
    before = optimizer.wiring_tensors()
    lacking = {name: tensor for name, tensor in before.items() if name != "1/sign"}
    with pytest.raises(UserError, match=r"wiring's tensor '1/sign' is missing, expected \[8, 8\]"):
        optimizer.restore_wiring(lacking)
    with pytest.raises(UserError, match=r"wiring's tensor '0/theta' is \[6, 8\], expected \[8, 6\]"):
        optimizer.restore_wiring(before | {"0/theta": before["0/theta"].T})
    with pytest.raises(UserError, match=r"wiring has an unknown tensor '4/theta': did you mean"):
        optimizer.restore_wiring(before | {"4/theta": before["0/theta"]})
    with pytest.raises(UserError, match=r"wiring's tensor 'generator' is missing"):
        optimizer.load_state_dict(optimizer.inner.state_dict())
    after = optimizer.wiring_tensors()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("changed", [{"lr": -1.0}, {"eps": -1.0}, {"betas": (0.9, 1.0)}])
def test_epsilon_hat_adam_refuses_settings_out_of_range(changed):
    with pytest.raises(ValueError, match="expected lr, eps >= 0 and betas in"):
        EpsilonHatAdam([nn.Parameter(torch.ones(1))], **changed)
