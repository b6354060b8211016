"""The compiled kernels of ``engine/native/train_shared.hpp``, for convolutions and pools: only spikes cost time.

They take and give what the plain forms do, to rounding.
"""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int64, c_void_p
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsnn_gym.rules import compiled
from lsnn_gym.rules.layers import ConvolutionSynapses, PackedSpikes, pair
from lsnn_gym.rules.st_rsbp.compiled import KERNELS, Fired, Layer, Received, layer_of, new_fired, record_of
from lsnn_gym.rules.st_rsbp.continuous import furthest_step
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron


class _Shared(ctypes.Structure):
    """``trains::Shared``."""

    _fields_ = (
        ("layer", Layer),
        ("tau_membrane", c_double),
        *compiled.fields(c_int64, "places", "width", "lanes", "rows"),
        *compiled.fields(c_void_p, "first", "place", "row", "place_first", "input", "input_row"),
    )


class _SharedSums(ctypes.Structure):
    """``trains::SharedSums``."""

    _fields_ = (
        ("fired", c_void_p),
        ("furthest", c_int64),
        *compiled.fields(c_void_p, "of_weight", "of_below", "by_weight", "below"),
    )


class Table(NamedTuple):
    """Links, grouped by the inputs that they come from, or by the places that they lead to.

    Attributes:
        first: Where the links of each input (or place) begin, and their number K at last ``[inputs + 1]`` int64.
        other: The place (or input) at the other end ``[K]`` int32.
        row: Rows of weights, one a neuron of the place ``[K]`` int32.
    """

    first: Tensor
    other: Tensor
    row: Tensor


class Map(NamedTuple):
    """Which neurons of a layer an input reaches, and by which weights.

    Attributes:
        by_input: The links of each input.
        by_place: The same links once more, those of each place.
        neurons: Shape of the layer: channels and pixels of a convolution, whose places are pixels; of a pool a
            place is a neuron.
        rows: How many rows of weights there are.
    """

    by_input: Table
    by_place: Table
    neurons: tuple[int, int, int]
    rows: int


@lru_cache(maxsize=64)
def convolution_map(
    image: tuple[int, int, int], weight: tuple[int, ...], synapses: ConvolutionSynapses
) -> Map:
    """Return the map of a convolution.

    Args:
        image: Channels, height and width of what comes in.
        weight: Shape ``[post channel, pre channel, height, width]``.
        synapses: Stride, padding and dilation.
    """
    channels, *size = image
    kernel = weight[2:]
    strides, paddings, dilations = map(pair, (synapses.stride, synapses.padding, synapses.dilation))
    made = synapses.places(size, kernel)
    at = [  # pixels that each element of the kernel sees from each place, along either axis
        np.arange(places)[:, None] * stride - padding + np.arange(window) * dilation
        for places, window, stride, padding, dilation in zip(
            made, kernel, strides, paddings, dilations, strict=True
        )
    ]
    inside = [(each >= 0) & (each < side) for each, side in zip(at, size, strict=True)]
    pixel = at[0][:, None, :, None] * size[1] + at[1][None, :, None, :]
    there = inside[0][:, None, :, None] & inside[1][None, :, None, :]
    down, right, below, beside = there.nonzero()
    place, element = down * made[1] + right, below * kernel[1] + beside
    channel = np.arange(channels)[:, None]
    inputs = channel * (size[0] * size[1]) + pixel[there]
    rows = channel * (kernel[0] * kernel[1]) + element
    places = np.broadcast_to(place, rows.shape)
    neurons = (weight[0], *made)
    sizes = channels * size[0] * size[1], made[0] * made[1], channels * kernel[0] * kernel[1]
    return _sorted(inputs, places, rows, sizes, neurons)


@lru_cache(maxsize=64)
def pool_map(image: tuple[int, int, int], window: int) -> Map:
    """Return the map of pools whose windows lie side by side; it has one weight. Arguments as of a convolution's."""
    channels, height, width = image
    pools = (channels, height // window, width // window)
    pixels = np.arange(channels * height * width).reshape(image)
    seen = pixels[:, : pools[1] * window, : pools[2] * window]
    places = np.arange(np.prod(pools)).reshape(pools)
    place = places.repeat(window, 1).repeat(window, 2)
    return _sorted(seen, place, np.zeros_like(seen), (pixels.size, places.size, 1), pools)


def _sorted(
    inputs: np.ndarray,
    place: np.ndarray,
    row: np.ndarray,
    sizes: tuple[int, int, int],
    neurons: tuple[int, int, int],
) -> Map:
    """Return the map of links in any order; ``sizes`` are how many inputs, places and rows there are."""
    inputs, place, row = (each.ravel() for each in (inputs, place, row))
    by_input = _grouped(inputs, sizes[0], place, row)
    by_place = _grouped(place, sizes[1], inputs, row)
    return Map(by_input, by_place, neurons, sizes[2])


def _grouped(key: np.ndarray, number: int, other: np.ndarray, row: np.ndarray) -> Table:
    order = key.argsort(kind="stable")
    first = np.zeros(number + 1, dtype=np.int64)
    first[1:] = np.bincount(key, minlength=number).cumsum()
    return Table(
        torch.from_numpy(first), *(torch.from_numpy(each[order].astype(np.int32)) for each in (other, row))
    )


class _Given(NamedTuple):
    """A layer as the kernels take it, and the tensors that it points to."""

    shared: _Shared
    kept: tuple[Tensor, ...]


def _given(neuron: RSBPNeuron, received: Received, weight: Tensor | None, links: Map) -> _Given:
    """Return a layer, given ``[post channel, pre channel, height, width]`` weights, or None of pools."""
    channels, height, width = links.neurons
    layer = layer_of(received, channels * height * width, neuron)
    if weight is None:
        rows, places, side = received.values.new_ones(1, 1), layer.neurons, 1
    else:
        rows, places, side = weight.flatten(1).T, height * width, channels
    lanes = _lanes(side, received.values.element_size())
    rows = F.pad(rows, (0, lanes - side)).contiguous()
    layer.weight = rows.data_ptr()
    tables = (*links.by_input, *links.by_place)
    sizes = (places, side, lanes, links.rows)
    shared = _Shared(layer, neuron.tau_membrane, *sizes, *compiled.pointers(tables))
    return _Given(shared, (rows, *tables))


def _lanes(width: int, size: int) -> int:
    """Return ``width`` rounded up to whole vectors of 64 bytes, of numbers of so many bytes; one stays one."""
    vector = 64 // size
    return width if width == 1 else -(-width // vector) * vector


def fire(neuron: RSBPNeuron, received: Received, weight: Tensor | None, links: Map) -> Fired:
    """Return the spikes ``[T, B, *neurons]``.

    Args:
        neuron: Constants.
        received: ``[T, B, ...]``.
        weight: Of a convolution; None of pools.
        links: How they are laid.
    """
    given = _given(neuron, received, weight, links)
    fired = new_fired(received.values, links.neurons)
    arguments = (ctypes.byref(given.shared), ctypes.byref(record_of(fired)))
    KERNELS.call("shared_forward", received.values.dtype, *arguments, what="spikes of a layer")
    return fired


def sums(
    neuron: RSBPNeuron,
    received: Received,
    weight: Tensor | None,
    links: Map,
    fired: PackedSpikes,
    wanted: tuple[Tensor | None, Tensor | None],
    *,
    continuous: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Return ``sum_b u_o e[o|i]``, as the weight, and ``sum_o z_o W[o, i] e[o|i]`` ``[B, ...]``, as the values.

    Args:
        neuron: Constants.
        received: ``[T, B, ...]``.
        weight: Of a convolution; None of pools.
        links: How they are laid.
        fired: Spikes of the layer.
        wanted: u and z ``[B, *neurons]``; None for a sum that is not asked for.
        continuous: Whether S-PSPs are those of continuous time.
    """
    values = received.values
    given = _given(neuron, received, weight, links)
    of_weight, of_below = (None if each is None else each.contiguous() for each in wanted)
    batch = values.shape[1]
    by_weight = None if of_weight is None else values.new_empty(batch, links.rows, given.shared.lanes)
    below = None if of_below is None else values.new_empty(values.shape[1:])
    furthest = furthest_step(neuron, len(values)) if continuous else -1
    pointers = compiled.pointers((fired.bits, of_weight, of_below, by_weight, below))
    arguments = _SharedSums(pointers[0], furthest, *pointers[1:])
    both = (ctypes.byref(given.shared), ctypes.byref(arguments))
    KERNELS.call("shared_sums", values.dtype, *both, what="sums over spikes")
    if by_weight is None or weight is None:
        return None, below
    return by_weight.sum(0)[:, : given.shared.width].T.reshape(weight.shape), below
