"""What losses share: means over blocks of time, firing rates."""

from __future__ import annotations

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
    return ((firing_rates(spikes, dt) - target_rate / 1000) ** 2).sum()
