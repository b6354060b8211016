"""Trials of several episodes: what is observed, when what ends, and that a task is kept as long as its trial."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as check_by_gymnasium
from stable_baselines3.common.env_checker import check_env as check_by_sb3

from lsnn_gym.envs import MetaRL

READY_MADE = {"lsnn_gym/BernoulliBanditsRL2-v0": 100, "lsnn_gym/GoalReachingRL2-v0": 80}


class Recorded(gym.Env[Any, Any]):
    """Ends after 3 steps, terminated or truncated by turns; remembers what it was asked."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.resets: list[Any] = []
        self.mood = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.resets.append(copy.deepcopy(options))
        self.steps = 0
        return self.observation_space.sample(), {"task": np.array([len(self.resets)]), "reset": True}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        ended = self.steps == 3
        odd = len(self.resets) % 2 == 1
        return (
            self.observation_space.sample(),
            np.float32(self.steps),
            ended and odd,
            ended and not odd,
            {"own": 1},
        )


LINE = spaces.Box(-2.0, 6.0, (1,), np.float32)
KINDS: dict[str, tuple[spaces.Space, spaces.Space, int]] = {
    "box": (spaces.Box(-1, 1, (2, 3)), LINE, 6 + 1 + 2),
    "discrete": (spaces.Discrete(4), spaces.Discrete(3), 4 + 3 + 2),
    "discrete from 2": (spaces.Discrete(4, start=2), spaces.Discrete(3, start=5), 4 + 3 + 2),
    "multi-discrete": (spaces.MultiDiscrete([2, 3]), spaces.MultiDiscrete([4, 2]), 5 + 6 + 2),
    "multi-binary": (spaces.MultiBinary(5), spaces.MultiBinary(2), 5 + 2 + 2),
    "float64": (spaces.Box(-1e30, 1e30, (2,), np.float64), LINE, 2 + 1 + 2),
    "image": (spaces.Box(0, 255, (4, 4, 3), np.uint8), LINE, 48 + 1 + 2),
    "tuple": (spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (2,)))), LINE, 4 + 1 + 2),
}


def trial_of(kind: str = "box", **kwargs: Any) -> MetaRL:
    observed, actions, _ = KINDS[kind]
    return MetaRL(Recorded(observed, actions), **{"inner_episodes": 2, **kwargs})


@pytest.mark.parametrize("kind", KINDS)
def test_observations_become_one_box(kind):
    env = trial_of(kind)
    size = KINDS[kind][2]
    assert isinstance(env.observation_space, spaces.Box)
    assert env.observation_space.shape == (size,)
    assert env.observation_space.dtype == np.float32
    env.action_space.seed(1)
    observation, _ = env.reset(seed=0)
    actions_from = spaces.flatdim(KINDS[kind][0])
    assert not observation[actions_from:].any()
    for step in range(6):
        assert env.observation_space.contains(observation)
        observation, reward, *_ = env.step(env.action_space.sample())
        assert type(reward) is float
        assert observation[-2:].tolist() == [step % 3 + 1, float(step % 3 == 2)]
    assert env.observation_space.contains(observation)


def test_the_parts_in_their_order():
    env = trial_of("discrete", reward_scale=0.5)
    first, _ = env.reset(seed=0)
    assert first[:4].sum() == 1
    second = env.step(2)[0]
    assert second[4:].tolist() == [0, 0, 1, 0.5, 0]
    box = trial_of("box")
    box.reset(seed=0)
    for action, code in ((-2.0, -1.0), (2.0, 0.0), (6.0, 1.0), (4.0, 0.5)):
        assert box._previous_action.of(np.array([action], np.float32)).tolist() == [code]
    clipped = trial_of(reward_range=(1.5, 2.5))
    assert clipped.reset(seed=0)[0][-2] == 1.5
    assert [clipped.step(clipped.action_space.sample())[0][-2] for _ in range(3)] == [1.5, 2.0, 2.5]
    assert box._previous_action.of(np.array([99.0])).tolist() == [1.0]  # clipped, as the space says


def test_actions_without_bounds_are_seen_as_they_were():
    observed = spaces.Box(-1, 1, (1,))
    env = MetaRL(
        Recorded(observed, spaces.Box(np.array([-np.inf, 0], np.float32), np.array([np.inf, 4], np.float32))),
        1,
    )
    env.reset(seed=0)
    seen = env.step(np.array([7.5, 3.0], np.float32))[0]
    assert seen[1:3].tolist() == [7.5, 0.5]
    assert env.observation_space.contains(seen)


def test_bounds_that_float32_does_not_reach_are_none():
    env = MetaRL(Recorded(spaces.Box(-1e300, 1e300, (1,), np.float64), LINE), 1)
    space = env.observation_space
    assert isinstance(space, spaces.Box)
    assert space.high.tolist() == [np.inf, 1, np.inf, 1]


def test_dictionaries_stay_dictionaries():
    inner = spaces.Dict({"image": spaces.Box(0, 255, (4, 4, 3), np.uint8), "mark": spaces.Discrete(3)})
    env = MetaRL(Recorded(inner, spaces.Discrete(2)), inner_episodes=1)
    space: Any = env.observation_space
    assert set(space.spaces) == {"image", "mark", "previous_action", "previous_reward", "inner_done"}
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    observation = env.step(1)[0]
    assert env.observation_space.contains(observation)
    assert observation["image"].dtype == np.uint8
    assert observation["previous_action"].tolist() == [0, 1]
    assert observation["previous_reward"].tolist() == [1]
    with pytest.raises(ValueError, match="already has the key 'previous_action'"):
        MetaRL(env, inner_episodes=1)


def test_observations_can_be_kept_apart():
    env = trial_of("image", keep_apart=True)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation["observation"].shape == (4, 4, 3)


def test_inner_episodes_begin_within_the_trial():
    env = trial_of(inner_episodes=3)
    env.reset(seed=0)
    ends, told, info = [], [], {}
    for step in range(9):
        observation, _, terminated, truncated, info = env.step(env.action_space.sample())
        ends.append((terminated, truncated))
        assert info["own"] == 1
        assert info["trial"]["step"] == step + 1
        assert info["trial"]["inner_episode"] == (step + 1) // 3
        if "inner_episode" in info:
            told.append(info["inner_episode"])
            last = told[-1].pop("final_observation", None)
            assert (last is None) == (step == 8)
            if last is not None:
                assert observation[:6].tolist() != last.ravel().tolist()
    assert ends == [(False, False)] * 8 + [(True, False)]
    figures = {"return": 6.0, "length": 3}
    assert told == [{**figures, "terminated": odd} for odd in (True, False, True)]
    assert info["trial"]["return"] == 18.0
    with pytest.raises(ResetNeeded, match=r"no trial is running: call reset\(\) first"):
        env.step(env.action_space.sample())


@pytest.mark.parametrize(
    ("inner_episodes", "end"), [(None, (False, True)), (1, (True, False)), (9, (False, True))]
)
def test_a_trial_can_last_a_number_of_steps(inner_episodes, end):
    env = trial_of(inner_episodes=inner_episodes, trial_steps=4 if inner_episodes != 1 else 3)
    env.reset(seed=0)
    ends = []
    while not ends or not any(ends[-1]):
        ends.append(env.step(env.action_space.sample())[2:4])
    assert ends[-1] == end
    assert len(ends) == (3 if inner_episodes == 1 else 4)


class TestTasks:
    def test_options_hold_for_the_trial(self):
        env = trial_of()
        inner: Any = env.unwrapped
        env.reset(seed=0, options={"given": [1]})
        for _ in range(4):
            env.step(env.action_space.sample())
        env.reset()
        assert inner.resets == [{"given": [1]}, {"given": [1]}, None]

    def test_what_the_first_reset_told_is_kept(self):
        env = trial_of(inner_episodes=3, task_keys=("task",))
        inner: Any = env.unwrapped
        for _ in range(2):
            env.reset(seed=0, options={"other": 2})
            for _ in range(7):
                env.step(env.action_space.sample())
        kept = [options.get("task") for options in inner.resets]
        assert [None if each is None else each.tolist() for each in kept] == [None, [1], [1], None, [4], [4]]
        assert all(options["other"] == 2 for options in inner.resets)

    def test_what_is_given_goes_before_what_was_told(self):
        env = trial_of(task_keys=["task"])
        inner: Any = env.unwrapped
        env.reset(seed=0, options={"task": "mine"})
        for _ in range(3):
            env.step(env.action_space.sample())
        assert [options["task"] for options in inner.resets] == ["mine", "mine"]

    def test_tasks_are_drawn_by_the_seed(self):
        def draw(env: gym.Env, generator: np.random.Generator) -> dict[str, float]:
            env.unwrapped.mood = generator.random()  # type: ignore[attr-defined]
            return {"drawn": float(generator.random())}

        def drawn(seed: int) -> list[Any]:
            env = trial_of(draw_task=draw)
            inner: Any = env.unwrapped
            moods = []
            for trial in range(2):
                env.reset(seed=seed if trial == 0 else None)
                moods.append(inner.mood)
                for _ in range(3):
                    env.step(env.action_space.sample())
            told = [options["drawn"] for options in inner.resets]
            assert told[0] == told[1] != told[2] == told[3]
            assert moods[0] != moods[1]
            # Not the numbers that the environment itself draws.
            assert moods[0] != np.random.default_rng(seed).random()
            return told + moods

        assert drawn(3) == drawn(3)
        assert drawn(3) != drawn(4)
        env = trial_of(draw_task=lambda env, generator: None)
        env.reset()  # without a seed, too
        assert env.unwrapped.resets == [None]  # type: ignore[attr-defined]

    def test_the_mazes_goal_stays_and_the_start_does_not(self):
        env = MetaRL(gym.make("lsnn_gym/WaterMazeQuick-v0", max_steps=5), 2, task_keys=("goal",))
        first, info = env.reset(seed=0)
        goals, starts = [info["goal"]], [first]
        for step in range(10):
            observation, _, _, _, info = env.step(np.zeros(2, np.float32))
            goals.append(info["goal"])
            if step == 4:
                starts.append(observation)
        np.testing.assert_array_equal(goals, [goals[0]] * 11)
        assert starts[0][:2].tolist() != starts[1][:2].tolist()
        assert env.reset()[1]["goal"].tolist() != goals[0].tolist()


@pytest.mark.parametrize(("env_id", "steps"), READY_MADE.items())
def test_ready_made_trials(env_id, steps):
    env = gym.make(env_id)
    _, info = env.reset(seed=0)
    key = "means" if "Bandits" in env_id else "goal"
    task, ends = info[key], []
    while not ends or not any(ends[-1]):
        _, _, *end, info = env.step(env.action_space.sample())
        ends.append(end)
        np.testing.assert_array_equal(info[key], task)
    assert len(ends) == steps
    assert ends[-1] == [True, False]
    assert (env.reset()[1][key] != task).any()


# What the checker warns of is what it is to check here.
@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
@pytest.mark.parametrize("env_id", READY_MADE)
def test_both_checkers_are_content(env_id):
    for render_mode in (None, "rgb_array", "human"):
        env = gym.make(env_id, render_mode=render_mode, render_size=32)
        check_by_sb3(env)
        env.close()
    check_by_gymnasium(gym.make(env_id, render_size=32).unwrapped)
    check_by_gymnasium(gym.make(env_id, render_size=32), skip_render_check=True)


@pytest.mark.filterwarnings(
    "ignore:.*is different from the unwrapped version", "ignore:.*value is -?infinity"
)
@pytest.mark.parametrize("env_id", ["CartPole-v1", "lsnn_gym/WaterMazeQuick-v0"])
def test_both_checkers_are_content_with_any_environment(env_id):
    env = MetaRL(gym.make(env_id), inner_episodes=2)
    check_by_sb3(env)
    check_by_gymnasium(env, skip_render_check=True)


def test_it_is_a_wrapper_that_a_spec_can_name():
    env = MetaRL(gym.make("CartPole-v1"), inner_episodes=2, trial_steps=50)
    assert env.spec is not None
    again = gym.make(env.spec)
    assert isinstance(again, MetaRL)
    assert (again.inner_episodes, again.trial_steps) == (2, 50)
    vector = gym.make_vec("lsnn_gym/GoalReachingRL2-v0", 3)
    observations, _ = vector.reset(seed=0)
    assert observations.shape == (3, 2 + 2 + 2)
    infos = [vector.step(np.zeros((3, 2), np.float32))[4] for _ in range(20)]
    assert infos[18]["trial"]["step"].tolist() == [19] * 3
    assert infos[19]["inner_episode"]["length"].tolist() == [20] * 3
    assert "_inner_episode" not in infos[18]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"inner_episodes": None},
            "inner_episodes and trial_steps are both None: expected a number for at least one",
        ),
        ({"inner_episodes": 0}, "inner_episodes must be None or a whole number of at least 1, not 0"),
        ({"trial_steps": 2.5}, "trial_steps must be None or a whole number of at least 1, not 2.5"),
        ({"task_keys": "goal"}, r"task_keys must be a sequence of names, as in \('goal',\), not 'goal'"),
        ({"reward_range": (1, 0)}, r"reward_range must have the lower number first, not \(1, 0\)"),
        ({"reward_range": 1}, "reward_range must be two numbers, not 1"),
        ({"reward_scale": np.nan}, "reward_scale must be a finite number, not nan"),
    ],
)
def test_arguments_of_no_use_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        trial_of(**kwargs)


def test_spaces_and_keys_of_no_use_are_refused():
    endless = spaces.Sequence(spaces.Discrete(2))
    with pytest.raises(ValueError, match=r"the observation space Sequence\(.*\) cannot be flattened"):
        MetaRL(Recorded(endless, spaces.Discrete(2)), 1)
    with pytest.raises(ValueError, match=r"the action space Sequence\(.*\) cannot be flattened"):
        MetaRL(Recorded(spaces.Discrete(2), endless), 1)
    with pytest.raises(
        ValueError, match="unknown key of task_keys in the info of a reset 'taks': did you mean 'task'"
    ):
        trial_of(task_keys=("taks",)).reset(seed=0)
