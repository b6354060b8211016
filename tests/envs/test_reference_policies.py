"""Reference policies and the figures that agents are measured by."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lsnn_gym.envs import (
    REFERENCE_POLICIES,
    MazeStatistics,
    WaterMazeOptions,
    WaterMazeVectorEnv,
    evaluate_policy,
)

QUICK = "lsnn_gym/WaterMazeQuick-v0"
PAPER = "lsnn_gym/WaterMaze-v0"


def slow_statistics(reached: np.ndarray) -> MazeStatistics:
    """Go through every episode step by step."""
    goals, firsts, laters, found = 0, [], [], 0
    for episode in reached.T:
        steps = [step for step, flag in enumerate(episode, start=1) if flag]
        goals += len(steps)
        found += bool(steps)
        firsts.append(steps[0] if steps else len(episode))
        laters += [later - sooner for sooner, later in itertools.pairwise(steps)]
    later = sum(laters) / len(laters) if laters else math.nan
    return MazeStatistics(
        goals / reached.shape[1], sum(firsts) / len(firsts), later, found / reached.shape[1]
    )


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 5))))
def test_statistics_equal_the_slow_form(reached):
    figures, expected = MazeStatistics.from_goals(reached), slow_statistics(reached)
    for name, value in figures.as_dict().items():
        assert value == pytest.approx(expected.as_dict()[name]), name


def test_statistics_of_a_case_worked_out_by_hand():
    reached = np.zeros((10, 3), np.bool_)
    reached[[1, 4, 9], 0] = True  # steps 2, 5, 10
    reached[6, 1] = True  # step 7; the third episode never
    figures = MazeStatistics.from_goals(reached)
    assert figures.goals_per_episode == pytest.approx(4 / 3)
    assert figures.first_latency == pytest.approx((2 + 7 + 10) / 3)
    assert figures.later_latency == pytest.approx((3 + 5) / 2)
    assert figures.found_share == pytest.approx(2 / 3)


def test_statistics_are_valid_json_without_a_second_goal():
    figures = MazeStatistics.from_goals(np.eye(3, dtype=np.bool_))
    assert math.isnan(figures.later_latency)
    assert json.loads(json.dumps(figures.as_dict(), allow_nan=False))["later_latency"] is None


@pytest.mark.parametrize(
    ("reached", "message"),
    [
        (np.zeros((3, 2)), r"goal_reached must be bools \(steps, episodes\), not float64 of shape \(3, 2\)"),
        (
            np.zeros((0, 2), np.bool_),
            r"goal_reached must be bools \(steps, episodes\), not bool of shape \(0, 2\)",
        ),
        (np.zeros(5, np.bool_), r"goal_reached must be bools \(steps, episodes\), not bool of shape \(5,\)"),
    ],
)
def test_statistics_of_something_else_are_refused(reached, message):
    with pytest.raises(ValueError, match=message):
        MazeStatistics.from_goals(reached)


@pytest.mark.parametrize(
    ("policy", "goals", "first", "later", "found"),
    [
        ("random", 0.64, 142, 42, 0.41),
        ("oracle", 31.0, 6.7, 6.3, 1.0),
        ("sweep_then_exploit", 26.7, 25.8, 6.6, 1.0),
    ],
)
def test_quick_figures(policy, goals, first, later, found):
    figures = evaluate_policy(policy, QUICK, 2048, seed=5)
    assert figures.goals_per_episode == pytest.approx(goals, rel=0.02, abs=0.06)
    assert figures.first_latency == pytest.approx(first, rel=0.04)
    assert figures.later_latency == pytest.approx(later, rel=0.12)
    assert figures.found_share == pytest.approx(found, rel=0.002, abs=0.03)


@pytest.mark.parametrize(
    ("policy", "goals", "first", "later"),
    [("oracle", 66.6, 30.5, 29.8), ("sweep_then_exploit", 60, 121, 31.5)],
)
def test_paper_scale_figures(policy, goals, first, later):
    figures = evaluate_policy(policy, PAPER, 256, seed=5)
    assert figures.goals_per_episode == pytest.approx(goals, rel=0.06)
    assert figures.first_latency == pytest.approx(first, rel=0.15)
    assert figures.later_latency == pytest.approx(later, rel=0.06)
    assert figures.found_share == 1


def test_figures_depend_on_the_seed_alone():
    assert evaluate_policy("random", QUICK, 64, seed=1) == evaluate_policy("random", QUICK, 64, seed=1)
    assert evaluate_policy("random", QUICK, 64, seed=1) != evaluate_policy("random", QUICK, 64, seed=2)


def test_options_reach_the_environment():
    assert evaluate_policy("oracle", QUICK, 16, goal_radius=1.0).later_latency < 3
    assert evaluate_policy("sweep_then_exploit", QUICK, 16, arena_size=3.0, goal_radius=0.9).found_share > 0


def test_only_the_oracle_looks_at_the_goal():
    rng = np.random.default_rng(0)
    observations = np.concatenate([rng.uniform(-0.5, 0.5, (5, 2)), np.zeros((5, 2))], axis=1)
    looks = {}
    for name, policy_class in REFERENCE_POLICIES.items():
        chosen = []
        for goals in (np.zeros((5, 2)), np.full((5, 2), 0.9)):
            policy = policy_class()
            policy.reset(5, WaterMazeOptions(), np.random.default_rng(0))
            chosen.append(policy.act(observations, goals))
        assert chosen[0].shape == (5, 2)
        looks[name] = not np.array_equal(*chosen)
    assert looks == {"random": False, "oracle": True, "sweep_then_exploit": False}


@pytest.mark.parametrize("name", sorted(REFERENCE_POLICIES))
def test_actions_lie_in_the_action_space(name):
    env = WaterMazeVectorEnv(32, step_size=0.1, max_steps=100)
    policy = REFERENCE_POLICIES[name]()
    policy.reset(32, env.options, np.random.default_rng(0))
    observations, infos = env.reset(seed=0)
    for _ in range(100):
        actions = policy.act(observations, infos["goal"])
        assert np.abs(actions).max() <= 1
        observations, *_, infos = env.step(actions)


def test_the_sweeper_searches_where_it_met_the_goal_when_the_goal_is_gone():
    """A probe trial in the middle of an episode, as with an animal: it waits near where the goal was."""
    env = WaterMazeVectorEnv(64, step_size=0.1, max_steps=200)
    policy = REFERENCE_POLICIES["sweep_then_exploit"]()
    policy.reset(64, env.options, np.random.default_rng(0))
    observations, infos = env.reset(seed=0, options={"probe": True, "probe_from": 120})
    for _ in range(200):
        observations, *_, infos = env.step(policy.act(observations, infos["goal"]))
    assert infos["near_goal_share"].mean() > 0.8


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="unknown reference policy 'oracel': did you mean 'oracle'"):
        evaluate_policy("oracel", QUICK, 2)
