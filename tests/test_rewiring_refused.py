"""DEEP R: what it refuses, and that nothing changes then."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lsnn_gym.adam import EpsilonHatAdam
from lsnn_gym.errors import UserError
from lsnn_gym.rewiring import BudgetError, DeepR
from lsnn_gym.wiring import WiredMatrix, Wiring
from tests.wired_nets import Net, deep_r, source, train


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
