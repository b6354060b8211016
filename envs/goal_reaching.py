"""Reaching a goal in the plane that lies elsewhere in every episode."""

from __future__ import annotations

from typing import Any

import numpy as np

from .actions import checked_actions
from .frames import Frame
from .goal_reaching_lanes import (
    GoalLanes,
    GoalOptions,
    GoalReward,
    GoalStart,
    action_space,
    observation_space,
    start_from,
)
from .lane_single import LaneEnv
from .lane_vector import FloatArray
from .water_maze_drawing import draw_maze


class GoalReachingEnv(LaneEnv[GoalStart]):
    """A point in a square is to go to a goal, which only rewards give away, and to stay there.

    ## Description
    Each episode has a goal of its own in the square [-1, 1]². An agent that sees its rewards finds it by them; over
    several episodes with one goal (`lsnn_gym.envs.MetaRL`, `task_keys=("goal",)`) it needs to do so only once. That is
    `lsnn_gym/GoalReachingRL2-v0`: trials of 4 inner episodes of 20 steps of 0.2.

    ## Action Space
    `Box(-1, 1, (2,), float32)`: the displacement in units of `step_size`, counted as at most 1 along each axis. The
    point does not leave the square.

    ## Observation Space
    `Box(-1, 1, (2,), float32)`: the position; with `show_goal` `(4,)`: position and goal.

    ## Rewards
    - `dense`: minus the distance to the goal after the step;
    - `sparse`: 1 where that is at most `goal_radius`, else 0.

    ## Starting State
    The goal is drawn uniformly in the square, then, with `random_start`, the position, which else is the centre.
    `reset(options=…)` takes:

    - `goal`, `position`: two numbers each, in the square, instead of those.

    ## Episode End
    Never terminated; truncated after `max_steps` steps.

    ## Info
    - `goal`: float64 `[2]`;
    - `distance`: to the goal;
    - `at_goal`: whether that is at most `goal_radius`.

    ## Version History
    - v0: first version.

    Source: after the point navigation of Finn, Abbeel, Levine, "Model-agnostic meta-learning for fast adaptation of
    deep networks", 2017, section 5.3; episodes do not end at the goal here.

    Args:
        render_mode: None, `"rgb_array"` (`render()` returns a frame, uint8 `[render_size, render_size, 3]`)
            or `"human"` (a window that shows every step; on a machine without a screen, nothing).
        reward: `"dense"` or `"sparse"`.
        goal_radius: Distance at which the goal counts as reached.
        step_size: Greatest distance covered in one step along each axis.
        max_steps: Steps an episode lasts.
        show_goal: Whether the goal is observed.
        random_start: Whether the starting position is drawn, too.
        render_size: Pixels along each side of a frame.

    Raises:
        ValueError: If an argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or past the end of an episode.
        gymnasium.error.DependencyNotInstalled: If a frame is to be drawn and pygame is not there.
    """

    caption = "goal reaching"

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        reward: GoalReward = "dense",
        goal_radius: float = 0.2,
        step_size: float = 0.1,
        max_steps: int = 50,
        show_goal: bool = False,
        random_start: bool = False,
        render_size: int = 512,
    ) -> None:
        self.options: GoalOptions = GoalOptions(
            reward, goal_radius, step_size, max_steps, show_goal, random_start
        )
        self.lasts: str = f"max_steps={max_steps} steps"
        self._lanes = GoalLanes(self.options, 1)
        spaces = action_space(), observation_space(self.options)
        super().__init__(self._lanes, render_mode, render_size, *spaces)

    def _start(self, options: dict[str, Any] | None) -> GoalStart:
        return start_from(options, self.options, 1)

    def _checked(self, action: Any) -> FloatArray:
        return checked_actions(action, (2,))

    def _frame(self) -> Frame:
        return lane_frame(self._lanes, 0, self.render_size)


def lane_frame(lanes: GoalLanes, lane: int, size: int) -> Frame:
    """Draw one of ``lanes``: its goal and its way so far."""
    way = lanes.way[lane, : int(lanes.steps[lane]) + 1]
    no_flags = np.zeros_like(way)
    return draw_maze(
        lanes.options.square, lanes.goal[lane], np.concatenate([way, no_flags], axis=1), size=size
    )
