"""The vectorised environment: lane by lane the single one, in every autoreset mode."""

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from lsnn_gym.envs import WaterMazeEnv, WaterMazeVectorEnv
from tests.envs.lane_by_lane import arrays_in, assert_same_steps

QUICK = "lsnn_gym/WaterMazeQuick-v0"
LANES = 7


def vector(
    num_envs: int = LANES, mode: AutoresetMode = AutoresetMode.NEXT_STEP, **options
) -> WaterMazeVectorEnv:
    env = gym.make_vec(QUICK, num_envs, autoreset_mode=mode, **options)
    assert isinstance(env, WaterMazeVectorEnv)
    return env


def sync(num_envs: int = LANES, mode: AutoresetMode = AutoresetMode.NEXT_STEP, **options) -> SyncVectorEnv:
    env = gym.make_vec(
        QUICK, num_envs, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **options
    )
    assert isinstance(env, SyncVectorEnv)
    return env


def draw_actions(steps: int, num_envs: int = LANES) -> np.ndarray:
    rng = np.random.default_rng(1)
    drift = rng.normal(0, 0.5, (1, num_envs, 2))
    return np.clip(rng.normal(0, 0.7, (steps, num_envs, 2)) + drift, -1, 1).astype(np.float32)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("arena", ["disc", "square"])
@pytest.mark.parametrize("seed", [3, [5, 1, 1, 9, 100, 4, 2]])
def test_every_lane_does_what_a_single_environment_does(mode, arena, seed):
    options = {"arena": arena, "max_steps": 40, "goal_radius": 0.6}
    ours, theirs = vector(mode=mode, **options), sync(mode=mode, **options)
    assert_same_steps(ours.reset(seed=seed), theirs.reset(seed=seed))
    goals = walls = ends = 0
    for action in draw_actions(230):
        result = ours.step(action)
        assert_same_steps(result, theirs.step(action))
        goals += (result[4]["goal_latency"] > 0).sum()
        walls += (result[0][:, 3] > 0).sum()
        ends += result[3].sum()
        if mode is AutoresetMode.DISABLED and result[3].any():
            both = [env.reset(options={"reset_mask": result[3].copy()}) for env in (ours, theirs)]
            assert_same_steps(*both)
    assert goals >= 15
    assert walls >= 15
    assert ends == 5 * LANES


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_lanes_out_of_step_with_each_other_do_too(mode):
    options = {"max_steps": 30, "goal_radius": 0.8}
    ours, theirs = vector(mode=mode, **options), sync(mode=mode, **options)
    assert_same_steps(ours.reset(seed=8), theirs.reset(seed=8))
    rng = np.random.default_rng(2)
    mixed_ends = 0
    for step, action in enumerate(draw_actions(200)):
        result = ours.step(action)
        assert_same_steps(result, theirs.step(action))
        over = result[3]
        mixed_ends += over.any() and not over.all()
        mask = over if mode is AutoresetMode.DISABLED else np.zeros(LANES, np.bool_)
        if step in (11, 47, 80):
            mask = mask | (rng.random(LANES) < 0.4)
        if mask.any():
            choice = {"goal": [0.3, -0.2], "probe": step == 47, "position": [0.0, 0.5]}
            both = [env.reset(options={**choice, "reset_mask": mask.copy()}) for env in (ours, theirs)]
            assert_same_steps(*both)
    assert mixed_ends > 3


def test_goals_and_positions_may_differ_between_lanes():
    env = vector(3)
    goals = np.array([[0.1, 0.2], [-0.3, 0.4], [0.0, -0.9]])
    observations, infos = env.reset(seed=0, options={"goal": goals, "position": [0.5, 0.25]})
    np.testing.assert_array_equal(infos["goal"], goals)
    np.testing.assert_array_equal(observations, [[0.5, 0.25, 0, 0]] * 3)
    goals[:] = 0  # the caller's array is not kept
    np.testing.assert_array_equal(env.step(np.zeros((3, 2)))[4]["goal"][2], [0.0, -0.9])


def test_only_a_lane_that_is_put_back_draws():
    starts = []
    for first_goal in ([0.0, 0.0], [0.9, 0.0]):
        env = vector(2)
        env.reset(seed=0, options={"goal": [first_goal, [0.9, 0.0]], "position": [0.0, 0.0]})
        goals_reached = env.step(np.zeros((2, 2)))[4]["goals_reached"]
        assert goals_reached.tolist() == [first_goal == [0.0, 0.0], 0]
        starts.append(env.reset()[0])
    assert starts[0][0].tolist() != starts[1][0].tolist()
    assert starts[0][1].tolist() == starts[1][1].tolist()


def test_probe_trials_run_in_the_lanes_that_were_reset_for_one():
    env = vector(3)
    _, before = env.reset(seed=0)
    mask = np.array([False, True, False])
    _, infos = env.reset(options={"probe": True, "reset_mask": mask, "position": [0.0, 0.0]})
    np.testing.assert_array_equal(infos["goal"][1], before["goal"][1])
    np.testing.assert_array_equal(infos["_goal"], mask)
    infos = env.step(np.zeros((3, 2)))[4]
    np.testing.assert_array_equal(infos["_quadrant_shares"], mask)
    np.testing.assert_array_equal(infos["quadrant_shares"].sum(axis=1), [0, 1, 0])
    assert infos["_goal"].all()
    _, infos = env.reset()
    assert "quadrant_shares" not in infos


def test_next_step_ignores_the_action_of_the_reset_step():
    # Whoever stands still is at its goal: the reset step must neither reward that nor put anybody back.
    options = {"step_size": 0.1, "max_steps": 2, "goal_radius": 1.0}
    at_the_goal = {"goal": [0.0, 0.0]}
    env, single, still = WaterMazeVectorEnv(2, **options), WaterMazeEnv(**options), np.zeros((2, 2))
    env.reset(seed=0, options=at_the_goal)
    single.reset(seed=1, options=at_the_goal)
    env.step(still)
    single.step(still[1])
    env.reset(options={**at_the_goal, "reset_mask": np.array([True, False])})
    assert env.step(still)[3].tolist() == [False, True]
    single.step(still[1])
    observations, rewards, _, truncated, infos = env.step(np.array([[0.0, 0.0], [np.nan, np.inf]]))
    assert truncated.tolist() == [True, False]
    assert rewards.tolist() == [1.0, 0.0]
    assert infos["goals_reached"].tolist() == [2, 0]
    first_observation, info = single.reset()
    np.testing.assert_array_equal(observations[1], first_observation)
    np.testing.assert_array_equal(infos["goal"][1], info["goal"])
    with pytest.raises(ValueError, match="an action must be finite"):
        env.step(np.array([[0.0, 0.0], [np.nan, 0.0]]))


def test_same_step_gives_the_last_observation_and_info_beside_the_first():
    env = vector(2, AutoresetMode.SAME_STEP, max_steps=3, goal_radius=1.0)
    env.reset(seed=0, options={"goal": [0.0, 0.0], "position": [0.5, 0.0]})
    for _ in range(2):
        infos = env.step(np.zeros((2, 2)))[4]
        assert "final_obs" not in infos
    observations, rewards, terminated, truncated, infos = env.step(np.zeros((2, 2)))
    assert rewards.tolist() == [1.0, 1.0]
    assert truncated.all()
    assert not terminated.any()
    assert infos["_final_obs"].all()
    assert infos["_final_info"].all()
    assert infos["final_info"]["goals_reached"].tolist() == [3, 3]
    assert infos["goals_reached"].tolist() == [0, 0]
    assert [final[2] for final in infos["final_obs"]] == [1, 1]
    assert observations[:, 2].tolist() == [0, 0]


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_what_is_returned_is_never_shared(mode):
    env = vector(3, mode, max_steps=2)
    arrays = arrays_in(env.reset(seed=0, options={"probe": True}))
    for _ in range(4):
        result = env.step(np.zeros((3, 2), np.float32))
        arrays += arrays_in(result)
        if mode is AutoresetMode.DISABLED and result[3].any():
            arrays += arrays_in(env.reset(options={"probe": True, "reset_mask": result[3]}))
    assert len(arrays) > 40
    for index, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:index])
    for array in arrays:
        array[...] = 1
    observations = env.reset(options={"position": [0.5, 0.5]})[0]
    np.testing.assert_array_equal(observations, [[0.5, 0.5, 0, 0]] * 3)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_alike(duplicate):
    env = vector(max_steps=20, goal_radius=0.5)
    env.reset(seed=0)
    for action in draw_actions(15):
        env.step(action)
    twin = duplicate(env)
    for action in draw_actions(60):
        assert_same_steps(env.step(action), twin.step(action))


def test_spaces_metadata_and_limits():
    env = vector(4)
    assert isinstance(env.metadata["autoreset_mode"], AutoresetMode)
    assert env.observation_space.shape == (4, 4)
    assert env.action_space.shape == (4, 2)
    single = WaterMazeEnv()
    assert env.single_observation_space == single.observation_space
    assert env.single_action_space == single.action_space
    assert vector(2, "SameStep").metadata["autoreset_mode"] is AutoresetMode.SAME_STEP  # pyright: ignore[reportArgumentType]
    limited = vector(2, max_episode_steps=3)
    limited.reset(seed=0)
    assert [limited.step(np.zeros((2, 2)))[3].all() for _ in range(3)] == [False, False, True]
    assert vector(2, max_episode_steps=999).options.max_steps == 200
    env.close()
    env.close()


def test_gymnasiums_vector_wrappers_accept_it():
    env = gym.wrappers.vector.RecordEpisodeStatistics(vector(3, max_steps=5))
    env.reset(seed=0)
    steps = [env.step(np.zeros((3, 2), np.float32)) for _ in range(5)]
    infos = steps[-1][4]
    assert infos["episode"]["l"].tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs must be a whole number of at least 1, not 0"),
        ({"num_envs": 2.0}, "num_envs must be a whole number of at least 1, not 2.0"),
        (
            {"render_mode": "human"},
            "render_mode must be None or 'rgb_array', not 'human': a window is for one lane",
        ),
        (
            {"autoreset_mode": "later"},
            "autoreset_mode must be an AutoresetMode or one of 'NextStep', 'SameStep', 'Disabled', "
            "not 'later'",
        ),
        ({"goal_radius": -1}, "goal_radius must be greater than 0, not -1.0"),
    ],
)
def test_constructor_arguments_of_no_use_are_refused(options: dict[str, Any], message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        WaterMazeVectorEnv(**{"num_envs": 2, **options})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset_mask": [True, False]}, "reset_mask must be a bool array of shape (2,), not [True, False]"),
        (
            {"reset_mask": np.array([True])},
            "reset_mask must be a bool array of shape (2,), not array([ True])",
        ),
        (
            {"reset_mask": np.zeros(2, np.bool_)},
            "reset_mask must name at least one lane, but is False for all",
        ),
        (
            {"reset_maks": None},
            "unknown reset option 'reset_maks': there is goal, position, probe, probe_from",
        ),
        ({"goal": np.zeros((3, 2))}, "goal must have the shape (2,) or (2, 2), not (3, 2)"),
    ],
)
def test_reset_options_of_no_use_are_refused(options, message):
    env = vector(2)
    env.reset(seed=0)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        env.reset(options=options)
    assert str(caught.value) == message


def test_steps_out_of_turn_are_refused():
    env = vector(2, AutoresetMode.DISABLED, max_steps=2)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(np.zeros((2, 2)))
    with pytest.raises(ResetNeeded, match="the first reset must be of all lanes"):
        env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ValueError, match="seed must be one number or 2 of them, not 3"):
        env.reset(seed=[1, 2, 3])
    env.reset(seed=0)
    env.step(np.zeros((2, 2)))
    env.reset(options={"reset_mask": np.array([True, False])})
    env.step(np.zeros((2, 2)))
    with pytest.raises(ResetNeeded, match=r"lanes \[1\] are over"):
        env.step(np.zeros((2, 2)))
    env.reset()
    with pytest.raises(ValueError, match=r"an action must have the shape \(2, 2\), not \(3, 2\)"):
        env.step(np.zeros((3, 2)))
