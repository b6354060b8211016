"""Layers that learn by TSSL-BP: input traces, dense and convolution layers, sum pooling, dropout.

Nothing has a bias, and nothing is delayed from layer to layer. A network is a
:class:`~lsnn_gym.rules.layers.LayeredNetwork` that begins with :class:`InputTraces`.

Source: Zhang, Li, NeurIPS 2020, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsnn_gym.lanes import LaneDraws
from lsnn_gym.rules import compiled
from lsnn_gym.rules.layers import (
    ConvolutionSynapses,
    DenseSynapses,
    Pair,
    Signal,
    Synapses,
    check_images,
)
from lsnn_gym.rules.tssl_bp import compiled as kernels
from lsnn_gym.rules.tssl_bp.neuron import TSSLNeuron, filter_spikes

LARGEST_WEIGHT = 4.0
"""Weights beyond it are cut after each update."""


class InputTraces(nn.Module):
    """Filters what comes into the network once, as if a neuron had sent it.

    What is the same at every step (a tensor expanded over its steps) stays one step with a gain for each: the weights
    meet it once instead of T times.

    Args:
        tau_synapse: In steps, at least 1.
    """

    def __init__(self, tau_synapse: float) -> None:
        super().__init__()
        if not tau_synapse >= 1:
            raise ValueError(f"tau_synapse is {tau_synapse}: expected at least 1 step")
        self.tau_synapse = tau_synapse

    def forward(self, signal: Signal) -> Signal:
        """Return the traces of ``signal.values``."""
        values = signal.values
        if values.stride(0) == 0 and len(values) > 1:
            gains = filter_spikes(values.new_ones(len(values)), self.tau_synapse)
            return Signal(values[:1], gains=gains)
        return Signal(filter_spikes(values, self.tau_synapse))


class SpikingLayer(nn.Module):
    """Synapses and the neurons that they drive; :func:`dense` and :func:`convolution` make one at random.

    Args:
        synapses: Which value meets which weight.
        weight: Initial weights, as the synapses take them.
        neuron: Constants of the neurons.
    """

    def __init__(self, synapses: Synapses, weight: Tensor, neuron: TSSLNeuron) -> None:
        super().__init__()
        self.synapses = synapses
        self.weight: nn.Parameter = nn.Parameter(weight)
        self.neuron = neuron

    def forward(self, signal: Signal) -> Signal:
        """Return traces and spikes of the neurons."""
        drive = self.synapses.drive(signal.values, self.weight)
        trace, spikes = self.neuron.fire(drive, signal.gains)
        return Signal(trace, spikes=spikes)


def dense(
    inputs: int,
    outputs: int,
    neuron: TSSLNeuron,
    *,
    weight_scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> SpikingLayer:
    """Return a layer of ``outputs`` neurons that all see all ``inputs``, with Kaiming-normal weights.

    Args:
        inputs: Values a step.
        outputs: Neurons.
        neuron: Their constants.
        weight_scale: Factor of the initial weights.
        generator: Of the weights; PyTorch's own if None.
    """
    weight = torch.empty(outputs, inputs)
    nn.init.kaiming_normal_(weight, generator=generator)
    return SpikingLayer(DenseSynapses(), weight * weight_scale, neuron)


def convolution(
    inputs: int,
    outputs: int,
    kernel: Pair,
    neuron: TSSLNeuron,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    weight_scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> SpikingLayer:
    """Return a layer of ``outputs`` channels of neurons, with weights uniform as PyTorch's convolutions have.

    Args:
        inputs: Channels below.
        outputs: Channels.
        kernel: Its size in pixels.
        neuron: Constants of the neurons.
        stride: In pixels.
        padding: In pixels.
        dilation: In pixels.
        weight_scale: Factor of the initial weights.
        generator: Of the weights; PyTorch's own if None.
    """
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    weight = torch.empty(outputs, inputs, *size)
    nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
    return SpikingLayer(ConvolutionSynapses(stride, padding, dilation), weight * weight_scale, neuron)


class SumPool(nn.Module):
    """Sums traces over windows that do not overlap, and raises the sum a little. No neurons, no state.

    Args:
        window: Side of the window, in pixels.
        gain: Factor of the sum.
    """

    def __init__(self, window: int, gain: float = 1.1) -> None:
        super().__init__()
        self.window = window
        self.gain = gain

    def forward(self, signal: Signal) -> Signal:
        """Return ``[T, B, C, H / window, W / window]``.

        Raises:
            ValueError: If the values are no images, narrower than the window, or of a height that is no multiple
                of it.
        """
        values = signal.values
        check_images(values, "sum pooling")
        if values.shape[3] % self.window:
            raise ValueError(
                f"images {values.shape[3]} high: expected a multiple of the pool's {self.window}"
            )
        if values.shape[4] < self.window:
            raise ValueError(f"images {values.shape[4]} wide: expected at least the pool's {self.window}")
        return Signal(window_sum(values, self.window, self.gain), gains=signal.gains)


def window_sum(values: Tensor, window: int, gain: float) -> Tensor:
    """Return ``gain`` times the sums over windows side by side; rows and columns left over are left out.

    Args:
        values: ``[T, B, C, H, W]``.
        window: Side of the windows.
        gain: Factor of the sums.
    """
    return _WindowSum.apply(values, window, gain)  # type: ignore[return-value]


class _WindowSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, window: int, gain: float) -> Tensor:  # type: ignore[override]
        ctx.shape, ctx.window, ctx.gain = values.shape, window, gain
        if compiled.fits(values):
            return kernels.window_sums(values, window, gain)
        return gain * F.avg_pool2d(values.flatten(0, 1), window, divisor_override=1).unflatten(
            0, values.shape[:2]
        )

    @staticmethod
    def backward(ctx: Any, by_sum: Tensor):  # type: ignore[override]
        if compiled.fits(by_sum):
            return kernels.window_errors(by_sum, ctx.shape, ctx.window, ctx.gain), None, None
        wide = ctx.gain * by_sum.repeat_interleave(ctx.window, -1).repeat_interleave(ctx.window, -2)
        return F.pad(wide, (0, ctx.shape[-1] % ctx.window, 0, ctx.shape[-2] % ctx.window)), None, None


class LineDropout(nn.Module):
    """Drops whole lines of an image, or single neurons of a dense layer, for all steps; only in training.

    A line is one row of one channel. What is kept is raised so that its mean stays.

    Args:
        probability: Of being dropped.
        draws: Of what is dropped; by PyTorch's own generator if None.
    """

    def __init__(self, probability: float = 0.2, draws: LaneDraws | None = None) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"dropout probability is {probability}: expected from 0 to below 1")
        self.probability = probability
        self.draws: LaneDraws = draws or LaneDraws()

    def forward(self, signal: Signal) -> Signal:
        """Return the values with lines dropped, or as they are outside of training."""
        values = signal.values
        if not self.training or not self.probability:
            return Signal(values, gains=signal.gains)
        # [B, C, H] of images, [B, N] of neurons.
        drawn = self.draws.uniform(tuple(values.shape[1:4])).to(values.device)
        kept = (drawn >= self.probability).to(values.dtype) / (1 - self.probability)
        return Signal(values * (kept if values.ndim == 3 else kept[..., None]), gains=signal.gains)


@torch.no_grad()
def clip_weights_(parameters: Iterable[Tensor], largest: float = LARGEST_WEIGHT) -> None:
    """Cut weights to ``[-largest, largest]``, in place: done after each update."""
    for each in parameters:
        each.clamp_(-largest, largest)
