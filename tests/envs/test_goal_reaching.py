"""Reaching a goal: contracts, episodes against their slow form, lane by lane, and what is said to bad input."""

from __future__ import annotations

import copy
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_by_gymnasium
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_by_sb3

from lsnn_gym.envs import GoalReachingEnv, GoalReachingVectorEnv
from tests.envs.lane_by_lane import arrays_in, assert_same_steps

ENV_ID = "lsnn_gym/GoalReaching-v0"
LANES = 4


@pytest.mark.parametrize("reward", ["dense", "sparse"])
@pytest.mark.parametrize("shown", [True, False])
def test_both_checkers_are_content(reward, shown):
    options = {"reward": reward, "show_goal": shown, "random_start": shown, "render_size": 64}
    check_by_gymnasium(gym.make(ENV_ID, **options).unwrapped)
    for render_mode in (None, "rgb_array", "human"):
        env = gym.make(ENV_ID, render_mode=render_mode, **options)
        check_by_sb3(env)
        env.close()


@pytest.mark.parametrize("reward", ["dense", "sparse"])
def test_an_episode_equals_the_slow_form(reward):
    env = GoalReachingEnv(reward=reward, max_steps=25, random_start=True, show_goal=True, goal_radius=0.5)
    env.reset(seed=0)
    env.np_random = np.random.default_rng(11)
    observation, info = env.reset()
    rng = np.random.default_rng(11)
    goal = [2 * rng.random() - 1, 2 * rng.random() - 1]
    place = [2 * rng.random() - 1, 2 * rng.random() - 1]
    near = 0
    for step in range(25):
        assert observation.tolist() == np.array([*place, *goal], np.float32).tolist()
        distance = math.hypot(place[0] - goal[0], place[1] - goal[1])
        assert info["goal"].tolist() == goal
        assert info["distance"] == pytest.approx(distance)
        assert info["at_goal"] == (distance <= 0.5)
        action = np.array([goal[axis] - place[axis] for axis in (0, 1)]) * 3 + rng.normal(size=2)
        place = [min(1, max(-1, place[axis] + 0.1 * min(1, max(-1, action[axis])))) for axis in (0, 1)]
        observation, paid, terminated, truncated, info = env.step(action)
        distance = math.hypot(place[0] - goal[0], place[1] - goal[1])
        near += distance <= 0.5
        assert paid == pytest.approx(-distance if reward == "dense" else float(distance <= 0.5))
        assert (terminated, truncated) == (False, step == 24)
    assert near > 0


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("reward", ["dense", "sparse"])
def test_every_lane_does_what_a_single_environment_does(mode, reward):
    options = {"reward": reward, "max_steps": 8, "random_start": True, "goal_radius": 0.7}
    ours = gym.make_vec(ENV_ID, LANES, autoreset_mode=mode, **options)
    theirs = gym.make_vec(
        ENV_ID, LANES, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **options
    )
    assert isinstance(ours, GoalReachingVectorEnv)
    assert_same_steps(ours.reset(seed=3), theirs.reset(seed=3))
    rng, ends = np.random.default_rng(0), 0
    for step in range(40):
        actions = rng.uniform(-1.5, 1.5, (LANES, 2)).astype(np.float32)
        result = ours.step(actions)
        assert_same_steps(result, theirs.step(actions))
        ends += result[3].sum()
        mask = result[3].copy() if mode is AutoresetMode.DISABLED else np.zeros(LANES, np.bool_)
        if step in (4, 17):  # from here on the lanes are out of step with each other
            mask |= rng.random(LANES) < 0.5
        if mask.any():
            choice = {"goal": rng.uniform(-1, 1, 2), "reset_mask": mask}
            assert_same_steps(*(env.reset(options=copy.deepcopy(choice)) for env in (ours, theirs)))
    assert ends > 2 * LANES


def test_what_is_returned_is_never_shared():
    env = gym.make_vec(ENV_ID, 3, autoreset_mode=AutoresetMode.SAME_STEP, max_steps=2)
    arrays = arrays_in(env.reset(seed=0))
    for _ in range(4):
        arrays += arrays_in(env.step(np.zeros((3, 2))))
    assert len(arrays) > 30
    for index, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:index])


def test_episodes_begin_at_the_centre_or_where_one_says():
    env = GoalReachingEnv()
    assert env.reset(seed=0)[0].tolist() == [0.0, 0.0]
    observation, info = env.reset(options={"position": [0.5, -1.0], "goal": (0.25, 0.0)})
    assert observation.tolist() == [0.5, -1.0]
    assert info["goal"].tolist() == [0.25, 0.0]
    assert env.reset()[1]["goal"].tolist() != [0.25, 0.0]  # for one episode only
    limited = gym.make_vec(ENV_ID, 2, max_episode_steps=3)
    assert limited.unwrapped.options.max_steps == 3  # type: ignore[attr-defined]


def test_a_picture_shows_goal_and_way():
    env = gym.make(ENV_ID, render_mode="rgb_array", render_size=100, step_size=0.5)
    env.reset(seed=0, options={"goal": [0.6, 0.6]})
    before = np.asarray(env.render())
    env.step(np.array([-1.0, 0.0], np.float32))
    after = np.asarray(env.render())
    assert before.shape == (100, 100, 3)
    changed = np.argwhere((before != after).any(axis=2))
    assert changed.min(axis=0)[0] > 40
    assert changed[:, 1].max() < 56  # to the left of the middle alone
    assert (before[23, 76] != before[76, 23]).any()  # the goal, and where there is none
    vector = gym.make_vec(ENV_ID, 2, render_mode="rgb_array", render_size=16)
    vector.reset(seed=0)
    assert len(vector.render() or ()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "dens"}, "unknown reward 'dens': did you mean 'dense'? there is dense, sparse"),
        ({"goal_radius": 0}, "goal_radius must be a finite number greater than 0, not 0"),
        ({"step_size": math.inf}, "step_size must be a finite number greater than 0, not inf"),
        ({"step_size": True}, "step_size must be a finite number greater than 0, not True"),
        ({"max_steps": 2.5}, "max_steps must be a whole number of at least 1, not 2.5"),
        ({"show_goal": "yes"}, "show_goal must be True or False, not 'yes'"),
    ],
)
def test_constructor_arguments_of_no_use_are_refused(options, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        GoalReachingEnv(**options)
    assert str(caught.value) == message


def test_reset_options_and_actions_of_no_use_are_refused():
    env = GoalReachingEnv()
    with pytest.raises(ValueError, match="unknown reset option 'gaol': did you mean 'goal'"):
        env.reset(options={"gaol": [0, 0]})
    with pytest.raises(ValueError, match=r"goal must lie inside the square of size 1.0, not \[0.0, 1.5\]"):
        env.reset(options={"goal": [0, 1.5]})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"an action must have the shape \(2,\), not \(3,\)"):
        env.step(np.zeros(3))
