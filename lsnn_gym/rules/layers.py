"""What rules for layered networks share: signals between layers, synapses, and a stack of layers.

A layer is a module that takes a :class:`Signal` and returns one, whole sequences at a time. What its backward
means is the rule's business; optimisers, losses and training loops only see ``loss.backward()``.

Axes: T steps, B samples, then the neurons of a layer, ``[N]`` or ``[C, H, W]``. Weights are ``[post, pre]`` or
``[post channel, pre channel, height, width]``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

Pair = int | tuple[int, int]

_MOST_OF_FEW = 32
"""One in so many values, and products of sparse matrices are faster ..."""
_FEWEST_POSTS = 64
"""... if there are as many neurons behind the synapses: finding those values takes its time."""


class PackedSpikes(NamedTuple):
    """Spikes of whole sequences, without gradient, a bit each: a thirty-second of the memory.

    Attributes:
        bits: ``[B, T, W]`` int64: neuron k of a sample is bit ``k % 64`` of word ``k // 64``.
        counts: How many spikes each neuron fired ``[B, ...]``.
    """

    bits: Tensor
    counts: Tensor


class Signal(NamedTuple):
    """What one layer sends to the next.

    Attributes:
        values: What the next synapses receive ``[T, B, ...]``: spikes, traces of them, or pooled ones.
        timing: Zeros of the same shape whose gradient is an error of spike *times*, or, of an ST-RSBP output, the
            spikes that a loss wishes for; None where the rule knows one kind of error only.
        spikes: Spikes that the layer itself fired ``[T, B, ...]``, without gradient; None if it has no neurons.
        gains: Where every step sends the same but for a factor, the factors ``[T]``; ``values`` is then that one
            step, ``[1, B, ...]``. Else None.
        packed: The spikes once more, where ``values`` are what the layer fired and its rule packs them; else None.
    """

    values: Tensor
    timing: Tensor | None = None
    spikes: Tensor | None = None
    gains: Tensor | None = None
    packed: PackedSpikes | None = None

    @property
    def counts(self) -> Tensor | None:
        """Return how many spikes each neuron fired ``[B, ...]``; None if there are no neurons."""
        if self.spikes is None:
            return None
        return self.spikes.sum(0) if self.packed is None else self.packed.counts


def pair(value: Pair) -> tuple[int, int]:
    """Return the value along either axis of an image."""
    return (value, value) if isinstance(value, int) else value


class Synapses(ABC):
    """Which value meets which weight: a linear map, the same at every step, and its two transposes."""

    @abstractmethod
    def drive(self, values: Tensor, weight: Tensor) -> Tensor:
        """Return what arrives at the neurons ``[T, B, ...]``.

        Raises:
            ValueError: If ``values`` does not fit the weight.
        """

    @abstractmethod
    def by_values(self, by_drive: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Return the derivative by the values, shaped as ``like``, given the one by the drive."""

    @abstractmethod
    def by_weight(self, by_drive: Tensor, values: Tensor, weight: Tensor) -> Tensor:
        """Return the derivative by the weight, summed over samples and steps, given the one by the drive."""


class DenseSynapses(Synapses):
    """Every value meets every neuron; values ``[C, H, W]`` count as ``C * H * W``. Weight ``[post, pre]``.

    Where few values are not 0, as in spikes, and autograd does not look on, only those cost time.
    """

    def drive(self, values: Tensor, weight: Tensor) -> Tensor:
        """Return ``values weight^T``, ``[T, B, post]``."""
        check_fit(values, weight)
        flat = values.flatten(2)
        few = _few(flat, weight)
        if few is None:
            return F.linear(flat, weight)
        drive = flat.new_zeros(*flat.shape[:2], len(weight))
        if not len(few.steps):
            return drive
        found = torch.sparse.mm(few.values, weight.T.contiguous()).view(-1, *drive.shape[1:])
        return drive.index_copy_(0, few.steps, found)

    def by_values(self, by_drive: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Return the product with the transpose, shaped as ``like``."""
        return (by_drive @ weight).view_as(like)

    def by_weight(self, by_drive: Tensor, values: Tensor, weight: Tensor) -> Tensor:
        """Return the sum of outer products."""
        flat = values.flatten(2)
        few = _few(flat, weight)
        if few is None:
            return by_drive.flatten(0, 1).T @ flat.flatten(0, 1)
        return torch.sparse.mm(few.values.t(), by_drive[few.steps].flatten(0, 1)).T.contiguous()


class _Few(NamedTuple):
    """Values of which few are not 0: a sparse matrix ``[S * B, N]`` of those S steps that have any."""

    steps: Tensor
    values: Tensor


def _few(values: Tensor, weight: Tensor) -> _Few | None:
    """Return what is not 0 of ``[T, B, N]``; None where autograd looks on, or it is so much that it does not pay."""
    if torch.is_grad_enabled() or len(weight) < _FEWEST_POSTS:
        return None
    steps = values.flatten(1).any(1).nonzero()[:, 0]
    sent = values if len(steps) == len(values) else values[steps]
    if _MOST_OF_FEW * int(sent.count_nonzero()) > sent.numel():
        return None
    return _Few(steps, sent.flatten(0, 1).to_sparse())


@dataclass(frozen=True)
class ConvolutionSynapses(Synapses):
    """Every position meets the same kernel. Weight ``[post channel, pre channel, height, width]``.

    Attributes:
        stride: From position to position, in pixels.
        padding: Zeros around the image, in pixels.
        dilation: Between the kernel's elements, in pixels.
    """

    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1

    def check(self, values: Tensor, weight: Tensor) -> None:
        """Raise ``ValueError`` unless ``values`` are images with the weight's channels, no smaller than its kernel."""
        if values.ndim != 5 or values.shape[2] != weight.shape[1]:
            raise ValueError(
                f"values are {tuple(values.shape)}: expected [T, B, {weight.shape[1]}, height, width] "
                f"as the weight is {tuple(weight.shape)}"
            )
        places = self.places(values.shape[3:], weight.shape[2:])
        if min(places) < 1:
            raise ValueError(
                f"images are {values.shape[3]} x {values.shape[4]}: expected at least the kernel's "
                f"{weight.shape[2]} x {weight.shape[3]} (padding {self.padding}, dilation {self.dilation})"
            )

    def places(self, image: Sequence[int], kernel: Sequence[int]) -> tuple[int, int]:
        """Return height and width of what comes out, less than 1 where the kernel does not fit in."""
        found = [
            (side + 2 * padding - dilation * (window - 1) - 1) // stride + 1
            for side, window, stride, padding, dilation in zip(
                image, kernel, *map(pair, (self.stride, self.padding, self.dilation)), strict=True
            )
        ]
        return found[0], found[1]

    def drive(self, values: Tensor, weight: Tensor) -> Tensor:
        """Return the convolution ``[T, B, post channel, height, width]``."""
        self.check(values, weight)
        images = values.flatten(0, 1)
        drive = F.conv2d(images, weight, None, self.stride, self.padding, self.dilation)
        return drive.unflatten(0, values.shape[:2])

    def by_values(self, by_drive: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        """Return the product with the transpose, shaped as ``like``."""
        shape = like.flatten(0, 1).shape
        options = (self.stride, self.padding, self.dilation)
        # PyTorch says int and takes pairs too.
        found = conv2d_input(shape, weight, by_drive.flatten(0, 1), *options)  # type: ignore[arg-type]
        return found.view_as(like)

    def by_weight(self, by_drive: Tensor, values: Tensor, weight: Tensor) -> Tensor:
        """Return the sum over positions too."""
        options = (self.stride, self.padding, self.dilation)
        images, errors = values.flatten(0, 1), by_drive.flatten(0, 1)
        return conv2d_weight(images, weight.shape, errors, *options)  # type: ignore[arg-type]


class LayeredNetwork(nn.Module):
    """Layers one above the other, without recurrence and without delay between them.

    Args:
        layers: From the input up; each takes a :class:`Signal` and returns one.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers: nn.ModuleList = nn.ModuleList(layers)
        if not len(self.layers):
            raise ValueError("a network of no layers: expected at least one")

    def forward(self, inputs: Tensor) -> tuple[Signal, ...]:
        """Return the signal of each layer, given inputs ``[T, B, ...]``; the last is the network's output.

        Raises:
            ValueError: If there is no step, or the inputs do not fit the first layer.
        """
        check_sequence(inputs)
        signals = [Signal(inputs)]
        for layer in self.layers:
            signals.append(layer(signals[-1]))
        return tuple(signals[1:])


def check_sequence(inputs: Tensor) -> None:
    """Raise ``ValueError`` unless ``inputs`` is ``[T, B, ...]`` of at least one step and neuron."""
    if inputs.ndim < 3 or not inputs.numel():
        raise ValueError(f"inputs are {tuple(inputs.shape)}: expected [steps, samples, ...], none of them 0")


def check_fit(values: Tensor, weight: Tensor) -> None:
    """Raise ``ValueError`` unless values ``[T, B, ...]`` are as many a step as weights ``[post, pre]`` take."""
    number = values[0, 0].numel()
    if number != weight.shape[1]:
        raise ValueError(
            f"values are {tuple(values.shape)}, {number} a step: "
            f"expected {weight.shape[1]} as the weight is {tuple(weight.shape)}"
        )


def check_images(values: Tensor, what: str) -> None:
    """Raise ``ValueError`` unless ``values`` is ``[T, B, C, H, W]``."""
    if values.ndim != 5:
        raise ValueError(f"{what} of values {tuple(values.shape)}: expected [T, B, channels, height, width]")


def check_labels(labels: Tensor, batch_size: int, num_classes: int) -> None:
    """Raise ``ValueError`` unless ``labels`` are classes, one a sample."""
    if labels.shape != (batch_size,):
        raise ValueError(f"labels are {tuple(labels.shape)}: expected ({batch_size},) as the output is")
    if bool(((labels < 0) | (labels >= num_classes)).any()):
        raise ValueError(
            f"labels go from {int(labels.min())} to {int(labels.max())}: expected 0 to {num_classes - 1}"
        )
