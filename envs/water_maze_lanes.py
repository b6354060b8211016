"""State and bookkeeping of many water-maze episodes side by side, one lane each.

Both environments stand on this one definition: the single one is a batch of one lane.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lsnn_gym.errors import unknown

from .water_maze_dynamics import (
    BoolArray,
    FloatArray,
    WaterMazeOptions,
    checked_points,
    draw_point,
    transition,
    within,
)

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

_NO_PROBE = np.iinfo(np.int64).max
_RESET_OPTIONS = ("goal", "position", "probe", "probe_from")


@dataclass(frozen=True)
class Start:
    """How an episode is to begin, from the ``options`` of a reset.

    Args:
        goal: Goals ``[n, 2]``, or None: draw them (in a probe trial: keep the former ones).
        position: Starting positions ``[n, 2]``, or None: draw them.
        probe_from: Step from which on the goal gives nothing; None where the episode is no probe trial.
    """

    goal: FloatArray | None = None
    position: FloatArray | None = None
    probe_from: int | None = None

    @classmethod
    def from_options(
        cls, reset_options: dict[str, Any] | None, maze: WaterMazeOptions, num_lanes: int
    ) -> Start:
        """Read the options of a reset.

        Raises:
            ValueError: If an option is not known, or its value is of no use; the message names it.
        """
        given = {} if reset_options is None else dict(reset_options)
        for name in given:
            if name not in _RESET_OPTIONS:
                raise ValueError(unknown("reset option", name, _RESET_OPTIONS))
        probe = given.get("probe", False)
        if not isinstance(probe, (bool, np.bool_)):
            raise ValueError(f"probe must be True or False, not {probe!r}")
        if "probe_from" in given and not probe:
            raise ValueError("probe_from is of use in a probe trial only: give probe=True with it")
        probe_from = given.get("probe_from", 0)
        if not isinstance(probe_from, numbers.Integral) or isinstance(probe_from, bool) or probe_from < 0:
            raise ValueError(f"probe_from must be a whole number of at least 0, not {probe_from!r}")
        points = {
            name: None if given.get(name) is None else checked_points(name, given[name], maze, num_lanes)
            for name in ("goal", "position")
        }
        return cls(points["goal"], points["position"], int(probe_from) if probe else None)


class WaterMazeLanes:
    """``n`` episodes of the water maze and what has happened in them.

    Attributes:
        position: Where the agents are, ``[n, 2]``.
        goal: Centres of the goals, ``[n, 2]``.
        steps: Steps since the start of the episode, ``[n]``.
        goals_reached: Goals reached in the episode, ``[n]``.
        goal_latency: Steps that the goal reached in the last step took, since the start or the goal before;
            -1 where none was reached in it, ``[n]``.
        goal_flag, wall_flag: Whether the last step reached the goal, and whether it hit the wall, ``[n]``.
        probe_from: Step from which on a probe trial's goal gives nothing, ``[n]``; greater than any step
            where the episode is no probe trial.
    """

    def __init__(self, options: WaterMazeOptions, num_lanes: int) -> None:
        self.options = options
        self.num_lanes = num_lanes
        self.position: FloatArray = np.zeros((num_lanes, 2))
        self.goal: FloatArray = np.zeros((num_lanes, 2))
        self.steps: IntArray = np.zeros(num_lanes, np.int64)
        self.goals_reached: IntArray = np.zeros(num_lanes, np.int64)
        self.goal_latency: IntArray = np.full(num_lanes, -1, np.int64)
        self.goal_flag: BoolArray = np.zeros(num_lanes, np.bool_)
        self.wall_flag: BoolArray = np.zeros(num_lanes, np.bool_)
        self.probe_from: IntArray = np.full(num_lanes, _NO_PROBE)
        self.started: BoolArray = np.zeros(num_lanes, np.bool_)
        self._last_goal_step = np.zeros(num_lanes, np.int64)
        self._quadrant_steps = np.zeros((num_lanes, 4), np.int64)
        self._near_goal_steps = np.zeros(num_lanes, np.int64)
        self._any_probe = False

    def begin(self, lanes: IntArray, generators: Sequence[np.random.Generator], start: Start) -> None:
        """Begin a new episode in ``lanes``; the goal is drawn first, then the position.

        Args:
            lanes: Indices of the lanes.
            generators: One a lane, for all ``num_lanes``.
            start: How to begin, with rows for all ``num_lanes``.
        """
        for lane in lanes:
            generator = generators[lane]
            if start.goal is not None:
                self.goal[lane] = start.goal[lane]
            elif start.probe_from is None or not self.started[lane]:
                self.goal[lane] = draw_point(self.options, generator)
            if start.position is None:
                self.position[lane] = draw_point(self.options, generator)
            else:
                self.position[lane] = start.position[lane]
        for counter in (self.steps, self.goals_reached, self._last_goal_step, self._near_goal_steps):
            counter[lanes] = 0
        self._quadrant_steps[lanes] = 0
        self.goal_latency[lanes] = -1
        self.goal_flag[lanes] = False
        self.wall_flag[lanes] = False
        self.started[lanes] = True
        self.probe_from[lanes] = _NO_PROBE if start.probe_from is None else start.probe_from
        self._any_probe = bool((self.probe_from != _NO_PROBE).any())

    def advance(
        self,
        actions: FloatArray,
        generators: Sequence[np.random.Generator],
        active: BoolArray | None = None,
    ) -> FloatArray:
        """Take one step.

        Args:
            actions: Checked actions ``[n, 2]``.
            generators: One a lane; only a lane whose agent is put back draws from its own.
            active: Lanes that take the step ``[n]``; None: all do. The others are to begin an episode next:
                their actions have to be 0, and they draw nothing.

        Returns:
            The rewards, ``[n]``; 0 where a lane is not active.
        """
        options = self.options
        end, at_goal, hit_wall = transition(options, self.position, self.goal, actions)
        if active is not None:
            at_goal &= active
        if self._any_probe:
            at_goal &= ~self._count_probe(end)
        self.steps += 1
        self.position, self.goal_flag, self.wall_flag = end, at_goal, hit_wall
        self.goal_latency = np.full(self.num_lanes, -1, np.int64)
        arrived = at_goal.nonzero()[0]
        if arrived.size:
            self._put_back(arrived, generators)
        return at_goal * options.goal_reward + hit_wall * options.wall_reward

    def finished(self) -> BoolArray:
        """Return which episodes have taken all their steps, ``[n]``."""
        return self.steps >= self.options.max_steps

    def observations(self) -> Float32Array:
        """Return new observations ``[n, 4]``: x, y, goal flag, wall flag."""
        observations = np.empty((self.num_lanes, 4), np.float32)
        observations[:, :2] = self.position
        observations[:, 2] = self.goal_flag
        observations[:, 3] = self.wall_flag
        return observations

    def info(self) -> dict[str, Any]:
        """Return new arrays of what is not observed, one row a lane."""
        return {
            "goal": self.goal.copy(),
            "goals_reached": self.goals_reached.copy(),
            "goal_latency": self.goal_latency.copy(),
        }

    def probing(self) -> BoolArray:
        """Return which lanes run a probe trial, ``[n]``, also before its ``probe_from``."""
        return self.probe_from != _NO_PROBE

    def goal_silent(self) -> BoolArray:
        """Return where the goal gave nothing in the last step, or from the start, ``[n]``."""
        return np.maximum(self.steps, 1) > self.probe_from

    def any_probe(self) -> bool:
        """Return whether any lane runs a probe trial."""
        return self._any_probe

    def probe_info(self) -> dict[str, FloatArray]:
        """Return the shares of the probe's time spent in each quadrant ``[n, 4]`` and near the goal ``[n]``.

        They are 0 as long as no step of the probe has been taken.
        """
        steps = np.maximum(self._quadrant_steps.sum(axis=1), 1)
        return {
            "quadrant_shares": self._quadrant_steps / steps[:, None],
            "near_goal_share": self._near_goal_steps / steps,
        }

    def _put_back(self, lanes: IntArray, generators: Sequence[np.random.Generator]) -> None:
        for lane in lanes:
            self.position[lane] = draw_point(self.options, generators[lane])
        steps = self.steps[lanes]
        self.goal_latency[lanes] = steps - self._last_goal_step[lanes]
        self._last_goal_step[lanes] = steps
        self.goals_reached[lanes] += 1

    def _count_probe(self, end: FloatArray) -> BoolArray:
        """Count where the probe's steps end; return where the goal gives nothing, ``[n]``."""
        silent = self.steps >= self.probe_from
        lanes = silent.nonzero()[0]
        self._quadrant_steps[lanes, quadrants(end[lanes], self.goal[lanes])] += 1
        self._near_goal_steps += silent & within(end, self.goal, self.options.goal_radius)
        return silent


def quadrants(points: FloatArray, goal: FloatArray) -> IntArray:
    """Return the quadrant of each of ``points`` ``[n, 2]``, seen from the arena's centre, ``[n]``.

    0 is the goal's: within 45° of its direction; 1, 2 and 3 are the left, opposite and right one. Points on
    the line between two count to the goal's or the opposite one, and the direction of a goal at the very
    centre is +x.
    """
    direction = np.where((goal == 0.0).all(axis=1)[:, None], np.array([1.0, 0.0]), goal)
    x, y, ahead_x, ahead_y = points[:, 0], points[:, 1], direction[:, 0], direction[:, 1]
    ahead = x * ahead_x + y * ahead_y
    left = y * ahead_x - x * ahead_y
    sideways = np.where(left > 0.0, 1, 3)
    return np.where(np.abs(left) <= np.abs(ahead), np.where(ahead >= 0.0, 0, 2), sideways)
