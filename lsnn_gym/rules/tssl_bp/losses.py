"""Losses on the traces of the last layer, and the decision.

``traces`` is ``[T, B, K]`` or ``[T, B, K, 1, 1]``, K classes; ``labels`` is ``[B]``. Each is an ordinary function
of the traces whose gradient is autograd's.

Source: Zhang, Li, NeurIPS 2020, and the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.rules.layers import check_labels
from lsnn_gym.rules.tssl_bp.neuron import filter_spikes


def kernel_loss(traces: Tensor, target: Tensor, tau_synapse: float) -> Tensor:
    """Return half the squared difference of traces and filtered target, summed over everything.

    Args:
        traces: Of the output.
        target: Wanted spikes ``[T, B, K]``, not filtered; :func:`published_target` for what the authors used.
        tau_synapse: In steps.

    Raises:
        ValueError: If target and traces differ in shape.
    """
    flat = traces.flatten(2)
    if target.shape != flat.shape:
        raise ValueError(f"target is {tuple(target.shape)}: expected {tuple(flat.shape)} as the traces are")
    return 0.5 * (flat - filter_spikes(target, tau_synapse)).square().sum()


def published_target(labels: Tensor, num_classes: int, steps: int, tau_synapse: float) -> Tensor:
    """Return what the authors gave their kernel loss as target: a pattern for the label, filtered once already.

    The loss filters again. The pattern is every other step from the second on, or, below ten steps, every step
    but the first of five.

    Args:
        labels: ``[B]``.
        num_classes: K.
        steps: T.
        tau_synapse: In steps.

    Returns:
        ``[T, B, K]``, of PyTorch's default dtype.
    """
    step = torch.arange(steps, device=labels.device)
    pattern = (step % 2 == 1) if steps >= 10 else (step % 5 != 0)
    wanted = F.one_hot(labels, num_classes).to(torch.get_default_dtype())
    return filter_spikes(pattern[:, None, None] * wanted, tau_synapse)


def count_loss(traces: Tensor, labels: Tensor, desired: float, undesired: float) -> Tensor:
    """Return half the squared distances from the wanted counts, a step, summed over samples, classes and steps.

    A class of the label beyond what is desired and another class below what is not are left alone.

    Args:
        traces: Of the output; their sum over time counts for the number of spikes.
        labels: True classes.
        desired: Count of the true class.
        undesired: Count of every other class.
    """
    counts = traces.flatten(2).sum(0)
    check_labels(labels, *counts.shape)
    is_label = F.one_hot(labels, counts.shape[1]).bool()
    wanted = torch.where(is_label, desired, undesired).to(counts.dtype)
    distance = (counts - wanted) / len(traces)
    done = torch.where(is_label, counts >= wanted, counts <= wanted)
    return 0.5 * len(traces) * distance.masked_fill(done, 0).square().sum()


def softmax_loss(traces: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the traces' sums over time as logits, mean over samples."""
    scores = class_scores(traces)
    check_labels(labels, *scores.shape)
    return F.cross_entropy(scores, labels)


def class_scores(traces: Tensor) -> Tensor:
    """Return the sums ``[B, K]`` of the traces over time; the class of the largest is the decision."""
    return traces.flatten(2).sum(0)
