from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsnn_gym.errors import UserError
from lsnn_gym.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lsnn_gym.training.optimizer_state import optimizer_tensors, restore_optimizer

Make = Callable[[Any], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "tensor lr": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), foreach=False),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.99)),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "plain sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
}


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        x = torch.randn(11, 5, generator=torch.Generator().manual_seed(step))
        loss = model(x).square().mean() + (model(x) - 1).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def groups(model: nn.Sequential) -> list[dict[str, Any]]:
    return [{"params": model[0].parameters(), "weight_decay": 0.01}, {"params": model[2].parameters()}]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_bit_for_bit(tmp_path: Path, name: str):
    model = network()
    optimizer = OPTIMIZERS[name](groups(model))
    train(model, optimizer, range(7))
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"] / 3  # as a schedule does
    tensors, scalars = optimizer_tensors(optimizer, model.named_parameters())
    save_checkpoint(tmp_path, Checkpoint(7, model.state_dict(), tensors, {"optimizer": scalars}))
    expected = train(model, optimizer, range(7, 20))

    loaded = load_checkpoint(tmp_path / "00000007")
    twin = network(seed=1)
    twin.load_state_dict(dict(loaded.model))
    resumed = OPTIMIZERS[name](groups(twin))
    train(twin_copy := network(seed=2), OPTIMIZERS[name](groups(twin_copy)), range(1))
    restore_optimizer(resumed, twin.named_parameters(), loaded.training, loaded.scalars["optimizer"])
    assert train(twin, resumed, range(7, 20)) == expected
    for left, right in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(left, right)
        if name != "plain sgd":
            assert optimizer.state[left].keys() == resumed.state[right].keys() != set()
        for key, value in optimizer.state[left].items():
            other = resumed.state[right][key]
            assert type(other) is type(value)
            if isinstance(value, Tensor):
                assert other.dtype == value.dtype
                assert torch.equal(other, value)
    for left, right in zip(optimizer.param_groups, resumed.param_groups, strict=True):
        assert {k: v for k, v in left.items() if k != "params"} == {
            k: v for k, v in right.items() if k != "params"
        }
        assert {k: type(v) for k, v in left.items()} == {k: type(v) for k, v in right.items()}


def test_without_the_state_the_course_differs():
    """What the test above could not fail without: the state matters to the losses compared."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train(model, optimizer, range(7))
    twin = copy.deepcopy(model)
    expected = train(model, optimizer, range(7, 20))
    assert train(twin, torch.optim.Adam(twin.parameters(), lr=0.01), range(7, 20)) != expected


def test_names_and_values():
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.25)
    train(model, optimizer, range(2))
    tensors, scalars = optimizer_tensors(optimizer, model.named_parameters())
    assert set(tensors) == {
        f"{name}/{key}" for name, _ in model.named_parameters() for key in ("step", "exp_avg", "exp_avg_sq")
    }
    assert tensors["2.bias/step"].item() == 2
    assert json.loads(json.dumps(scalars)) == scalars
    assert scalars["groups"][0]["values"]["lr"] == 0.25
    assert scalars["groups"][0]["params"] == [name for name, _ in model.named_parameters()]


def test_parameters_without_state_stay_without():
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    next(model.parameters()).sum().backward()
    optimizer.step()
    tensors, scalars = optimizer_tensors(optimizer, model.named_parameters())
    other = network()
    fresh = torch.optim.Adam(other.parameters())
    train(other, fresh, range(1))
    restore_optimizer(fresh, other.named_parameters(), tensors, scalars)
    assert [parameter in fresh.state for parameter in other.parameters()] == [True, False, False, False]


def test_restored_tensors_are_copies():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, range(2))
    tensors, scalars = optimizer_tensors(optimizer, model.named_parameters())
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    other = network()
    fresh = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    restore_optimizer(fresh, other.named_parameters(), kept, scalars)
    before = {name: tensor.clone() for name, tensor in kept.items()}
    train(other, fresh, range(2))
    assert all(torch.equal(kept[name], before[name]) for name in kept)


class Odd(torch.optim.Optimizer):
    """Keeps state of every storable kind."""

    def __init__(self, parameters: Any):
        super().__init__(parameters, {"lr": 0.1, "span": (1, None, 2.5), "mode": "odd"})

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = {
                    "counts": torch.arange(3),
                    "mask": p.detach() > 0,
                    "total": 1 / 3,
                    "calls": 2**60,
                    "first": False,
                    "note": "n",
                    "nothing": None,
                }


def test_any_optimizer():
    model = network()
    optimizer = Odd(model.parameters())
    optimizer.step()
    tensors, scalars = optimizer_tensors(optimizer, model.named_parameters())
    fresh = Odd(model.parameters())
    restore_optimizer(fresh, model.named_parameters(), tensors, json.loads(json.dumps(scalars)))
    for p in model.parameters():
        own, other = optimizer.state[p], fresh.state[p]
        assert other["mask"].dtype == torch.bool  # PyTorch's load_state_dict would make it float
        assert other["counts"].dtype == torch.int64
        assert torch.equal(own["mask"], other["mask"])
        plain = ("total", "calls", "first", "note", "nothing")
        assert [(other[k], type(other[k])) for k in plain] == [(own[k], type(own[k])) for k in plain]
    assert fresh.param_groups[0]["span"] == (1, None, 2.5)


def test_what_cannot_be_stored_is_said():
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure() -> Tensor:
        loss = model(torch.ones(1, 5)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        return loss

    optimizer.step(closure)
    with pytest.raises(TypeError, match=r"^cannot store '\w+' of '0.weight': a list$"):
        optimizer_tensors(optimizer, model.named_parameters())


def test_nameless_parameters():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^2 of the optimiser's parameters are not among the named ones$"):
        optimizer_tensors(optimizer, list(model.named_parameters())[:2])


def changed(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(scalars: Any) -> None:
        *parts, last = path.split("/")
        for part in parts:
            scalars = scalars[int(part)] if isinstance(scalars, list) else scalars[part]
        if value is None:
            del scalars[last]
        else:
            scalars[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (changed("optimizer", "SGD"), "the optimiser state is of SGD, but the optimiser is Adam"),
        (
            changed("shapes/0.weight", [7, 6]),
            "the optimiser state of parameter '0.weight' is for shape [7, 6], expected [7, 5]",
        ),
        (
            changed("shapes/0.wieght", [7, 5]),
            "the optimiser state has an unknown parameter '0.wieght': did you mean '0.weight'? "
            "there is 0.bias, 0.weight, 2.bias, 2.weight",
        ),
        (changed("shapes/2.bias", None), "the optimiser state lacks parameter '2.bias' (and 0 more)"),
        (
            changed("groups/0/params", ["0.weight"]),
            "the optimiser state has its parameters in other groups: found sizes [1], expected [4]",
        ),
        (
            changed("groups", None),
            "no optimiser state: found keys [optimizer, shapes, state], expected [groups, optimizer, shapes, "
            "state]",
        ),
        (changed("state/0.bias", None), "the optimiser state has a tensor '0.bias/step' of no parameter"),
    ],
)
def test_state_of_something_else_changes_nothing(change: Callable[[dict[str, Any]], None], expected: str):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer, range(2))
    tensors, scalars = optimizer_tensors(optimizer, model.named_parameters())
    tensors, scalars = copy.deepcopy((tensors, scalars))
    train(model, optimizer, range(2))
    change(scalars)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(UserError) as caught:
        restore_optimizer(optimizer, model.named_parameters(), tensors, scalars)
    assert str(caught.value) == expected
    after = optimizer.state_dict()
    assert before["param_groups"] == after["param_groups"]
    for index, state in before["state"].items():
        assert all(torch.equal(state[key], after["state"][index][key]) for key in state)
