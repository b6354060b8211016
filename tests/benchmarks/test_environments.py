"""The environment benchmark: its shape, not its figures."""

import json

import gymnasium as gym
import pytest

from lsnn_gym.benchmarks.environments import benchmark_environments, environment_ids


def test_every_environment_is_measured_in_every_form():
    figures = json.loads(json.dumps(benchmark_environments(num_envs=4, seconds=0.05)))
    assert {"lsnn_gym/WaterMaze-v0", "lsnn_gym/WaterMazeQuick-v0"} <= set(figures)
    assert set(figures) == set(environment_ids())
    for one in figures.values():
        rates = one["steps_per_second"]
        assert set(rates) == {"single", "sync_vector_env", "native_vector_env"}
        assert one["num_envs"] == 4
        assert min(rates.values()) > 0
        ratio = rates["native_vector_env"] / rates["sync_vector_env"]
        assert one["ratio_to_sync_vector_env"] == pytest.approx(ratio)


def register(vector_entry_point: str | None = None) -> str:
    env_id = "lsnn_gym/Newcomer-v0"
    entry = "lsnn_gym.envs.water_maze:WaterMazeEnv"
    gym.register(env_id, entry_point=entry, kwargs={"max_steps": 3}, vector_entry_point=vector_entry_point)
    return env_id


@pytest.fixture
def without_vector_form():
    yield register()
    del gym.registry["lsnn_gym/Newcomer-v0"]


@pytest.fixture
def newcomer():
    yield register(vector_entry_point="lsnn_gym.envs.water_maze_vector:WaterMazeVectorEnv")
    del gym.registry["lsnn_gym/Newcomer-v0"]


def test_an_environment_registered_later_is_found(newcomer):
    figures = benchmark_environments(num_envs=2, seconds=0.02)[newcomer]
    assert figures["steps_per_second"]["native_vector_env"] > 0
    assert figures["steps_per_second"]["single"] > 0


def test_only_natively_vectorised_ones_are_measured(without_vector_form):
    assert without_vector_form not in environment_ids()
    assert "lsnn_gym/Supervised-v0" not in environment_ids()


def test_other_peoples_environments_are_not_measured():
    assert "CartPole-v1" not in environment_ids()


@pytest.mark.parametrize(
    ("num_envs", "seconds", "message"),
    [
        (0, 1.0, "num_envs must be at least 1, not 0"),
        (4, 0.0, "seconds must be greater than 0, not 0.0"),
        (4, float("nan"), "seconds must be greater than 0, not nan"),
    ],
)
def test_figures_of_no_use_are_refused(num_envs, seconds, message):
    with pytest.raises(ValueError, match=message):
        benchmark_environments(num_envs, seconds)
