"""What trainers share: kinds of optimisers, learning rates, steps, checkpoints of weights, optimiser and wiring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsnn_gym.adam import EpsilonHatAdam
from lsnn_gym.errors import UserError
from lsnn_gym.rewiring import DeepR, Dense, FixedSparse, WiredOptimizer
from lsnn_gym.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lsnn_gym.training.finite import Watched
from lsnn_gym.training.optimization import (
    connections,
    decayed,
    follow_scaling,
    load_model,
    make_checkpoint,
    make_optimizer,
    restore_checkpoint,
    set_learning_rate,
    step,
)
from lsnn_gym.training.train_settings import BatchTrainSettings
from lsnn_gym.wiring import WiredMatrix


class Net(nn.Module):
    """Two matrices, a bias, and one parameter that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first = nn.Linear(6, 8)
            self.second = nn.Linear(8, 3, bias=False)
        self.fixed = nn.Parameter(torch.ones(2), requires_grad=False)

    def loss(self, number: int) -> Tensor:
        draws = torch.randn(16, 9, generator=torch.Generator().manual_seed(number))
        return (self.second(torch.tanh(self.first(draws[:, :6]))) - draws[:, 6:]).square().mean()

    def matrices(self) -> list[WiredMatrix]:
        return [WiredMatrix(layer.weight, 0.5, temperature=1e-3) for layer in (self.first, self.second)]


def optimizer_of(net: Net, wired: bool = False, **changes: Any) -> Any:
    given = {"learning_rate": 0.05, "epsilon": 1e-5, "wiring": "deep_r", "seed": 3, **changes}
    return make_optimizer(net, net.matrices() if wired else [], **given)


def train(net: Net, optimizer: Any, steps: range) -> None:
    for number in steps:
        step(optimizer, net.loss(number), None, Watched(net, number))


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Optimisers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("epsilon-hat-adam", EpsilonHatAdam)])
def test_the_name_says_which_adam(name, kind):
    net = Net()
    optimizer = optimizer_of(net, name=name)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["eps"]) == (0.05, 1e-5)
    assert [id(each) for each in group["params"]] == [
        id(each) for each in (net.first.weight, net.first.bias, net.second.weight)
    ]


@pytest.mark.parametrize(
    ("wiring", "kind"), [("deep_r", DeepR), ("fixed_sparse", FixedSparse), ("dense", Dense)]
)
def test_managed_matrices_get_the_wrapper_that_the_wiring_names(wiring, kind):
    net = Net()
    optimizer = optimizer_of(net, wired=True, wiring=wiring, name="epsilon-hat-adam")
    assert type(optimizer) is kind
    assert type(optimizer.inner) is EpsilonHatAdam
    assert [id(each.weight) for each in optimizer.matrices] == [id(net.first.weight), id(net.second.weight)]
    assert connections(optimizer) == {
        "connections": sum(int((each.weight != 0).sum()) for each in net.matrices())
    }
    # Without matrices to manage there is nothing to wrap, whatever the setting says.
    assert type(optimizer_of(Net(), wiring=wiring)) is torch.optim.Adam


def test_a_plain_optimiser_counts_no_connections():
    assert connections(optimizer_of(Net())) == {}


def test_the_seed_draws_the_connections():
    def mask(seed: int) -> Tensor:
        net = Net()
        optimizer_of(net, wired=True, seed=seed)
        return net.first.weight != 0

    assert torch.equal(mask(1), mask(1))
    assert not torch.equal(mask(1), mask(2))


# Learning rates and steps ------------------------------------------------------------------------


def test_the_learning_rate_is_multiplied_after_every_so_many_iterations():
    settings = BatchTrainSettings(learning_rate=0.01, learning_rate_decay=0.5, learning_rate_decay_every=3)
    rates = [decayed(settings, iteration) for iteration in range(8)]
    assert rates == [0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.0025, 0.0025]
    constant = BatchTrainSettings(learning_rate=0.3, learning_rate_decay=1.0, learning_rate_decay_every=1)
    assert decayed(constant, 1000) == 0.3


@pytest.mark.parametrize("wired", [False, True])
def test_a_learning_rate_that_is_set_is_the_one_of_the_next_step(wired):
    net = Net()
    optimizer = optimizer_of(net, wired)
    set_learning_rate(optimizer, 0.001)
    before = net.first.bias.detach().clone()
    train(net, optimizer, range(1))
    # Adam's first step is as long as the learning rate.
    assert (net.first.bias - before).abs().max().item() == pytest.approx(0.001, rel=0.05)


def gradient_norm(net: Net, number: int) -> float:
    trained = [each for each in net.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(net.loss(number), trained)
    return float(sum(each.double().square().sum() for each in gradients)) ** 0.5


@pytest.mark.parametrize("limit", [None, 1e-3, 1e3])
def test_a_step_clips_the_gradient_and_returns_the_norm_before(limit):
    net, rate = Net(), 0.1
    before = [each.detach().clone() for each in net.parameters()]
    norm = gradient_norm(net, 0)
    assert 0.1 < norm < 10
    optimizer = torch.optim.SGD([each for each in net.parameters() if each.requires_grad], lr=rate)
    # What was left of another loss does not count.
    net.loss(9).backward()
    returned = step(optimizer, net.loss(0), limit, Watched(net, 0))
    assert returned.item() == pytest.approx(norm, rel=1e-5)
    moved = sum(
        (each.detach() - old).double().square().sum()
        for each, old in zip(net.parameters(), before, strict=True)
    )
    assert float(moved) ** 0.5 == pytest.approx(rate * min(norm, limit or norm), rel=1e-3)


def test_a_step_goes_down():
    net = Net()
    optimizer = optimizer_of(net, learning_rate=1e-3)
    before = net.loss(0).item()
    step(optimizer, net.loss(0), 1.0, Watched(net, 0))
    assert net.loss(0).item() < before


@pytest.mark.parametrize("wiring", ["deep_r", "fixed_sparse", "dense"])
def test_theta_follows_a_weight_that_was_scaled_after_the_step(wiring):
    net = Net()
    optimizer = optimizer_of(net, wired=True, wiring=wiring)
    train(net, optimizer, range(2))
    thetas = [optimizer.wiring(index).theta for index in range(2)]
    with torch.no_grad():
        net.second.weight.mul_(0.75)
    follow_scaling(optimizer, net.second.weight, 0.75)
    assert torch.equal(optimizer.wiring(0).theta, thetas[0])
    assert torch.equal(optimizer.wiring(1).theta, 0.75 * thetas[1])
    train(net, optimizer, range(2, 3))


def test_a_plain_optimiser_has_no_theta_to_follow():
    net = Net()
    before = net.second.weight.detach().clone()
    follow_scaling(optimizer_of(net), net.second.weight, 0.5)
    assert torch.equal(net.second.weight, before)


# Checkpoints -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wiring", [None, "deep_r", "fixed_sparse", "dense"])
@pytest.mark.parametrize("name", ["adam", "epsilon-hat-adam"])
def test_a_checkpoint_brings_back_weights_optimiser_and_wiring_bit_for_bit(wiring, name, tmp_path: Path):
    def make(seed: int) -> tuple[Net, Any]:
        net = Net()
        return net, optimizer_of(net, wiring is not None, wiring=wiring or "dense", name=name, seed=seed)

    whole, straight = make(3)
    train(whole, straight, range(20))
    stopped, first = make(3)
    train(stopped, first, range(12))
    path = save_checkpoint(tmp_path, make_checkpoint(12, stopped, first))
    resumed, second = make(4)
    train(resumed, second, range(30, 33))
    checkpoint = load_checkpoint(path)
    assert checkpoint.iteration == 12
    restore_checkpoint(checkpoint, resumed, second)
    assert same(resumed.state_dict(), stopped.state_dict())
    train(resumed, second, range(12, 20))
    assert same(resumed.state_dict(), whole.state_dict())
    assert not same(stopped.state_dict(), whole.state_dict())
    one, other = make_checkpoint(20, whole, straight), make_checkpoint(20, resumed, second)
    assert same(one.training, other.training)
    assert one.scalars == other.scalars
    wired = {each for each in one.training if each.startswith("wiring:")}
    assert wired == (
        {f"wiring:{each}" for each in ("generator", "0/theta", "0/sign", "1/theta", "1/sign")}
        if wiring
        else set()
    )
    assert isinstance(second, WiredOptimizer) == (wiring is not None)


def trained_checkpoint(wired: bool = False) -> Checkpoint:
    net = Net()
    optimizer = optimizer_of(net, wired)
    train(net, optimizer, range(2))
    return make_checkpoint(2, net, optimizer)


def test_tensors_of_the_caller_are_left_to_the_caller():
    checkpoint = trained_checkpoint()
    checkpoint = replace(checkpoint, training={**checkpoint.training, "state": torch.ones(2)})
    net = Net()
    with pytest.raises(UserError, match=r"^the optimiser state has a tensor 'state' of no parameter$"):
        restore_checkpoint(checkpoint, net, optimizer_of(net))
    restore_checkpoint(checkpoint, net, optimizer_of(net), others=("state",))
    assert same(net.state_dict(), checkpoint.model)


def test_a_checkpoint_without_the_optimisers_state_is_refused():
    net = Net()
    with pytest.raises(
        UserError, match=r"^the checkpoint holds no optimizer state: it was not written by this"
    ):
        restore_checkpoint(Checkpoint(1, net.state_dict()), net, optimizer_of(net))


def test_a_checkpoint_of_another_optimiser_is_refused():
    net = Net()
    with pytest.raises(
        UserError, match=r"^the optimiser state is of Adam, but the optimiser is EpsilonHatAdam$"
    ):
        restore_checkpoint(trained_checkpoint(), net, optimizer_of(net, name="epsilon-hat-adam"))


def test_a_checkpoint_without_wiring_does_not_fit_a_wired_optimiser():
    net = Net()
    with pytest.raises(UserError, match=r"^the wiring's tensor 'generator' is missing, expected \[\d+\]$"):
        restore_checkpoint(trained_checkpoint(), net, optimizer_of(net, wired=True))


def without(model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.items() if name != "first.bias"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda model: {**model, "first.wieght": torch.zeros(1)},
            r"^checkpoint of another network: unknown tensor 'first\.wieght': did you mean 'first\.weight'\? "
            r"there is first\.bias, first\.weight, fixed, second\.weight$",
        ),
        (without, r"^checkpoint of another network: it lacks the tensor 'first\.bias'$"),
        (
            lambda model: {**model, "second.weight": torch.zeros(3, 9)},
            r"^checkpoint of another network: 'second\.weight' is \[3, 9\], expected \[3, 8\]$",
        ),
    ],
    ids=["unknown", "lacking", "shape"],
)
def test_weights_of_another_network_are_named_and_nothing_changes(change, message):
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trained = trained_checkpoint()
    with pytest.raises(UserError, match=message):
        load_model(net, replace(trained, model=change(trained.model)))
    assert same(net.state_dict(), before)
    load_model(net, trained)
    assert same(net.state_dict(), trained.model)
