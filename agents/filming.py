"""Episodes to look at: the maze above, the spikes below, as a film, a picture or in a window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv

from lsnn_gym.agents.actor_critic import ActorCritic
from lsnn_gym.agents.rollout import Trajectory, collect_episodes
from lsnn_gym.cores import LSNNCore
from lsnn_gym.envs.water_maze_drawing import draw_maze
from lsnn_gym.envs.water_maze_dynamics import WaterMazeOptions
from lsnn_gym.envs.water_maze_vector import WaterMazeVectorEnv
from lsnn_gym.errors import UserError, unknown
from lsnn_gym.film import FilmWriter, RasterStrip, stack_frames
from lsnn_gym.pictures import episode_picture
from lsnn_gym.seeding import derived_seed

MAZE_INFOS = ("goal", "goal_latency")
FILM_SUFFIXES = (".mp4", ".gif")
_SIDE = 512
_RASTER_HEIGHT = 192
_MOST_FRAMES = 600
_FRAMES_PER_SECOND = 20


def film_episode(
    agent: ActorCritic, env: VectorEnv, path: Path, *, seed: int = 0, deterministic: bool = False
) -> None:
    """Record an episode of ``agent`` as a film (.mp4, .gif) or as one picture (.png).

    Args:
        agent: Of any core; of a spiking one the spikes are shown below the maze.
        env: A water maze with one lane.
        path: Of the film; an existing file is replaced.
        seed: Of the episode.
        deterministic: Whether the agent takes the mean of its policy.

    Raises:
        UserError: If the file cannot be written.
    """
    if path.suffix.lower() not in (*FILM_SUFFIXES, ".png"):
        raise UserError(f"{path}: {unknown('format', path.suffix, (*FILM_SUFFIXES, '.png'))}")
    maze = env.unwrapped
    if not isinstance(maze, WaterMazeVectorEnv):
        raise TypeError(f"expected a WaterMazeVectorEnv, not {maze}")
    trajectory = play_episode(agent, env, seed, deterministic=deterministic, info_keys=MAZE_INFOS)
    if path.suffix.lower() == ".png":
        _picture(agent, maze.options, trajectory, path)
    else:
        _film(agent, maze.options, trajectory, path)


def play_episode(
    agent: ActorCritic, env: VectorEnv, seed: int, *, deterministic: bool, info_keys: Sequence[str] = ()
) -> Trajectory:
    """Let ``agent`` act through the episode that a film of this seed shows.

    Args:
        agent: Of any core.
        env: With one lane.
        seed: Of the episode.
        deterministic: Whether the agent takes the mean of its policy.
        info_keys: Infos to keep, ``MAZE_INFOS`` of a water maze.
    """
    generator = torch.Generator(device=next(agent.parameters()).device)
    generator.manual_seed(derived_seed(seed, "film"))
    return collect_episodes(agent, env, generator, seed, deterministic=deterministic, info_keys=info_keys)


def _film(agent: ActorCritic, options: WaterMazeOptions, trajectory: Trajectory, path: Path) -> None:
    trail = trajectory.observations[:, 0].cpu().numpy()
    stride = math.ceil(len(trail) / _MOST_FRAMES)
    strip = _raster(agent, trajectory)
    goal = trajectory.infos["goal"][0, 0]
    with FilmWriter(path, fps=_FRAMES_PER_SECOND if stride == 1 else 30) as film:
        for t in range(0, len(trail), stride):
            frame = draw_maze(options, goal, trail[: t + 1], size=_SIDE)
            if strip is not None:
                steps = agent.steps_per_observation
                frame = stack_frames(frame, strip.frame((t + 1) * steps - 1))
            film.add(frame)


def _raster(agent: ActorCritic, trajectory: Trajectory) -> RasterStrip | None:
    spikes = fired(trajectory)
    if spikes is None or not isinstance(agent.core, LSNNCore):
        return None
    settings = agent.core.network.settings
    return RasterStrip(
        spikes,
        window=min(len(spikes), 100 * agent.steps_per_observation),
        width=_SIDE,
        height=_RASTER_HEIGHT,
        groups=groups(agent.core),
        goal_times=[int(t) * agent.steps_per_observation for t in goal_times(trajectory)],
        dt=settings.dt,
    )


def _picture(agent: ActorCritic, options: WaterMazeOptions, trajectory: Trajectory, path: Path) -> None:
    spikes = fired(trajectory)
    if spikes is None or not isinstance(agent.core, LSNNCore):
        raise UserError(
            f"{path}: a picture shows spikes, which a core of {agent.settings.core} does not have"
        )
    goals = goal_times(trajectory)
    episode_picture(
        path,
        positions=trajectory.observations[:, 0, :2].cpu().numpy(),
        goal=trajectory.infos["goal"][0, 0],
        goal_radius=options.goal_radius,
        spikes=spikes,
        values=trajectory.values[:, 0].cpu().numpy(),
        # The observation after the one that reached the goal is the first of the new stretch.
        starts=[t + 1 for t in goals if t + 1 < len(trajectory.observations)],
        groups=groups(agent.core),
        dt=agent.core.network.settings.dt,
        title=f"{len(goals)} goals",
        arena=options.arena,
        arena_radius=options.arena_size,
    )


def fired(trajectory: Trajectory) -> np.ndarray | None:
    """Return the spikes of the first episode, boolean ``[T * S, N]``; None of a core without."""
    return None if trajectory.spikes is None else trajectory.spikes[:, 0].cpu().numpy() > 0


def goal_times(trajectory: Trajectory) -> list[int]:
    """Return the steps that reached the goal of a water maze, in the first episode."""
    return np.flatnonzero(trajectory.infos["goal_latency"][:, 0] > 0).tolist()


def groups(core: LSNNCore) -> dict[str, int]:
    """Return names and sizes of the groups of neurons that there are."""
    settings = core.network.settings
    sizes = {"regular": settings.regular_neurons, "adaptive": settings.adaptive_neurons}
    return {name: size for name, size in sizes.items() if size}


def film_rendered_episode(
    agent: ActorCritic, env: gym.Env, path: Path, *, seed: int = 0, deterministic: bool = False
) -> None:
    """Record an episode in any environment that draws itself (``render_mode="rgb_array"``), without spikes.

    Arguments and errors are those of ``film_episode``.
    """
    with FilmWriter(path, fps=env.metadata.get("render_fps", 30)) as film:

        def add() -> None:
            film.add(np.asarray(env.render()))

        show_episode(agent, env, seed=seed, deterministic=deterministic, after_step=add)


def show_episode(
    agent: ActorCritic,
    env: gym.Env,
    *,
    seed: int = 0,
    deterministic: bool = False,
    after_step: Callable[[], None] = lambda: None,
) -> float:
    """Let ``agent`` act in a single environment, one with ``render_mode="human"`` say; return the rewards' sum.

    Args:
        agent: Of any core.
        env: A single environment with the agent's spaces.
        seed: Of the episode.
        deterministic: Whether the agent takes the mean of its policy.
        after_step: Called after the reset and after every step.
    """
    device = next(agent.parameters()).device
    generator = torch.Generator(device=device).manual_seed(derived_seed(seed, "film"))
    observation, _ = env.reset(seed=seed)
    after_step()
    state, start, total = agent.initial_state(1), torch.ones(1, 1, device=device), 0.0
    ended = False
    while not ended:
        seen = torch.as_tensor(observation, dtype=torch.float32, device=device)[None, None]
        with torch.no_grad():
            policy, state = agent(seen, state, start, agent.draw(1, 1, generator))
        action = policy.mean if deterministic else policy.sample(generator)
        observation, reward, terminated, truncated, _ = env.step(agent.environment_actions(action[0, 0]))
        after_step()
        start, total, ended = torch.zeros_like(start), total + float(reward), terminated or truncated
    return total
