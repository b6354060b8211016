"""Backpropagation through time with a surrogate slope: equal to autograd's of the same dynamics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lsnn_gym.rules.bptt import SurrogateNeuron
from lsnn_gym.rules.tssl_bp.neuron import TSSLNeuron


class Spike(torch.autograd.Function):
    """A step forwards, a sigmoid's slope backwards."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, width: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(distance)
        ctx.width = width
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, by_spike: Tensor):  # type: ignore[override]
        (distance,) = ctx.saved_tensors
        sigmoid = torch.sigmoid(distance / ctx.width)
        return by_spike * sigmoid * (1 - sigmoid) / ctx.width, None


def unrolled(drive: Tensor, neuron: SurrogateNeuron) -> Tensor:
    """Return the traces, as written in tssl_bp/neuron.py, for autograd to differentiate."""
    after = trace = torch.zeros_like(drive[0])
    traces = []
    for current in drive:
        membrane = after + current - after / neuron.tau_membrane
        spike: Tensor = Spike.apply(membrane - neuron.threshold, neuron.width)  # type: ignore[assignment]
        after = membrane * (1 - (spike if neuron.resets else spike.detach()))
        trace = trace + (spike - trace) / neuron.tau_synapse
        traces.append(trace)
    return torch.stack(traces)


@pytest.mark.parametrize("resets", [True, False])
def test_the_gradient_is_autograds(resets: bool):
    # A width that keeps |distance| / width below 8, where the slope is cut off.
    neuron = SurrogateNeuron(5.0, 3.0, 1.0, width=1.0, resets=resets)
    generator = torch.Generator().manual_seed(1)
    drive = 0.4 * torch.randn(40, 3, 7, generator=generator, dtype=torch.float64) + 0.2
    weighting = torch.randn(40, 3, 7, generator=generator, dtype=torch.float64)
    ours, theirs = drive.clone().requires_grad_(), drive.clone().requires_grad_()
    traces, spikes = neuron.fire(ours)
    (traces * weighting).sum().backward()
    (unrolled(theirs, neuron) * weighting).sum().backward()
    assert 20 < spikes.sum() < spikes.numel() / 2
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


def test_forwards_nothing_differs_from_tssl_bp():
    drive = torch.randn(30, 2, 9, generator=torch.Generator().manual_seed(2))
    mine, its = (each.fire(drive) for each in (SurrogateNeuron(5, 3, 1), TSSLNeuron(5, 3, 1)))
    for ours, theirs in zip(mine, its, strict=True):
        assert torch.equal(ours, theirs)
