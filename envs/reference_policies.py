"""Policies to compare an agent with: no skill, perfect knowledge, and memory without knowledge.

``random`` is the floor, ``oracle`` cannot be surpassed on average, and ``sweep_then_exploit`` is what an
agent that has to find the goal itself, and remembers it, can fairly be measured against.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from .water_maze_dynamics import FloatArray, WaterMazeOptions, move

_RING_RADIUS = 0.72  # in units of arena_size
_RING_POINTS = 16


class ReferencePolicy(ABC):
    """Acts in many lanes of the water maze at once, from ``reset`` on for one episode each."""

    @abstractmethod
    def reset(self, num_envs: int, options: WaterMazeOptions, rng: np.random.Generator) -> None:
        """Forget everything: new episodes begin in all ``num_envs`` lanes of the maze ``options``."""

    @abstractmethod
    def act(self, observations: npt.NDArray[np.floating], goals: FloatArray) -> FloatArray:
        """Choose the next actions.

        Args:
            observations: ``[n, 4]``, as the environment returned them.
            goals: Centres of the goals ``[n, 2]``, for a policy that is meant to know them.

        Returns:
            Actions ``[n, 2]``, none longer than the square root of 2.
        """


class RandomPolicy(ReferencePolicy):
    """Takes both components of an action uniformly from [-1, 1]."""

    def reset(self, num_envs: int, options: WaterMazeOptions, rng: np.random.Generator) -> None:
        """See the base class."""
        self._shape = (num_envs, 2)
        self._rng = rng

    def act(self, observations: npt.NDArray[np.floating], goals: FloatArray) -> FloatArray:
        """See the base class."""
        return self._rng.uniform(-1.0, 1.0, self._shape)


class OraclePolicy(ReferencePolicy):
    """Knows the goal and goes straight to its centre."""

    def reset(self, num_envs: int, options: WaterMazeOptions, rng: np.random.Generator) -> None:
        """See the base class."""
        self._step_size = options.step_size

    def act(self, observations: npt.NDArray[np.floating], goals: FloatArray) -> FloatArray:
        """See the base class."""
        return _towards(goals, _positions(observations), self._step_size)


class SweepThenExploitPolicy(ReferencePolicy):
    """Sweeps the arena until it meets the goal, then goes to the mean of the places where it has met it.

    A round of the sweep goes once about a ring of radius 0.72 ``arena_size``, from where it is nearest, and
    then to the centre. The next round begins a third of a circle further on, so that the ways to the centre
    and back cover what lies between centre and ring. The goal is met where a step ends; the policy works this
    out from where it was and what it did, as what it observes afterwards is already its new position.
    """

    def reset(self, num_envs: int, options: WaterMazeOptions, rng: np.random.Generator) -> None:
        """See the base class."""
        self._options = options
        self._first_angle: FloatArray | None = None  # known from the first observation on
        self._waypoint = np.zeros(num_envs, np.int64)  # counts on from round to round
        self._met = np.zeros(num_envs, np.int64)
        self._sum_of_places = np.zeros((num_envs, 2))
        self._step_end = np.zeros((num_envs, 2))  # of the last action, unless the goal was met

    def act(self, observations: npt.NDArray[np.floating], goals: FloatArray) -> FloatArray:
        """See the base class."""
        position = _positions(observations)
        met_now = observations[:, 2] > 0.5
        self._met += met_now
        self._sum_of_places[met_now] += self._step_end[met_now]
        remembered = self._sum_of_places / np.maximum(self._met, 1)[:, None]
        target = np.where((self._met > 0)[:, None], remembered, self._sweep_target(position))
        actions = _towards(target, position, self._options.step_size)
        self._step_end, _ = move(self._options, position, actions)
        return actions

    def _sweep_target(self, position: FloatArray) -> FloatArray:
        """Return the waypoints to go for ``[n, 2]``; one that is within a step counts as visited."""
        if self._first_angle is None:
            self._first_angle = np.arctan2(position[:, 1], position[:, 0])
        way = self._waypoints(self._first_angle) - position
        self._waypoint += np.hypot(way[:, 0], way[:, 1]) <= self._options.step_size
        return self._waypoints(self._first_angle)

    def _waypoints(self, first_angle: FloatArray) -> FloatArray:
        round_, index = np.divmod(self._waypoint, _RING_POINTS + 1)
        angle = first_angle + 2.0 * math.pi * (round_ / 3.0 + index / _RING_POINTS)
        radius = np.where(index < _RING_POINTS, _RING_RADIUS * self._options.arena_size, 0.0)
        return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


REFERENCE_POLICIES: dict[str, type[ReferencePolicy]] = {
    "random": RandomPolicy,
    "oracle": OraclePolicy,
    "sweep_then_exploit": SweepThenExploitPolicy,
}


def _positions(observations: npt.NDArray[np.floating]) -> FloatArray:
    return observations[:, :2].astype(np.float64)


def _towards(target: FloatArray, position: FloatArray, step_size: float) -> FloatArray:
    """Return the actions ``[n, 2]`` that go as far towards ``target`` as one step can."""
    way = (target - position) / step_size
    return way / np.maximum(np.hypot(way[:, 0], way[:, 1]), 1.0)[:, None]
