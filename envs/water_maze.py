"""The water maze: find a hidden goal, then come back to it from wherever you are put."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded

from .actions import checked_actions
from .frames import Window, checked_size
from .water_maze_drawing import Trail, draw_maze
from .water_maze_dynamics import Arena, WaterMazeOptions
from .water_maze_lanes import Float32Array, Start, WaterMazeLanes
from .water_maze_spaces import action_space, observation_space

_RENDER_MODES = ("human", "rgb_array")


class WaterMazeEnv(gym.Env[npt.NDArray[Any], npt.NDArray[Any]]):
    """A point agent looks for a hidden goal that stays where it is for the whole episode.

    ## Description
    The agent moves in a round or square arena. Somewhere in it lies a goal, a disc which it cannot see.
    Whenever it gets there it is rewarded and put back at a random place, while the goal stays, so that an
    agent that remembers where it was rewarded comes back ever faster. Only the next episode has another goal.
    The task is the navigation experiment of Bellec et al., "Long short-term memory and learning-to-learn in
    networks of spiking neurons" (NeurIPS 2018); the probe trial is that of the Morris water maze.

    `lsnn_gym/WaterMaze-v0` has the scale of that experiment, `lsnn_gym/WaterMazeQuick-v0` larger and fewer
    steps (`step_size=0.1`, `max_steps=200`).

    ## Action Space
    `Box(-1, 1, (2,), float32)`: the displacement along x and y in units of `step_size`. A longer one counts
    as one of length 1, as does a finite action outside the box.

    ## Observation Space
    `Box((4,), float32)`:

    | index | meaning                           | min           | max          | unit            |
    | ----- | --------------------------------- | ------------- | ------------ | --------------- |
    | 0     | x of the agent                    | `-arena_size` | `arena_size` | unit of length  |
    | 1     | y of the agent                    | `-arena_size` | `arena_size` | unit of length  |
    | 2     | the last step reached the goal    | 0             | 1            | flag            |
    | 3     | the last step ran into the wall   | 0             | 1            | flag            |

    After the goal was reached the position is the new one. Both flags are 0 after a reset.

    ## Rewards
    `goal_reward` (1) for a step that ends at most `goal_radius` from the goal's centre, and `wall_reward`
    (-0.02) for one that would have left the arena; such a step ends where its line meets the border. Both may
    happen in one step, and add.

    ## Starting State
    The goal's centre and the agent's position are drawn uniformly from the arena, in this order, two uniform
    numbers each. `reset(options=…)` takes:

    - `goal`, `position`: two numbers each, in the arena, instead of the drawn ones;
    - `probe` (bool): a probe trial, in which the goal gives nothing: no reward, no flag, no new position.
      Unless `goal` is given, the goal is the former episode's, if there was one;
    - `probe_from` (int, default 0): the probe begins after that many steps; until then the goal is as always.

    ## Episode End
    Never terminated; truncated after `max_steps` steps.

    ## Arguments
    `gymnasium.make("lsnn_gym/WaterMaze-v0", arena="square", goal_radius=0.2)`; all are below.

    ## Info
    - `goal`: the goal's centre, float64 `[2]`;
    - `goals_reached`: goals reached in this episode;
    - `goal_latency`: steps which the goal reached in this step took, since the start or the goal before; -1
      if none was reached;
    - `latencies`: tuple of all these so far;
    - in a probe trial `quadrant_shares`, float64 `[4]`: shares of the probe's steps that ended in the goal's
      quadrant (within 45° of its direction, seen from the arena's centre) and in the left, the opposite and
      the right one; and `near_goal_share`: the share that ended at most `goal_radius` from the goal. All 0
      before the first such step.

    ## Version History
    - v0: first version.

    Args:
        render_mode: None, `"rgb_array"` (`render()` returns a frame, uint8 `[render_size, render_size, 3]`)
            or `"human"` (a window that shows every step; on a machine without a screen, nothing).
        arena: `"disc"` or `"square"`.
        arena_size: Radius of the disc, or half the side of the square.
        goal_radius: Radius of the goal, at most `arena_size`.
        step_size: Greatest distance covered in one step.
        goal_reward: Reward for reaching the goal.
        wall_reward: Reward for moving into the wall.
        max_steps: Steps an episode lasts.
        render_size: Pixels along each side of a frame.

    Raises:
        ValueError: If an argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or past the end of an episode.
        gymnasium.error.DependencyNotInstalled: If a frame is to be drawn and pygame is not there.
    """

    metadata: dict[str, Any] = {"render_modes": list(_RENDER_MODES), "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        render_mode: str | None = None,
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
        if render_mode is not None and render_mode not in _RENDER_MODES:
            raise ValueError(f"render_mode must be None, 'human' or 'rgb_array', not {render_mode!r}")
        self.options = WaterMazeOptions(
            arena, arena_size, goal_radius, step_size, goal_reward, wall_reward, max_steps
        )
        self.render_mode = render_mode
        self.render_size = checked_size(render_size)
        self.action_space = action_space()
        self.observation_space = observation_space(self.options)
        self._lanes = WaterMazeLanes(self.options, 1)
        self._latencies: list[int] = []
        self._trail = Trail(self.options.max_steps)
        self._window = Window("water maze") if render_mode == "human" else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seeds the generator of all that is random; None goes on drawing from where it is.
            options: See "Starting State".

        Returns:
            Observation ``[4]`` and info.
        """
        super().reset(seed=seed)
        start = Start.from_options(options, self.options, 1)
        self._lanes.begin(np.zeros(1, np.int64), (self.np_random,), start)
        self._latencies = []
        return self._after_step(), self._info()

    def step(self, action: npt.NDArray[Any]) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """Move once.

        Args:
            action: ``[2]``, the displacement in units of ``step_size``.

        Returns:
            Observation ``[4]``, reward, terminated (never), truncated and info.
        """
        lanes = self._lanes
        if not lanes.started[0]:
            raise ResetNeeded("call reset() before step()")
        if lanes.finished()[0]:
            raise ResetNeeded(
                f"the episode is over after max_steps={self.options.max_steps} steps: call reset()"
            )
        reward = float(lanes.advance(checked_actions(action, (2,)), (self.np_random,))[0])
        if lanes.goal_flag[0]:
            self._latencies.append(int(lanes.goal_latency[0]))
        return self._after_step(), reward, False, bool(lanes.finished()[0]), self._info()

    def render(self) -> Any:
        """Return a frame ``[render_size, render_size, 3]``, uint8, if the render mode is ``rgb_array``."""
        if self.render_mode is None:
            gym.logger.warn('nothing to render: make the environment with render_mode="rgb_array" or "human"')
            return None
        if self.render_mode == "human":
            return None
        if not self._lanes.started[0]:
            raise ResetNeeded("call reset() before render()")
        return self._frame()

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    def _after_step(self) -> Float32Array:
        """Return the new observation, and show it where somebody watches."""
        observations = self._lanes.observations()
        if self.render_mode is not None:
            self._trail.append(observations)
        if self._window is not None:
            self._window.show(self._frame(), self.metadata["render_fps"])
        return observations[0]

    def _frame(self) -> Any:
        lanes = self._lanes
        silent = bool(lanes.goal_silent()[0])
        trail = self._trail.of_lane(0, int(lanes.steps[0]))
        return draw_maze(self.options, lanes.goal[0], trail, size=self.render_size, goal_active=not silent)

    def _info(self) -> dict[str, Any]:
        lanes = self._lanes
        info: dict[str, Any] = {
            "goal": lanes.goal[0].copy(),
            "goals_reached": int(lanes.goals_reached[0]),
            "goal_latency": int(lanes.goal_latency[0]),
            "latencies": tuple(self._latencies),
        }
        if lanes.any_probe():
            probe = lanes.probe_info()
            info["quadrant_shares"] = probe["quadrant_shares"][0]
            info["near_goal_share"] = float(probe["near_goal_share"][0])
        return info
