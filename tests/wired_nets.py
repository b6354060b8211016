"""Networks with wired matrices, and the optimisers that the tests of DEEP R give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from lsnn_gym.adam import EpsilonHatAdam
from lsnn_gym.rewiring import DeepR, Dense, FixedSparse, WiredOptimizer
from lsnn_gym.wiring import WiredMatrix

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
