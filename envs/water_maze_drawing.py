"""Pictures of the water maze, from what was observed in it; no environment is needed to draw one.

pygame is loaded when the first picture is drawn. Frames are drawn off screen, so that neither a screen nor
pygame's display module is needed for them, and any number of environments can draw at once.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .frames import Color, Frame, checked_size, load_pygame
from .water_maze_dynamics import WaterMazeOptions

if TYPE_CHECKING:
    import pygame

GROUND: Color = (246, 244, 239)
WATER: Color = (221, 233, 239)
BORDER: Color = (108, 134, 148)
GOAL: Color = (142, 190, 150)
GOAL_RIM: Color = (74, 138, 92)
SILENT_GOAL_RIM: Color = (140, 140, 140)
PATH: Color = (38, 70, 125)
REWARD: Color = (240, 173, 60)
WALL: Color = (214, 69, 80)
AGENT: Color = (24, 40, 72)
AGENT_RIM: Color = (255, 255, 255)

_MARGIN = 0.06  # of the frame's side, around the arena
_FAINTEST = 0.14  # how much of the path's colour the oldest part keeps


def draw_maze(
    options: WaterMazeOptions,
    goal: npt.ArrayLike,
    trail: npt.ArrayLike,
    *,
    size: int = 512,
    goal_active: bool = True,
    fade_steps: int | None = None,
) -> Frame:
    """Draw the arena, its hidden goal, the agent and the path that it took.

    The path fades with age. A goal reached makes the goal flash, a wall hit the place where it was hit.

    Args:
        options: The maze.
        goal: Centre of the goal, ``[2]``.
        trail: Observations of the episode so far, ``[k, 4]`` with k ≥ 1, oldest first: x, y, goal flag, wall
            flag.
            The last row is where the agent is. A row with the goal flag begins a new stretch of path.
        size: Pixels along each side.
        goal_active: False draws the goal of a probe trial, which gives nothing.
        fade_steps: Steps after which the path is at its faintest; by default those that cover six times
            ``arena_size``.

    Returns:
        uint8 ``[size, size, 3]``; rows from top (greatest y) to bottom, RGB.

    Raises:
        ValueError: If an array has another shape, or ``size`` is of no use.
        gymnasium.error.DependencyNotInstalled: If pygame is not there.
    """
    pygame = load_pygame()
    size = checked_size(size)
    rows = np.asarray(trail, dtype=np.float64)
    centre = np.asarray(goal, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != 4 or not len(rows):
        raise ValueError(f"trail must have the shape (k, 4) with k of at least 1, not {rows.shape}")
    if centre.shape != (2,):
        raise ValueError(f"goal must have the shape (2,), not {centre.shape}")
    steps_per_size = options.arena_size / options.step_size
    fade = math.ceil(6.0 * steps_per_size) if fade_steps is None else fade_steps
    # Drawn larger and shrunk: pygame's own smooth lines are one pixel wide.
    fineness = 4 if size < 256 else 2 if size <= 2048 else 1
    view = _view(options, size * fineness)
    surface = pygame.Surface((view.side, view.side), 0, 32)
    surface.fill(WATER)
    flash = max(4.0, 0.4 * steps_per_size)
    _draw_goal(surface, view, options, centre, _freshness(rows[:, 2], flash), goal_active)
    _draw_path(surface, view, rows, max(fade, 1))
    _draw_wall_flashes(surface, view, options, rows, flash)
    surface.blit(_surroundings(options.arena, view.side), (0, 0))
    _draw_agent(surface, view, options, rows[-1])
    if fineness > 1:
        surface = pygame.transform.smoothscale(surface, (size, size))
    return np.ascontiguousarray(pygame.surfarray.array3d(surface).swapaxes(0, 1))


class Trail:
    """The latest observations of ``n`` lanes, as long as an episode can be.

    Args:
        max_steps: Steps an episode lasts.
    """

    def __init__(self, max_steps: int) -> None:
        self._rows: deque[npt.NDArray[np.float32]] = deque(maxlen=max_steps + 1)

    def append(self, observations: npt.NDArray[np.float32], *, in_place: bool = False) -> None:
        """Add a copy of the observations ``[n, 4]`` of one step, or put it in place of the last ones."""
        if in_place and self._rows:
            self._rows.pop()
        self._rows.append(observations.copy())

    def of_lane(self, lane: int, steps: int) -> npt.NDArray[np.float32]:
        """Return the last ``steps + 1`` observations of a lane, ``[steps + 1, 4]``."""
        first = max(len(self._rows) - steps - 1, 0)
        return np.array([rows[lane] for rows in islice(self._rows, first, None)])


class _View(NamedTuple):
    """From lengths of the arena to pixels."""

    side: int
    pixels_per_length: float

    def point(self, x: float, y: float) -> tuple[float, float]:
        return self.side / 2 + x * self.pixels_per_length, self.side / 2 - y * self.pixels_per_length

    def share(self, share: float) -> int:
        """Return a share of the frame's side in pixels, at least 1."""
        return max(1, round(share * self.side))


def _view(options: WaterMazeOptions, side: int) -> _View:
    return _View(side, side * (0.5 - _MARGIN) / options.arena_size)


def _mixed(base: Color, color: Color, share: float) -> Color:
    red, green, blue = (round(b + (c - b) * share) for b, c in zip(base, color, strict=True))
    return red, green, blue


def _freshness(flags: npt.NDArray[np.float64], flash_steps: float) -> float:
    """Return 1 where the last of ``flags`` ``[k]`` is set, less the longer ago one was, 0 where none was."""
    set_at = np.flatnonzero(flags)
    return max(0.0, 1.0 - (len(flags) - 1 - set_at[-1]) / flash_steps) if len(set_at) else 0.0


def _draw_goal(
    surface: pygame.Surface,
    view: _View,
    options: WaterMazeOptions,
    goal: npt.NDArray[np.float64],
    flash: float,
    active: bool,
) -> None:
    pygame = load_pygame()
    centre, radius = view.point(*goal), options.goal_radius * view.pixels_per_length
    if active:
        for halo in (1.35, 1.18) if flash > 0.0 else ():
            pygame.draw.circle(surface, _mixed(WATER, REWARD, flash * (1.5 - halo)), centre, radius * halo)
        pygame.draw.circle(surface, _mixed(_mixed(WATER, GOAL, 0.55), REWARD, flash), centre, radius)
    _draw_dashed_circle(surface, GOAL_RIM if active else SILENT_GOAL_RIM, centre, radius, view.share(0.005))


def _draw_dashed_circle(
    surface: pygame.Surface, color: Color, centre: tuple[float, float], radius: float, width: int
) -> None:
    pygame = load_pygame()
    dashes, points = 28, 5
    for dash in range(dashes):
        angles = (dash + 0.55 * np.arange(points) / (points - 1)) * 2.0 * math.pi / dashes
        line = [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]
        pygame.draw.lines(surface, color, False, line, width)


def _draw_path(surface: pygame.Surface, view: _View, rows: npt.NDArray[np.float64], fade_steps: int) -> None:
    pygame = load_pygame()
    width = view.share(0.0065)
    points = [view.point(x, y) for x, y in rows[:, :2]]
    begins = rows[:, 2] > 0.0
    begins[0] = True
    for index, point in enumerate(points):
        age = min(1.0, (len(points) - 1 - index) / fade_steps)
        color = _mixed(WATER, PATH, 1.0 - (1.0 - _FAINTEST) * age)
        if begins[index]:
            pygame.draw.circle(surface, color, point, 1.6 * width)
        else:
            pygame.draw.line(surface, color, points[index - 1], point, width)
            pygame.draw.circle(surface, color, point, 0.5 * width)  # rounds the joint


def _draw_wall_flashes(
    surface: pygame.Surface,
    view: _View,
    options: WaterMazeOptions,
    rows: npt.NDArray[np.float64],
    flash_steps: float,
) -> None:
    pygame = load_pygame()
    recent = rows[-math.ceil(flash_steps) :]
    for index, (x, y, goal_flag, wall_flag) in enumerate(recent):
        # Where the goal was met in the same step, the row tells the new position, not that at the wall.
        if wall_flag and not goal_flag:
            freshness = 1.0 - (len(recent) - 1 - index) / flash_steps
            radius = 0.09 * options.arena_size * view.pixels_per_length
            pygame.draw.circle(surface, _mixed(WATER, WALL, 0.75 * freshness), view.point(x, y), radius)


def _draw_agent(
    surface: pygame.Surface, view: _View, options: WaterMazeOptions, row: npt.NDArray[np.float64]
) -> None:
    pygame = load_pygame()
    centre, radius = view.point(row[0], row[1]), 0.04 * options.arena_size * view.pixels_per_length
    pygame.draw.circle(surface, AGENT_RIM, centre, radius * 1.35)
    pygame.draw.circle(surface, WALL if row[3] and not row[2] else AGENT, centre, max(radius, 1.0))


@functools.lru_cache(maxsize=16)
def _surroundings(arena: str, side: int) -> Any:
    """Return all that lies around the water, with a hole where the water is."""
    pygame = load_pygame()
    surface = pygame.Surface((side, side), pygame.SRCALPHA, 32)
    surface.fill(GROUND)
    half = side * (0.5 - _MARGIN)
    rim = max(1.0, 0.008 * side)
    for color, extent in ((BORDER, half + rim), ((0, 0, 0, 0), half)):
        if arena == "disc":
            pygame.draw.circle(surface, color, (side / 2, side / 2), extent)
        else:
            corner = round(side / 2 - extent)
            pygame.draw.rect(surface, color, (corner, corner, round(2 * extent), round(2 * extent)))
    return surface
