"""Synapses: weights ``[post, pre]`` with a transmission delay each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsnn_gym.wiring import Wiring, initial_weight


class Synapses(nn.Module):
    """Dense synapses from ``num_pre`` inputs to ``num_post`` neurons, each with its own delay.

    Args:
        num_pre: Presynaptic neurons or input channels.
        num_post: Postsynaptic neurons.
        delay_range: Lowest and highest delay in simulation steps, both included; each synapse draws its own,
            uniformly. A delay of 1 arrives in the step in which it is sent (index 0 of the buffer).
        generator: Source of weights and delays.
        autapses: Whether a neuron may have a synapse onto itself; if not, the diagonal counts as 0.
        scale: Factor on the initial weights, which are N(0, 1) / sqrt(num_pre).
        wiring: Initial weights with fixed signs, instead of drawn ones.

    Attributes:
        weight: ``[post, pre]``.
        sign: Signs ``[post, pre]`` that the synapses keep, connected or not; None without a wiring.

    Source: initialisation and delays as in the authors' code of Bellec et al., NIPS 2018.
    """

    delay_index: Tensor
    allowed: Tensor
    sign: Tensor | None

    def __init__(
        self,
        num_pre: int,
        num_post: int,
        delay_range: tuple[int, int],
        generator: torch.Generator,
        *,
        autapses: bool = True,
        scale: float = 1.0,
        wiring: Wiring | None = None,
    ) -> None:
        super().__init__()
        low, high = delay_range
        self.weight: nn.Parameter = nn.Parameter(
            initial_weight((num_post, num_pre), generator, scale, wiring)
        )
        self.register_buffer("sign", None if wiring is None else wiring.sign)
        self.max_delay = high
        delays = torch.randint(low - 1, high, (num_post, num_pre), generator=generator)
        self.register_buffer("delay_index", delays)
        allowed = torch.ones(num_post, num_pre)
        if not autapses:
            allowed.fill_diagonal_(0)
        self.register_buffer("allowed", allowed)

    def effective_weight(self) -> Tensor:
        """Return the weights ``[post, pre]`` that act, forbidden synapses being 0."""
        return self.weight * self.allowed


def stack_by_delay(weight: Tensor, delay_index: Tensor, max_delay: int) -> Tensor:
    """Sort weights ``[post, pre]`` by delay into one matrix ``[max_delay * post, pre]``.

    Rows ``k * post`` to ``(k + 1) * post`` hold the synapses whose ``delay_index`` is k, and 0 elsewhere,
    so that one product with the presynaptic activity gives the currents for every later step.
    """
    if max_delay == 1:
        return weight
    steps = torch.arange(max_delay, device=weight.device)[:, None, None]
    return torch.where(delay_index == steps, weight, 0.0).flatten(0, 1)
