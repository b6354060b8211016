"""The single environment: contracts, starting states, probe trials, and what it says to bad input."""

import copy
import math
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as check_by_gymnasium
from stable_baselines3.common.env_checker import check_env as check_by_sb3

from lsnn_gym.envs import WaterMazeEnv

ENV_IDS = ["lsnn_gym/WaterMaze-v0", "lsnn_gym/WaterMazeQuick-v0"]
RESERVED_KEYS = {
    "episode",
    "final_obs",
    "final_info",
    "terminal_observation",
    "TimeLimit.truncated",
    "is_success",
}


@pytest.fixture(autouse=True)
def _without_a_screen(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)


def quick(**options) -> WaterMazeEnv:
    return WaterMazeEnv(**{"step_size": 0.1, "max_steps": 200, **options})


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("arena", ["disc", "square"])
def test_gymnasiums_checker_is_content_in_every_render_mode(env_id, arena):
    env = gym.make(env_id, arena=arena)
    check_by_gymnasium(env.unwrapped)


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "human"])
def test_stable_baselines3s_checker_is_content(env_id, render_mode):
    env = gym.make(env_id, render_mode=render_mode)
    check_by_sb3(env)
    env.close()


@pytest.mark.parametrize(
    ("env_id", "step_size", "max_steps"), [(*ENV_IDS[:1], 0.02, 2000), (*ENV_IDS[1:], 0.1, 200)]
)
def test_registered_scales(env_id, step_size, max_steps):
    env = gym.make(env_id)
    env.reset(seed=0, options={"position": [0.0, 0.0], "goal": [0.9, 0.0]})
    for step in range(1, max_steps + 1):
        observation, _, terminated, truncated, _ = env.step(np.array([0, 1 if step == 1 else 0], np.float32))
        assert not terminated
        assert truncated == (step == max_steps)
        assert observation[1] == np.float32(step_size)
    assert isinstance(env.unwrapped, WaterMazeEnv)


class SlowMaze:
    """A square maze written down from the environment's docstring, with nothing but Python's numbers."""

    def __init__(self, env: WaterMazeEnv, generator: np.random.Generator) -> None:
        self.maze, self.generator = env.options, generator
        self.goal, self.position = self.draw(), self.draw()

    def draw(self) -> list[float]:
        return [self.maze.arena_size * (2 * self.generator.random() - 1) for _ in range(2)]

    def step(self, action: np.ndarray) -> tuple[float, bool, bool]:
        half, length = self.maze.arena_size, max(1.0, math.hypot(*action))
        way = [self.maze.step_size * float(a) / length for a in action]
        fraction = 1.0
        for p, w in zip(self.position, way, strict=True):
            if abs(p + w) > half:
                fraction = min(fraction, ((half if w > 0 else -half) - p) / w)
        self.position = [p + fraction * w for p, w in zip(self.position, way, strict=True)]
        reached, wall = math.dist(self.position, self.goal) <= self.maze.goal_radius, fraction < 1.0
        if reached:
            self.position = self.draw()
        return self.maze.goal_reward * reached + self.maze.wall_reward * wall, reached, wall


def test_an_episode_equals_the_slow_form():
    env = quick(arena="square", goal_radius=0.9, goal_reward=3.0, wall_reward=-0.5)
    env.reset(seed=0)
    env.np_random = np.random.default_rng(11)
    _, info = env.reset()
    slow = SlowMaze(env, np.random.default_rng(11))
    np.testing.assert_array_equal(info["goal"], slow.goal)
    goals = walls = since = 0
    latencies: list[int] = []
    for step, noise in enumerate(np.random.default_rng(3).uniform(-1, 1, (200, 2))):
        action = noise + np.array([math.cos(step / 12), math.sin(step / 12)])  # around the arena
        expected_reward, reached, wall = slow.step(action)
        observation, reward, _, _, info = env.step(action)
        since += 1
        if reached:
            latencies.append(since)
            since = 0
        np.testing.assert_allclose(observation, [*slow.position, reached, wall], atol=1e-6)
        assert reward == pytest.approx(expected_reward)
        assert info["goal_latency"] == (latencies[-1] if reached else -1)
        goals, walls = goals + reached, walls + wall
    assert info["latencies"] == tuple(latencies)
    assert info["goals_reached"] == goals
    assert goals >= 3
    assert walls >= 10


def test_the_box_holds_positions_at_the_border_in_single_precision():
    for arena in ("disc", "square"):
        env = quick(arena=arena, arena_size=0.7)
        for direction in ([1, 0], [-1, 0], [0, 1], [0.6, 0.8]):
            observation, _ = env.reset(seed=0, options={"goal": [0, 0], "position": [0.5, 0.0]})
            for _ in range(20):
                observation, *_ = env.step(np.array(direction, np.float32))
                assert observation in env.observation_space
                assert observation.dtype == np.float32
            assert observation[3] == 1


def test_types_are_plain():
    env = quick()
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
    assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]
    assert type(info["goals_reached"]) is int
    assert type(info["goal_latency"]) is int
    assert not RESERVED_KEYS & set(info)


def test_reaching_the_goal_puts_the_agent_back_and_is_told():
    env = quick()
    observation, info = env.reset(seed=5, options={"goal": [0.5, 0.0], "position": [0.0, 0.0]})
    assert observation.tolist() == [0, 0, 0, 0]
    assert info["latencies"] == ()
    assert info["goal_latency"] == -1
    right = np.array([1, 0], np.float32)
    assert env.step(right)[1:3] == (0.0, False)
    observation, reward, _, _, info = env.step(right)  # ends at x = 0.2, on the rim of the goal
    if info["goal_latency"] == -1:  # the rim itself is a matter of rounding
        observation, reward, _, _, info = env.step(right)
    assert reward == 1.0
    assert observation[2:].tolist() == [1, 0]
    assert np.hypot(*(observation[:2] - [0.2, 0])) > 0.15
    assert info["goal"].tolist() == [0.5, 0.0]
    first = info["goal_latency"]
    assert first in (2, 3)
    # From wherever it was put, straight back.
    back = 0
    while info["goals_reached"] < 2:
        way = (info["goal"] - observation[:2]) * 10
        observation, reward, _, _, info = env.step(np.clip(way, -1, 1).astype(np.float32))
        back += 1
    assert reward == 1.0
    assert info["latencies"] == (first, back)
    assert info["goals_reached"] == 2


def test_goal_and_wall_rewards_add():
    env = quick()
    env.reset(seed=0, options={"goal": [0.8, 0.0], "position": [0.95, 0.0]})
    observation, reward, *_ = env.step(np.array([1, 0], np.float32))
    assert reward == pytest.approx(0.98)
    assert observation[2:].tolist() == [1, 1]


def test_nothing_of_an_episode_is_left_after_a_reset():
    env = quick(max_steps=5)
    at_the_goal = {"goal": [0.9, 0.0], "position": [0.9, 0.0]}
    env.reset(seed=0, options=at_the_goal)
    *_, info = env.step(np.array([1, 0], np.float32))
    assert info["goal_latency"] == 1
    for seed in (1, None):
        observation, info = env.reset(seed=seed)
        assert observation[2:].tolist() == [0, 0]
        assert (info["goal_latency"], info["goals_reached"], info["latencies"]) == (-1, 0, ())
    env.reset(options=at_the_goal)
    for _ in range(4):
        env.step(np.zeros(2, np.float32))
    *_, info = env.step(np.zeros(2, np.float32))
    env.reset(options=at_the_goal)
    assert env.step(np.zeros(2, np.float32))[4]["latencies"] == (1,)


def test_a_start_within_the_goal_counts_with_the_first_step_that_ends_there():
    env = quick()
    observation, info = env.reset(seed=0, options={"goal": [0.1, 0.1], "position": [0.1, 0.1]})
    assert observation[2] == 0
    _, reward, _, _, info = env.step(np.zeros(2, np.float32))
    assert reward == 1.0
    assert info["latencies"] == (1,)


def trajectory(env, seed, steps=300):
    rows, actions = [], np.random.default_rng(0).uniform(-1, 1, (steps, 2)).astype(np.float32)
    observation, info = env.reset(seed=seed)
    for action in actions:
        rows.append((*observation, *info["goal"], info["goals_reached"]))
        observation, _, _, truncated, info = env.step(action)
        if truncated:
            observation, info = env.reset()
    return rows


def test_seeds_decide_everything():
    assert trajectory(quick(), 4) == trajectory(quick(), 4)
    assert trajectory(quick(), 4) != trajectory(quick(), 5)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "human"])
def test_a_copy_goes_on_alike(duplicate, render_mode):
    env = quick(render_mode=render_mode, render_size=32, goal_radius=0.6)
    env.reset(seed=0, options={"goal": [0.0, 0.0]})
    env.action_space.seed(0)
    for _ in range(10):
        env.step(env.action_space.sample())
    twin = duplicate(env)
    for _ in range(50):
        action = env.action_space.sample()
        (observation, reward, *_, info), (other, other_reward, *_, other_info) = (
            env.step(action),
            twin.step(action),
        )
        np.testing.assert_array_equal(observation, other)
        assert reward == other_reward
        assert info["latencies"] == other_info["latencies"]
    assert env.step(np.zeros(2, np.float32))[4]["goals_reached"] > 0
    twin.step(np.zeros(2, np.float32))
    if render_mode == "rgb_array":
        np.testing.assert_array_equal(env.render(), twin.render())
    env.close()
    twin.close()


def test_what_is_returned_is_never_shared():
    env = quick(render_mode="rgb_array", render_size=32)
    returned = [*env.reset(seed=0, options={"probe": True})]
    for _ in range(3):
        observation, *_, info = env.step(np.zeros(2, np.float32))
        returned += [observation, info]
    returned += [*env.reset()]
    arrays = [value for value in returned if isinstance(value, np.ndarray)]
    for info in returned:
        if isinstance(info, dict):
            arrays += [value for value in info.values() if isinstance(value, np.ndarray)]
    assert len(arrays) >= 14
    for index, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:index])
    # What the caller does to them has no effect.
    before = env.render()
    for array in arrays:
        array[...] = 7
    np.testing.assert_array_equal(env.render(), before)
    assert abs(env.step(np.zeros(2, np.float32))[0]).max() <= 1


class TestProbe:
    def test_the_goal_gives_nothing_and_shares_add_up(self):
        env = quick()
        observation, info = env.reset(
            seed=0, options={"probe": True, "goal": [0.5, 0.0], "position": [0.5, 0.0]}
        )
        assert info["quadrant_shares"].tolist() == [0, 0, 0, 0]
        assert info["near_goal_share"] == 0
        for _ in range(3):  # stays at the goal
            observation, reward, _, _, info = env.step(np.zeros(2, np.float32))
            assert reward == 0
            assert observation.tolist() == [0.5, 0, 0, 0]
        assert info["quadrant_shares"].tolist() == [1, 0, 0, 0]
        assert info["near_goal_share"] == 1
        assert info["goals_reached"] == 0
        for _ in range(9):  # 0.4, 0.3, 0.2 (rim), …, -0.4
            *_, info = env.step(np.array([-1, 0], np.float32))
        assert info["quadrant_shares"][[0, 2]].sum() == 1
        assert info["quadrant_shares"][2] == pytest.approx(4 / 12, abs=1 / 12)
        assert info["near_goal_share"] == pytest.approx(6 / 12, abs=1 / 12)
        *_, info = env.reset()
        assert "quadrant_shares" not in info

    @pytest.mark.parametrize(
        ("place", "quadrant"), [([0, 0.5], 0), ([-0.5, 0], 1), ([0, -0.5], 2), ([0.5, 0], 3)]
    )
    def test_quadrants_are_the_goals_left_opposite_right(self, place, quadrant):
        env = quick()
        env.reset(seed=0, options={"probe": True, "goal": [0.0, 0.6], "position": place})
        *_, info = env.step(np.zeros(2, np.float32))
        assert info["quadrant_shares"].argmax() == quadrant
        assert info["quadrant_shares"].sum() == 1

    def test_it_searches_where_the_goal_was(self):
        env = quick()
        _, before = env.reset(seed=0)
        _, probe = env.reset(options={"probe": True})
        assert probe["goal"].tolist() == before["goal"].tolist()
        _, after = env.reset()
        assert after["goal"].tolist() != before["goal"].tolist()

    def test_the_first_episode_of_all_draws_a_goal(self):
        goals = [quick().reset(seed=seed, options={"probe": True})[1]["goal"].tolist() for seed in (0, 1)]
        assert goals[0] != goals[1]

    def test_each_is_counted_by_itself(self):
        env = quick()
        places = {(0.5, 0.0): [1, 0, 0, 0], (-0.5, 0.0): [0, 0, 1, 0], (0.4, 0.1): [1, 0, 0, 0]}
        for place, shares in places.items():
            env.reset(seed=0, options={"probe": True, "goal": [0.5, 0.0], "position": place})
            *_, info = env.step(np.zeros(2, np.float32))
            assert info["quadrant_shares"].tolist() == shares
            assert info["near_goal_share"] == shares[0]

    def test_it_may_begin_later(self):
        env = quick()
        env.reset(seed=0, options={"probe": True, "probe_from": 2, "goal": [0, 0], "position": [0, 0]})
        still = np.zeros(2, np.float32)
        _, reward, _, _, info = env.step(still)
        assert reward == 1.0
        assert info["quadrant_shares"].sum() == 0
        observation, *_ = env.step(still)
        observation, reward, _, _, info = env.step(still)
        assert reward == 0
        assert info["quadrant_shares"].sum() == 1
        assert (info["near_goal_share"] == 1) == (np.hypot(*observation[:2]) <= 0.3)

    def test_the_wall_still_punishes(self):
        env = quick()
        env.reset(seed=0, options={"probe": True, "position": [0.99, 0]})
        observation, reward, *_ = env.step(np.array([1, 0], np.float32))
        assert reward == pytest.approx(-0.02)
        assert observation[3] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"gaol": [0, 0]},
            "unknown reset option 'gaol': did you mean 'goal'? there is goal, position, probe, probe_from",
        ),
        ({"goal": [2, 0]}, "goal must lie inside the disc of size 1.0, not [2.0, 0.0]"),
        ({"position": [0, -1.1]}, "position must lie inside the disc of size 1.0, not [0.0, -1.1]"),
        ({"position": 0.5}, "position must have the shape (2,) or (1, 2), not ()"),
        ({"probe": "yes"}, "probe must be True or False, not 'yes'"),
        ({"probe": True, "probe_from": -1}, "probe_from must be a whole number of at least 0, not -1"),
        ({"probe": True, "probe_from": 1.5}, "probe_from must be a whole number of at least 0, not 1.5"),
        ({"probe_from": 3}, "probe_from is of use in a probe trial only: give probe=True with it"),
    ],
)
def test_reset_options_of_no_use_are_refused(options, message):
    env = quick()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        env.reset(options=options)
    assert str(caught.value) == message


def test_the_callers_reset_options_stay_as_they_are():
    options = {"goal": [0.1, 0.2], "probe": True}
    quick().reset(options=options)
    assert options == {"goal": [0.1, 0.2], "probe": True}


def test_constructor_arguments_of_no_use_are_refused():
    with pytest.raises(ValueError, match="render_mode must be None, 'human' or 'rgb_array', not 'ansi'"):
        WaterMazeEnv(render_mode="ansi")
    with pytest.raises(ValueError, match="render_size must be a whole number from 1 to 8192, not 0"):
        WaterMazeEnv(render_size=0)
    with pytest.raises(ValueError, match=r"goal_radius must be greater than 0, not -1\.0"):
        gym.make(ENV_IDS[0], goal_radius=-1)


def test_steps_out_of_turn_and_bad_actions_are_refused():
    env = quick(max_steps=2)
    still = np.zeros(2, np.float32)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(still)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"an action must be finite, not \[nan, 0.0\]"):
        env.step(np.array([np.nan, 0], np.float32))
    with pytest.raises(ValueError, match=r"an action must have the shape \(2,\), not \(3,\)"):
        env.step(np.zeros(3, np.float32))
    assert [env.step(still)[3] for _ in range(2)] == [False, True]  # what was refused took no step
    with pytest.raises(ResetNeeded, match="the episode is over after max_steps=2 steps"):
        env.step(still)


def test_gymnasiums_own_time_limit_may_end_an_episode_earlier():
    env = gym.make(ENV_IDS[0], max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(np.zeros(2, np.float32))[3] for _ in range(3)] == [False, False, True]
