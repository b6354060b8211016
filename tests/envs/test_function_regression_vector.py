"""The vectorised environment: lane by lane the single one, in every autoreset mode."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lsnn_gym.envs import FUNCTION_FAMILIES, FunctionRegressionEnv, FunctionRegressionVectorEnv
from tests.envs.lane_by_lane import arrays_in, assert_same_steps

QUICK = "lsnn_gym/FunctionRegressionQuick-v0"
LANES = 5


def vector(
    num_envs: int = LANES, mode: AutoresetMode = AutoresetMode.NEXT_STEP, **options
) -> FunctionRegressionVectorEnv:
    env = gym.make_vec(QUICK, num_envs, autoreset_mode=mode, **options)
    assert isinstance(env, FunctionRegressionVectorEnv)
    return env


def sync(mode: AutoresetMode, **options) -> SyncVectorEnv:
    env = gym.make_vec(
        QUICK, LANES, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **options
    )
    assert isinstance(env, SyncVectorEnv)
    return env


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("family", FUNCTION_FAMILIES)
def test_every_lane_does_what_a_single_environment_does(mode, family):
    options = {"family": family, "trials": 8, "noise_std": 0.1}
    ours, theirs = vector(mode=mode, **options), sync(mode, **options)
    assert_same_steps(ours.reset(seed=3), theirs.reset(seed=3))
    rng, ends = np.random.default_rng(0), 0
    for step in range(40):
        actions = rng.uniform(-1, 1, (LANES, 1)).astype(np.float32)
        result = ours.step(actions)
        assert_same_steps(result, theirs.step(actions))
        ends += result[3].sum()
        mask = result[3].copy() if mode is AutoresetMode.DISABLED else np.zeros(LANES, np.bool_)
        if step in (4, 17):  # from here on the lanes are out of step with each other
            mask |= rng.random(LANES) < 0.5
        if mask.any():
            function = FUNCTION_FAMILIES[family].draw([np.random.default_rng(step)])
            choice = {"function": {name: each[0] for name, each in function.items()}, "reset_mask": mask}
            assert_same_steps(*(env.reset(options=copy.deepcopy(choice)) for env in (ours, theirs)))
    assert ends > 2 * LANES


def test_every_lane_can_have_a_function_of_its_own():
    env = vector(3, family="linear")
    _, drawn = env.reset(seed=0)
    _, given = env.reset(options={"function": drawn["function"]})
    np.testing.assert_array_equal(given["function"]["slopes"], drawn["function"]["slopes"])
    given["function"]["slopes"][:] = 0  # what is handed out is a copy
    np.testing.assert_array_equal(
        env.step(np.zeros((3, 1)))[4]["function"]["slopes"], drawn["function"]["slopes"]
    )


def test_next_step_ignores_the_action_of_the_reset_step():
    env = vector(2, trials=2)
    env.reset(seed=0)
    env.step(np.zeros((2, 1)))
    env.reset(options={"reset_mask": np.array([True, False])})
    assert env.step(np.zeros((2, 1)))[3].tolist() == [False, True]
    observations, rewards, _, truncated, _ = env.step(np.array([[0.5], [np.nan]]))
    assert truncated.tolist() == [True, False]
    assert rewards[0] < 0
    assert rewards[1] == 0
    assert observations[1, -1] == 0
    with pytest.raises(ValueError, match=r"an action must be finite, not \[nan\]"):
        env.step(np.array([[0.0], [np.nan]]))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_what_is_returned_is_never_shared(mode):
    env = vector(3, mode, trials=2)
    arrays = arrays_in(env.reset(seed=0))
    for _ in range(4):
        result = env.step(np.zeros((3, 1)))
        arrays += arrays_in(result)
        if mode is AutoresetMode.DISABLED and result[3].any():
            arrays += arrays_in(env.reset(options={"reset_mask": result[3]}))
    assert len(arrays) > 60
    for index, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:index])


def test_more_lanes_than_are_begun_at_once_make_no_difference(monkeypatch):
    monkeypatch.setattr("lsnn_gym.envs.function_regression_lanes._POINTS_AT_ONCE", 20)
    some = vector(7, trials=9).reset(seed=0)
    monkeypatch.undo()
    assert_same_steps(some, vector(7, trials=9).reset(seed=0))


def test_spaces_and_limits():
    env = vector(4, family="sinusoid")
    single = FunctionRegressionEnv(family="sinusoid")
    assert env.single_observation_space == single.observation_space
    assert env.single_action_space == single.action_space
    assert env.observation_space.shape == (4, 2)
    limited = vector(2, max_episode_steps=3)
    limited.reset(seed=0)
    assert [limited.step(np.zeros((2, 1)))[3].all() for _ in range(3)] == [False, False, True]
    assert vector(2, max_episode_steps=999).options.trials == 50


def test_what_is_of_no_use_is_refused():
    with pytest.raises(ValueError, match="num_envs must be a whole number of at least 1, not 0"):
        FunctionRegressionVectorEnv(0)
    with pytest.raises(ValueError, match="a window is for one lane"):
        FunctionRegressionVectorEnv(2, "human")
    env = vector(2, AutoresetMode.DISABLED, trials=1)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(np.zeros((2, 1)))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"an action must have the shape \(2, 1\), not \(3, 1\)"):
        env.step(np.zeros((3, 1)))
    env.step(np.zeros((2, 1)))
    with pytest.raises(ResetNeeded, match=r"lanes \[0, 1\] are over"):
        env.step(np.zeros((2, 1)))
