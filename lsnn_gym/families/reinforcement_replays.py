"""Episodes of agents to be replayed in a report."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import VectorEnv

from lsnn_gym.agents.actor_critic import ActorCritic
from lsnn_gym.agents.filming import MAZE_INFOS, fired, goal_times, groups, play_episode
from lsnn_gym.agents.probing import probe_agent
from lsnn_gym.agents.rollout import Trajectory
from lsnn_gym.agents.task_inference import TaskInferenceSettings
from lsnn_gym.cores import LSNNCore
from lsnn_gym.envs.function_regression_vector import FunctionRegressionVectorEnv
from lsnn_gym.envs.water_maze_vector import WaterMazeVectorEnv
from lsnn_gym.families.regression_reports import asked_numbers, regression_replay
from lsnn_gym.report_parts.parts import Arena, Lines, Mark, Raster, Replay, View

_STEPS_PER_SECOND = 20.0
_ARROW = 0.35
"""Length of an arrow to the goal, in shares of the arena."""
_WALL = 3
"""Which observation of the water maze says that the wall was hit."""


def episode_replay(agent: ActorCritic, env: VectorEnv, seed: int, *, deterministic: bool) -> Replay:
    """Return the episode that ``lsnn-gym render --seed`` films, to be replayed.

    Args:
        agent: Of any core.
        env: With one lane: a water maze is shown from above, function regression as what is believed of the
            function, any other environment as what was observed, done and paid.
        seed: Of the episode.
        deterministic: Whether the agent takes the mean of its policy.
    """
    inner = env.unwrapped
    if isinstance(inner, FunctionRegressionVectorEnv):
        network = agent.network_settings
        return regression_replay(
            probe_agent(agent, inner, asked_numbers(inner.options.trials), seed, deterministic=deterministic),
            inner.options.functions,
            {"regular": network.regular_neurons, "adaptive": network.adaptive_neurons},
            network.dt,
            f"Function of seed {seed}",
        )
    is_maze = isinstance(inner, WaterMazeVectorEnv)
    trajectory = play_episode(
        agent, env, seed, deterministic=deterministic, info_keys=MAZE_INFOS if is_maze else ()
    )
    steps = len(trajectory.rewards)
    views: list[View] = []
    marks, title = [], f"Episode of seed {seed}"
    if isinstance(inner, WaterMazeVectorEnv):
        arena, arrivals = _arena(inner, trajectory, agent.settings.task_inference), goal_times(trajectory)
        views.append(arena)
        marks = [Mark("goals", "goal-rim", arena.starts), Mark("wall hits", "wall", arena.walls)]
        title += f": {len(arrivals)} goal{'s' * (len(arrivals) != 1)}"
    else:
        views += _seen_and_done(trajectory)
        title += f": return {float((trajectory.rewards * trajectory.valid).sum()):.2f}"
    views.append(Lines("value", {"value": trajectory.values[:, 0].cpu().numpy()}))
    spikes = fired(trajectory)
    if spikes is not None and isinstance(agent.core, LSNNCore):
        views.append(Raster(spikes, groups(agent.core), agent.core.network.settings.dt))
    return Replay(title, steps, "step", _STEPS_PER_SECOND, views, marks)


def _arena(maze: WaterMazeVectorEnv, trajectory: Trajectory, inferred: TaskInferenceSettings | None) -> Arena:
    options = maze.options
    seen = trajectory.observations[:, 0].cpu().numpy()
    # The observation after the step that reached the goal is the first of the new stretch.
    starts = [step + 1 for step in goal_times(trajectory) if step + 1 < len(seen)]
    return Arena(
        options.arena,
        options.arena_size,
        trajectory.infos["goal"][0, 0],
        options.goal_radius,
        seen[:, :2],
        starts,
        np.flatnonzero(seen[:, _WALL] > 0).tolist(),
        _told_goal(trajectory, inferred, _ARROW * options.arena_size),
    )


def _told_goal(
    trajectory: Trajectory, inferred: TaskInferenceSettings | None, arrow: float
) -> np.ndarray | None:
    """Return where the agent says that the goal is ``[T, 2]``: of a direction, the end of an arrow."""
    if inferred is None or inferred.info != "goal" or trajectory.told is None:
        return None
    told = trajectory.told[:, 0].cpu().numpy()
    if not inferred.seen_from:
        return told
    return trajectory.observations[:, 0, list(inferred.seen_from)].cpu().numpy() + arrow * told


def _seen_and_done(trajectory: Trajectory) -> list[View]:
    observed = trajectory.observations[:, 0].cpu().numpy()
    acted = trajectory.actions[:, 0].cpu().numpy()
    return [
        Lines("observation", {f"observation {index}": each for index, each in enumerate(observed.T)}),
        Lines(
            "action, in units of half its range",
            {f"action {index}": each for index, each in enumerate(acted.T)},
        ),
        Lines("reward", {"reward": trajectory.rewards[:, 0].cpu().numpy()}),
    ]
