"""Layers without recurrence that learn by ST-RSBP: dense, convolution, and the output with its inhibition.

What a layer sends are spikes, whose gradient is understood as one of counts: the same at every step. The gradient
of a batch is the sum of its samples' gradients; the authors update the weights after every sample.

A loss tells the output layer by :attr:`~lsnn_gym.rules.layers.Signal.timing` which neurons should fire and when
(see ``losses``): the weights of one that stayed silent learn as if it had fired so.

Source: Zhang, Li, NeurIPS 2019, and the authors' code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lsnn_gym.rules.layers import ConvolutionSynapses, DenseSynapses, Signal, Synapses
from lsnn_gym.rules.st_rsbp import compiled, shared
from lsnn_gym.rules.st_rsbp.compiled import Fired, Links, Received
from lsnn_gym.rules.st_rsbp.continuous import SILENT_PSP, continuous_responses
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron, spike_psp
from lsnn_gym.rules.st_rsbp.rule import (
    RSBPRule,
    away_from_zero,
    by_pre_count,
    count_error,
    own_effect,
)
from lsnn_gym.rules.st_rsbp.shared import Map, convolution_map
from lsnn_gym.rules.st_rsbp.trains import by_counts_below, sums, uses_kernels


class SpikingLayer(nn.Module):
    """Synapses and the neurons that they drive; ``random_layers`` makes some at random.

    Args:
        synapses: Which value meets which weight.
        weight: Initial weights, as the synapses take them. There is no bias.
        neuron: Constants of the neurons.
        rule: Choices of the rule.
        inhibition: By how much a spike inhibits every other neuron of the layer; of dense layers only.
        is_output: Whether losses tell the layer which neurons should fire.

    Raises:
        ValueError: If a convolution's neurons are to inhibit each other.
    """

    def __init__(
        self,
        synapses: Synapses,
        weight: Tensor,
        neuron: RSBPNeuron,
        rule: RSBPRule | None = None,
        *,
        inhibition: float = 0.0,
        is_output: bool = False,
    ) -> None:
        super().__init__()
        if inhibition and not isinstance(synapses, DenseSynapses):
            raise ValueError(f"inhibition is {inhibition}: expected 0 in a layer that is not dense")
        self.synapses = synapses
        self.weight: nn.Parameter = nn.Parameter(weight)
        self.neuron = neuron
        self.rule: RSBPRule = RSBPRule() if rule is None else rule
        self.inhibition = inhibition
        self.is_output = is_output

    def forward(self, signal: Signal) -> Signal:
        """Return the neurons' spikes, and of an output the zeros by which a loss says who should fire."""
        received = self.received(signal)
        fired = self.fire(signal.values, received)
        spikes, wanted = _Spikes.apply(signal.values, self.weight, self, received, fired)  # type: ignore[misc]
        return Signal(spikes, wanted if self.is_output else None, spikes.detach(), packed=fired.packed)

    def simulate(self, values: Tensor) -> Tensor:
        """Return the spikes ``[T, B, ...]`` that values ``[T, B, ...]`` cause, without gradient."""
        return self.fire(values, self.received(Signal(values))).spikes

    def received(self, signal: Signal) -> Received | None:
        """Return what comes in as the compiled kernels read it, or None if they do not serve for it."""
        values = signal.values
        if not isinstance(self.synapses, ConvolutionSynapses | DenseSynapses):
            return None
        if not uses_kernels(self.rule, values, self.weight):
            return None
        if isinstance(self.synapses, ConvolutionSynapses):
            self.synapses.check(values, self.weight)
        return Received.of(values, signal.packed)

    @torch.no_grad()
    def fire(self, values: Tensor, received: Received | None) -> Fired:
        """Return what neurons fire, given what comes in ``[T, B, ...]`` and the same for kernels, if they serve."""
        within = self.same_layer()
        if received is None:
            spikes = self.neuron.run(self.synapses.drive(values, self.weight), within).spikes
            return Fired(spikes, None)
        links_below = self.shared_map(received)
        if links_below is not None:
            return shared.fire(self.neuron, received, self.weight, links_below)
        if within is None:
            return compiled.fire(self.neuron, received, self.weight, None, None)
        links = Links.between(len(within))
        return compiled.fire(self.neuron, received, self.weight, links, within[links.post, links.pre])

    def shared_map(self, received: Received) -> Map | None:
        """Return where what comes in leads, if the weights are shared."""
        if not isinstance(self.synapses, ConvolutionSynapses):
            return None
        return convolution_map(tuple(received.values.shape[2:]), tuple(self.weight.shape), self.synapses)

    def same_layer(self) -> Tensor | None:
        """Return the fixed weights ``[post, pre]`` within the layer, if any."""
        if not self.inhibition:
            return None
        number = len(self.weight)
        return self.inhibition * (torch.eye(number) - 1).to(self.weight)

    def divisor(self, pre: Tensor, post: Tensor, steps: int) -> Tensor:
        """Return S ``[B, ...]``, given counts ``[B, ...]`` and T."""
        if not self.rule.own_effect:
            return torch.ones_like(post)
        table = self.rule.table_for(self.neuron, steps)
        effect = own_effect(table, self.synapses, self.weight, pre, post, recurrent=False)
        return away_from_zero(1 - effect / self.neuron.threshold, self.rule.smallest_divisor)

    def inhibition_factor(self, counts: Tensor, psp: Tensor, wanted: Tensor) -> Tensor | float:
        """Return F ``[B, N]``, by which mutual inhibition changes the weights' gradient.

        Args:
            counts: Of the neurons as they fired ``[B, N]``.
            psp: S-PSPs among them ``[B, post, pre]``.
            wanted: Which neurons should fire ``[B, N]``; they count as active.
        """
        if not self.inhibition:
            return 1.0
        ratio = by_pre_count(psp, counts, counts, self.rule.silent_ratio)
        active = ((counts > 0) | wanted).to(counts.dtype) / self.neuron.threshold
        mutual = ratio * ratio.transpose(1, 2) * active[:, :, None] * active[:, None, :]
        mutual.diagonal(dim1=1, dim2=2).zero_()
        return 1 / (1 - self.inhibition**2 * mutual.sum(2))

    @property
    def is_continuous(self) -> bool:
        """Return whether the layer's S-PSPs are those of continuous time."""
        return self.rule.continuous_psp and not isinstance(self.synapses, DenseSynapses)

    @property
    def num_synapses(self) -> int:
        """Return how many synapses a neuron has."""
        return self.weight[0].numel()


class Record(NamedTuple):
    """What went through a layer.

    Attributes:
        values: What it received ``[T, B, ...]``.
        received: The same for the compiled kernels; None if they do not serve.
        fired: What its neurons fired.
    """

    values: Tensor
    received: Received | None
    fired: Fired


class Backward(NamedTuple):
    """What a layer sends back.

    Attributes:
        by_count: dL/dc of the layer below ``[B, ...]``; None if not asked for.
        by_weight: As the weight, summed over samples; None if not asked for.
    """

    by_count: Tensor | None
    by_weight: Tensor | None


def silent_made_to_fire(spikes: Tensor, by_wanted: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the trains that learning goes by, and which neurons should fire ``[B, N]``.

    Args:
        spikes: ``[T, B, N]`` as they were.
        by_wanted: What the loss sent for the trains of neurons that should fire: 0 where there is no spike.
    """
    if by_wanted is None:
        return spikes, torch.zeros_like(spikes[0], dtype=torch.bool)
    train = by_wanted != 0
    wanted = train.any(0)
    forced = wanted & ~spikes.any(0)
    return torch.where(forced, train.to(spikes.dtype), spikes), wanted


def send_back(
    layer: SpikingLayer,
    record: Record,
    by_count: Tensor,
    by_wanted: Tensor | None,
    needs: tuple[bool, bool],
) -> Backward:
    """Return the gradients of a layer.

    Args:
        layer: Of which.
        record: What went through it.
        by_count: dL/dc of its neurons ``[B, ...]``.
        by_wanted: See :func:`silent_made_to_fire`.
        needs: Whether the gradient by the count below is asked for, and that by the weight.
    """
    trains, should_fire = silent_made_to_fire(record.fired.spikes, by_wanted)
    work = (_Plain if record.received is None else _ByKernels)(layer, record, trains)
    scaled = by_count / layer.neuron.threshold / layer.divisor(work.pre, work.counts, len(trains))
    of_weight = scaled
    if layer.inhibition and needs[1]:
        factor = layer.inhibition_factor(work.counts_as_fired, work.psp_within(), should_fire)
        of_weight = scaled * factor
    by_weight, below = work.sums(of_weight if needs[1] else None, scaled if needs[0] else None)
    if by_weight is not None and layer.is_continuous:
        silent, active = (scaled * (work.counts == 0))[None], (work.pre > 0).to(trains)[None]
        by_weight = by_weight + SILENT_PSP * layer.synapses.by_weight(silent, active, layer.weight)
    return Backward(None if below is None else below.view_as(record.values[0]), by_weight)


class _Plain:
    """What backward needs of whole trains; ``trains`` are those that learning goes by."""

    def __init__(self, layer: SpikingLayer, record: Record, trains: Tensor) -> None:
        self.layer = layer
        self.values = record.values
        self.trains = trains
        self.spikes = record.fired.spikes
        self.pre = record.values.sum(0)
        self.counts = trains.sum(0)

    @property
    def counts_as_fired(self) -> Tensor:
        """Return the counts ``[B, ...]`` of what the neurons fired."""
        return self.spikes.sum(0)

    def psp_within(self) -> Tensor:
        """Return the S-PSPs among the neurons ``[B, post, pre]``, as they fired."""
        return spike_psp(self.layer.neuron.responses(self.spikes), self.spikes)

    def sums(self, of_weight: Tensor | None, of_below: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return :func:`~lsnn_gym.rules.st_rsbp.trains.sums`."""
        layer = self.layer
        form = continuous_responses if layer.is_continuous else RSBPNeuron.responses
        found, wanted = form(layer.neuron, self.trains), (of_weight, of_below)
        arguments = (layer.synapses, layer.weight, self.values, found, self.counts, wanted)
        return sums(*arguments, layer.rule.silent_ratio)


class _ByKernels:
    """The same by the compiled kernels."""

    def __init__(self, layer: SpikingLayer, record: Record, trains: Tensor) -> None:
        fired = record.fired.packed
        assert record.received is not None
        assert fired is not None
        self.layer = layer
        self.received = record.received
        self.fired = fired
        learnt_by = fired if trains is record.fired.spikes else compiled.pack(trains)
        assert learnt_by is not None
        self.trains = learnt_by
        self.pre = record.received.counts
        self.counts = learnt_by.counts

    @property
    def counts_as_fired(self) -> Tensor:
        """Return the counts ``[B, N]`` of what the neurons fired."""
        return self.fired.counts

    def psp_within(self) -> Tensor:
        """Return the S-PSPs among the neurons ``[B, post, pre]``, as they fired."""
        number = len(self.layer.weight)
        psp = compiled.psp_within(self.layer.neuron, self.fired, Links.between(number))
        return psp.unflatten(1, (number, number)).transpose(1, 2)

    def sums(self, of_weight: Tensor | None, of_below: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return :func:`~lsnn_gym.rules.st_rsbp.trains.sums`."""
        layer, wanted, ratio = self.layer, (of_weight, of_below), self.layer.rule.silent_ratio
        links = layer.shared_map(self.received)
        if links is None:
            return compiled.sums(layer.neuron, layer.weight, self.received, self.trains, wanted, ratio)
        arguments = (layer.neuron, self.received, layer.weight, links, self.trains, wanted)
        by_weight, below = shared.sums(*arguments, continuous=layer.is_continuous)
        if below is not None and of_below is not None:
            below = by_counts_below(
                layer.synapses, layer.weight, self.pre, below, self.counts, of_below, ratio
            )
        return by_weight, below


class _Spikes(torch.autograd.Function):
    """Spikes as a function of what came in and of the weight, with ST-RSBP's gradient."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, values: Tensor, weight: Tensor, layer: SpikingLayer, received: Received | None, fired: Fired
    ):
        spikes = fired.spikes
        ctx.save_for_backward(values, weight, spikes)
        ctx.layer, ctx.received, ctx.packed = layer, received, fired.packed
        ctx.set_materialize_grads(False)
        return spikes, torch.zeros_like(spikes) if layer.is_output else spikes.new_empty(0)

    @staticmethod
    def backward(ctx: Any, by_values: Tensor | None, by_wanted: Tensor | None):  # type: ignore[override]
        values, _, spikes = ctx.saved_tensors
        if by_values is None:
            return None, None, None, None, None
        record = Record(values, ctx.received, Fired(spikes, ctx.packed))
        found = send_back(ctx.layer, record, count_error(by_values), by_wanted, ctx.needs_input_grad[:2])
        below = None if found.by_count is None else found.by_count.expand_as(values)
        return below, found.by_weight, None, None, None
