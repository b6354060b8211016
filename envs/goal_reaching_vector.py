"""Many points on their way to goals in one environment, computed as arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from .actions import checked_actions
from .frames import Frame, checked_size
from .goal_reaching import lane_frame
from .goal_reaching_lanes import (
    GoalLanes,
    GoalOptions,
    GoalReward,
    GoalStart,
    action_space,
    observation_space,
    start_from,
)
from .lane_vector import (
    BoolArray,
    FloatArray,
    LaneVectorEnv,
    checked_num_envs,
    checked_vector_render_mode,
    with_masks,
)


class GoalReachingVectorEnv(LaneVectorEnv[GoalStart]):
    """``num_envs`` points on their way; the task is specified by ``GoalReachingEnv``.

    Lane ``i`` of an environment seeded ``s`` does, bit for bit, what a single environment seeded ``s + i``
    does with the same actions, in every autoreset mode. It is the environment behind ``gymnasium.make_vec``.

    ## Autoreset
    ``NEXT_STEP`` (default), ``SAME_STEP`` or ``DISABLED``, as ``LaneVectorEnv`` has them.

    ## Reset options
    As in ``GoalReachingEnv``, where points may be one for all lanes, or one a lane ``[n, 2]``; also ``reset_mask``.
    Options hold for the episodes begun by that reset, not for those begun by an autoreset.

    ## Infos
    New arrays, each with a mask ``_key`` of the lanes it speaks of: ``goal`` ``[n, 2]``, ``distance`` ``[n]`` and
    ``at_goal`` ``[n]``.

    Args:
        num_envs: Number of lanes.
        render_mode: None or ``"rgb_array"``, which makes ``render()`` return a tuple with one frame a lane.
        autoreset_mode: Member of ``gymnasium.vector.AutoresetMode``, or its value.
        max_episode_steps: Ends episodes earlier than ``max_steps``, as ``gymnasium.make_vec`` asks for.
        reward: ``"dense"`` or ``"sparse"``.
        goal_radius: Distance at which the goal counts as reached.
        step_size: Greatest distance covered in one step along each axis.
        max_steps: Steps an episode lasts.
        show_goal: Whether the goal is observed.
        random_start: Whether the starting position is drawn, too.
        render_size: Pixels along each side of a frame.

    Raises:
        ValueError: If an argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or, with ``DISABLED``, past an
            episode's end.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        *,
        reward: GoalReward = "dense",
        goal_radius: float = 0.2,
        step_size: float = 0.1,
        max_steps: int = 50,
        show_goal: bool = False,
        random_start: bool = False,
        render_size: int = 512,
    ) -> None:
        num_envs = checked_num_envs(num_envs)
        checked_vector_render_mode(render_mode)
        self.options: GoalOptions = GoalOptions(
            reward, goal_radius, step_size, max_steps, show_goal, random_start
        )
        if max_episode_steps is not None:
            limited = dataclasses.replace(self.options, max_steps=max_episode_steps)
            self.options = min(self.options, limited, key=lambda options: options.max_steps)
        self.render_size: int = checked_size(render_size)
        self._reaching = GoalLanes(self.options, num_envs)
        spaces = action_space(), observation_space(self.options)
        super().__init__(self._reaching, num_envs, render_mode, autoreset_mode, *spaces)

    def _start(self, options: dict[str, Any] | None) -> GoalStart:
        return start_from(options, self.options, self.num_envs)

    def _checked(self, actions: npt.NDArray[Any], unused: BoolArray | None = None) -> FloatArray:
        return checked_actions(actions, (self.num_envs, 2), unused)

    def _all_infos(self) -> dict[str, Any]:
        return with_masks(self._reaching.info(), np.ones(self.num_envs, np.bool_))

    def _frames(self) -> tuple[Frame, ...]:
        return tuple(lane_frame(self._reaching, lane, self.render_size) for lane in range(self.num_envs))
