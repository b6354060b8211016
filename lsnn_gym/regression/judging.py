"""What a network does in episodes whose functions it has not seen: its squared errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from lsnn_gym.regression.episodes import Episodes, FloatArray
from lsnn_gym.regression.network import RegressionNetwork
from lsnn_gym.regression.trainer import squared_errors
from lsnn_gym.seeding import derived_seed
from lsnn_gym.tasks.task import slices
from lsnn_gym.training.denormals import flushed_denormals

_EPISODES_AT_ONCE = 64


class Judged(NamedTuple):
    """What a network did in B episodes of T trials.

    Attributes:
        squares: Squared errors ``[T, B]`` in units of the family's targets.
        firing_rate_hz: Of a spiking core, else None.
    """

    squares: FloatArray
    firing_rate_hz: float | None


@torch.no_grad()
@flushed_denormals()
def judge(network: RegressionNetwork, episodes: Episodes, seed: int) -> Judged:
    """Run ``network``, which is not changed, through ``episodes``; ``seed`` is that of its noise."""
    squares, rates = [], []
    for number, part in enumerate(slices(episodes.targets.shape[1], _EPISODES_AT_ONCE)):
        some = Episodes(episodes.inputs[:, part], episodes.targets[:, part])
        predictions, errors = squared_errors(network, some, derived_seed(seed, "draws", number))
        squares.append(network.error_unit * errors.cpu().double().numpy())
        if predictions.spikes is not None:
            rates += [1000 * float(predictions.spikes.mean())] * errors.shape[1]
    return Judged(np.concatenate(squares, axis=1), float(np.mean(rates)) if rates else None)
