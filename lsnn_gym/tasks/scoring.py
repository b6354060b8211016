"""What losses share: means over blocks of time, firing rates, matching of features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def block_means(outputs: Tensor, num_blocks: int) -> Tensor:
    """Return the means ``[num_blocks, B, K]`` over equal blocks of time of outputs ``[T, B, K]``.

    Raises:
        ValueError: If T steps cannot be divided into ``num_blocks`` blocks.
    """
    steps = len(outputs)
    if num_blocks < 1 or steps % num_blocks:
        raise ValueError(f"{steps} steps cannot be divided into {num_blocks} equal blocks")
    return outputs.unflatten(0, (num_blocks, steps // num_blocks)).mean(dim=1)


def firing_rates(spikes: Tensor, dt: float = 1.0) -> Tensor:
    """Return the mean rates ``[N]`` of spikes ``[T, B, N]`` (0 or 1/dt), divided by ``dt`` once more, per ms.

    Source: the authors' code of Bellec et al., NIPS 2018; with ``dt`` 1 ms it is the rate in kHz.
    """
    return spikes.mean(dim=(0, 1)) / dt


def rate_loss(spikes: Tensor, target_rate: float, dt: float = 1.0) -> Tensor:
    """Return ``sum_j (rate_j - target_rate)^2`` with rates in spikes per ms.

    Args:
        spikes: ``[T, B, N]``, 0 or 1/dt.
        target_rate: In Hz.
        dt: Simulation step in ms.
    """
    return rate_penalty(firing_rates(spikes, dt), target_rate)


def rate_penalty(rates: Tensor, target_rate: float) -> Tensor:
    """Return ``rate_loss`` of mean ``rates`` ``[N]`` in spikes per ms, with ``target_rate`` in Hz."""
    return ((rates - target_rate / 1000) ** 2).sum()


def matching_losses(features: Tensor, classes: Tensor) -> Tensor:
    """Return how badly features tell which of the showings before in the same sequence was of the same class.

    Of showing w it is ``-log sum_u p(u|w)``, u being the earlier showings of the same class, with p the softmax
    over all earlier showings of ``sqrt(E) cos(features_u, features_w)``; one loss ``[J]`` for each of those J showings
    whose class has been shown before.

    Args:
        features: Of each showing ``[W, B, E]``.
        classes: ``[W, B]``, int64, negative where there is no showing.

    Source: the attention of matching networks, with a fixed temperature: Vinyals, Blundell, Lillicrap, Kavukcuoglu,
    Wierstra: Matching networks for one shot learning, NIPS 2016, equation 1.
    """
    shown, length = classes.T >= 0, len(classes)
    unit = F.normalize(features.transpose(0, 1), dim=2)
    similarity = unit @ unit.mT * features.shape[2] ** 0.5
    before = torch.ones(length, length, dtype=torch.bool, device=classes.device).tril(-1)
    candidate = before & shown[:, None, :] & shown[:, :, None]
    same = candidate & (classes.T[:, None, :] == classes.T[:, :, None])
    judged = same.any(dim=2)
    candidates, right = (_log_total(similarity, each)[judged] for each in (candidate, same))
    return candidates - right


def _log_total(values: Tensor, among: Tensor) -> Tensor:
    """Return the log of the summed exponentials of those ``values`` that are ``among`` them, over the last axis."""
    return values.masked_fill(~among, torch.finfo(values.dtype).min).logsumexp(dim=-1)
