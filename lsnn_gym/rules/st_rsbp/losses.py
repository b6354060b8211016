"""The loss of spike counts, the trains that it wishes silent neurons had fired, and weights of samples.

``output`` is the signal of the last layer, ``[T, B, K]``, K classes; ``labels`` is ``[B]``.

Source: Zhang, Li, NeurIPS 2019, and the authors' code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.rules.layers import Signal, check_labels


def regular_train(steps: int, count: int, like: Tensor) -> Tensor:
    """Return spikes ``[T]`` at k, 2 k, ... with k = T / count rounded down, about ``count`` of them.

    Args:
        steps: T.
        count: Wanted.
        like: Of the type of number that is returned.

    Raises:
        ValueError: If there are not as many steps.
    """
    if not 1 <= count <= steps:
        raise ValueError(f"desired count is {count} in {steps} steps: expected 1 to {steps}")
    every = steps // count
    train = torch.zeros(steps, dtype=like.dtype, device=like.device)
    train[every::every] = 1
    return train


def wish_for_labels(output: Signal, labels: Tensor, desired: int = 35) -> Tensor:
    """Return 0, which, added to any loss, makes the label's neuron learn though it stayed silent.

    An output layer's weights then learn as if that neuron had fired a regular train. A layer that is no ST-RSBP
    output is told nothing.

    Args:
        output: Of the last layer.
        labels: True classes.
        desired: About how many spikes that train has.

    Raises:
        ValueError: If the labels are not classes of the output, or the train does not fit its steps.
    """
    steps, *shape = output.values.shape
    check_labels(labels, *shape)
    train = regular_train(steps, desired, output.values)
    if output.timing is None:
        return train.new_zeros(())
    wanted = F.one_hot(labels, shape[1]).to(train.dtype)
    return _Wish.apply(output.timing, train[:, None, None] * wanted)  # type: ignore[return-value]


class _Wish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, timing: Tensor, trains: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(trains)
        return timing.new_zeros(())

    @staticmethod
    def backward(ctx: Any, by_loss: Tensor):  # type: ignore[override]
        # Only where it is not 0 matters, so that a loss may be scaled and averaged at will.
        return ctx.saved_tensors[0], None


def wanted_counts(labels: Tensor, num_classes: int, desired: float = 35, undesired: float = 5) -> Tensor:
    """Return the wanted counts ``[B, K]``: ``desired`` of the label, ``undesired`` of the others, in float64."""
    return torch.where(F.one_hot(labels, num_classes).bool(), float(desired), float(undesired)).double()


def count_loss(
    output: Signal,
    labels: Tensor,
    *,
    desired: int = 35,
    undesired: int = 5,
    margin: float = 5,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Return half the squared distances of counts from wanted ones, summed over samples and classes.

    A count that is off by ``margin`` or less is left alone. A label's neuron that stayed silent learns as
    :func:`wish_for_labels` says. The authors' updates are those of one sample's loss.

    Args:
        output: Of the last layer.
        labels: True classes.
        desired: Count of the true class.
        undesired: Count of every other class.
        margin: Of no error on either side.
        sample_weight: Factors of the samples' losses ``[B]``; 1 if None.

    Raises:
        ValueError: If labels or weights do not fit the output, or ``desired`` its steps.
    """
    counts = output.values.sum(0)
    wish = wish_for_labels(output, labels, desired)
    losses = 0.5 * _squared_errors(counts, labels, desired, undesired, margin)
    if sample_weight is not None:
        if sample_weight.shape != losses.shape:
            raise ValueError(
                f"sample_weight is {tuple(sample_weight.shape)}: expected {tuple(losses.shape)} as the labels are"
            )
        losses = losses * sample_weight.to(losses)
    return losses.sum() + wish


def _squared_errors(
    counts: Tensor, labels: Tensor, desired: float, undesired: float, margin: float
) -> Tensor:
    """Return the squared distances beyond the margin, summed over classes: ``[B]``."""
    distance = counts - wanted_counts(labels, counts.shape[1], desired, undesired).to(counts)
    return distance.masked_fill(distance.abs() <= margin, 0).square().sum(1)


@torch.no_grad()
def published_cost(
    spikes: Tensor, labels: Tensor, *, desired: int = 35, undesired: int = 5, margin: float = 5
) -> Tensor:
    """Return what the authors print as cost ``[B]``: not half, not weighted, of the trains that learning goes by.

    Args:
        spikes: Of the last layer ``[T, B, K]``.
        labels: True classes.
        desired: Count of the true class.
        undesired: Count of every other class.
        margin: Of no error on either side.
    """
    steps, *shape = spikes.shape
    check_labels(labels, *shape)
    counts = spikes.sum(0)
    silent = F.one_hot(labels, shape[1]).bool() & (counts == 0)
    forced = regular_train(steps, desired, spikes).sum()
    return _squared_errors(torch.where(silent, forced, counts), labels, desired, undesired, margin)


@torch.no_grad()
def boosted(sample_weight: Tensor, labels: Tensor, decided: Tensor) -> Tensor:
    """Return weights of samples for the next epoch: those decided wrongly grow, the more their class errs.

    A class errs by the share of weight decided wrongly, err; its wrong samples' weights grow by exp(err / 20).

    Args:
        sample_weight: Of all samples ``[S]``; 1 in the first epoch.
        labels: True classes ``[S]``.
        decided: Classes decided on in the epoch ``[S]``.

    Raises:
        ValueError: If the three differ in shape.
    """
    if not sample_weight.shape == labels.shape == decided.shape:
        shapes = [tuple(each.shape) for each in (sample_weight, labels, decided)]
        raise ValueError(f"sample_weight, labels, decided are {shapes}: expected one entry a sample in each")
    wrong = decided != labels
    total = torch.zeros(int(labels.max()) + 1, dtype=sample_weight.dtype).index_add_(0, labels, sample_weight)
    lost = torch.zeros_like(total).index_add_(0, labels, sample_weight * wrong)
    share = (lost / total.clamp(min=torch.finfo(total.dtype).tiny))[labels]
    return torch.where(wrong, sample_weight * torch.exp(share / 20), sample_weight)
