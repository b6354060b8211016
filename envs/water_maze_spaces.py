"""Spaces of the water maze, the same for the single and the vectorised environment."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

from .water_maze_dynamics import WaterMazeOptions


def action_space() -> Box:
    """Return the space of actions: a displacement ``[2]`` in units of ``step_size``."""
    return Box(-1.0, 1.0, (2,), np.float32)


def observation_space(options: WaterMazeOptions) -> Box:
    """Return the space of observations ``[4]``: x, y, goal flag, wall flag."""
    size = np.float32(options.arena_size)
    high = np.array([size, size, 1.0, 1.0], np.float32)
    return Box(np.array([-size, -size, 0.0, 0.0], np.float32), high, dtype=np.float32)
