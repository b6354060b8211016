"""The compiled kernels of ``engine/native/trains.hpp`` for dense layers on a CPU: only spikes cost time.

Spikes go from layer to layer as bits; as numbers they are written once, for others to see. The kernels take and give
what the plain form in ``trains.py`` does, to rounding.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_double, c_int64, c_void_p
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lsnn_gym.memory import POOL
from lsnn_gym.rules import compiled
from lsnn_gym.rules.compiled import fits, unavailable
from lsnn_gym.rules.layers import PackedSpikes, check_fit
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron

__all__ = ["Links", "fire", "fits", "pack", "psp_within", "responses", "solve", "sums", "unavailable"]

TOLERANCES = {torch.float32: 1e-8, torch.float64: 1e-13}
"""Of a system's residual, by the type of number that the layer computes with."""

_WORD = 64


class Layer(ctypes.Structure):
    """``trains::Layer``."""

    _fields_ = (
        *compiled.fields(c_int64, "steps", "batch", "inputs", "neurons", "refractory_period"),
        *compiled.fields(c_double, "membrane_decay", "synapse_decay", "tau_synapse", "bound"),
        *compiled.fields(c_void_p, "bits", "values", "weight", "first", "post", "within"),
    )


class FiredRecord(ctypes.Structure):
    """``trains::Fired``."""

    _fields_ = compiled.fields(c_void_p, "spikes", "bits", "counts")


class _Sums(ctypes.Structure):
    """``trains::Sums``."""

    _fields_ = (
        *compiled.fields(c_void_p, "fired", "of_weight", "of_below", "of_silent"),
        ("silent_ratio", c_double),
        *compiled.fields(c_void_p, "by_weight", "below"),
    )


KERNELS = compiled.Kernels(
    {
        "pack": (POINTER(FiredRecord), *(c_int64,) * 3, c_void_p),
        "forward": (POINTER(Layer), POINTER(FiredRecord)),
        "responses": (POINTER(Layer), *(c_void_p,) * 2),
        "sums": (POINTER(Layer), POINTER(_Sums)),
        "within": (POINTER(Layer), *(c_void_p,) * 2),
        "shared_forward": (c_void_p, POINTER(FiredRecord)),
        "shared_sums": (c_void_p, c_void_p),
        "solve": (*(c_int64,) * 2, *(c_void_p,) * 5, c_double, *(c_void_p,) * 2),
    },
    "trains",
)


class Fired(NamedTuple):
    """What neurons fired.

    Attributes:
        spikes: Zeros and ones ``[T, B, ...]``.
        packed: The same; None where no kernel found them.
    """

    spikes: Tensor
    packed: PackedSpikes | None


class Links(NamedTuple):
    """Synapses within a layer, those of each pre neuron side by side in the order of the post neurons.

    Attributes:
        first: Where those of each neuron begin, and their number K at last ``[N + 1]`` int64.
        post: Neurons that they lead to ``[K]`` int64.
        pre: Neurons that they come from ``[K]`` int64.
    """

    first: Tensor
    post: Tensor
    pre: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> Links:
        """Return where ``mask`` ``[post, pre]`` is true."""
        pre, post = mask.T.nonzero(as_tuple=True)
        first = torch.zeros(len(mask) + 1, dtype=torch.int64)
        first[1:] = mask.sum(0).cumsum(0)
        return cls(first, post.contiguous(), pre.contiguous())

    @classmethod
    @lru_cache(maxsize=64)
    def between(cls, number: int) -> Links:
        """Return synapses between all of so many neurons, onto themselves too."""
        return cls.of(torch.ones(number, number, dtype=torch.bool))


def new_fired(values: Tensor, neurons: tuple[int, ...]) -> Fired:
    """Return memory for what neurons will fire as ``values`` ``[T, B, ...]`` come in."""
    spikes = POOL.empty((*values.shape[:2], *neurons), values.dtype)
    return Fired(spikes, _new_packed(spikes))


def _new_packed(values: Tensor) -> PackedSpikes:
    steps, batch, *neurons = values.shape
    words = -(-torch.Size(neurons).numel() // _WORD)
    return PackedSpikes(
        torch.empty(batch, steps, words, dtype=torch.int64), values.new_empty(batch, *neurons)
    )


def record_of(fired: Fired) -> FiredRecord:
    """Return where it is."""
    assert fired.packed is not None
    return FiredRecord(*compiled.pointers((fired.spikes, *fired.packed)))


def pack(values: Tensor) -> PackedSpikes | None:
    """Return values ``[T, B, ...]`` as bits, or None if some are neither 0 nor 1."""
    values = values.detach().contiguous()
    packed = _new_packed(values)
    are_spikes = torch.zeros(values.shape[1], dtype=torch.uint8)
    record = record_of(Fired(values, packed))
    size = (*values.shape[:2], values.shape[2:].numel())
    KERNELS.call(
        "pack", values.dtype, ctypes.byref(record), *size, are_spikes.data_ptr(), what="packed spikes"
    )
    return packed if bool(are_spikes.all()) else None


class Received(NamedTuple):
    """What a layer received, as the kernels read it.

    Attributes:
        values: ``[T, B, ...]``; contiguous, unless they are packed.
        packed: The same, if they are spikes.
    """

    values: Tensor
    packed: PackedSpikes | None

    @classmethod
    def of(cls, values: Tensor, packed: PackedSpikes | None = None) -> Received:
        """Return values and what they are packed, if they are spikes: so given, or found out here."""
        if packed is not None:
            return cls(values.detach(), packed)
        values = values.detach().contiguous()
        return cls(values, pack(values))

    @property
    def counts(self) -> Tensor:
        """Return the sum of all steps ``[B, ...]``."""
        return self.values.sum(0) if self.packed is None else self.packed.counts


def layer_of(received: Received, neurons: int, neuron: RSBPNeuron) -> Layer:
    """Return a layer of so many neurons; without synapses."""
    steps, batch, *inputs = received.values.shape
    layer = Layer(steps, batch, torch.Size(inputs).numel(), neurons, *_constants(neuron))
    if received.packed is None:
        layer.values = received.values.data_ptr()
    else:
        layer.bits = received.packed.bits.data_ptr()
    return layer


def _layer_that_fired(neuron: RSBPNeuron, fired: PackedSpikes) -> Layer:
    """Return a layer of which only what it fired is asked about."""
    batch, *neurons = fired.counts.shape
    return Layer(fired.bits.shape[1], batch, 0, torch.Size(neurons).numel(), *_constants(neuron))


def _constants(neuron: RSBPNeuron) -> tuple[int, float, float, float, float]:
    decays = neuron.membrane_decay, neuron.synapse_decay
    return neuron.refractory_period, *decays, neuron.tau_synapse, neuron.bound


def fire(
    neuron: RSBPNeuron, received: Received, weight: Tensor, links: Links | None, within: Tensor | None
) -> Fired:
    """Return the spikes ``[T, B, N]``.

    Args:
        neuron: Constants.
        received: ``[T, B, ...]``.
        weight: ``[N, inputs]``.
        links: Synapses within the layer, if any.
        within: Their weights ``[K]``.

    Raises:
        ValueError: If the values do not fit the weight.
    """
    check_fit(received.values.flatten(2), weight)
    by_input = weight.T.contiguous()
    fired = new_fired(received.values, (len(weight),))
    layer = layer_of(received, len(weight), neuron)
    layer.weight = by_input.data_ptr()
    if links is not None and within is not None:
        within = within.contiguous()
        layer.first, layer.post, layer.within = (
            each.data_ptr() for each in (links.first, links.post, within)
        )
    record = record_of(fired)
    KERNELS.call("forward", weight.dtype, ctypes.byref(layer), ctypes.byref(record), what="spikes of a layer")
    return fired


def responses(neuron: RSBPNeuron, fired: PackedSpikes) -> Tensor:
    """Return H ``[T, B, N]``, a view of samples one after another."""
    batch, neurons = fired.counts.shape
    found = fired.counts.new_empty(batch, fired.bits.shape[1], neurons)
    layer = _layer_that_fired(neuron, fired)
    given = (ctypes.byref(layer), fired.bits.data_ptr(), found.data_ptr())
    KERNELS.call("responses", found.dtype, *given, what="responses")
    return found.transpose(0, 1)


def sums(
    neuron: RSBPNeuron,
    weight: Tensor,
    received: Received,
    fired: PackedSpikes,
    wanted: tuple[Tensor | None, Tensor | None],
    silent_ratio: float,
) -> tuple[Tensor | None, Tensor | None]:
    """Return ``trains.sums`` of a dense layer, given what its neurons fired."""
    by_input = weight.T.contiguous()
    layer = layer_of(received, len(weight), neuron)
    layer.weight = by_input.data_ptr()
    of_weight, of_below = (None if each is None else each.contiguous() for each in wanted)
    by_weight = None if of_weight is None else torch.empty_like(by_input)
    below = of_silent = None
    if of_below is not None:
        below = weight.new_empty(fired.bits.shape[2], len(of_below), weight.shape[1])
        of_silent = (silent_ratio * of_below * (fired.counts == 0)).contiguous()
    before = compiled.pointers((fired.bits, of_weight, of_below, of_silent))
    arguments = _Sums(*before, silent_ratio, *compiled.pointers((by_weight, below)))
    given = (ctypes.byref(layer), ctypes.byref(arguments))
    KERNELS.call("sums", weight.dtype, *given, what="sums over spikes")
    return None if by_weight is None else by_weight.T, None if below is None else below.sum(0)


def psp_within(neuron: RSBPNeuron, fired: PackedSpikes, links: Links) -> Tensor:
    """Return the S-PSPs of a layer's own synapses ``[B, K]``, given what its neurons fired."""
    layer = _layer_that_fired(neuron, fired)
    layer.first, layer.post = links.first.data_ptr(), links.post.data_ptr()
    psp = fired.counts.new_empty(len(fired.bits), len(links.post))
    given = (ctypes.byref(layer), fired.bits.data_ptr(), psp.data_ptr())
    KERNELS.call("within", psp.dtype, *given, what="S-PSPs within a layer")
    return psp


def solve(links: Links, divisor: Tensor, others: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return x of ``A^T x = right`` ``[B, N]``, and where that was found ``[B]``.

    Args:
        links: Where A has entries beside its diagonal.
        divisor: A's diagonal ``[B, N]``.
        others: Its other entries ``[B, K]``; 0 where a link is on the diagonal.
        right: ``[B, N]``.
    """
    given = [each.double().contiguous() for each in (divisor, others, right)]
    found = torch.empty_like(given[2])
    solved = torch.zeros(len(right), dtype=torch.uint8)
    pointers = compiled.pointers((links.first, links.post, *given, found, solved))
    arguments = (*right.shape, *pointers[:5], TOLERANCES[right.dtype], *pointers[5:])
    KERNELS.call("solve", torch.float64, *arguments, what="a recurrent layer's counts")
    return found.to(right), solved.bool()
