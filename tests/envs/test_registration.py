"""What importing the package does, and what it must not do."""

import importlib
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec

import lsnn_gym.envs

CHECKOUT = Path(__file__).parents[2]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )


def test_importing_the_environments_loads_neither_torch_nor_pygame():
    code = (
        "import sys, lsnn_gym.envs, lsnn_gym.pretrained, gymnasium\n"
        "env = gymnasium.make_vec('lsnn_gym/WaterMaze-v0', num_envs=2); env.reset(seed=0)\n"
        "env = gymnasium.make('lsnn_gym/WaterMaze-v0'); env.reset(seed=0)\n"
        "env.step(env.action_space.sample())\n"
        "env = gymnasium.make('lsnn_gym/FunctionRegression-v0'); env.reset(seed=0)\n"
        "env.step(env.action_space.sample())\n"
        "for name in ('BernoulliBandits', 'BernoulliBanditsRL2', 'GoalReaching', 'GoalReachingRL2'):\n"
        "    env = gymnasium.make(f'lsnn_gym/{name}-v0'); env.reset(seed=0)\n"
        "    env.step(env.action_space.sample())\n"
        "    gymnasium.make_vec(f'lsnn_gym/{name}-v0', num_envs=2).reset(seed=0)\n"
        "print(sorted({'torch', 'pygame', 'matplotlib', 'stable_baselines3'} & set(sys.modules)))\n"
    )
    done = run_python(code)
    assert done.stderr == ""
    assert done.stdout == "[]\n"


def test_gymnasium_imports_the_package_by_itself():
    done = run_python(
        "import gymnasium; print(gymnasium.make('lsnn_gym.envs:lsnn_gym/WaterMaze-v0').spec.id)"
    )
    assert done.stdout == "lsnn_gym/WaterMaze-v0\n", done.stderr


def test_the_folder_cannot_be_imported_by_its_bare_name():
    done = run_python("import envs")
    assert "ImportError: import lsnn_gym.envs, not envs" in done.stderr


@pytest.mark.parametrize(
    "env_id",
    [
        "lsnn_gym/WaterMaze-v0",
        "lsnn_gym/WaterMazeQuick-v0",
        "lsnn_gym/FunctionRegression-v0",
        "lsnn_gym/FunctionRegressionQuick-v0",
        "lsnn_gym/BernoulliBandits-v0",
        "lsnn_gym/BernoulliBanditsRL2-v0",
        "lsnn_gym/GoalReaching-v0",
        "lsnn_gym/GoalReachingRL2-v0",
    ],
)
def test_specs_survive_json(env_id):
    spec = gym.spec(env_id)
    assert EnvSpec.from_json(spec.to_json()) == spec
    vector = gym.make_vec(env_id, num_envs=2)
    assert vector.spec is not None
    assert gym.make_vec(vector.spec).num_envs == 2


def test_registering_twice_does_not_happen():
    importlib.reload(lsnn_gym.envs)  # a second registration would warn, and warnings are errors


def test_exports_exist_and_are_sorted():
    for name in lsnn_gym.envs.__all__:
        assert hasattr(lsnn_gym.envs, name)
    assert len(set(lsnn_gym.envs.__all__)) == len(lsnn_gym.envs.__all__)
