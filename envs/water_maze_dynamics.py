"""Rules of the water maze: what a step does, free of Gymnasium, of drawing and of bookkeeping.

Points are float64 arrays ``[n, 2]``, one row a lane, in units of length of the arena, whose centre is the
origin. Only addition, multiplication, division, square root and comparison touch whole arrays; these round
alike for any number of lanes, so one lane of a thousand does exactly what a lane alone does.

Task: Bellec et al., "Long short-term memory and learning-to-learn in networks of spiking neurons",
NeurIPS 2018, navigation experiment; the disc and the probe trial are the Morris water maze's.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from lsnn_gym.errors import nearest, shortened

Arena = Literal["disc", "square"]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_SIZES = ("arena_size", "goal_radius", "step_size")
_REWARDS = ("goal_reward", "wall_reward")

# Points put on a round border are drawn in by this factor, more than rounding can add: an agent that stands
# at the border must not count as outside, or it would be punished for standing still.
_JUST_INSIDE = 1.0 - 2.0**-50

# How far outside a point given by the user may lie and still be meant as a point of the border.
_BORDER_TOLERANCE = 1e-9


@dataclass(frozen=True)
class WaterMazeOptions:
    """What a water maze is like. Lengths share one arbitrary unit.

    Args:
        arena: ``"disc"`` or ``"square"``.
        arena_size: Radius of the disc, or half the side of the square.
        goal_radius: Radius of the hidden goal, at most ``arena_size``.
        step_size: Greatest distance covered in one step.
        goal_reward: Reward for reaching the goal.
        wall_reward: Reward (a negative one punishes) for moving into the wall.
        max_steps: Steps an episode lasts.

    Raises:
        ValueError: If a value is of the wrong type, not finite or out of range; the message names it.
    """

    arena: Arena = "disc"
    arena_size: float = 1.0
    goal_radius: float = 0.3
    step_size: float = 0.02
    goal_reward: float = 1.0
    wall_reward: float = -0.02
    max_steps: int = 2000

    def __post_init__(self) -> None:
        arenas = get_args(Arena)
        if self.arena not in arenas:
            near = nearest(self.arena, arenas)
            hint = f" (did you mean {near!r}?)" if near else ""
            raise ValueError(f"arena must be one of {', '.join(map(repr, arenas))}, not {self.arena!r}{hint}")
        for name in _SIZES + _REWARDS:
            object.__setattr__(self, name, _finite_number(name, getattr(self, name)))
        for name in _SIZES:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0, not {getattr(self, name)!r}")
        if self.goal_radius > self.arena_size:
            raise ValueError(
                f"goal_radius must be at most arena_size ({self.arena_size!r}), not {self.goal_radius!r}"
            )
        steps = self.max_steps
        if not isinstance(steps, numbers.Integral) or isinstance(steps, bool) or steps < 1:
            raise ValueError(f"max_steps must be a whole number of at least 1, not {steps!r}")
        object.__setattr__(self, "max_steps", int(steps))

    def as_dict(self) -> dict[str, Any]:
        """Return the options by name, as the environments' constructors take them."""
        return asdict(self)


OPTION_NAMES = tuple(field.name for field in fields(WaterMazeOptions))


class Transition(NamedTuple):
    """What one step did to each of ``n`` lanes, before an agent at its goal is put back.

    Attributes:
        position: Where the move ended, ``[n, 2]``.
        at_goal: Whether that is within the goal, ``[n]``.
        hit_wall: Whether the move would have left the arena, ``[n]``.
    """

    position: FloatArray
    at_goal: BoolArray
    hit_wall: BoolArray


def transition(
    options: WaterMazeOptions, position: FloatArray, goal: FloatArray, actions: FloatArray
) -> Transition:
    """Move every lane once, and look whether it met its goal or the wall; both may happen in one step.

    Args:
        options: The maze.
        position: Where the agents are, ``[n, 2]``, inside the arena.
        goal: Centres of the goals, ``[n, 2]``.
        actions: Finite actions, ``[n, 2]``: the displacement in units of ``step_size``.
    """
    end, hit_wall = move(options, position, actions)
    return Transition(end, within(end, goal, options.goal_radius), hit_wall)


def move(
    options: WaterMazeOptions, position: FloatArray, actions: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Move by ``step_size · actions``, the length clipped to ``step_size``, no further than to the border.

    Returns:
        The new positions ``[n, 2]``, and whether the wall was in the way ``[n]``.
    """
    length = np.sqrt(_squared_norm(actions))
    displacement = actions * (options.step_size / np.maximum(length, 1.0))[:, None]
    end = position + displacement
    hit_wall = ~contains(options, end)
    lanes = hit_wall.nonzero()[0]
    if lanes.size:
        end[lanes] = _border_point(options, position[lanes], displacement[lanes])
    return end, hit_wall


def contains(options: WaterMazeOptions, points: FloatArray, tolerance: float = 0.0) -> BoolArray:
    """Return for each of ``points`` ``[n, 2]`` whether it is in the arena, border included, ``[n]``."""
    size = options.arena_size * (1.0 + tolerance)
    if options.arena == "disc":
        return _squared_norm(points) <= size * size
    inside = np.abs(points) <= size
    return inside[:, 0] & inside[:, 1]


def within(points: FloatArray, centre: FloatArray, radius: float) -> BoolArray:
    """Return whether each of ``points`` ``[n, 2]`` is at most ``radius`` from its ``centre`` ``[n, 2]``."""
    return _squared_norm(points - centre) <= radius * radius


def draw_point(options: WaterMazeOptions, generator: np.random.Generator) -> tuple[float, float]:
    """Draw one point uniformly in the arena. Exactly two uniform numbers are taken from ``generator``."""
    first, second = generator.random(), generator.random()
    size = options.arena_size
    if options.arena == "disc":
        radius, angle = size * _JUST_INSIDE * math.sqrt(first), 2.0 * math.pi * second
        return radius * math.cos(angle), radius * math.sin(angle)
    return size * (2.0 * first - 1.0), size * (2.0 * second - 1.0)


def checked_points(name: str, value: Any, options: WaterMazeOptions, num_lanes: int) -> FloatArray:
    """Return a point ``[2]`` or one a lane ``[num_lanes, 2]`` given by the user as ``[num_lanes, 2]``.

    Raises:
        ValueError: If it has another shape, is not finite or lies outside the arena.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be two numbers, not {shortened(repr(value), 200)}") from None
    if array.shape not in ((2,), (num_lanes, 2)):
        raise ValueError(f"{name} must have the shape (2,) or {(num_lanes, 2)}, not {array.shape}")
    points = np.array(np.broadcast_to(array, (num_lanes, 2)))
    with np.errstate(over="ignore"):
        inside = contains(options, points, _BORDER_TOLERANCE)  # False for what is not finite
    if not inside.all():
        bad = points[~inside][0].tolist()
        raise ValueError(
            f"{name} must lie inside the {options.arena} of size {options.arena_size!r}, not {bad}"
        )
    return _drawn_in(options, points)


def _finite_number(name: str, value: Any) -> float:
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    return float(value)


def _squared_norm(vectors: FloatArray) -> FloatArray:
    squares = vectors * vectors
    return squares[:, 0] + squares[:, 1]


def _drawn_in(options: WaterMazeOptions, points: FloatArray) -> FloatArray:
    """Pull points that rounding has left outside, and no others, back to the border."""
    if options.arena == "square":
        return np.clip(points, -options.arena_size, options.arena_size)
    outside = ~contains(options, points)
    size = options.arena_size
    factor = np.where(
        outside, size * _JUST_INSIDE / np.sqrt(np.maximum(_squared_norm(points), size * size)), 1.0
    )
    return points * factor[:, None]


def _border_point(options: WaterMazeOptions, start: FloatArray, displacement: FloatArray) -> FloatArray:
    """Return where segments that begin inside and end outside meet the border, ``[n, 2]``."""
    fraction = (_disc_fraction if options.arena == "disc" else _square_fraction)(
        options.arena_size, start, displacement
    )
    return _drawn_in(options, start + fraction[:, None] * displacement)


def _disc_fraction(radius: float, start: FloatArray, displacement: FloatArray) -> FloatArray:
    """Solve |start + t·displacement| = radius for the greater t."""
    a = _squared_norm(displacement)
    b = start[:, 0] * displacement[:, 0] + start[:, 1] * displacement[:, 1]
    c = np.minimum(_squared_norm(start) - radius * radius, 0.0)
    root = np.sqrt(b * b - a * c)
    # Of the two forms of the same root, the one that does not subtract near-equal numbers.
    outward = b > 0.0
    return np.where(outward, -c, root - b) / np.where(outward, b + root, a)


def _square_fraction(half_side: float, start: FloatArray, displacement: FloatArray) -> FloatArray:
    """Return the fraction of the displacement after which the first of the sides is met."""
    outside = np.abs(start + displacement) > half_side
    side = np.where(displacement > 0.0, half_side, -half_side)
    fraction = np.divide(side - start, displacement, out=np.full_like(start, np.inf), where=outside)
    return np.minimum(fraction[:, 0], fraction[:, 1])
