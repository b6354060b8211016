"""Pictures of function regression: the function, and what was predicted or is believed of it.

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
    x, answers = _checked_points(family, inputs, predictions, "predictions")
    surface = _canvas(size)
    one = {name: np.asarray(value, np.float64)[None] for name, value in parameters.items()}
    if family.input_size == 1:
        _draw_axes(surface, family, float(x[-1, 0]))
        _draw_function(surface, family, one)
        _draw_answers(surface, family, x, answers)
    else:
        if family.input_size == 2:
            _draw_ground(surface, family, _values_on_square(family, one))
        _draw_discs(surface, family, x, answers)
    return _finished(surface, size)


def draw_belief(
    family: FunctionFamily,
    parameters: Parameters,
    inputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    believed: npt.ArrayLike,
    *,
    size: int = 512,
) -> Frame:
    """Draw what somebody believes of a function, and the examples seen of it.

    Of one input, the function and the belief are curves, the examples points. Of two inputs the beliefs are colours,
    and every example is a disc of its target's colour, which vanishes in its ground where the belief is right.

    Args:
        family: Of the function, of one or two inputs.
        parameters: Of the one function.
        inputs: Of the k examples seen and of the trial shown now, ``[k + 1, D]``.
        targets: Of the examples ``[k]``.
        believed: Values at evenly spaced inputs over their range, ``[n]`` or, of two inputs, ``[n, n]``, the first
            input first.
        size: Pixels along each side.

    Returns:
        uint8 ``[size, size, 3]``; the first input runs to the right, values or the second input upwards.

    Raises:
        ValueError: If an array has another shape, or ``size`` is of no use.
        gymnasium.error.DependencyNotInstalled: If pygame is not there.
    """
    x, seen = _checked_points(family, inputs, targets, "targets")
    values = np.asarray(believed, np.float64)
    if family.input_size > 2:
        raise ValueError(
            f"a belief about a function of {family.input_size} inputs cannot be drawn: at most 2"
        )
    if values.shape != values.shape[:1] * family.input_size or values.size < 2:
        expected = "(n,)" if family.input_size == 1 else "(n, n)"
        raise ValueError(f"believed must have the shape {expected}, n at least 2, not {values.shape}")
    surface = _canvas(size)
    if family.input_size == 1:
        one = {name: np.asarray(value, np.float64)[None] for name, value in parameters.items()}
        _draw_axes(surface, family, float(x[-1, 0]))
        _draw_function(surface, family, one)
        across = np.linspace(family.input_low, family.input_high, len(values))
        _draw_line(surface, family, across, values, PREDICTION)
        _draw_answers(surface, family, x, seen, RIM)
    else:
        _draw_ground(surface, family, values)
        _draw_discs(surface, family, x, seen)
    return _finished(surface, size)


def _checked_points(
    family: FunctionFamily, inputs: npt.ArrayLike, values: npt.ArrayLike, name: str
) -> tuple[FloatArray, FloatArray]:
    x, answers = np.asarray(inputs, np.float64), np.asarray(values, np.float64)
    if x.ndim != 2 or x.shape[1] != family.input_size or answers.shape != (len(x) - 1,):
        raise ValueError(
            f"inputs must have the shape (k + 1, {family.input_size}) and {name} (k,), "
            f"not {x.shape} and {answers.shape}"
        )
    return x, answers


def _canvas(size: int) -> pygame.Surface:
    """Return an empty surface, larger than the frame, where that is not too much.

    It is shrunk in the end: pygame's own smooth lines are one pixel wide.
    """
    side = checked_size(size) * (2 if size <= 2048 else 1)
    surface = load_pygame().Surface((side, side), 0, 32)
    surface.fill(GROUND)
    return surface


def _finished(surface: pygame.Surface, size: int) -> Frame:
    pygame = load_pygame()
    if surface.get_width() != size:
        surface = pygame.transform.smoothscale(surface, (size, size))
    return np.ascontiguousarray(pygame.surfarray.array3d(surface).swapaxes(0, 1))


def _draw_axes(surface: pygame.Surface, family: FunctionFamily, asked: float) -> None:
    """Draw the line of value 0, and a line at the input ``asked`` for."""
    pygame = load_pygame()
    side = surface.get_width()
    width = max(1, round(0.006 * side) // 2)
    ends = np.array([family.input_low, family.input_high])
    pygame.draw.lines(surface, AXIS, False, _place(family, side, ends, np.zeros(2)), width)
    heights = np.array([family.target_low, family.target_high])
    pygame.draw.line(surface, QUESTION, *_place(family, side, np.full(2, asked), heights), width)


def _draw_function(surface: pygame.Surface, family: FunctionFamily, one: Parameters) -> None:
    across = np.linspace(family.input_low, family.input_high, 256)
    _draw_line(surface, family, across, family.values(one, across[None, :, None])[0], CURVE)


def _draw_line(
    surface: pygame.Surface, family: FunctionFamily, x: FloatArray, y: FloatArray, color: Color
) -> None:
    side = surface.get_width()
    places = _place(family, side, x, y)
    load_pygame().draw.lines(surface, color, False, places, max(1, round(0.006 * side)))


def _draw_answers(
    surface: pygame.Surface, family: FunctionFamily, x: FloatArray, y: FloatArray, color: Color = PREDICTION
) -> None:
    """Draw the points of all trials but the last, the older the fainter."""
    pygame = load_pygame()
    side = surface.get_width()
    points = _place(family, side, x[:-1, 0], y)
    for index, point in enumerate(points):
        faded = _mixed(GROUND, color, _freshness(index, len(points)))
        pygame.draw.circle(surface, faded, point, max(1.0, 0.011 * side))


def _draw_discs(surface: pygame.Surface, family: FunctionFamily, x: FloatArray, y: FloatArray) -> None:
    """Draw a disc a trial in the colour of its value; of the last, which has none yet, a ring."""
    pygame = load_pygame()
    side = surface.get_width()
    radius = max(1.0, 0.022 * side)
    points = _place_inputs(family, side, x)
    for point, value in zip(points, y, strict=False):
        pygame.draw.circle(surface, RIM, point, radius + max(1.0, 0.003 * side))
        pygame.draw.circle(surface, _heat(family, float(value)), point, radius)
    pygame.draw.circle(surface, QUESTION, points[-1], 1.6 * radius, max(1, round(0.006 * side)))


def _values_on_square(family: FunctionFamily, one: Parameters) -> FloatArray:
    """Return a function's values at a square of inputs ``[n, n]``, the first input first."""
    middles = (np.arange(_CELLS) + 0.5) / _CELLS
    places = family.input_low + (family.input_high - family.input_low) * middles
    grid = np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1)
    return family.values(one, grid.reshape(1, -1, 2))[0].reshape(_CELLS, _CELLS)


def _draw_ground(surface: pygame.Surface, family: FunctionFamily, values: FloatArray) -> None:
    """Colour the square of inputs by values ``[n, n]``, the first input first."""
    pygame = load_pygame()
    side = surface.get_width()
    cells = pygame.surfarray.make_surface(_heats(family, values[:, ::-1]))
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
    red, green, blue = _heats(family, np.array(value)).tolist()
    return red, green, blue


def _heats(family: FunctionFamily, values: FloatArray) -> npt.NDArray[np.uint8]:
    """Return the colours of values of any shape, ``[..., 3]``."""
    share = np.clip(_share(values, family.target_low, family.target_high), 0.0, 1.0)
    channels = zip(LOW, MIDDLE, HIGH, strict=True)
    return np.stack([np.interp(share, (0.0, 0.5, 1.0), each).round() for each in channels], -1).astype(
        np.uint8
    )


def _freshness(index: int, count: int) -> float:
    """Return how much of its colour the ``index``-th of ``count`` predictions keeps."""
    return _FAINTEST + (1 - _FAINTEST) * math.exp(-(count - 1 - index) / 20.0)


def _mixed(base: Color, color: Color, share: float) -> Color:
    red, green, blue = (round(b + (c - b) * share) for b, c in zip(base, color, strict=True))
    return red, green, blue
