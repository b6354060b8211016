"""The compiled kernels of ``engine/native/trains.hpp`` for dense layers on a CPU: only spikes cost time.

They take and give what the plain form in ``trains.py`` does, to rounding.
"""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int64, c_uint8, c_void_p
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lsnn_gym.rules import compiled
from lsnn_gym.rules.layers import check_fit
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron

TOLERANCES = {torch.float32: 1e-8, torch.float64: 1e-13}
"""Of a system's residual, by the type of number that the layer computes with."""


class Layer(ctypes.Structure):
    """``trains::Layer``."""

    _fields_ = (
        *compiled.fields(c_int64, "steps", "batch", "inputs", "neurons", "refractory_period"),
        *compiled.fields(c_double, "membrane_decay", "synapse_decay", "tau_synapse", "bound"),
        *compiled.fields(c_void_p, "values", "weight", "first", "post", "within"),
    )


class _Sums(ctypes.Structure):
    """``trains::Sums``."""

    _fields_ = (
        *compiled.fields(c_void_p, "responses", "of_weight", "of_below", "of_silent"),
        ("silent_ratio", c_double),
        *compiled.fields(c_void_p, "by_weight", "below"),
    )


def _load() -> tuple[ctypes.CDLL | None, str | None]:
    """Return the library or, where it is missing, the reason."""
    try:
        library = compiled.library()
        solve = library.trains_solve
    except (ImportError, AttributeError) as error:
        return None, f"the compiled part is missing ({error}): it is built when the package is installed"
    pointers = (c_void_p,) * 5
    solve.argtypes = (c_int64, c_int64, *pointers, c_double, c_void_p, ctypes.POINTER(c_uint8), c_int64)
    return library, None


unavailable: str | None
_LIBRARY, unavailable = _load()
"""``unavailable``: why the kernels cannot be used here, or None."""


class Links(NamedTuple):
    """Synapses within a layer, those of each pre neuron side by side.

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


def fits(*tensors: Tensor) -> bool:
    """Return whether the kernels take such tensors: of one type, float32 or float64, on the CPU."""
    kind = tensors[0].dtype
    if _LIBRARY is None or kind not in TOLERANCES:
        return False
    return all(each.dtype == kind and each.device.type == "cpu" for each in tensors)


def call(name: str, kind: torch.dtype, *arguments: Any) -> None:
    """Call the kernel for numbers of this type; raise ``MemoryError`` where it lacked memory."""
    suffix = "float" if kind == torch.float32 else "double"
    function = getattr(_LIBRARY, f"trains_{name}_{suffix}")
    if function(*arguments, c_int64(torch.get_num_threads())):
        raise MemoryError(f"no memory for the spike trains' {name}")


def pointer(tensor: Tensor | None) -> c_void_p:
    """Return where a tensor's numbers are; null for None."""
    return c_void_p(None if tensor is None else tensor.data_ptr())


def layer_of(trains: Tensor, values: Tensor | None = None, neuron: RSBPNeuron | None = None) -> Layer:
    """Return a layer whose neurons have trains ``[T, B, N]``; without synapses."""
    layer = Layer(*trains.shape[:2], 0, trains.shape[2])
    if values is not None:
        layer.inputs, layer.values = values.shape[2], values.data_ptr()
    if neuron is not None:
        layer.refractory_period, layer.bound = neuron.refractory_period, neuron.bound
        layer.membrane_decay, layer.synapse_decay = neuron.membrane_decay, neuron.synapse_decay
        layer.tau_synapse = neuron.tau_synapse
    return layer


def fire(
    neuron: RSBPNeuron, values: Tensor, weight: Tensor, links: Links | None, within: Tensor | None
) -> Tensor:
    """Return the spikes ``[T, B, N]``.

    Args:
        neuron: Constants.
        values: ``[T, B, inputs]``.
        weight: ``[N, inputs]``.
        links: Synapses within the layer, if any.
        within: Their weights ``[K]``.

    Raises:
        ValueError: If the values do not fit the weight.
    """
    check_fit(values, weight)
    values, by_input = values.contiguous(), weight.T.contiguous()
    spikes = values.new_empty(*values.shape[:2], len(weight))
    layer = layer_of(spikes, values, neuron)
    layer.weight = by_input.data_ptr()
    if links is not None and within is not None:
        within = within.contiguous()
        layer.first, layer.post, layer.within = (
            each.data_ptr() for each in (links.first, links.post, within)
        )
    call("forward", values.dtype, ctypes.byref(layer), pointer(spikes))
    return spikes


def responses(neuron: RSBPNeuron, trains: Tensor) -> Tensor:
    """Return H ``[T, B, N]``, a view of samples one after another."""
    trains = trains.contiguous()
    steps, batch, neurons = trains.shape
    found = trains.new_empty(batch, steps, neurons)
    layer = layer_of(trains, None, neuron)
    call("responses", trains.dtype, ctypes.byref(layer), pointer(trains), pointer(found))
    return found.transpose(0, 1)


def sums(
    weight: Tensor,
    values: Tensor,
    found: Tensor,
    counts: Tensor,
    wanted: tuple[Tensor | None, Tensor | None],
    silent_ratio: float,
) -> tuple[Tensor | None, Tensor | None]:
    """Return ``trains.sums`` of a dense layer."""
    values, by_input = values.contiguous(), weight.T.contiguous()
    by_sample = found.transpose(0, 1).contiguous()
    layer = layer_of(found, values)
    layer.weight = by_input.data_ptr()
    of_weight, of_below = (None if each is None else each.contiguous() for each in wanted)
    by_weight = None if of_weight is None else torch.empty_like(by_input)
    below = of_silent = None
    if of_below is not None:
        below = values.new_empty(values.shape[1:])
        of_silent = (silent_ratio * of_below * (counts == 0)).contiguous()
    arguments = _Sums(
        *(pointer(each) for each in (by_sample, of_weight, of_below, of_silent)),
        silent_ratio,
        *(pointer(each) for each in (by_weight, below)),
    )
    call("sums", values.dtype, ctypes.byref(layer), ctypes.byref(arguments))
    return None if by_weight is None else by_weight.T, below


def psp_within(trains: Tensor, found: Tensor, links: Links) -> Tensor:
    """Return the S-PSPs of a layer's own synapses ``[B, K]``, given H."""
    trains, by_sample = trains.contiguous(), found.transpose(0, 1).contiguous()
    layer = layer_of(trains)
    layer.first, layer.post = links.first.data_ptr(), links.post.data_ptr()
    psp = trains.new_empty(trains.shape[1], len(links.post))
    call("within", trains.dtype, ctypes.byref(layer), pointer(trains), pointer(by_sample), pointer(psp))
    return psp


def solve(links: Links, divisor: Tensor, others: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return x of ``A^T x = right`` ``[B, N]``, and where that was found ``[B]``.

    Args:
        links: Where A has entries beside its diagonal.
        divisor: A's diagonal ``[B, N]``.
        others: Its other entries ``[B, K]``; 0 where a link is on the diagonal.
        right: ``[B, N]``.
    """
    assert _LIBRARY is not None
    given = [each.double().contiguous() for each in (divisor, others, right)]
    found = torch.empty_like(given[2])
    solved = torch.zeros(len(right), dtype=torch.uint8)
    failed = _LIBRARY.trains_solve(
        *right.shape,
        *(pointer(each) for each in (links.first, links.post, *given)),
        TOLERANCES[right.dtype],
        pointer(found),
        ctypes.cast(pointer(solved), ctypes.POINTER(c_uint8)),
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError("no memory to solve for the recurrent layer's counts")
    return found.to(right), solved.bool()
