"""Environments: tasks whose goal has to be found out anew in every episode.

Importing this package registers them with Gymnasium; it needs numpy and Gymnasium, neither PyTorch nor
pygame. The supervised tasks, which need PyTorch, are registered too, and loaded when one is made.
"""

from typing import Any as _Any

import gymnasium as _gymnasium
from gymnasium.envs.registration import WrapperSpec as _WrapperSpec

from .bandits import BanditsEnv
from .bandits_drawing import draw_bandit
from .bandits_lanes import BanditOptions
from .bandits_vector import BanditsVectorEnv
from .function_regression import FunctionRegressionEnv
from .function_regression_drawing import draw_belief, draw_regression
from .function_regression_lanes import RegressionOptions
from .function_regression_vector import FunctionRegressionVectorEnv
from .functions import FUNCTION_FAMILIES, FunctionFamily, register_family
from .goal_reaching import GoalReachingEnv
from .goal_reaching_lanes import GoalOptions
from .goal_reaching_vector import GoalReachingVectorEnv
from .maze_statistics import MazeStatistics, evaluate_policy
from .meta_rl import MetaRL
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
    "FUNCTION_FAMILIES",
    "REFERENCE_POLICIES",
    "BanditOptions",
    "BanditsEnv",
    "BanditsVectorEnv",
    "FunctionFamily",
    "FunctionRegressionEnv",
    "FunctionRegressionVectorEnv",
    "GoalOptions",
    "GoalReachingEnv",
    "GoalReachingVectorEnv",
    "MazeStatistics",
    "MetaRL",
    "ReferencePolicy",
    "RegressionOptions",
    "WaterMazeEnv",
    "WaterMazeOptions",
    "WaterMazeVectorEnv",
    "draw_bandit",
    "draw_belief",
    "draw_maze",
    "draw_regression",
    "evaluate_policy",
    "register_family",
]

_MODULES = {
    "WaterMaze": "lsnn_gym.envs.water_maze",
    "FunctionRegression": "lsnn_gym.envs.function_regression",
    "Bandits": "lsnn_gym.envs.bandits",
    "GoalReaching": "lsnn_gym.envs.goal_reaching",
}
_NATIVELY_VECTORISED: dict[str, tuple[str, dict[str, float | int | str]]] = {
    "lsnn_gym/WaterMaze-v0": ("WaterMaze", {"step_size": 0.02, "max_steps": 2000}),
    "lsnn_gym/WaterMazeQuick-v0": ("WaterMaze", {"step_size": 0.1, "max_steps": 200}),
    "lsnn_gym/FunctionRegression-v0": ("FunctionRegression", {"trials": 500}),
    "lsnn_gym/FunctionRegressionQuick-v0": ("FunctionRegression", {"trials": 50}),
    "lsnn_gym/BernoulliBandits-v0": ("Bandits", {"family": "independent", "arms": 5, "pulls": 100}),
    "lsnn_gym/GoalReaching-v0": ("GoalReaching", {"reward": "dense", "max_steps": 50}),
}
_TRIALS: dict[str, tuple[str, dict[str, _Any], dict[str, _Any]]] = {
    "lsnn_gym/BernoulliBanditsRL2-v0": (
        "Bandits",
        {"family": "independent", "arms": 5, "pulls": 100, "show_previous": False},
        {"inner_episodes": 1, "reward_range": [0.0, 1.0]},
    ),
    "lsnn_gym/GoalReachingRL2-v0": (
        "GoalReaching",
        {"reward": "dense", "max_steps": 20, "step_size": 0.2},
        {"inner_episodes": 4, "task_keys": ["goal"], "reward_range": [-3.0, 0.0]},
    ),
}
"""Environments within ``MetaRL``: which, and the arguments of both."""

for _env_id, (_name, _kwargs) in _NATIVELY_VECTORISED.items():
    if _env_id not in _gymnasium.registry:  # a reload must not warn
        _gymnasium.register(
            id=_env_id,
            entry_point=f"{_MODULES[_name]}:{_name}Env",
            vector_entry_point=f"{_MODULES[_name]}_vector:{_name}VectorEnv",
            kwargs=_kwargs,
        )

for _env_id, (_name, _kwargs, _trial) in _TRIALS.items():
    if _env_id not in _gymnasium.registry:
        _gymnasium.register(
            id=_env_id,
            entry_point=f"{_MODULES[_name]}:{_name}Env",
            additional_wrappers=(_WrapperSpec("MetaRL", "lsnn_gym.envs.meta_rl:MetaRL", _trial),),
            kwargs=_kwargs,
        )

if "lsnn_gym/Supervised-v0" not in _gymnasium.registry:
    _gymnasium.register(
        id="lsnn_gym/Supervised-v0",
        # By name only: its module needs PyTorch.
        entry_point="lsnn_gym.tasks.environment:SupervisedEnv",
        kwargs={"task": "store-recall"},
    )
