"""Pictures of function regression: the function, and what was predicted of it so far.

A function of one input is a curve with the predictions as points beside it; of one of two inputs the values are
colours, and every prediction is a disc of its own colour, which vanishes in its ground where it is right.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .frames import Color, Frame, checked_size, load_pygame
from .functions import FloatArray, FunctionFamily, Parameters

if TYPE_CHECKING:
    import pygame

GROUND: Color = (246, 244, 239)
AXIS: Color = (196, 200, 204)
CURVE: Color = (74, 138, 92)
PREDICTION: Color = (38, 70, 125)
QUESTION: Color = (214, 69, 80)
RIM: Color = (24, 40, 72)
LOW: Color = (38, 70, 125)
MIDDLE: Color = (240, 236, 226)
HIGH: Color = (206, 86, 12)

_MARGIN = 0.06  # of the frame's side
_CELLS = 64  # along each side of a surface
_FAINTEST = 0.2  # how much of its colour the oldest prediction keeps


def draw_regression(
    family: FunctionFamily,
    parameters: Parameters,
    inputs: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    size: int = 512,
) -> Frame:
    """Draw a function and the predictions of an episode so far.

    Args:
        family: Of the function, of one or two inputs; of more inputs the first two are drawn as points only.
        parameters: Of the one function.
        inputs: Of the k trials answered and of the one shown now, ``[k + 1, D]``.
        predictions: Answers ``[k]``, in units of the targets.
        size: Pixels along each side.

    Returns:
        uint8 ``[size, size, 3]``; the first input runs to the right, values or the second input upwards.

    Raises:
        ValueError: If an array has another shape, or ``size`` is of no use.
        gymnasium.error.DependencyNotInstalled: If pygame is not there.
    """
    pygame = load_pygame()
    size = checked_size(size)
    x, answers = np.asarray(inputs, np.float64), np.asarray(predictions, np.float64)
    if x.ndim != 2 or x.shape[1] != family.input_size or answers.shape != (len(x) - 1,):
        raise ValueError(
            f"inputs must have the shape (k + 1, {family.input_size}) and predictions (k,), "
            f"not {x.shape} and {answers.shape}"
        )
    # Drawn larger and shrunk: pygame's own smooth lines are one pixel wide.
    fineness = 2 if size <= 2048 else 1
    surface = pygame.Surface((size * fineness, size * fineness), 0, 32)
    surface.fill(GROUND)
    one = {name: np.asarray(value, np.float64)[None] for name, value in parameters.items()}
    (_draw_curve if family.input_size == 1 else _draw_surface)(surface, family, one, x, answers)
    if fineness > 1:
        surface = pygame.transform.smoothscale(surface, (size, size))
    return np.ascontiguousarray(pygame.surfarray.array3d(surface).swapaxes(0, 1))


def _draw_curve(
    surface: pygame.Surface, family: FunctionFamily, one: Parameters, x: FloatArray, answers: FloatArray
) -> None:
    pygame = load_pygame()
    side = surface.get_width()
    width = max(1, round(0.006 * side))
    across = np.linspace(family.input_low, family.input_high, 256)
    zero = _place(family, side, across[[0, -1]], np.zeros(2))
    pygame.draw.lines(surface, AXIS, False, zero, max(1, width // 2))
    asked = _place(family, side, x[-1:, 0].repeat(2), np.array([family.target_low, family.target_high]))
    pygame.draw.line(surface, QUESTION, *asked, max(1, width // 2))
    values = family.values(one, across[None, :, None])[0]
    pygame.draw.lines(surface, CURVE, False, _place(family, side, across, values), width)
    points = _place(family, side, x[:-1, 0], answers)
    for index, point in enumerate(points):
        color = _mixed(GROUND, PREDICTION, _freshness(index, len(points)))
        pygame.draw.circle(surface, color, point, max(1.0, 0.011 * side))


def _draw_surface(
    surface: pygame.Surface, family: FunctionFamily, one: Parameters, x: FloatArray, answers: FloatArray
) -> None:
    pygame = load_pygame()
    side = surface.get_width()
    if family.input_size == 2:
        _draw_ground(surface, family, one)
    radius = max(1.0, 0.022 * side)
    points = _place_inputs(family, side, x)
    for point, answer in zip(points, answers, strict=False):
        pygame.draw.circle(surface, RIM, point, radius + max(1.0, 0.003 * side))
        pygame.draw.circle(surface, _heat(family, float(answer)), point, radius)
    pygame.draw.circle(surface, QUESTION, points[-1], 1.6 * radius, max(1, round(0.006 * side)))


def _draw_ground(surface: pygame.Surface, family: FunctionFamily, one: Parameters) -> None:
    """Colour the square of inputs by the function's values."""
    pygame = load_pygame()
    side = surface.get_width()
    middles = (np.arange(_CELLS) + 0.5) / _CELLS
    places = family.input_low + (family.input_high - family.input_low) * middles
    grid = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1)
    values = family.values(one, grid.reshape(1, -1, 2))[0].reshape(_CELLS, _CELLS)
    colors = np.array([[_heat(family, value) for value in column[::-1]] for column in values], np.uint8)
    cells = pygame.surfarray.make_surface(colors)
    inner = round(side * (1 - 2 * _MARGIN))
    corner = round(side * _MARGIN)
    surface.blit(pygame.transform.smoothscale(cells, (inner, inner)), (corner, corner))


def _place(family: FunctionFamily, side: int, x: FloatArray, y: FloatArray) -> list[tuple[float, float]]:
    """Return where inputs ``x`` ``[k]`` and values ``y`` ``[k]`` are, in pixels; far values stay at the rim."""
    right = _share(x, family.input_low, family.input_high)
    up = np.clip(_share(y, family.target_low, family.target_high), -0.05, 1.05)
    return _pixels(side, right, up)


def _place_inputs(family: FunctionFamily, side: int, x: FloatArray) -> list[tuple[float, float]]:
    right, up = (_share(x[:, axis], family.input_low, family.input_high) for axis in (0, 1))
    return _pixels(side, right, up)


def _share(values: FloatArray, low: float, high: float) -> FloatArray:
    return (values - low) / (high - low)


def _pixels(side: int, right: FloatArray, up: FloatArray) -> list[tuple[float, float]]:
    inner = side * (1 - 2 * _MARGIN)
    margin = side * _MARGIN
    return [(margin + inner * r, side - margin - inner * u) for r, u in zip(right, up, strict=True)]


def _heat(family: FunctionFamily, value: float) -> Color:
    """Return the colour of a value: blue for the lowest, orange for the highest."""
    share = (value - family.target_low) / (family.target_high - family.target_low)
    share = min(1.0, max(0.0, share))
    return _mixed(LOW, MIDDLE, 2 * share) if share < 0.5 else _mixed(MIDDLE, HIGH, 2 * share - 1)


def _freshness(index: int, count: int) -> float:
    """Return how much of its colour the ``index``-th of ``count`` predictions keeps."""
    return _FAINTEST + (1 - _FAINTEST) * math.exp(-(count - 1 - index) / 20.0)


def _mixed(base: Color, color: Color, share: float) -> Color:
    red, green, blue = (round(b + (c - b) * share) for b, c in zip(base, color, strict=True))
    return red, green, blue
