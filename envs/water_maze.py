"""The water maze: find a hidden goal, then come back to it from wherever you are put."""

from __future__ import annotations

from typing import Any

from .actions import checked_actions
from .frames import Frame
from .lane_single import LaneEnv
from .lane_vector import FloatArray
from .water_maze_drawing import Trail, draw_maze
from .water_maze_dynamics import Arena, WaterMazeOptions
from .water_maze_lanes import Start, WaterMazeLanes
from .water_maze_spaces import action_space, observation_space


class WaterMazeEnv(LaneEnv[Start]):
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

    metadata: dict[str, Any] = LaneEnv.metadata | {"render_fps": 30}
    caption = "water maze"

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
        self.options: WaterMazeOptions = WaterMazeOptions(
            arena, arena_size, goal_radius, step_size, goal_reward, wall_reward, max_steps
        )
        self.lasts: str = f"max_steps={max_steps} steps"
        self._lanes = WaterMazeLanes(self.options, 1)
        self._latencies: list[int] = []
        self._trail = Trail(self.options.max_steps)
        spaces = action_space(), observation_space(self.options)
        super().__init__(self._lanes, render_mode, render_size, *spaces)

    def _start(self, options: dict[str, Any] | None) -> Start:
        return Start.from_options(options, self.options, 1)

    def _checked(self, action: Any) -> FloatArray:
        return checked_actions(action, (2,))

    def _note(self, *, first: bool) -> None:
        if first:
            self._latencies = []
        elif self._lanes.goal_flag[0]:
            self._latencies.append(int(self._lanes.goal_latency[0]))
        if self.render_mode is not None:
            self._trail.append(self._lanes.observations())

    def _frame(self) -> Frame:
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
