"""Synapses one at a time: lists of who meets whom by which weight, for the obvious forms of layered rules.

Neurons of images ``(channels, height, width)`` are numbered row by row, channel by channel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Connection(NamedTuple):
    """One synapse: ``pre`` meets ``post`` by the weight at this index."""

    post: int
    pre: int
    weight: Shape


def dense(outputs: int, inputs: int) -> list[Connection]:
    """Return everyone meeting everyone."""
    return [Connection(o, i, (o, i)) for o in range(outputs) for i in range(inputs)]


def convolution(
    image: Shape, outputs: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[list[Connection], Shape]:
    """Return the synapses of a convolution and the image that comes out."""
    channels, height, width = image
    reach = dilation * (kernel - 1)
    rows = (height + 2 * padding - reach - 1) // stride + 1
    columns = (width + 2 * padding - reach - 1) // stride + 1
    connections = []
    for o, y, x in np.ndindex(outputs, rows, columns):
        for i, dy, dx in np.ndindex(channels, kernel, kernel):
            row, column = y * stride - padding + dy * dilation, x * stride - padding + dx * dilation
            if 0 <= row < height and 0 <= column < width:
                post, pre = (o * rows + y) * columns + x, (i * height + row) * width + column
                connections.append(Connection(post, pre, (o, i, dy, dx)))
    return connections, (outputs, rows, columns)


def windows(image: Shape, size: int) -> tuple[list[list[int]], Shape]:
    """Return who is in each window, windows side by side and whole, and the image of the windows."""
    channels, height, width = image
    rows, columns = height // size, width // size
    found = [
        [(i * height + y * size + dy) * width + x * size + dx for dy in range(size) for dx in range(size)]
        for i, y, x in np.ndindex(channels, rows, columns)
    ]
    return found, (channels, rows, columns)


def drive(connections: list[Connection], weight: np.ndarray, values: np.ndarray, outputs: int) -> np.ndarray:
    """Return what arrives at each neuron ``[outputs]``, given values ``[inputs]``."""
    arrived = np.zeros(outputs)
    for post, pre, index in connections:
        arrived[post] += weight[index] * values[pre]
    return arrived


def back(connections: list[Connection], weight: np.ndarray, errors: np.ndarray, inputs: int) -> np.ndarray:
    """Return the error of each value ``[inputs]``, given errors of the drive ``[outputs]``."""
    arrived = np.zeros(inputs)
    for post, pre, index in connections:
        arrived[pre] += weight[index] * errors[post]
    return arrived


def by_weight(
    connections: list[Connection], errors: np.ndarray, values: np.ndarray, shape: Shape
) -> np.ndarray:
    """Return the derivative by each weight, given errors of the drive and values of one step."""
    gradient = np.zeros(shape)
    for post, pre, index in connections:
        gradient[index] += errors[post] * values[pre]
    return gradient
