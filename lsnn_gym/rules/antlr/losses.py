"""Losses on the spikes of the last layer, each with its error of both kinds; and what is done to gradients.

A loss is computed from spikes, whose existence and whose times are two things to blame. What each function here
returns is the loss, and ``backward`` sends the one error to the spikes, the other to their timing.

Outputs are ``[T, B, K]``, T steps, K classes or neurons.

Source: Kim, Kim, Kim, NeurIPS 2020, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.rules.layers import Signal, check_labels

SMALLEST_OF_KERNEL = 1e-6
LONGEST_KERNEL, LONGEST_TAIL = 1000, 200


class SpikeErrors(NamedTuple):
    """A loss and its errors.

    Attributes:
        loss: ``[]``.
        by_spike: By whether there is a spike ``[T, B, K]``.
        by_time: By when there is one ``[T, B, K]``, 0 where there is none.
    """

    loss: Tensor
    by_spike: Tensor
    by_time: Tensor


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spikes: Tensor, timing: Tensor | None, errors: SpikeErrors) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(errors.by_spike, errors.by_time)
        return errors.loss

    @staticmethod
    def backward(ctx: Any, by_loss: Tensor):  # type: ignore[override]
        by_spike, by_time = ctx.saved_tensors
        return by_loss * by_spike, by_loss * by_time if ctx.needs_input_grad[1] else None, None


def _loss(output: Signal, errors: SpikeErrors) -> Tensor:
    return _Loss.apply(output.values, output.timing, errors)  # type: ignore[return-value]


def exponential_kernel(decay: float, steps: int) -> Tensor:
    """Return kappa ``[K]``, ``decay^k`` as far as it is above 1e-6, in float64.

    Args:
        decay: alpha_exp, per step.
        steps: T; K is at most T, and 1000.

    Raises:
        ValueError: If the decay is not between 0 and 1, or the kernel longer than 201 steps: its tail is cut
            200 steps after the end.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay of the loss's kernel is {decay}: expected from 0 to below 1")
    powers = decay ** torch.arange(min(steps, LONGEST_KERNEL), dtype=torch.float64)
    kernel = powers[powers > SMALLEST_OF_KERNEL]
    if len(kernel) > LONGEST_TAIL + 1:
        raise ValueError(
            f"decay {decay} makes the loss's kernel {len(kernel)} steps long: expected at most {LONGEST_TAIL + 1}"
        )
    return kernel


@torch.no_grad()
def train_distances(spikes: Tensor, targets: Tensor, decay: float) -> Tensor:
    """Return the squared distance ``[B, C]`` of each sample's spikes from each of C target trains, filtered.

    Args:
        spikes: ``[T, B, K]``.
        targets: ``[T, C, K]``.
        decay: alpha_exp, per step.
    """
    kernel = exponential_kernel(decay, len(spikes)).to(spikes)
    filtered = [
        F.conv1d(each.flatten(1).T[:, None], kernel.flip(0)[None, None], padding=len(kernel) - 1)
        .view(*each.shape[1:], -1)
        .flatten(1)
        for each in (spikes, targets)
    ]
    return torch.cdist(filtered[0], filtered[1]).square()


@torch.no_grad()
def train_errors(spikes: Tensor, target: Tensor, decay: float) -> SpikeErrors:
    """Return loss and errors of :func:`train_loss`.

    Args:
        spikes: ``[T, B, K]``.
        target: As ``spikes``.
        decay: alpha_exp, per step.
    """
    _check_shape("target", target, spikes.shape)
    steps, batch_size = spikes.shape[:2]
    kernel = exponential_kernel(decay, steps).to(spikes)
    lag = len(kernel) - 1
    series = (spikes - target).flatten(1).T[:, None]
    # conv1d correlates; turned round it convolves. The residual has its lag steps of tail.
    residual = F.conv1d(series, kernel.flip(0)[None, None], padding=lag)
    slope = (F.pad(kernel, (0, 2)) - F.pad(kernel, (2, 0))) / 2  # of kappa, from k = -1 on
    factor = 2 / (steps * batch_size)
    by_spike = factor * F.conv1d(residual, kernel[None, None])
    by_time = -factor * F.conv1d(F.pad(residual, (1, 1)), slope[None, None])
    errors = [each[:, 0].T.reshape(spikes.shape) for each in (by_spike, by_time)]
    return SpikeErrors(factor / 2 * residual.square().sum(), errors[0], spikes * errors[1])


def train_loss(output: Signal, target: Tensor, decay: float = 0.9) -> Tensor:
    """Return the squared distance of output and target spikes, filtered by ``decay^k``, over T and B.

    Args:
        output: Of the last layer.
        target: Wanted spikes, as ``output.values``.
        decay: alpha_exp of the filter, per step.

    Raises:
        ValueError: If target and output differ in shape, or the filter is too long.
    """
    return _loss(output, train_errors(output.values, target, decay))


@torch.no_grad()
def count_errors(spikes: Tensor, counts: Tensor) -> SpikeErrors:
    """Return loss and errors of :func:`count_loss`; when a spike comes makes no difference.

    Args:
        spikes: ``[T, B, K]``.
        counts: Wanted ``[B, K]``.
    """
    _check_shape("counts", counts, spikes.shape[1:])
    surplus = spikes.sum(0) - counts
    factor = 2 / (len(spikes) * spikes.shape[1])
    by_spike = (factor * surplus).expand_as(spikes)
    return SpikeErrors(factor / 2 * surplus.square().sum(), by_spike, torch.zeros_like(spikes))


def count_loss(output: Signal, counts: Tensor) -> Tensor:
    """Return the squared distance of the numbers of spikes from the wanted ones, over T and B.

    Args:
        output: Of the last layer.
        counts: Wanted ``[B, K]``.

    Raises:
        ValueError: If counts and output do not fit.
    """
    return _loss(output, count_errors(output.values, counts))


class LatencyErrors(NamedTuple):
    """The latency loss in its parts, and its errors.

    Attributes:
        cross_entropy: Of the first spikes ``[]``.
        no_spike: Of samples whose label's neuron stayed silent, times its weight ``[]``.
        logits: What the softmax is taken of ``[B, K]``.
        by_spike: ``[T, B, K]``.
        by_time: ``[T, B, K]``.
    """

    cross_entropy: Tensor
    no_spike: Tensor
    logits: Tensor
    by_spike: Tensor
    by_time: Tensor


@torch.no_grad()
def latency_errors(
    spikes: Tensor, labels: Tensor, softmax_beta: float = 1 / 6, no_spike_weight: float = 0.1
) -> LatencyErrors:
    """Return parts and errors of :func:`latency_loss`.

    Only the first spike of an output has an error of its time. Only the label's neuron, if it stayed silent,
    has one of whether there is a spike, the same at every step.

    Args:
        spikes: ``[T, B, K]``, T the steps that were simulated.
        labels: True classes ``[B]``.
        softmax_beta: Per step.
        no_spike_weight: lambda_nospike.
    """
    steps, batch_size, num_classes = spikes.shape
    check_labels(labels, batch_size, num_classes)
    fired = spikes.bool()
    is_first = fired & (fired.cumsum(0) == 1)
    left = torch.arange(steps, 0, -1, device=spikes.device, dtype=spikes.dtype)  # T at step 0, 1 at the last
    logits = softmax_beta * torch.einsum("t,tbk->bk", left, is_first.to(spikes.dtype))
    is_label = F.one_hot(labels, num_classes).to(spikes.dtype)
    by_logits = (logits.softmax(1) - is_label) / batch_size
    silent = is_label * ~fired.any(0)
    return LatencyErrors(
        F.cross_entropy(logits, labels),
        no_spike_weight * silent.sum() / batch_size,
        logits,
        (-no_spike_weight / batch_size * silent).expand_as(spikes),
        -softmax_beta * by_logits * is_first,
    )


def latency_loss(
    output: Signal, labels: Tensor, softmax_beta: float = 1 / 6, no_spike_weight: float = 0.1
) -> Tensor:
    """Return the cross-entropy of the outputs' first spikes, the earlier the likelier, plus that of silence.

    Args:
        output: Of the last layer.
        labels: True classes ``[B]``.
        softmax_beta: Per step: how much a step earlier counts.
        no_spike_weight: Times the share of samples whose label's neuron stayed silent.

    Raises:
        ValueError: If the labels are not classes of the output.
    """
    parts = latency_errors(output.values, labels, softmax_beta, no_spike_weight)
    return _loss(output, SpikeErrors(parts.cross_entropy + parts.no_spike, parts.by_spike, parts.by_time))


def clip_gradients_(parameters: Iterable[Tensor], largest: float = 1.0) -> None:
    """Cut every element of the gradients to ``[-largest, largest]``, in place; what is not a number becomes 0."""
    for each in parameters:
        if each.grad is not None:
            torch.nan_to_num_(each.grad, nan=0.0, posinf=float("inf"), neginf=float("-inf"))
            each.grad.clamp_(-largest, largest)


def _check_shape(name: str, value: Tensor, expected: torch.Size) -> None:
    if value.shape != expected:
        raise ValueError(f"{name} is {tuple(value.shape)}: expected {tuple(expected)} as the output is")
