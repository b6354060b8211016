"""Rules and bookkeeping of reaching a goal in the plane, many episodes side by side, one lane each.

Both environments stand on this one definition: the single one is a batch of one lane. Only addition,
multiplication, division, square root and comparison touch whole arrays; these round alike for any number of lanes.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from gymnasium.spaces import Box

from lsnn_gym.errors import unknown

from .lane_vector import BoolArray, Float32Array, FloatArray, IntArray
from .water_maze_dynamics import WaterMazeOptions, checked_points, draw_point

GoalReward = Literal["dense", "sparse"]

_RESET_OPTIONS = ("goal", "position")


@dataclass(frozen=True)
class GoalOptions:
    """What reaching a goal is like. Lengths are in units of half the square's side.

    Args:
        reward: ``"dense"``: minus the distance; ``"sparse"``: 1 within ``goal_radius``, else 0.
        goal_radius: Distance at which the goal counts as reached.
        step_size: Greatest distance covered in one step along each axis.
        max_steps: Steps an episode lasts.
        show_goal: Whether the goal is observed.
        random_start: Whether the starting position is drawn, too, or the centre.

    Raises:
        ValueError: If a value is of the wrong type or out of range; the message names it.
    """

    reward: GoalReward = "dense"
    goal_radius: float = 0.2
    step_size: float = 0.1
    max_steps: int = 50
    show_goal: bool = False
    random_start: bool = False

    def __post_init__(self) -> None:
        known = get_args(GoalReward)
        if self.reward not in known:
            raise ValueError(unknown("reward", self.reward, known))
        for name in ("goal_radius", "step_size"):
            value = getattr(self, name)
            number = (
                math.nan if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
            )
            if not 0 < number < math.inf:
                raise ValueError(f"{name} must be a finite number greater than 0, not {value!r}")
            object.__setattr__(self, name, number)
        steps = self.max_steps
        if not isinstance(steps, numbers.Integral) or isinstance(steps, bool) or steps < 1:
            raise ValueError(f"max_steps must be a whole number of at least 1, not {steps!r}")
        object.__setattr__(self, "max_steps", int(steps))
        for name in ("show_goal", "random_start"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise ValueError(f"{name} must be True or False, not {getattr(self, name)!r}")

    @property
    def square(self) -> WaterMazeOptions:
        """Return the plane as a maze, for its drawing and for points in it."""
        radius, step = min(self.goal_radius, 1.0), self.step_size
        return WaterMazeOptions("square", 1.0, radius, step, max_steps=self.max_steps)


class GoalStart(NamedTuple):
    """How an episode is to begin: goals and positions ``[n, 2]``, None where they are to be drawn."""

    goal: FloatArray | None
    position: FloatArray | None


def action_space() -> Box:
    """Return the space of actions: a displacement ``[2]`` in units of ``step_size``."""
    return Box(-1.0, 1.0, (2,), np.float32)


def observation_space(options: GoalOptions) -> Box:
    """Return the space of observations: the position ``[2]``, and the goal ``[4]`` if it is shown."""
    return Box(-1.0, 1.0, (4 if options.show_goal else 2,), np.float32)


def start_from(options: dict[str, Any] | None, reaching: GoalOptions, num_lanes: int) -> GoalStart:
    """Return how episodes are to begin, from the options of a reset.

    Raises:
        ValueError: If an option is not known, or its value is of no use; the message names it.
    """
    given = {} if options is None else options
    for name in given:
        if name not in _RESET_OPTIONS:
            raise ValueError(unknown("reset option", name, _RESET_OPTIONS))
    square = reaching.square
    return GoalStart(
        *(
            None if given.get(name) is None else checked_points(name, given[name], square, num_lanes)
            for name in _RESET_OPTIONS
        )
    )


class GoalLanes:
    """``n`` episodes of reaching a goal and what has happened in them.

    Attributes:
        goal: ``[n, 2]``.
        way: Where the agent has been, 0 elsewhere, ``[n, max_steps + 1, 2]``.
        steps: Since the start of the episode, ``[n]``.
        started: Which lanes have begun an episode at all, ``[n]``.
    """

    def __init__(self, options: GoalOptions, num_lanes: int) -> None:
        self.options = options
        self.num_lanes = num_lanes
        self.goal: FloatArray = np.zeros((num_lanes, 2))
        self.way: FloatArray = np.zeros((num_lanes, options.max_steps + 1, 2))
        self.steps: IntArray = np.zeros(num_lanes, np.int64)
        self.started: BoolArray = np.zeros(num_lanes, np.bool_)
        self._rows = np.arange(num_lanes)
        self._square = options.square

    def begin(self, lanes: IntArray, generators: Sequence[np.random.Generator], start: GoalStart) -> None:
        """Begin a new episode in ``lanes``; the goal is drawn first, then the position, if at all.

        Args:
            lanes: Indices of the lanes.
            generators: One a lane, for all ``num_lanes``.
            start: How to begin, with rows for all ``num_lanes``.
        """
        self.way[lanes] = 0.0
        for lane in lanes:
            generator = generators[lane]
            self.goal[lane] = draw_point(self._square, generator) if start.goal is None else start.goal[lane]
            if start.position is not None:
                self.way[lane, 0] = start.position[lane]
            elif self.options.random_start:
                self.way[lane, 0] = draw_point(self._square, generator)
        self.steps[lanes] = 0
        self.started[lanes] = True

    def advance(
        self,
        actions: FloatArray,
        generators: Sequence[np.random.Generator],
        active: BoolArray | None = None,
    ) -> FloatArray:
        """Move once.

        Args:
            actions: Checked actions ``[n, 2]``; counted as at most 1 along each axis.
            generators: Not drawn from.
            active: Lanes that move ``[n]``; None: all do. The others are to begin an episode next.

        Returns:
            The rewards, ``[n]``; 0 where a lane is not active.
        """
        rows = self._rows if active is None else np.flatnonzero(active)
        steps = self.steps[rows]
        moved = self.way[rows, steps] + self.options.step_size * np.clip(actions[rows], -1.0, 1.0)
        self.way[rows, steps + 1] = np.clip(moved, -1.0, 1.0)
        self.steps += 1
        rewards = np.zeros(self.num_lanes)
        distance = self._distance(rows)
        dense = self.options.reward == "dense"
        rewards[rows] = -distance if dense else distance <= self.options.goal_radius
        return rewards

    def finished(self) -> BoolArray:
        """Return which episodes have taken all their steps, ``[n]``."""
        return self.steps >= self.options.max_steps

    def observations(self) -> Float32Array:
        """Return new observations: positions ``[n, 2]``, and goals ``[n, 4]`` if they are shown."""
        position = self.way[self._rows, self.steps]
        seen = np.concatenate([position, self.goal], axis=1) if self.options.show_goal else position
        return seen.astype(np.float32)

    def info(self) -> dict[str, Any]:
        """Return new arrays of what is not observed, one row a lane."""
        distance = self._distance(self._rows)
        return {
            "goal": self.goal.copy(),
            "distance": distance,
            "at_goal": distance <= self.options.goal_radius,
        }

    def _distance(self, rows: IntArray) -> FloatArray:
        squares = (self.way[rows, self.steps[rows]] - self.goal[rows]) ** 2
        return np.sqrt(squares[:, 0] + squares[:, 1])
