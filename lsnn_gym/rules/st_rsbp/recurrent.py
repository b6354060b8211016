"""Recurrent layers that learn by ST-RSBP.

With R the weights within the layer, the counts' equations give, per sample, ``A dc_o/dc_i = B / theta``::

    A[o, o] = S_o, of both kinds of synapses, kept away from 0
    A[o, p] = -R[o, p] de[o|p]/dc_p / theta      B[o, i] = W[o, i] de[o|i]/dc_i

As published, the part of a synapse onto itself in ``de/dc_p`` is left out.

Source: Zhang, Li, NeurIPS 2019, and the authors' code.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lsnn_gym.rules.layers import DenseSynapses, PackedSpikes, Signal
from lsnn_gym.rules.st_rsbp import compiled
from lsnn_gym.rules.st_rsbp.compiled import Fired, Links, Received
from lsnn_gym.rules.st_rsbp.layers import Record
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron, spike_psp
from lsnn_gym.rules.st_rsbp.rule import (
    Recurrence,
    RSBPRule,
    away_from_zero,
    by_pre_count,
    count_error,
    own_effect,
)
from lsnn_gym.rules.st_rsbp.trains import sums, uses_kernels


class RecurrentLayer(nn.Module):
    """Neurons that all see all inputs, and some of themselves; ``random_layers.reservoir`` makes one at random.

    Args:
        weight: Initial W ``[N, inputs]``.
        recurrent_weight: Initial R ``[N, N]``; where it is 0 there is no synapse and never will be.
            Whether it learns is told by its ``requires_grad`` in the layer.
        neuron: Constants of the neurons.
        rule: Choices of the rule.

    Raises:
        ValueError: If the weights do not fit each other.
    """

    mask: Tensor

    def __init__(
        self, weight: Tensor, recurrent_weight: Tensor, neuron: RSBPNeuron, rule: RSBPRule | None = None
    ) -> None:
        super().__init__()
        if recurrent_weight.shape != (len(weight), len(weight)):
            raise ValueError(
                f"recurrent_weight is {tuple(recurrent_weight.shape)}: "
                f"expected {(len(weight), len(weight))} as the weight is {tuple(weight.shape)}"
            )
        self.synapses: DenseSynapses = DenseSynapses()
        self.weight: nn.Parameter = nn.Parameter(weight)
        self.recurrent_weight: nn.Parameter = nn.Parameter(recurrent_weight)
        self.register_buffer("mask", recurrent_weight != 0)
        self.neuron = neuron
        self.rule: RSBPRule = RSBPRule() if rule is None else rule
        self._links: tuple[tuple[int, int], Links] | None = None

    def forward(self, signal: Signal) -> Signal:
        """Return the neurons' spikes."""
        values = signal.values.flatten(2)
        received = self.received(values, signal.packed)
        fired = self.fire(values, received)
        spikes = _Spikes.apply(values, self.weight, self.recurrent_weight, self, received, fired)
        return Signal(spikes, spikes=spikes.detach(), packed=fired.packed)  # type: ignore[arg-type,union-attr]

    def simulate(self, values: Tensor) -> Tensor:
        """Return the spikes ``[T, B, N]`` that values ``[T, B, inputs]`` cause, without gradient."""
        return self.fire(values, self.received(values, None)).spikes

    def received(self, values: Tensor, packed: PackedSpikes | None) -> Received | None:
        """Return what comes in as the compiled kernels read it, or None if they do not serve for it."""
        by_kernels = uses_kernels(self.rule, values, self.weight, self.recurrent_weight)
        return Received.of(values, packed) if by_kernels else None

    @torch.no_grad()
    def fire(self, values: Tensor, received: Received | None) -> Fired:
        """Return what neurons fire, given what comes in ``[T, B, inputs]`` and the same for kernels, if they serve."""
        if received is None:
            drive = self.synapses.drive(values, self.weight)
            return Fired(self.neuron.run(drive, self.same_layer()).spikes, None)
        links = self.links()
        within = self.recurrent_weight[links.post, links.pre]
        return compiled.fire(self.neuron, received, self.weight, links, within)

    def links(self) -> Links:
        """Return the synapses within the layer as the compiled kernels take them."""
        key = self.mask.data_ptr(), self.mask._version
        if self._links is None or self._links[0] != key:
            self._links = key, Links.of(self.mask)
        return self._links[1]

    def same_layer(self) -> Tensor:
        """Return R without what may have come where no synapse is."""
        return self.recurrent_weight * self.mask

    def divisor(self, pre: Tensor, post: Tensor, steps: int) -> Tensor:
        """Return S ``[B, N]``, given counts ``[B, ...]`` and T."""
        table = self.rule.table_for(self.neuron, steps)
        effect = own_effect(table, self.synapses, self.weight, pre, post, recurrent=True)
        effect = effect + own_effect(table, self.synapses, self.same_layer(), post, post, recurrent=True)
        return away_from_zero(1 - effect / self.neuron.threshold, self.rule.smallest_recurrent_divisor)

    def system(self, divisor: Tensor, recurrent_psp: Tensor, counts: Tensor) -> Tensor:
        """Return A ``[B, N, N]``.

        Args:
            divisor: S ``[B, N]``.
            recurrent_psp: S-PSPs within the layer ``[B, post, pre]``.
            counts: Of the layer ``[B, N]``.
        """
        ratio = by_pre_count(recurrent_psp, counts, counts, self.rule.silent_ratio)
        others = -self.same_layer() * ratio / self.neuron.threshold
        others.diagonal(dim1=1, dim2=2).copy_(divisor)
        return others

    @property
    def num_synapses(self) -> int:
        """Return how many synapses that learn a neuron has, those within the layer counted for all neurons."""
        within = int(self.mask.sum()) if self.recurrent_weight.requires_grad else 0
        return self.weight.shape[1] + within


class Backward(NamedTuple):
    """What a recurrent layer sends back; None where not asked for.

    Attributes:
        by_count: dL/dc of the layer below ``[B, inputs]``.
        by_weight: By W, summed over samples.
        by_recurrent_weight: By R, summed over samples; 0 where no synapse is.
    """

    by_count: Tensor | None
    by_weight: Tensor | None
    by_recurrent_weight: Tensor | None


def solve(systems: Tensor, right: Tensor) -> Tensor:
    """Return x of ``systems^T x = right``, ``[B, N]``.

    Each by itself: on several threads PyTorch 2.13 factors batches of large matrices wrongly on a CPU.
    """
    found = [torch.linalg.solve(a.T, b) for a, b in zip(systems, right, strict=True)]
    return torch.stack(found)


def send_back(layer: RecurrentLayer, record: Record, by_count: Tensor, needs: tuple[bool, ...]) -> Backward:
    """Return the gradients of a recurrent layer.

    Args:
        layer: Of which.
        record: What went through it.
        by_count: dL/dc of its neurons ``[B, N]``.
        needs: Whether the gradient by the count below is asked for, that by W, that by R.
    """
    rule = layer.rule
    work = (_Plain if record.received is None else _ByKernels)(layer, record)
    divisor = layer.divisor(work.pre, work.counts, len(record.values))
    error = by_count / layer.neuron.threshold
    of_weights, of_below = error / divisor, error
    if rule.recurrence is Recurrence.FULL or (needs[0] and rule.recurrence is Recurrence.INTENDED):
        of_below = work.solve(divisor, error)
    if rule.recurrence is Recurrence.FULL:
        of_weights = of_below
    is_scrambled = rule.recurrence is Recurrence.RELEASED and layer.weight.shape[0] != layer.weight.shape[1]
    by_weight, below = work.sums(
        of_weights if needs[1] else None, of_below if needs[0] and not is_scrambled else None
    )
    if needs[0] and is_scrambled:
        below = _scrambled(work, divisor, error)
    elif below is not None and rule.recurrence is Recurrence.RELEASED:
        below = work.solve(divisor, below)
    return Backward(below, by_weight, work.by_recurrent_weight(of_weights) if needs[2] else None)


class _Plain:
    """What backward needs of whole trains and of the synapses within a layer."""

    def __init__(self, layer: RecurrentLayer, record: Record) -> None:
        self.layer = layer
        self.values = record.values
        self.spikes = record.fired.spikes

    @cached_property
    def pre(self) -> Tensor:
        """Return the counts of what came in ``[B, inputs]``."""
        return self.values.sum(0)

    @cached_property
    def counts(self) -> Tensor:
        """Return those of the layer ``[B, N]``."""
        return self.spikes.sum(0)

    @cached_property
    def responses(self) -> Tensor:
        """Return H ``[T, B, N]``."""
        return self.layer.neuron.responses(self.spikes)

    def sums(self, of_weight: Tensor | None, of_below: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return :func:`~lsnn_gym.rules.st_rsbp.trains.sums`."""
        layer, wanted = self.layer, (of_weight, of_below)
        arguments = (layer.synapses, layer.weight, self.values, self.responses, self.counts, wanted)
        return sums(*arguments, layer.rule.silent_ratio)

    def system(self, divisor: Tensor) -> Tensor:
        """Return A ``[B, N, N]``, given S ``[B, N]``."""
        return self.layer.system(divisor, spike_psp(self.responses, self.spikes), self.counts)

    def solve(self, divisor: Tensor, right: Tensor) -> Tensor:
        """Return x of ``A^T x = right``, ``[B, N]``."""
        return solve(self.system(divisor), right)

    def by_recurrent_weight(self, of_weights: Tensor) -> Tensor:
        """Return the gradient by R ``[post, pre]``, given factors of the S-PSPs ``[B, post]``."""
        weighted = self.responses * of_weights
        by_weight = self.layer.synapses.by_weight(weighted, self.spikes, self.layer.recurrent_weight)
        return by_weight * self.layer.mask


class _ByKernels(_Plain):
    """The same by the compiled kernels, from existing synapses alone."""

    def __init__(self, layer: RecurrentLayer, record: Record) -> None:
        super().__init__(layer, record)
        fired = record.fired.packed
        assert record.received is not None
        assert fired is not None
        self.received = record.received
        self.fired = fired

    @cached_property
    def pre(self) -> Tensor:
        """Return the counts of what came in ``[B, inputs]``."""
        return self.received.counts.flatten(1)

    @cached_property
    def counts(self) -> Tensor:
        """Return those of the layer ``[B, N]``."""
        return self.fired.counts

    @cached_property
    def responses(self) -> Tensor:
        """Return H ``[T, B, N]``."""
        return compiled.responses(self.layer.neuron, self.fired)

    @cached_property
    def psp(self) -> Tensor:
        """Return the S-PSPs of the synapses ``[B, K]``."""
        return compiled.psp_within(self.layer.neuron, self.fired, self.layer.links())

    def sums(self, of_weight: Tensor | None, of_below: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return :func:`~lsnn_gym.rules.st_rsbp.trains.sums`."""
        layer, wanted = self.layer, (of_weight, of_below)
        arguments = (layer.neuron, layer.weight, self.received, self.fired, wanted)
        return compiled.sums(*arguments, layer.rule.silent_ratio)

    def solve(self, divisor: Tensor, right: Tensor) -> Tensor:
        """Return x of ``A^T x = right``, ``[B, N]``, by iteration; where that fails, as the plain form does."""
        layer, links = self.layer, self.layer.links()
        pre, post = self.counts[:, links.pre], self.counts[:, links.post]
        ratio = torch.where(
            (pre == 0) | (post == 0), layer.rule.silent_ratio, self.psp / pre.clamp(min=1e-30)
        )
        others = -layer.recurrent_weight[links.post, links.pre] * ratio / layer.neuron.threshold
        found, solved = compiled.solve(links, divisor, others * (links.pre != links.post), right)
        if not bool(solved.all()):
            rest = ~solved
            psp = spike_psp(self.responses[:, rest], self.spikes[:, rest])
            found[rest] = solve(layer.system(divisor[rest], psp, self.counts[rest]), right[rest])
        return found

    def by_recurrent_weight(self, of_weights: Tensor) -> Tensor:
        """Return the gradient by R ``[post, pre]``."""
        links = self.layer.links()
        found = torch.zeros_like(self.layer.recurrent_weight)
        found[links.post, links.pre] = torch.einsum("bk,bk->k", of_weights[:, links.post], self.psp)
        return found


def _scrambled(work: _Plain, divisor: Tensor, error: Tensor) -> Tensor:
    """Return the error of the layer below as the authors' program has it for layers of unlike size."""
    layer, psp = work.layer, spike_psp(work.responses, work.values)
    matrix = layer.weight * by_pre_count(psp, work.pre, work.counts, layer.rule.silent_ratio)
    return torch.einsum("bo,boi->bi", error, released_transfer(work.system(divisor), matrix))


def released_transfer(systems: Tensor, matrix: Tensor) -> Tensor:
    """Return what the authors' program has for ``A^-1 B``, ``[B, N, inputs]``.

    It solves with both matrices read column by column though they are stored row by row.

    Args:
        systems: A ``[B, N, N]``.
        matrix: B ``[B, N, inputs]``.
    """
    rows = matrix.reshape(len(matrix), matrix.shape[2], matrix.shape[1])
    found = [torch.linalg.solve(a.T, b.T).T for a, b in zip(systems, rows, strict=True)]
    return torch.stack(found).reshape(matrix.shape)


class _Spikes(torch.autograd.Function):
    """Spikes as a function of what came in and of both weights, with ST-RSBP's gradient."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        values: Tensor,
        weight: Tensor,
        recurrent_weight: Tensor,
        layer: RecurrentLayer,
        received: Received | None,
        fired: Fired,
    ) -> Tensor:
        ctx.save_for_backward(values, weight, recurrent_weight, fired.spikes)
        ctx.layer, ctx.received, ctx.packed = layer, received, fired.packed
        return fired.spikes

    @staticmethod
    def backward(ctx: Any, by_values: Tensor):  # type: ignore[override]
        values, _, _, spikes = ctx.saved_tensors
        record = Record(values, ctx.received, Fired(spikes, ctx.packed))
        found = send_back(ctx.layer, record, count_error(by_values), ctx.needs_input_grad[:3])
        below = None if found.by_count is None else found.by_count.expand_as(values)
        return below, found.by_weight, found.by_recurrent_weight, None, None, None
