"""Layered networks as papers write them: ``"400-400"``, ``"15C5-P2-40C5-P2-300"``.

Layers are named from the input up, joined by ``-``; input and output follow from the data. ``400`` is a dense layer,
``R400`` one with connections among its own neurons, ``15C5`` a convolution of 15 channels and a kernel of 5 x 5,
``32C5p2`` one with two zeros around the image, ``P2`` pooling over windows of 2 x 2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from lsnn_gym.rules.layers import ConvolutionSynapses

_FORMS = "400, R400, 15C5, 32C5p2 or P2"
_LARGEST = 1_000_000


@dataclass(frozen=True)
class Dense:
    """Neurons that all see everything below; ``recurrent`` ones see each other too."""

    neurons: int
    recurrent: bool = False


@dataclass(frozen=True)
class Convolution:
    """Channels of neurons behind one kernel each; ``padding`` None is the rule's own choice."""

    channels: int
    kernel: int
    padding: int | None = None


@dataclass(frozen=True)
class Pool:
    """Windows side by side become one value each."""

    window: int


Layer = Dense | Convolution | Pool


class Placed(NamedTuple):
    """A layer where it stands.

    Attributes:
        layer: What it is; a convolution's padding is known.
        inputs: Shape of what it gets each step, ``(N,)`` or ``(C, H, W)``.
        outputs: Shape of what it sends each step.
    """

    layer: Layer
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def parse_architecture(text: str) -> tuple[Layer, ...]:
    """Return the hidden layers that ``text`` names; none for the empty text.

    Raises:
        ValueError: A part of it is no layer.
    """
    return tuple(_layer(part.strip(), text) for part in text.split("-")) if text.strip() else ()


def _layer(part: str, text: str) -> Layer:
    number = r"([1-9][0-9]{0,6})"
    if found := re.fullmatch(f"(R?){number}", part):
        layer: Layer = Dense(int(found[2]), recurrent=bool(found[1]))
    elif found := re.fullmatch(rf"{number}C{number}(?:p([0-9]{{1,3}}))?", part):
        layer = Convolution(int(found[1]), int(found[2]), None if found[3] is None else int(found[3]))
    elif found := re.fullmatch(f"P{number}", part):
        layer = Pool(int(found[1]))
    else:
        raise ValueError(f"layer {part!r} of {text!r}: expected layers joined by '-', each like {_FORMS}")
    return layer


def place_layers(
    layers: tuple[Layer, ...],
    shape: tuple[int, ...],
    num_classes: int,
    own_padding: Callable[[int], int] = lambda kernel: 0,
) -> tuple[Placed, ...]:
    """Return hidden layers and a dense output layer, each with the shapes below and above it.

    Args:
        layers: From the input up.
        shape: Of the input each step: ``(N,)`` or ``(C, H, W)``.
        num_classes: K.
        own_padding: Padding by kernel, for convolutions that name none.

    Raises:
        ValueError: A convolution or pool has no image below it, or one that is too small.
    """
    placed: list[Placed] = []
    below = shape
    for layer in (*layers, Dense(num_classes)):
        if isinstance(layer, Convolution) and layer.padding is None:
            layer = Convolution(layer.channels, layer.kernel, own_padding(layer.kernel))
        placed.append(Placed(layer, below, _outputs(layer, below)))
        below = placed[-1].outputs
    return tuple(placed)


def _outputs(layer: Layer, below: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(layer, Dense):
        return (layer.neurons,)
    what = f"P{layer.window}" if isinstance(layer, Pool) else f"{layer.channels}C{layer.kernel}"
    if len(below) != 3:
        raise ValueError(f"layer {what} stands on {math.prod(below)} values: expected an image below it")
    if isinstance(layer, Pool):
        outputs = (below[0], below[1] // layer.window, below[2] // layer.window)
    else:
        places = ConvolutionSynapses(padding=layer.padding or 0).places(
            below[1:], (layer.kernel, layer.kernel)
        )
        outputs = (layer.channels, *places)
    if min(outputs) < 1 or math.prod(outputs) > _LARGEST:
        raise ValueError(f"layer {what} does not fit on images of {below[1]} x {below[2]}")
    return outputs
