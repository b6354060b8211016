"""Random networks of ANTLR and spikes, for its tests."""

from __future__ import annotations

import torch
from torch import Tensor

from lsnn_gym.rules.antlr.layers import dense
from lsnn_gym.rules.antlr.network import AntlrNetwork
from lsnn_gym.rules.antlr.neuron import AntlrNeuron, AntlrRule


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_network(
    rule: AntlrRule, *, neuron: AntlrNeuron | None = None, stops_early: bool = False
) -> AntlrNetwork:
    generator = torch.Generator().manual_seed(0)
    neuron = neuron or AntlrNeuron.normalised(0.9, 0.95, 40)
    layers = [
        dense(10, 12, neuron, rule, generator=generator),
        dense(12, 4, neuron, rule, generator=generator),
    ]
    network = AntlrNetwork(layers, stops_early=stops_early).double()
    with torch.no_grad():
        for each in network.parameters():
            each += 0.25 if each.ndim == 2 else 0.0
    return network


def random_spikes(*shape: int, seed: int = 0, density: float = 0.15) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density).double()


def gradients(network: AntlrNetwork, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True))
