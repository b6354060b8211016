"""Figures of merit in the water maze: how often the goal is reached, how much faster after the first time."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from lsnn_gym.errors import unknown

from .reference_policies import REFERENCE_POLICIES, ReferencePolicy
from .water_maze_dynamics import BoolArray
from .water_maze_vector import WaterMazeVectorEnv


@dataclass(frozen=True)
class MazeStatistics:
    """How well a policy did, over some episodes of equal length. Latencies are in steps.

    Args:
        goals_per_episode: Mean number of goals reached in an episode.
        first_latency: Mean steps to the first goal; an episode that never reaches it counts its whole length.
        later_latency: Mean steps from one goal to the next, over all such pairs of all episodes; NaN if none.
        found_share: Share of the episodes in which the goal was reached at all.
    """

    goals_per_episode: float
    first_latency: float
    later_latency: float
    found_share: float

    @classmethod
    def from_goals(cls, goal_reached: npt.ArrayLike) -> MazeStatistics:
        """Summarise whole episodes.

        Args:
            goal_reached: Whether each step reached the goal, bool ``[T, n]``: T steps of n episodes.

        Raises:
            ValueError: If it is not of bools, or has no step or no episode.
        """
        reached: BoolArray = np.asarray(goal_reached)
        if reached.dtype != np.bool_ or reached.ndim != 2 or not reached.size:
            raise ValueError(
                f"goal_reached must be bools (steps, episodes), not {reached.dtype} of shape {reached.shape}"
            )
        num_steps = len(reached)
        goals = reached.sum(axis=0)
        found = goals > 0
        first = np.where(found, reached.argmax(axis=0) + 1, num_steps)
        last = num_steps - reached[::-1].argmax(axis=0)
        repeats = goals.sum() - found.sum()
        between = (last - first).sum()
        return cls(
            goals_per_episode=float(goals.mean()),
            first_latency=float(first.mean()),
            later_latency=float(between / repeats) if repeats else math.nan,
            found_share=float(found.mean()),
        )

    def as_dict(self) -> dict[str, float | None]:
        """Return the figures by name, None where there is none, as JSON knows no NaN."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


def evaluate_policy(
    policy_name: str, env_id: str, num_episodes: int = 256, seed: int = 0, **options: Any
) -> MazeStatistics:
    """Run a reference policy for whole episodes, all at once.

    Args:
        policy_name: A key of ``REFERENCE_POLICIES``.
        env_id: A registered water maze.
        num_episodes: Number of episodes.
        seed: Seed of the environment and of the policy.
        **options: Options of the environment that are to differ from those registered.

    Raises:
        ValueError: If the policy is not known, or the environment is no water maze.
    """
    if policy_name not in REFERENCE_POLICIES:
        raise ValueError(unknown("reference policy", policy_name, REFERENCE_POLICIES))
    env = gym.make_vec(
        env_id, num_envs=num_episodes, autoreset_mode=AutoresetMode.DISABLED, **options
    ).unwrapped
    if not isinstance(env, WaterMazeVectorEnv):
        raise ValueError(f"{env_id!r} is no water maze, which the reference policies are for")
    return MazeStatistics.from_goals(_goal_reached(REFERENCE_POLICIES[policy_name](), env, seed))


def _goal_reached(policy: ReferencePolicy, env: WaterMazeVectorEnv, seed: int) -> BoolArray:
    """Run one episode in every lane; return which steps reached the goal, ``[T, n]``."""
    observations, infos = env.reset(seed=seed)
    # Another stream than that of the first lane, whose generator has the bare seed.
    policy.reset(env.num_envs, env.options, np.random.default_rng((seed, 1)))
    reached = np.zeros((env.options.max_steps, env.num_envs), np.bool_)
    for step in range(len(reached)):
        observations, _, _, _, infos = env.step(policy.act(observations, infos["goal"]))
        reached[step] = infos["goal_latency"] > 0
    return reached
