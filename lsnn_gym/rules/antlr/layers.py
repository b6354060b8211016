"""Layers that learn by ANTLR, and networks of them that stop once every output has fired.

The dynamics of a layer (``simulate``) stand apart from what backward means for it (``attach``): a network can be
simulated piece by piece until it may stop (:class:`LayerSimulation`), and only what counts is then given its gradient.

Source: Kim, Kim, Kim, NeurIPS 2020, and the authors' code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lsnn_gym.rules import compiled as neuron_kernels
from lsnn_gym.rules.antlr.compiled_dense import DenseRun, Wanted, dense_errors
from lsnn_gym.rules.antlr.neuron import AntlrNeuron, AntlrRule, NeuronRecord, NeuronState
from lsnn_gym.rules.layers import (
    ConvolutionSynapses,
    DenseSynapses,
    Pair,
    Signal,
    Synapses,
    check_fit,
)


class LayerRun(NamedTuple):
    """What a layer did, without gradient.

    Attributes:
        values: What it sends ``[T, B, ...]``.
        record: Of its neurons; None if it has none.
        state: Of its neurons after the last step; None if it has none.
    """

    values: Tensor
    record: NeuronRecord | None = None
    state: NeuronState | None = None


class LayerSimulation(ABC):
    """A layer as far as it has been simulated, piece by piece of a sequence, without gradient."""

    @abstractmethod
    def advance(self, values: Tensor) -> Tensor:
        """Go on by values ``[T', B, ...]``; return what the layer sends meanwhile."""

    @abstractmethod
    def attach(self, signal: Signal) -> Signal:
        """Return what the layer sent in the first steps as a function of ``signal``, what came in in them."""


class AntlrLayer(nn.Module, ABC):
    """A layer: what it does, and what backward means for it."""

    def begin(self, values: Tensor, steps: int) -> LayerSimulation:
        """Return a simulation of the layer at rest.

        Args:
            values: The first that it will receive ``[T', B, ...]``.
            steps: T, the most that it will be.
        """
        return _Pieces(self)

    @abstractmethod
    def simulate(self, values: Tensor, state: NeuronState | None = None) -> LayerRun:
        """Return what the layer does with values ``[T, B, ...]``, from ``state`` or rest on."""

    @abstractmethod
    def attach(self, signal: Signal, run: LayerRun) -> Signal:
        """Return what ``run`` sends as a function of ``signal``, from which it came, and of the parameters."""

    def forward(self, signal: Signal) -> Signal:
        """Return what the layer sends, from rest on, with its gradient."""
        simulation = self.begin(signal.values, len(signal.values))
        simulation.advance(signal.values)
        return simulation.attach(signal)


class _Pieces(LayerSimulation):
    """A layer by its own ``simulate`` and ``attach``."""

    def __init__(self, layer: AntlrLayer) -> None:
        self.layer = layer
        self.runs: list[LayerRun] = []

    def advance(self, values: Tensor) -> Tensor:
        self.runs.append(self.layer.simulate(values, self.runs[-1].state if self.runs else None))
        return self.runs[-1].values

    def attach(self, signal: Signal) -> Signal:
        steps = len(signal.values)
        records = [run.record for run in self.runs if run.record is not None]
        if not records:
            values = _joined([run.values for run in self.runs], steps)
            return self.layer.attach(signal, LayerRun(values))
        record = NeuronRecord(*(_joined(pieces, steps) for pieces in zip(*records, strict=True)))
        return self.layer.attach(signal, LayerRun(record.spikes, record))


def _joined(pieces: Sequence[Tensor], steps: int) -> Tensor:
    """Return the pieces as one, cut to ``steps``."""
    return (pieces[0] if len(pieces) == 1 else torch.cat(list(pieces)))[:steps]


class SpikingLayer(AntlrLayer):
    """Synapses and the neurons that they drive; :func:`dense` and :func:`convolution` make one at random.

    Args:
        synapses: Which value meets which weight.
        weight: Initial weights, as the synapses take them. There is a bias a neuron, or a channel of an image,
            which begins at 0.
        neuron: Constants of the neurons.
        rule: How errors of spikes become errors of voltages.
    """

    def __init__(self, synapses: Synapses, weight: Tensor, neuron: AntlrNeuron, rule: AntlrRule) -> None:
        super().__init__()
        self.synapses = synapses
        self.weight: nn.Parameter = nn.Parameter(weight)
        self.bias: nn.Parameter = nn.Parameter(weight.new_zeros(len(weight)))
        self.neuron = neuron
        self.rule = rule

    @property
    def is_dense(self) -> bool:
        """Return whether every value meets every neuron."""
        return isinstance(self.synapses, DenseSynapses)

    def begin(self, values: Tensor, steps: int) -> LayerSimulation:
        """Return a simulation of the layer at rest; by kernels for the whole of it where that can be.

        Raises:
            ValueError: If the values do not fit a dense layer.
        """
        if self.is_dense and neuron_kernels.fits(values, self.weight, self.bias):
            check_fit(values, self.weight)
            return _Dense(self, DenseRun(self.neuron, self.weight, self.bias, steps, values.shape[1]))
        return super().begin(values, steps)

    @torch.no_grad()
    def simulate(self, values: Tensor, state: NeuronState | None = None) -> LayerRun:
        """Return the neurons' spikes: the definition of correct."""
        drive = self.synapses.drive(values, self.weight)
        bias = self.bias.view(-1, *[1] * (drive.ndim - 3))
        record, state = self.neuron.run(drive, bias, state)
        return LayerRun(record.spikes, record, state)

    def attach(self, signal: Signal, run: LayerRun) -> Signal:
        """Return spikes, and the timing of spikes if the rule knows of it."""
        spikes, timing = _Spikes.apply(signal.values, signal.timing, self.weight, self.bias, run.record, self)  # type: ignore[misc]
        return Signal(spikes, timing, run.values)


class _Spikes(torch.autograd.Function):
    """Spikes as a function of what came in, its timing, weight and bias, with ANTLR's gradient."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        values: Tensor,
        timing: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        record: NeuronRecord,
        layer: SpikingLayer,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(values, weight, *record)
        ctx.layer = layer
        ctx.set_materialize_grads(False)
        return record.spikes.detach(), _token(record.spikes)

    @staticmethod
    def backward(ctx: Any, by_spike: Tensor | None, by_time: Tensor | None):  # type: ignore[override]
        values, weight, *saved = ctx.saved_tensors
        record, layer = NeuronRecord(*saved), ctx.layer
        neuron, rule, synapses = layer.neuron, layer.rule, layer.synapses
        delays = ctx.needs_input_grad[1] and bool(rule.timing)
        by_current, by_voltage, delayed = neuron.errors(rule, record, by_spike, by_time, delays)
        by_values = by_timing = by_weight = by_bias = None
        if ctx.needs_input_grad[0] and rule.activation:
            by_values = _times(neuron.current_gain, synapses.by_values(by_current, weight, values))
        if delayed is not None:
            by_timing = _times(neuron.current_gain, synapses.by_values(delayed, weight, values)).mul_(values)
        if ctx.needs_input_grad[2]:
            by_weight = _weight_gradient(layer, by_current, values, weight, record.spikes)
        if ctx.needs_input_grad[3]:
            by_bias = neuron.bias_gain * by_voltage.unflatten(1, (-1, 1)).flatten(2).sum((0, 2))
        return by_values, by_timing, by_weight, by_bias, None, None


class _Dense(LayerSimulation):
    """A dense layer by the kernels for whole layers."""

    def __init__(self, layer: SpikingLayer, run: DenseRun) -> None:
        self.layer = layer
        self.run = run

    def advance(self, values: Tensor) -> Tensor:
        return self.run.advance(values.flatten(2))

    def attach(self, signal: Signal) -> Signal:
        layer, values = self.layer, signal.values.flatten(2)
        timing = None if signal.timing is None else signal.timing.flatten(2)
        spikes, token = _DenseSpikes.apply(values, timing, layer.weight, layer.bias, self.run, layer)  # type: ignore[misc]
        return Signal(spikes, token, spikes.detach())


class _DenseSpikes(torch.autograd.Function):
    """What ``_Spikes`` is, by the kernels for whole layers."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        values: Tensor,
        timing: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        run: DenseRun,
        layer: SpikingLayer,
    ) -> tuple[Tensor, Tensor]:
        spikes = run.spikes[:, : len(values)].transpose(0, 1)
        ctx.save_for_backward(values, weight, run.by_input, run.voltage, spikes)
        ctx.layer = layer
        ctx.set_materialize_grads(False)
        return spikes.detach(), _token(spikes)

    @staticmethod
    def backward(ctx: Any, by_spike: Tensor | None, by_time: Tensor | None):  # type: ignore[override]
        values, weight, by_input, voltage, spikes = ctx.saved_tensors
        layer, needed = ctx.layer, ctx.needs_input_grad
        neuron, rule = layer.neuron, layer.rule
        given = (by_spike if rule.activation else None, by_time if rule.timing else None)
        wanted = Wanted(needed[2], needed[0] and bool(rule.activation), needed[1] and bool(rule.timing))
        found = dense_errors(neuron.compiled_constants(rule), by_input, voltage, values, given, wanted)
        by_values = by_timing = by_weight = None
        if found.by_current is not None:
            by_values = _times(neuron.current_gain, found.by_current @ weight).transpose(0, 1)
        if found.by_timing is not None:
            by_timing = found.by_timing.transpose(0, 1)
        if found.by_weight is not None:
            by_weight = _pushed(layer, found.by_weight, spikes)
        return by_values, by_timing, by_weight, neuron.bias_gain * found.by_bias, None, None


def _token(spikes: Tensor) -> Tensor:
    """Return zeros of that shape, in no memory of their own, whose gradient is an error of times."""
    return spikes.new_zeros(()).expand(spikes.shape)


def _times(gain: float, values: Tensor) -> Tensor:
    """Return ``gain * values``, in their place; a gain of 1, which is usual, costs nothing."""
    return values if gain == 1 else values.mul_(gain)


def _weight_gradient(
    layer: SpikingLayer, by_current: Tensor, values: Tensor, weight: Tensor, spikes: Tensor
) -> Tensor:
    """Return the weights' gradient; as published, only that of dense layers is multiplied by beta_i."""
    gradient = layer.synapses.by_weight(by_current, values, weight)
    return _pushed(layer, gradient, spikes) if layer.is_dense else gradient


def _pushed(layer: SpikingLayer, gradient: Tensor, spikes: Tensor) -> Tensor:
    """Return a dense layer's gradient by its weights, with the push on neurons that stayed silent."""
    gradient = layer.neuron.current_gain * gradient
    if layer.rule.timing_penalty:
        silent = (~spikes.bool().any(0)).to(gradient.dtype).mean(0)
        gradient -= layer.rule.timing_penalty / gradient.shape[1] * silent[:, None]
    return gradient


def dense(
    inputs: int,
    outputs: int,
    neuron: AntlrNeuron,
    rule: AntlrRule,
    *,
    generator: torch.Generator | None = None,
) -> SpikingLayer:
    """Return a layer of ``outputs`` neurons that all see all ``inputs``, with weights as PyTorch's linear layers.

    Args:
        inputs: Values a step.
        outputs: Neurons.
        neuron: Their constants.
        rule: How they learn.
        generator: Of the weights; PyTorch's own if None.
    """
    return SpikingLayer(DenseSynapses(), _initial_weight((outputs, inputs), generator), neuron, rule)


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    neuron: AntlrNeuron,
    rule: AntlrRule,
    *,
    stride: Pair = 1,
    padding: Pair | None = None,
    dilation: Pair = 1,
    generator: torch.Generator | None = None,
) -> SpikingLayer:
    """Return a layer of ``outputs`` channels of neurons, with weights as PyTorch's convolutions have them.

    Args:
        inputs: Channels below.
        outputs: Channels.
        kernel: Its side, in pixels.
        neuron: Constants of the neurons.
        rule: How they learn.
        stride: In pixels.
        padding: In pixels; half the kernel, rounded down, if None.
        dilation: In pixels.
        generator: Of the weights; PyTorch's own if None.
    """
    synapses = ConvolutionSynapses(stride, kernel // 2 if padding is None else padding, dilation)
    weight = _initial_weight((outputs, inputs, kernel, kernel), generator)
    return SpikingLayer(synapses, weight, neuron, rule)


def _initial_weight(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Return weights uniform to 1 over the root of the fan-in on either side."""
    weight = torch.empty(shape)
    return nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
