"""Many water mazes in one environment, computed as arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from .actions import checked_actions
from .frames import Frame, checked_size
from .lane_vector import LaneVectorEnv, checked_num_envs, checked_vector_render_mode, with_masks
from .water_maze_drawing import Trail, draw_maze
from .water_maze_dynamics import Arena, BoolArray, FloatArray, WaterMazeOptions
from .water_maze_lanes import Float32Array, Start, WaterMazeLanes
from .water_maze_spaces import action_space, observation_space


class WaterMazeVectorEnv(LaneVectorEnv[Start]):
    """``num_envs`` water mazes stepped together; the task is specified by ``WaterMazeEnv``.

    Lane ``i`` of an environment seeded ``s`` does, bit for bit, what a single environment seeded ``s + i``
    does with the same actions, in every autoreset mode. It is the environment behind ``gymnasium.make_vec``.

    ## Autoreset
    - ``NEXT_STEP`` (default): the step after an episode's last one ignores the lane's action and begins its
      next episode: reset observation, reward 0, neither terminated nor truncated.
    - ``SAME_STEP``: the last step already returns the next episode's first observation; ``infos`` has the
      last one in ``final_obs`` (object array ``[n]``) and its info in ``final_info``, with the masks
      ``_final_obs`` and ``_final_info``.
    - ``DISABLED``: the caller resets, with ``options={"reset_mask": bool array [n]}``.

    ## Reset options
    As in ``WaterMazeEnv``, where ``goal`` and ``position`` may be one for all lanes ``[2]`` or one a lane
    ``[n, 2]``; also ``reset_mask``, in every mode: only these lanes begin a new episode. Options hold for the
    episodes begun by that reset, not for those begun by an autoreset.

    ## Infos
    New arrays, each with a mask ``_key`` of the lanes it speaks of: ``goal`` ``[n, 2]``, ``goals_reached``
    ``[n]``, ``goal_latency`` ``[n]`` (-1 where no goal was reached in this step) and, while any lane runs a
    probe trial, ``quadrant_shares`` ``[n, 4]`` and ``near_goal_share`` ``[n]``.

    Args:
        num_envs: Number of lanes.
        render_mode: None or ``"rgb_array"``, which makes ``render()`` return a tuple with one frame a lane.
        autoreset_mode: Member of ``gymnasium.vector.AutoresetMode``, or its value.
        max_episode_steps: Ends episodes earlier than ``max_steps``, as ``gymnasium.make_vec`` asks for.
        arena: ``"disc"`` or ``"square"``.
        arena_size: Radius of the disc, or half the side of the square.
        goal_radius: Radius of the goal, at most ``arena_size``.
        step_size: Greatest distance covered in one step.
        goal_reward: Reward for reaching the goal.
        wall_reward: Reward for moving into the wall.
        max_steps: Steps an episode lasts.
        render_size: Pixels along each side of a frame.

    Raises:
        ValueError: If an argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or, with ``DISABLED``, past an
            episode's end.
    """

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        *,
        arena: Arena = "disc",
        arena_size: float = 1.0,
        goal_radius: float = 0.3,
        step_size: float = 0.02,
        goal_reward: float = 1.0,
        wall_reward: float = -0.02,
        max_steps: int = 2000,
        render_size: int = 512,
    ) -> None:
        num_envs = checked_num_envs(num_envs)
        checked_vector_render_mode(render_mode)
        self.options: WaterMazeOptions = WaterMazeOptions(
            arena, arena_size, goal_radius, step_size, goal_reward, wall_reward, max_steps
        )
        if max_episode_steps is not None:
            limited = dataclasses.replace(self.options, max_steps=max_episode_steps)
            self.options = min(self.options, limited, key=lambda options: options.max_steps)
        self.render_size: int = checked_size(render_size)
        self._maze = WaterMazeLanes(self.options, num_envs)
        self._trail = Trail(self.options.max_steps)
        spaces = action_space(), observation_space(self.options)
        super().__init__(self._maze, num_envs, render_mode, autoreset_mode, *spaces)

    def _start(self, options: dict[str, Any] | None) -> Start:
        return Start.from_options(options, self.options, self.num_envs)

    def _checked(self, actions: npt.NDArray[Any], unused: BoolArray | None = None) -> FloatArray:
        return checked_actions(actions, (self.num_envs, 2), unused)

    def _all_infos(self) -> dict[str, Any]:
        maze = self._maze
        infos = with_masks(maze.info(), np.ones(self.num_envs, np.bool_))
        return infos | with_masks(maze.probe_info(), maze.probing()) if maze.any_probe() else infos

    def _watch(self, observations: Float32Array, *, in_place: bool) -> None:
        self._trail.append(observations, in_place=in_place)

    def _frames(self) -> tuple[Frame, ...]:
        maze = self._maze
        silent = maze.goal_silent()
        return tuple(
            draw_maze(
                self.options,
                maze.goal[lane],
                self._trail.of_lane(lane, int(maze.steps[lane])),
                size=self.render_size,
                goal_active=not silent[lane],
            )
            for lane in range(self.num_envs)
        )
