"""Small networks of ST-RSBP and spikes, for its tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lsnn_gym.rules.layers import LayeredNetwork
from lsnn_gym.rules.st_rsbp.losses import count_loss
from lsnn_gym.rules.st_rsbp.network import HiddenLayer, st_rsbp_network
from lsnn_gym.rules.st_rsbp.rule import RSBPRule
from lsnn_gym.rules.st_rsbp.tables import EffectTable
from tests.rules import obvious_st_rsbp

PLAIN = RSBPRule(compiled=False)
TABLE = EffectTable(
    torch.as_tensor(
        obvious_st_rsbp.random_table(
            obvious_st_rsbp.Settings([], [], [], poly_rows=20), np.random.default_rng(0)
        )
    )
)


def random_spikes(seed: int, *shape: int, rate: float = 0.15) -> Tensor:
    """Return trains ``shape``, steps and samples first, at that chance of a spike a step."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < rate).double()


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
