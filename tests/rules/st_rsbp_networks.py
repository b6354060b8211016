"""Small networks of ST-RSBP and spikes, for its tests."""

from __future__ import annotations

import torch
from torch import Tensor

from lsnn_gym.rules.layers import LayeredNetwork
from lsnn_gym.rules.st_rsbp.losses import count_loss
from lsnn_gym.rules.st_rsbp.network import HiddenLayer, st_rsbp_network
from lsnn_gym.rules.st_rsbp.rule import RSBPRule

PLAIN = RSBPRule(compiled=False)


def random_spikes(seed: int, steps: int, batch: int, neurons: int, rate: float = 0.15) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, batch, neurons, generator=generator, dtype=torch.float64) < rate).double()


def small_network(rule: RSBPRule, seed: int = 0, **options) -> LayeredNetwork:
    """Return 20-16-R12-4 of float64, which fires in every layer."""
    generator = torch.Generator().manual_seed(seed)
    hidden = (HiddenLayer(16, 2.0), HiddenLayer((2, 2, 3), 1.5))
    arguments = {"output_threshold": 1.0, "rule": rule, "generator": generator} | options
    return st_rsbp_network(20, hidden, 4, **arguments).double()


def gradients(network: LayeredNetwork, inputs: Tensor, labels: Tensor, scale: float = 1.0) -> list[Tensor]:
    network.zero_grad()
    loss = count_loss(network(inputs)[-1], labels, desired=12, undesired=2, margin=2)
    (scale * loss).backward()
    found = [each.grad.clone() for each in network.parameters() if each.grad is not None]
    assert len(found) == len(list(network.parameters()))
    return found
