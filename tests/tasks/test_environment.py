"""Supervised tasks as an environment: contracts, what an episode is, what is paid, and messages for bad input."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env as check_by_gymnasium
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_by_sb3

from lsnn_gym.tasks.environment import SupervisedEnv
from lsnn_gym.tasks.task import IGNORED, Batch
from tests.tasks.supervised_envs import ENV_ID, EVIDENCE, RECALL, ROWS, TASKS, made


def shown(env: SupervisedEnv, **how: Any) -> list[list[float]]:
    """Return the inputs of an episode, reset so, to its end."""
    observation, _ = env.reset(**how)
    rows, over = [observation.tolist()], False
    while not over:
        observation, _, over, _, _ = env.step(0)
        rows.append(observation.tolist())
    return rows[:-1]


def sequences(env: SupervisedEnv) -> list[Batch]:
    assert env.split in ("validation", "test")
    return list(env.task.batches(env.split, 1))


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(("task", "options"), TASKS)
def test_both_checkers_are_content(task, options, split):
    check_by_gymnasium(made(task, options, split))
    check_by_sb3(made(task, options, split))


def test_it_is_made_without_arguments():
    env = gym.make(ENV_ID)
    assert isinstance(env.unwrapped, SupervisedEnv)
    assert env.observation_space == gym.spaces.Box(0, 1, (100,), np.float32)
    assert env.action_space == gym.spaces.Discrete(2)
    observation, _ = env.reset(seed=0)
    assert observation.shape == (100,)


def test_its_spec_survives_json():
    spec = gym.make(ENV_ID, task="evidence-accumulation", options=EVIDENCE, split="test").spec
    assert spec is not None
    again = gym.make(EnvSpec.from_json(spec.to_json())).unwrapped
    assert isinstance(again, SupervisedEnv)
    assert (again.split, again.task.input_size) == ("test", 8)


def test_only_making_it_loads_torch():
    code = (
        "import sys, lsnn_gym, gymnasium\n"
        f"print({ENV_ID!r} in gymnasium.registry, 'torch' in sys.modules)\n"
        f"gymnasium.make({ENV_ID!r})\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True False\nTrue\n", done.stderr


def test_an_episode_worked_out_by_hand(by_hand):
    env = by_hand
    observation, info = env.reset(seed=0)
    assert observation.tolist() == [0, 1]
    assert info == {"asked": False, "target": -1}
    expected = [
        # action, next observation, reward of the action, terminated, what the next action is judged by
        (0, [2, 3], 0.0, False, {"asked": False, "target": -1}),
        (1, [4, 5], 0.0, False, {"asked": True, "target": 1}),
        (1, [6, 7], 0.5, False, {"asked": True, "target": 1}),
        (0, [8, 9], 0.0, False, {"asked": True, "target": 0}),
        (2, [10, 11], 0.0, False, {"asked": True, "target": 0}),
        (0, [0, 0], 0.5, True, {"asked": False, "target": -1}),
    ]
    for action, following, reward, over, told in expected:
        observation, *rest = env.step(action)
        assert observation.tolist() == following
        assert rest == [reward, over, False, told]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize(("task", "options"), TASKS)
def test_an_episode_equals_the_slow_form(task, options, split):
    env = made(task, options, split)
    env.action_space.seed(1)
    for batch in sequences(env)[:3]:
        inputs, targets = batch.inputs[:, 0].tolist(), batch.targets[:, 0].tolist()
        window = len(inputs) // len(targets)
        observation, info = env.reset()
        for step, row in enumerate(inputs):
            assert observation.tolist() == row
            assert observation in env.observation_space
            target = targets[step // window]
            assert info == {"asked": target != IGNORED, "target": -1 if target == IGNORED else target}
            action = env.action_space.sample()
            observation, reward, terminated, truncated, info = env.step(action)
            assert reward == (1 / window if action == target else 0.0)
            assert terminated is (step == len(inputs) - 1)
            assert truncated is False
        assert not observation.any()
        assert observation in env.observation_space


@pytest.mark.parametrize(("task", "options"), TASKS)
def test_an_oracle_earns_the_number_of_windows_that_ask(task, options):
    env = made(task, options, "test")
    for batch in sequences(env)[:3]:
        _, info = env.reset()
        earned, over = 0.0, False
        while not over:
            _, reward, over, _, info = env.step(info["target"] if info["asked"] else 0)
            earned += reward
        asked = int((batch.targets != IGNORED).sum())
        assert asked >= 1
        assert earned == pytest.approx(asked, abs=1e-9)


@pytest.mark.parametrize("action", [0, 1])
def test_a_fixed_action_earns_as_often_as_it_is_the_target(action):
    env = made(options={**RECALL, "length": 12, "evaluation_sequences": 8}, split="test")
    counts = [int((batch.targets == action).sum()) for batch in sequences(env)]
    assert set(counts) >= {0, 1}
    for count in counts:
        env.reset()
        steps = [env.step(action) for _ in range(60)]
        assert steps[-1][2]
        assert sum(step[1] for step in steps) == pytest.approx(count, abs=1e-9)


def test_types_are_plain_and_keys_not_reserved(by_hand):
    by_hand.reset(seed=0)
    for action in (1, np.int64(1), np.array(1)):
        observation, reward, terminated, truncated, info = by_hand.step(action)
        assert (observation.dtype, observation.shape) == (np.float32, (2,))
        assert [type(each) for each in (reward, terminated, truncated)] == [float, bool, bool]
        assert [type(each) for each in info.values()] == [bool, int]
        assert set(info) == {"asked", "target"}


def test_what_is_returned_is_never_shared():
    env = made("sequential-images", ROWS, "validation")
    before = shown(env, seed=0)
    returned = [env.reset(options={"sequence": 0})]
    for _ in range(16):
        observation, *_, info = env.step(0)
        returned.append((observation, info))
    for number, (observation, info) in enumerate(returned):
        assert observation.flags.owndata  # no view of the sequence, nor of the task's data
        for other, other_info in returned[:number]:
            assert not np.shares_memory(observation, other)
            assert info is not other_info
        observation += 1
        info.clear()
    assert shown(env, options={"sequence": 0}) == before


class TestTraining:
    @pytest.mark.parametrize(("task", "options"), TASKS)
    def test_seeds_decide_everything(self, task, options):
        env, other = made(task, options), made(task, options)
        torch.manual_seed(0)
        first = [shown(env, seed=4), shown(env), shown(env)]
        torch.manual_seed(1)
        assert [shown(other, seed=4), shown(other), shown(other)] == first
        assert first[0] != first[1] != first[2]
        assert shown(env, seed=5) != first[0]
        assert shown(env, seed=4) == first[0]

    def test_each_sequence_takes_one_whole_number_from_the_generator(self):
        env = made()
        generator = np.random.default_rng(7)
        env.reset(seed=0)
        env.np_random = np.random.default_rng(7)
        for _ in range(3):
            expected = env.task.training_batch(1, 0, int(generator.integers(2**31)))
            assert shown(env) == expected.inputs[:, 0].tolist()

    def test_sequences_are_of_the_training_part(self):
        env = made("sequential-images", ROWS)
        every = env.task.training_batch(1150, 0, 0).inputs
        known = {str(every[:, lane].tolist()) for lane in range(1150)}
        found = {str(shown(env, seed=seed)) for seed in range(20)}
        assert found <= known
        assert len(found) > 15


class TestSplits:
    def test_sequences_come_in_order_and_start_over_after_the_last(self):
        env = made(split="validation")
        known = [batch.inputs[:, 0].tolist() for batch in sequences(env)]
        assert [shown(env) for _ in range(7)] == [*known, *known, known[0]]

    def test_a_sequence_can_be_named(self):
        env = made(split="test")
        known = [batch.inputs[:, 0].tolist() for batch in sequences(env)]
        assert shown(env, options={"sequence": 2}) == known[2]
        assert shown(env) == known[0]
        assert shown(env, options={"sequence": np.int64(1)}) == known[1]
        assert shown(env, options={"sequence": 1}) == known[1]
        assert shown(env) == known[2]
        assert shown(env, options={"sequence": 0}) == known[0]
        assert shown(env, options={}) == known[1]

    def test_a_seed_begins_with_the_first_sequence(self):
        env = made(split="test")
        known = [batch.inputs[:, 0].tolist() for batch in sequences(env)]
        shown(env)
        assert shown(env, seed=1) == known[0]
        assert shown(env) == known[1]
        assert shown(env, seed=2) == known[0]
        assert shown(env, seed=3, options={"sequence": 1}) == known[1]
        assert shown(env) == known[2]

    def test_what_was_refused_changes_nothing(self):
        env = made(split="test")
        known = [batch.inputs[:, 0].tolist() for batch in sequences(env)]
        shown(env)
        with pytest.raises(ValueError, match="sequence must be at most 2 in the split 'test', not 3"):
            env.reset(options={"sequence": 3})
        assert shown(env) == known[1]

    def test_they_differ(self):
        assert shown(made(split="test")) != shown(made(split="validation"))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_copy_goes_on_alike(duplicate, split):
    env = made(split=split)
    env.reset(seed=0)
    env.reset()
    for _ in range(7):
        env.step(0)
    twin = duplicate(env)
    for step in range(7, 20):
        one, other = env.step(1), twin.step(1)
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:] == other[1:]
        assert one[2] is (step == 19)
    assert [shown(env) for _ in range(3)] == [shown(twin) for _ in range(3)]


def test_the_environments_of_a_vector_share_their_task():
    envs = gym.make_vec(ENV_ID, num_envs=3, task="store-recall", options=RECALL)
    assert isinstance(envs, gym.vector.SyncVectorEnv)
    first, *others = [env.unwrapped for env in envs.envs]
    assert isinstance(first, SupervisedEnv)
    assert all(isinstance(each, SupervisedEnv) and each.task is first.task for each in others)
    assert made(options={**RECALL, "length": 5}).task is not first.task
    observations, infos = envs.reset(seed=3)
    assert observations.shape == (3, 8)
    assert infos["target"].tolist() == [-1, -1, -1]
    for lane in range(3):
        np.testing.assert_array_equal(observations[lane], made().reset(seed=3 + lane)[0])


@pytest.mark.parametrize(
    ("task", "options", "low", "high"),
    [
        ("store-recall", {}, 0, 1),
        ("evidence-accumulation", {}, 0, 1),
        ("sequential-images", {"coding": "grey"}, 0, 1),
        ("few-shot", {}, 0, 1),
        ("spoken-digits", {}, 0, 1),
        ("spoken-digits", {"coding": "currents"}, -np.inf, np.inf),
        ("framewise-phones", {}, -np.inf, np.inf),
    ],
)
def test_bounds_are_those_of_the_inputs_and_need_no_data(task, options, low, high, monkeypatch, tmp_path):
    monkeypatch.setenv("LSNN_GYM_DATA", str(tmp_path))
    env = SupervisedEnv(task=task, options=options)
    assert env.observation_space == gym.spaces.Box(low, high, (env.task.input_size,), np.float32)


def test_ppo_learns_for_a_while():
    env = made()
    agent = PPO(
        "MlpPolicy",
        env,
        n_steps=32,
        batch_size=16,
        n_epochs=2,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [8]},
    )
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    agent.learn(64)
    assert agent.num_timesteps == 64
    after = agent.policy.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert not torch.equal(before["action_net.weight"], after["action_net.weight"])
    assert [info["l"] for info in agent.ep_info_buffer or []] == [20, 20, 20]
