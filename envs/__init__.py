"""Environments: tasks whose goal has to be found out anew in every episode.

Importing this package registers them with Gymnasium; it needs numpy and Gymnasium, neither PyTorch nor
pygame. The supervised tasks, which need PyTorch, are registered too, and loaded when one is made.
"""

import gymnasium as _gymnasium

from .maze_statistics import MazeStatistics, evaluate_policy
from .reference_policies import REFERENCE_POLICIES, ReferencePolicy
from .water_maze import WaterMazeEnv
from .water_maze_drawing import draw_maze
from .water_maze_dynamics import WaterMazeOptions
from .water_maze_vector import WaterMazeVectorEnv

if __name__ == "envs":
    raise ImportError(
        "import lsnn_gym.envs, not envs: two imports of one folder make two copies of every class"
    )

__all__ = [
    "REFERENCE_POLICIES",
    "MazeStatistics",
    "ReferencePolicy",
    "WaterMazeEnv",
    "WaterMazeOptions",
    "WaterMazeVectorEnv",
    "draw_maze",
    "evaluate_policy",
]

_WATER_MAZES: dict[str, dict[str, float | int]] = {
    "lsnn_gym/WaterMaze-v0": {"step_size": 0.02, "max_steps": 2000},
    "lsnn_gym/WaterMazeQuick-v0": {"step_size": 0.1, "max_steps": 200},
}

for _env_id, _kwargs in _WATER_MAZES.items():
    if _env_id not in _gymnasium.registry:  # a reload must not warn
        _gymnasium.register(
            id=_env_id,
            entry_point="lsnn_gym.envs.water_maze:WaterMazeEnv",
            vector_entry_point="lsnn_gym.envs.water_maze_vector:WaterMazeVectorEnv",
            kwargs=_kwargs,
        )

if "lsnn_gym/Supervised-v0" not in _gymnasium.registry:
    _gymnasium.register(
        id="lsnn_gym/Supervised-v0",
        # By name only: its module needs PyTorch.
        entry_point="lsnn_gym.tasks.environment:SupervisedEnv",
        kwargs={"task": "store-recall"},
    )
