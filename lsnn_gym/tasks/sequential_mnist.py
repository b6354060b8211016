"""Sequential MNIST: an image is shown pixel by pixel, its class is asked for at the end.

Source: Bellec, Salaj, Subramoney, Legenstein, Maass: Long short-term memory and learning-to-learn in networks
of spiking neurons, NIPS 2018, and the authors' code.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.tasks.scoring import block_means

CUE_STEPS = 56  # twice the 28 pixels of a row


def threshold_crossings(
    images: Tensor, num_channels: int = 80, repeats: int = 1, cue_steps: int = CUE_STEPS
) -> Tensor:
    """Code images as spikes where the grey value crosses one of evenly spaced levels, followed by a cue.

    With ``num_channels / 2`` levels from 0 to 1, every level but the highest has two channels, one after the
    other: its onset channel fires at a pixel below the level whose successor is at or above it, its offset
    channel at a pixel at or above the level whose successor is below. The channel of level 1 fires where the
    value is exactly 1. The last channel fires throughout the cue and at no other time. The last pixel, having
    no successor, fires at most the channel of level 1.

    Args:
        images: Grey values ``[B, P]`` in [0, 1], row by row. Levels are compared in their precision.
        num_channels: I, an even number of at least 4.
        repeats: For how many steps each pixel is shown, and by how much the cue is longer.
        cue_steps: Length of the cue in steps, before repeating.

    Returns:
        Spikes ``[T, B, I]``, 0 or 1 in the dtype of ``images``, with T = repeats (P + cue_steps).

    Raises:
        ValueError: If ``num_channels`` or the images' shape does not fit.
    """
    if num_channels < 4 or num_channels % 2:
        raise ValueError(f"num_channels is {num_channels}: expected an even number of at least 4")
    shown = grey_values(images, repeats)
    levels = torch.as_tensor(np.linspace(0, 1, num_channels // 2)[:-1]).to(shown)
    above = shown >= levels
    steps, batch_size, _ = shown.shape
    spikes = shown.new_zeros(steps + repeats * cue_steps, batch_size, num_channels)
    spikes[: steps - 1, :, 0:-2:2] = (~above[:-1] & above[1:]).to(shown.dtype)
    spikes[: steps - 1, :, 1:-2:2] = (above[:-1] & ~above[1:]).to(shown.dtype)
    spikes[:steps, :, -2] = (shown[:, :, 0] == 1).to(shown.dtype)
    spikes[steps:, :, -1] = 1
    return spikes


def grey_values(images: Tensor, repeats: int = 1) -> Tensor:
    """Return images ``[B, P]`` as one analogue input channel ``[T, B, 1]``, each pixel ``repeats`` steps long.

    Raises:
        ValueError: If ``images`` is no matrix or ``repeats`` no positive number.
    """
    return image_rows(images, 1, repeats)


def image_rows(images: Tensor, row_length: int, repeats: int = 1) -> Tensor:
    """Return images ``[B, P]`` row by row as ``[P / row_length * repeats, B, row_length]``.

    Args:
        images: Grey values, row by row.
        row_length: Pixels that are shown at once.
        repeats: For how many steps each row is shown.

    Raises:
        ValueError: If the images are no matrix or cannot be cut into such rows, or ``repeats`` is below 1.
    """
    if images.dim() != 2 or row_length < 1 or images.shape[1] % row_length:
        raise ValueError(f"images are {tuple(images.shape)}: expected [B, a multiple of {row_length} pixels]")
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}: expected at least 1")
    return images.unflatten(1, (-1, row_length)).transpose(0, 1).repeat_interleave(repeats, dim=0)


def permute_pixels(images: Tensor, seed: int) -> Tensor:
    """Return the images ``[B, P]`` with their pixels in another order, for all the same and fixed by ``seed``."""
    order = torch.randperm(images.shape[1], generator=torch.Generator().manual_seed(seed))
    return images[:, order.to(images.device)]


def class_logits(outputs: Tensor, num_blocks: int = 30) -> Tensor:
    """Return the logits ``[B, K]``: readouts ``[T, B, K]`` averaged over the last of ``num_blocks`` blocks.

    The paper's 840 steps make 30 blocks of 28 steps; the last is the second half of the cue.

    Raises:
        ValueError: If T steps cannot be divided into ``num_blocks`` blocks.
    """
    return block_means(outputs, num_blocks)[-1]


def classification_loss(outputs: Tensor, labels: Tensor, num_blocks: int = 30) -> Tensor:
    """Return the mean cross-entropy of the logits of readouts ``[T, B, K]`` with ``labels`` ``[B]``."""
    return F.cross_entropy(class_logits(outputs, num_blocks), labels)


def accuracy(outputs: Tensor, labels: Tensor, num_blocks: int = 30) -> float:
    """Return which fraction of the ``labels`` ``[B]`` has the highest logit."""
    return (class_logits(outputs, num_blocks).argmax(dim=1) == labels).double().mean().item()
