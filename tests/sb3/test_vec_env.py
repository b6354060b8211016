"""Vectorised Gymnasium environments in Stable-Baselines3: step by step what its own vector of single ones does."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

pytest.importorskip("stable_baselines3")
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

import lsnn_gym  # noqa: F401 - registers the environments
from lsnn_gym.agents.sb3 import GymnasiumVecEnv

LANES = 3
MAZE = "lsnn_gym/WaterMazeQuick-v0"


def sync(env_id: str, num_envs: int = LANES, mode: AutoresetMode = AutoresetMode.SAME_STEP, **kwargs) -> Any:
    return gym.make_vec(
        env_id, num_envs, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **kwargs
    )


def maze(num_envs: int = LANES, **kwargs: Any) -> GymnasiumVecEnv:
    kwargs = {"autoreset_mode": AutoresetMode.SAME_STEP, "max_steps": 9, **kwargs}
    return GymnasiumVecEnv(gym.make_vec(MAZE, num_envs, **kwargs))


def lanes_of(env: GymnasiumVecEnv) -> Any:
    return cast("Any", env.env.unwrapped)._lanes


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for key, value in theirs.items():
            assert_same(ours[key], value)
    elif isinstance(theirs, list):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(ours, theirs)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype


class DictObservations(gym.Env):
    """Ends by itself every fourth step; infos of several kinds."""

    observation_space = spaces.Dict({"a": spaces.Box(-9, 9, (2,)), "b": spaces.Discrete(50)})
    action_space = spaces.Box(-1, 1, (2,))

    def __init__(self) -> None:
        self.steps, self.told = 0, 1.5

    def observe(self) -> dict[str, Any]:
        return {"a": self.np_random.uniform(-9, 9, 2).astype(np.float32), "b": self.steps}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = (options or {}).get("steps", 0)
        return self.observe(), {"begun": True, "options": str(options)}

    def step(self, action):
        self.steps += 1
        info: dict[str, Any] = {"nested": {"vector": np.arange(2.0) + self.steps}, "action": float(action[0])}
        if self.steps % 2:
            info["odd"] = "yes"
        return self.observe(), float(action.sum()), self.steps == 4, False, info

    def add(self, first: int, second: int = 0) -> float:
        return self.told + first + second


@pytest.mark.parametrize("env", ["CartPole-v1", MAZE, "dictionary"])
def test_every_step_is_that_of_the_usual_vector(env):
    if env == "dictionary":
        makers: list[Any] = [
            lambda index=index: gym.wrappers.TimeLimit(DictObservations(), 3 + 4 * (index % 2))
            for index in range(LANES)
        ]
        vector: Any = gym.vector.SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    else:
        limit: dict[str, Any] = {"max_steps": 9} if env == MAZE else {"max_episode_steps": 12}
        makers = [lambda: gym.make(env, **limit)] * LANES
        vector = sync(env, **limit)
    ours, theirs = GymnasiumVecEnv(vector), DummyVecEnv(makers)
    for each in (ours, theirs):
        each.seed(7)
        each.action_space.seed(5)
    assert_same(ours.reset(), theirs.reset())
    assert_same(ours.reset_infos, theirs.reset_infos)
    ends = cut_short = 0
    for _ in range(60):
        actions = np.stack([ours.action_space.sample() for _ in range(LANES)])
        one, other = ours.step(actions), theirs.step(actions)
        assert_same(list(one), list(other))
        assert_same(ours.reset_infos, theirs.reset_infos)
        ends += one[2].sum()
        cut_short += sum(info["TimeLimit.truncated"] for info in one[3])
    assert ends > LANES
    assert cut_short > 0
    assert ours.spec == vector.spec


def test_a_native_maze_does_the_same_too():
    theirs = DummyVecEnv([lambda: gym.make(MAZE, max_steps=9)] * LANES)
    ours = maze()
    for each in (ours, theirs):
        each.seed(3)
        each.set_options({"probe": True})
    assert_same(ours.reset(), theirs.reset())
    rng = np.random.default_rng(0)
    for _ in range(30):  # the second and third episodes are those of no options
        actions = rng.uniform(-1, 1, (LANES, 2)).astype(np.float32)
        one, other = ours.step(actions), theirs.step(actions)
        for mine, yours in zip(one[3], other[3], strict=True):
            yours.pop("latencies", None)  # of single environments only
            assert_same(dict(mine), yours)
        assert_same(list(one[:3]), list(other[:3]))
    assert ours.seed(3)[2] == 5
    ours.reset()
    assert lanes_of(ours).probe_from.min() > 1000  # options hold for one reset


def test_seeds_of_any_order():
    ours, theirs = maze(), DummyVecEnv([lambda: gym.make(MAZE, max_steps=9)] * LANES)
    for each in (ours, theirs):
        each._seeds = [4, 9, 2]
    assert_same(ours.reset(), theirs.reset())
    assert ours._seeds == [None] * LANES
    ours._seeds = [4, 9, 2]
    assert_same(ours.reset(), maze_observations([4, 9, 2]))


def maze_observations(seeds: list[int]) -> Any:
    return np.stack([gym.make(MAZE).reset(seed=seed)[0] for seed in seeds])


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (AutoresetMode.NEXT_STEP, "whose action is ignored, would be learnt from"),
        (AutoresetMode.DISABLED, "nobody would begin the next episodes"),
    ],
)
def test_other_autoreset_modes_are_refused(mode, reason):
    with pytest.raises(
        ValueError, match=rf"is {mode.name}, with which .*{reason}: expected SAME_STEP"
    ) as caught:
        maze(autoreset_mode=mode)
    assert "autoreset_mode=AutoresetMode.SAME_STEP" in str(caught.value)
    with pytest.raises(ValueError, match=reason):
        GymnasiumVecEnv(sync("CartPole-v1", mode=mode))


def test_what_has_no_autoreset_mode_is_refused():
    env = sync("CartPole-v1")
    env.metadata = {}
    with pytest.raises(
        ValueError, match=r"metadata\['autoreset_mode'\] is None: expected AutoresetMode.SAME_STEP"
    ):
        GymnasiumVecEnv(env)
    with pytest.raises(TypeError, match=r"env must be a gymnasium.vector.VectorEnv, not OrderEnforcing"):
        GymnasiumVecEnv(gym.make("CartPole-v1", disable_env_checker=True).env)  # type: ignore[arg-type]


def test_attributes_and_methods_of_single_environments():
    made = [gym.wrappers.TimeLimit(DictObservations(), 5) for _ in range(LANES)]
    env = GymnasiumVecEnv(
        gym.vector.SyncVectorEnv(
            [lambda each=each: each for each in made], autoreset_mode=AutoresetMode.SAME_STEP
        )
    )
    env.set_attr("told", 4.0, indices=[1])
    assert env.get_attr("told") == [1.5, 4.0, 1.5]
    assert env.get_attr("told", indices=1) == [4.0]
    assert env.env_method("add", 1, second=2, indices=[0, 1]) == [4.5, 7.0]
    assert env.env_is_wrapped(gym.wrappers.TimeLimit) == [True] * LANES
    assert env.env_is_wrapped(gym.wrappers.RecordVideo, indices=0) == [False]
    assert env.has_attr("told")
    assert not env.has_attr("untold")


def test_attributes_of_a_native_environment():
    env = maze()
    assert env.get_attr("num_envs") == [LANES] * LANES
    assert env.get_attr("spec", indices=[0])[0].id == MAZE
    assert not env.has_attr("untold")
    env.set_attr("told", 3)
    assert env.get_attr("told") == [3] * LANES
    with pytest.raises(
        ValueError, match=r"cannot set 'told' in lanes \[1\] only: WaterMazeVectorEnv has one for all"
    ):
        env.set_attr("told", 4, indices=1)
    with pytest.raises(
        AttributeError, match="WaterMazeVectorEnv has no environment of its own for each lane whose"
    ):
        env.env_method("reset")
    wrapped = GymnasiumVecEnv(gym.wrappers.vector.RecordEpisodeStatistics(env.env))
    assert wrapped.env_is_wrapped(gym.wrappers.vector.RecordEpisodeStatistics) == [True] * LANES
    assert wrapped.env_is_wrapped(gym.wrappers.TimeLimit) == [False] * LANES
    assert wrapped.get_attr("episode_count") == [0] * LANES


def test_environments_in_processes_of_their_own():
    vector = gym.make_vec(
        "CartPole-v1",
        2,
        vectorization_mode="async",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    env = GymnasiumVecEnv(vector)
    env.seed(0)
    first = env.reset()
    assert_same(first, GymnasiumVecEnv(sync("CartPole-v1", 2)).env.reset(seed=0)[0])
    env.set_attr("tau", 0.5)
    assert env.get_attr("tau") == [0.5, 0.5]
    with pytest.raises(ValueError, match=r"cannot set 'tau' in lanes \[0\] only"):
        env.set_attr("tau", 0.1, indices=0)
    with pytest.raises(ValueError, match="cannot call 'has_wrapper_attr' in lanes"):
        env.env_method("has_wrapper_attr", "tau", indices=1)
    assert env.env_method("has_wrapper_attr", "tau") == [True, True]
    assert env.env_is_wrapped(gym.wrappers.TimeLimit) == [False, False]
    env.close()


def test_options_are_one_for_all():
    env = maze()
    env.set_options([{"probe": True}] * LANES)
    env.reset()
    assert lanes_of(env).probe_from.tolist() == [0] * LANES
    with pytest.raises(
        ValueError, match=r"options of lane 2 are {'probe': False}, those of lane 0 {'probe': True}"
    ):
        env.set_options([{"probe": True}, {"probe": True}, {"probe": False}])
    with pytest.raises(ValueError, match="options must be a dict or 3 of them, not 1"):
        env.set_options([{}])
    with pytest.raises(RuntimeError, match="call step_async before step_wait"):
        env.step_wait()


def test_frames():
    env = maze(render_mode="rgb_array", render_size=32)
    env.reset()
    frames = env.get_images()
    assert [each.shape for each in frames if each is not None] == [(32, 32, 3)] * LANES
    tiled = env.render()
    assert tiled is not None
    assert tiled.shape == (64, 64, 3)
    assert maze().get_images() == [None] * LANES


class TestInfo:
    def info(self) -> Any:
        env = maze()
        env.seed(0)
        env.reset()
        return env.step(np.zeros((LANES, 2), np.float32))[3][1]

    def plain(self) -> dict[str, Any]:
        _, _, _, _, info = (env := gym.make(MAZE)).reset(seed=1) and env.step(np.zeros(2, np.float32))
        return {key: value for key, value in info.items() if key != "latencies"} | {
            "TimeLimit.truncated": False
        }

    @pytest.mark.parametrize(
        "read",
        [
            lambda info: dict(info),
            lambda info: {**info},
            lambda info: info.copy(),
            lambda info: {key: info[key] for key in info},
            lambda info: dict(zip(info.keys(), info.values(), strict=True)),
            lambda info: dict(info.items()),
            lambda info: info | {},
            lambda info: {} | info,
            lambda info: copy.deepcopy(info),
            lambda info: pickle.loads(pickle.dumps(info)),
            lambda info: {key: info.get(key) for key in ("goal", "goals_reached", "TimeLimit.truncated", "goal_latency")
                          if key in info},
        ],
    )  # fmt: skip
    def test_it_is_a_dictionary_however_it_is_read(self, read):
        found = read(self.info())
        assert found
        assert_same(found, self.plain())

    def test_it_can_be_written_as_json_and_printed(self):
        info = self.info()
        info.pop("goal")
        assert json.loads(json.dumps(info)) == {key: info[key] for key in info}
        assert repr(info) == repr(dict(info))
        assert len(info) == len(dict(info)) == len(list(info))

    def test_what_is_written_stays(self):
        info = self.info()
        info["goals_reached"] = -1
        del info["goal"]
        assert info["goals_reached"] == -1
        assert "goal" not in info
        assert info.get("goal", "none") == "none"
        assert info.setdefault("new", 3) == 3
        with pytest.raises(KeyError, match="untold"):
            info["untold"]

    def test_nothing_is_filled_by_asking_for_what_is_not_there(self, monkeypatch):
        info = self.info()
        monkeypatch.setattr(type(info), "_fill", lambda self: pytest.fail("filled"))
        assert info.get("episode") is None
        assert info.get("is_success", 5) == 5
        assert info.get("TimeLimit.truncated") is False
        assert info["TimeLimit.truncated"] is False


def test_statistics_of_gymnasiums_own_wrapper_arrive():
    env = GymnasiumVecEnv(
        gym.wrappers.vector.RecordEpisodeStatistics(sync("CartPole-v1", max_episode_steps=5))
    )
    env.reset()
    infos = [env.step(np.zeros(LANES, np.int64))[3] for _ in range(5)][-1]
    assert {(info["episode"]["r"], info["episode"]["l"]) for info in infos} == {(5.0, 5)}
    assert "episode" not in env.step(np.zeros(LANES, np.int64))[3][0]


class Endless(VectorEnv):
    """Infos in forms that others use: lists, and one value for all lanes."""

    num_envs = 2
    single_observation_space = observation_space = spaces.Box(0, 1, (2, 1))
    single_action_space = action_space = spaces.Discrete(2)
    metadata = {"autoreset_mode": "SameStep"}  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        return np.zeros((2, 1), np.float32), {}

    def step(self, actions):
        infos = {"names": ["a", "b"], "clock": 7, "_private": np.arange(2), "absent": [1, 2]}
        infos |= {"_absent": np.zeros(2, np.bool_), "zero": np.array(3)}
        return np.zeros((2, 1), np.float32), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool), infos


def test_infos_of_other_forms():
    env = GymnasiumVecEnv(Endless())
    env.reset()
    info = env.step(np.zeros(2, np.int64))[3][1]
    assert info == {"names": "b", "clock": 7, "_private": 1, "zero": 3, "TimeLimit.truncated": False}


def test_algorithms_learn_and_are_judged():
    env = VecNormalize(VecMonitor(maze(8)))
    model = PPO("MlpPolicy", env, n_steps=20, batch_size=40, n_epochs=1, seed=0, device="cpu").learn(320)
    assert model.ep_info_buffer is not None
    assert {episode["l"] for episode in model.ep_info_buffer} == {9}
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=10, return_episode_rewards=True)
    assert len(returns) == 10  # type: ignore[arg-type]
    assert set(lengths) == {9}  # type: ignore[arg-type]


def test_learning_is_that_of_the_usual_vector():
    weights = []
    for env in (
        VecMonitor(GymnasiumVecEnv(sync("CartPole-v1", 2))),
        make_vec_env("CartPole-v1", 2),
    ):
        model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu").learn(128)
        weights.append(model.policy.state_dict()["action_net.weight"])
    assert weights[0].equal(weights[1])
