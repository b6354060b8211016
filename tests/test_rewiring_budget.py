"""The budget of connections holds after every step, in every mix of matrices, resumed or not.

Complements ``test_rewiring.py``, where the gradients are those of a loss: here they are random and as strong as
the weights, so that connections come and go all the time.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from torch import nn

from lsnn_gym.rewiring import DeepR
from lsnn_gym.training.optimizer_state import optimizer_tensors, restore_optimizer
from lsnn_gym.wiring import WiredMatrix

STEPS, MIDDLE = 1000, 500


class Mix(NamedTuple):
    """Shapes and connectivities of the matrices, and how they are rewired.

    ``overflows``: whether more connections may be drawn into a matrix than it has room for, which are lost until
    the next step.
    """

    matrices: tuple[tuple[tuple[int, int], float], ...]
    l1: float = 0.5
    temperature: float = 0.0
    overflows: bool = False


MIXES = {
    "one": Mix((((6, 7), 0.3),)),
    "three": Mix((((12, 5), 0.1), ((7, 7), 0.5), ((3, 9), 0.25))),
    "nearly-full": Mix((((4, 5), 0.95), ((8, 8), 0.2)), overflows=True),
    "whole": Mix((((5, 6), 1.0),)),
    "whole-and-sparse": Mix((((3, 4), 1.0), ((9, 9), 0.1)), overflows=True),
    "hot": Mix((((12, 5), 0.1), ((7, 7), 0.5), ((3, 9), 0.25)), l1=2.0, temperature=0.05),
    "hot-nearly-full": Mix((((4, 5), 0.95), ((8, 8), 0.2)), l1=2.0, temperature=0.05, overflows=True),
}
INNER: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.02),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.02),
}


class Training:
    """Matrices and a bias under random gradients, which follow from the step's number."""

    def __init__(self, mix: Mix, inner: str, seed: int) -> None:
        self.module = nn.ParameterDict(
            {f"matrix{index}": torch.zeros(shape) for index, (shape, _) in enumerate(mix.matrices)}
            | {"bias": torch.zeros(3)}
        )
        self.weights = [self.module[f"matrix{index}"] for index in range(len(mix.matrices))]
        wired = [
            WiredMatrix(weight, connectivity, l1=mix.l1, temperature=mix.temperature)
            for weight, (_, connectivity) in zip(self.weights, mix.matrices, strict=True)
        ]
        self.optimizer = DeepR(
            INNER[inner](self.module.parameters()), wired, torch.Generator().manual_seed(seed)
        )

    def step(self, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        for parameter in self.module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        self.optimizer.step()

    def shortfall(self) -> int:
        """Return how many connections the budget lacks, which only a full matrix can excuse."""
        counts = self.optimizer.connections()
        assert [int((weight != 0).sum()) for weight in self.weights] == counts
        missing = self.optimizer.budget - sum(counts)
        assert missing >= 0
        if missing:
            sizes = [weight.numel() for weight in self.weights]
            assert any(count == size for count, size in zip(counts, sizes, strict=True)), (counts, sizes)
        return missing

    def equals(self, other: Training) -> bool:
        wirings = [each.optimizer.wiring_tensors() for each in (self, other)]
        return all(
            torch.equal(one, two)
            for one, two in zip(
                [*self.module.parameters(), *wirings[0].values()],
                [*other.module.parameters(), *wirings[1].values()],
                strict=True,
            )
        )


def resumed_from_state_dict(stopped: Training, mix: Mix, inner: str) -> Training:
    fresh = Training(mix, inner, seed=99)
    fresh.step(5000)  # so that nothing which the state lacks is right by chance
    # Only the bias: the matrices' weights follow from the wiring.
    fresh.module["bias"].data.copy_(stopped.module["bias"].data)
    # A copy, as a file would be: PyTorch would share Adam's moments between the two.
    fresh.optimizer.load_state_dict(copy.deepcopy(stopped.optimizer.state_dict()))
    return fresh


def resumed_from_tensors(stopped: Training, mix: Mix, inner: str) -> Training:
    tensors, scalars = optimizer_tensors(stopped.optimizer.inner, stopped.module.named_parameters())
    weights, state, wiring = (
        safetensors.torch.load(safetensors.torch.save(dict(each)))
        for each in (stopped.module.state_dict(), tensors, stopped.optimizer.wiring_tensors())
    )
    fresh = Training(mix, inner, seed=99)
    fresh.step(5000)
    fresh.module.load_state_dict(weights)
    plain = json.loads(json.dumps(scalars))
    restore_optimizer(fresh.optimizer.inner, fresh.module.named_parameters(), state, plain)
    fresh.optimizer.restore_wiring(wiring)
    return fresh


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_the_connection_budget_holds_after_every_step_resumed_or_not(mix, inner):
    whole = Training(mix, inner, seed=1)
    expected = sum(shape[0] * shape[1] * connectivity for shape, connectivity in mix.matrices)
    assert whole.optimizer.budget in (int(expected), int(expected + 1e-6))
    resumed: list[Training] = []
    short = rewired = 0
    for number in range(STEPS):
        if number == MIDDLE:
            resumed = [make(whole, mix, inner) for make in (resumed_from_state_dict, resumed_from_tensors)]
            assert all(each.equals(whole) for each in resumed)
        for training in (whole, *resumed):
            training.step(number)
            missing = training.shortfall()
            assert missing == 0 or mix.overflows
            short += missing > 0
        rewired += sum(whole.optimizer.reconnected)
        for each in resumed:
            assert each.equals(whole), f"after step {number}"
    # The test is one only if connections come and go, and overflow where it is said that they may.
    assert rewired > STEPS
    assert (short > 0) == mix.overflows
    assert short < STEPS, "what is lost in one step is made up for in another"


def test_what_overflows_is_made_up_for_once_there_is_room():
    # Two matrices, one of them full: what is drawn into that one is lost, what is drawn into the other is not.
    mix = MIXES["nearly-full"]
    training = Training(mix, "sgd", seed=1)
    seen = []
    for number in range(200):
        training.step(number)
        seen.append(training.shortfall())
    assert any(before > 0 and after == 0 for before, after in itertools.pairwise(seen))
