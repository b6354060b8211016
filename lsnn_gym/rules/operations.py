"""How many synapses the values of each layer go through: what events cost on hardware that works by events."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.rules.architecture import Convolution, Dense, Placed, Pool


def fan_outs(placed: Sequence[Placed], pools_fire: bool) -> list[Tensor]:
    """Return, for the input and each layer of neurons but the last, the synapses behind each value ``[*shape]``.

    Synapses within a layer are not among them.

    Args:
        placed: Layers from the input up.
        pools_fire: Whether pools are neurons. Else what was sent goes through them to the next layer's synapses.
    """
    found: list[Tensor] = []
    between: list[Placed] = []
    for each in placed:
        between.append(each)
        if pools_fire or not isinstance(each.layer, Pool):
            found.append(_fan_out(between))
            between = []
    return found


@torch.enable_grad()
def _fan_out(layers: Sequence[Placed]) -> Tensor:
    """Return how often each value below ``layers`` gets into what they sum, by the derivative of that."""
    below = torch.ones(1, *layers[0].inputs, requires_grad=True)
    values = below
    for layer, _, _outputs in layers:
        match layer:
            case Dense(neurons):
                values = neurons * values.flatten(1)
            case Convolution(channels, kernel, padding):
                ones = torch.ones(channels, values.shape[1], kernel, kernel)
                values = F.conv2d(values, ones, padding=padding or 0)
            case Pool(window):
                values = F.avg_pool2d(values, window, divisor_override=1)
    (found,) = torch.autograd.grad(values.sum(), below)
    return found[0]
