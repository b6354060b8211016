"""Many water mazes in one environment, computed as arrays."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from .water_maze_drawing import Frame, Trail, checked_size, draw_maze
from .water_maze_dynamics import Arena, BoolArray, FloatArray, WaterMazeOptions, checked_actions
from .water_maze_lanes import Float32Array, IntArray, Start, WaterMazeLanes
from .water_maze_spaces import action_space, observation_space

StepResult = tuple[Float32Array, FloatArray, BoolArray, BoolArray, dict[str, Any]]


class WaterMazeVectorEnv(VectorEnv[Float32Array, npt.NDArray[Any], npt.NDArray[Any]]):
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

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

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
        if not isinstance(num_envs, numbers.Integral) or isinstance(num_envs, bool) or num_envs < 1:
            raise ValueError(f"num_envs must be a whole number of at least 1, not {num_envs!r}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(
                f"render_mode must be None or 'rgb_array', not {render_mode!r}: a window is for one lane"
            )
        self.options = WaterMazeOptions(
            arena, arena_size, goal_radius, step_size, goal_reward, wall_reward, max_steps
        )
        if max_episode_steps is not None:
            limited = dataclasses.replace(self.options, max_steps=max_episode_steps)
            self.options = min(self.options, limited, key=lambda options: options.max_steps)
        self.num_envs = int(num_envs)
        self.render_mode = render_mode
        self.render_size = checked_size(render_size)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.single_action_space = action_space()
        self.single_observation_space = observation_space(self.options)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._lanes = WaterMazeLanes(self.options, self.num_envs)
        self._generators: list[np.random.Generator] = []
        self._trail = Trail(self.options.max_steps)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Begin new episodes in all lanes, or in those of ``options["reset_mask"]``.

        Args:
            seed: Seeds lane ``i`` with ``seed + i``, or with the i-th of a sequence; lanes given None go on
                drawing from where they are. Only lanes that are reset are seeded.
            options: See the class.

        Returns:
            Observations ``[n, 4]`` and infos.
        """
        options = {} if options is None else dict(options)
        mask = self._reset_mask(options)
        start = Start.from_options(options, self.options, self.num_envs)
        lanes = np.flatnonzero(np.ones(self.num_envs, np.bool_) if mask is None else mask)
        if mask is not None and not self._lanes.started[~mask].all():
            raise ResetNeeded("the first reset must be of all lanes: call reset() without a reset_mask first")
        self._seed(seed, lanes)
        self._lanes.begin(lanes, self._generators, start)
        observations = self._lanes.observations()
        if self.render_mode is not None:
            # Lanes that go on must not get a second row for the same step.
            self._trail.append(observations, in_place=mask is not None)
        return observations, self._infos(mask)

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Take one step in every lane.

        Args:
            actions: ``[n, 2]``; a row longer than 1 counts as one of length 1.

        Returns:
            Observations ``[n, 4]``, rewards ``[n]``, terminated ``[n]`` (never), truncated ``[n]``, infos.
        """
        lanes = self._lanes
        if not self._generators:
            raise ResetNeeded("call reset() before step()")
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            rewards = self._step_or_begin(actions)
        else:
            if self.autoreset_mode is AutoresetMode.DISABLED and lanes.finished().any():
                over = np.flatnonzero(lanes.finished())[:8].tolist()
                raise ResetNeeded(f'lanes {over} are over: reset(options={{"reset_mask": …}}) them first')
            rewards = lanes.advance(checked_actions(actions, (self.num_envs, 2)), self._generators)
        truncated = lanes.finished()
        observations, infos = lanes.observations(), self._infos()
        if self.autoreset_mode is AutoresetMode.SAME_STEP and truncated.any():
            observations, infos = self._begin_next(truncated, observations, infos)
        if self.render_mode is not None:
            self._trail.append(observations)
        return observations, rewards, np.zeros(self.num_envs, np.bool_), truncated, infos

    def render(self) -> tuple[Frame, ...] | None:
        """Return one frame ``[render_size, render_size, 3]``, uint8, a lane; None without a render mode."""
        if self.render_mode is None:
            return None
        lanes = self._lanes
        if not self._generators:
            raise ResetNeeded("call reset() before render()")
        silent = lanes.goal_silent()
        return tuple(
            draw_maze(
                self.options,
                lanes.goal[lane],
                self._trail.of_lane(lane, int(lanes.steps[lane])),
                size=self.render_size,
                goal_active=not silent[lane],
            )
            for lane in range(self.num_envs)
        )

    def _step_or_begin(self, actions: npt.NDArray[Any]) -> FloatArray:
        """Take a step where an episode is running, begin one where it is over; return the rewards."""
        over = self._lanes.finished()
        if not over.any():
            return self._lanes.advance(checked_actions(actions, (self.num_envs, 2)), self._generators)
        rewards = np.zeros(self.num_envs)
        if not over.all():
            checked = checked_actions(actions, (self.num_envs, 2), unused=over)
            rewards = self._lanes.advance(checked, self._generators, ~over)
        self._lanes.begin(np.flatnonzero(over), self._generators, Start())
        return rewards

    def _begin_next(
        self, over: BoolArray, observations: Float32Array, infos: dict[str, Any]
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Begin the next episodes within the step; return its observations and infos."""
        final_obs = np.full(self.num_envs, None, dtype=object)
        final_info = _only(infos, over)
        lanes = np.flatnonzero(over)
        for lane in lanes:
            final_obs[lane] = observations[lane]
        self._lanes.begin(lanes, self._generators, Start())
        infos = self._infos()
        infos |= {"final_obs": final_obs, "_final_obs": over.copy()}
        infos |= {"final_info": final_info, "_final_info": over.copy()}
        return self._lanes.observations(), infos

    def _infos(self, mask: BoolArray | None = None) -> dict[str, Any]:
        lanes = self._lanes
        infos: dict[str, Any] = {}
        for key, values in lanes.info().items():
            infos[key], infos[f"_{key}"] = values, np.ones(self.num_envs, np.bool_)
        if lanes.any_probe():
            for key, values in lanes.probe_info().items():
                infos[key], infos[f"_{key}"] = values, lanes.probing()
        return infos if mask is None else _only(infos, mask)

    def _reset_mask(self, options: dict[str, Any]) -> BoolArray | None:
        mask = options.pop("reset_mask", None)
        if mask is None:
            return None
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},), not {mask!r}")
        if not mask.any():
            raise ValueError("reset_mask must name at least one lane, but is False for all")
        return mask

    def _seed(self, seed: int | Sequence[int | None] | None, lanes: IntArray) -> None:
        seeds: list[int | None]
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, (Sequence, np.ndarray)):
            seeds = [None if one is None else int(one) for one in seed]
        else:
            super().reset(seed=int(seed))
            seeds = [int(seed) + lane for lane in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must be one number or {self.num_envs} of them, not {len(seeds)}")
        if not self._generators:
            self._generators = [seeding.np_random(one)[0] for one in seeds]
            return
        for lane in lanes:
            if seeds[lane] is not None:
                self._generators[lane] = seeding.np_random(seeds[lane])[0]


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = ", ".join(repr(member.value) for member in AutoresetMode)
        raise ValueError(f"autoreset_mode must be an AutoresetMode or one of {known}, not {mode!r}") from None


def _only(infos: dict[str, Any], mask: BoolArray) -> dict[str, Any]:
    """Return the infos that speak of lanes of ``mask``; the other lanes have zeros."""
    chosen: dict[str, Any] = {}
    for key, values in infos.items():
        spoken_of = infos.get(f"_{key}")
        if spoken_of is not None and (spoken_of & mask).any():
            rows = mask.reshape(-1, *[1] * (values.ndim - 1))
            chosen[key] = np.where(rows, values, np.zeros((), values.dtype))
            chosen[f"_{key}"] = spoken_of & mask
    return chosen
