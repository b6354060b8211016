"""Supervised tasks as an environment: messages for bad input."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from lsnn_gym.errors import UserError
from lsnn_gym.tasks.environment import SupervisedEnv
from tests.tasks.supervised_envs import ENV_ID, made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"task": "store-recal"},
            "unknown task.kind 'store-recal': did you mean 'store-recall'? there is evidence-accumulation, ",
        ),
        (
            {"options": {"lenght": 5}},
            "unknown key 'task.lenght': did you mean 'task.length'? task has ",
        ),
        ({"options": {"length": 2}}, "task.length is 2, expected greater than or equal to 3"),
        (
            {"options": {"kind": "few-shot"}},
            "task: kind is 'few-shot', expected the name of the task, 'store-recall'",
        ),
    ],
)
def test_unknown_tasks_and_settings_get_the_nearest(arguments, message):
    with pytest.raises(UserError) as caught:
        gym.make(ENV_ID, **arguments)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "tets"}, "split must be 'train', 'validation' or 'test', not 'tets'"),
        ({"split": None}, "split must be 'train', 'validation' or 'test', not None"),
        ({"render_mode": "human"}, "render_mode must be None, not 'human'"),
    ],
)
def test_other_arguments_of_no_use_are_refused(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        SupervisedEnv(**arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        (
            "test",
            {"sequnce": 1},
            "unknown reset option 'sequnce': did you mean 'sequence'? there is sequence",
        ),
        ("test", {"sequence": -1}, "sequence must be a whole number of at least 0, not -1"),
        ("test", {"sequence": 1.0}, "sequence must be a whole number of at least 0, not 1.0"),
        ("test", {"sequence": True}, "sequence must be a whole number of at least 0, not True"),
        ("test", {"sequence": None}, "sequence must be a whole number of at least 0, not None"),
        ("validation", {"sequence": 9}, "sequence must be at most 2 in the split 'validation', not 9"),
        (
            "train",
            {"sequence": 0},
            "sequence is of use in the splits validation and test only: train draws its own",
        ),
    ],
)
def test_reset_options_of_no_use_are_refused(split, options, message):
    env = made(split=split)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        env.reset(options=options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("action", "shown_as"),
    [(3, "3"), (-1, "-1"), (1.0, "1.0"), ("1", "'1'"), (np.array([1]), r"array\(\[1\]\)"), (None, "None")],
)
def test_bad_actions_are_refused_and_take_no_step(by_hand, action, shown_as):
    by_hand.reset(seed=0)
    with pytest.raises(ValueError, match=f"^an action must be a whole number from 0 to 2, not {shown_as}$"):
        by_hand.step(action)
    assert by_hand.step(0)[0].tolist() == [2, 3]


def test_steps_out_of_turn_are_refused(by_hand):
    with pytest.raises(ResetNeeded, match=r"^call reset\(\) before step\(\)$"):
        by_hand.step(0)
    by_hand.reset(seed=0)
    assert [by_hand.step(0)[2] for _ in range(6)] == [False] * 5 + [True]
    for _ in range(2):
        with pytest.raises(ResetNeeded, match=r"^the sequence is over after 6 steps: call reset\(\)$"):
            by_hand.step(0)
    by_hand.reset()
    assert by_hand.step(0)[0].tolist() == [2, 3]


def test_missing_data_are_named_at_the_reset(monkeypatch, tmp_path):
    monkeypatch.setenv("LSNN_GYM_DATA", str(tmp_path))
    env = SupervisedEnv(task="framewise-phones")
    with pytest.raises(UserError, match=r"^TIMIT is proprietary and cannot be downloaded: "):
        env.reset(seed=0)
    with pytest.raises(ResetNeeded, match=r"^call reset\(\) before step\(\)$"):
        env.step(0)
