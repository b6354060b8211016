"""Bandits: contracts, episodes against their slow form, lane by lane, and what is said to bad input."""

from __future__ import annotations

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as check_by_gymnasium
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_by_sb3

from lsnn_gym.envs import BanditsEnv, BanditsVectorEnv, draw_bandit
from tests.envs.lane_by_lane import arrays_in, assert_same_steps

ENV_ID = "lsnn_gym/BernoulliBandits-v0"
FAMILIES = {"independent": 5, "dependent": 2, "informative": 11, "gaussian": 10}
LANES = 4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("show_previous", [True, False])
def test_both_checkers_are_content(family, show_previous):
    options = {"family": family, "arms": None, "show_previous": show_previous, "render_size": 64}
    check_by_gymnasium(gym.make(ENV_ID, **options).unwrapped)
    for render_mode in (None, "rgb_array", "human"):
        env = gym.make(ENV_ID, render_mode=render_mode, **options)
        check_by_sb3(env)
        env.close()


@pytest.mark.parametrize(("family", "arms"), FAMILIES.items())
def test_an_episode_equals_the_slow_form(family, arms):
    env = BanditsEnv(family=family, pulls=30)
    env.reset(seed=0)
    env.np_random = np.random.default_rng(11)
    observation, info = env.reset()
    rng = np.random.default_rng(11)
    if family == "independent":
        means = [rng.random() for _ in range(arms)]
    elif family == "gaussian":
        means = [rng.normal() for _ in range(arms)]
    elif family == "dependent":
        best = rng.integers(arms)
        mean = 0.5 + 0.5 * rng.random()
        means = [mean if arm == best else 1.0 - mean for arm in range(arms)]
    else:
        target = int(rng.integers(arms - 1))
        means = [5.0 if arm == target else 1.0 for arm in range(arms - 1)] + [(target + 1) / 10]
    assert info["means"].tolist() == means
    assert observation.tolist() == [0.0] * (arms + 1)
    chances = [rng.normal() if family == "gaussian" else rng.random() for _ in range(30)]
    regret = 0.0
    for pull in range(30):
        arm = (pull * 7) % arms
        paid = {"gaussian": means[arm] + chances[pull], "informative": means[arm]}.get(
            family, float(chances[pull] < means[arm])
        )
        observation, reward, terminated, truncated, info = env.step(arm)
        regret += max(means) - means[arm]
        assert reward == paid
        assert info["regret"] == pytest.approx(regret, abs=1e-12)
        assert observation.tolist() == [float(each == arm) for each in range(arms)] + [np.float32(paid)]
        assert (terminated, truncated) == (False, pull == 29)
    with pytest.raises(ResetNeeded, match=r"the episode is over after pulls=\d+: call reset\(\)"):
        env.step(0)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("family", FAMILIES)
def test_every_lane_does_what_a_single_environment_does(mode, family):
    options = {"family": family, "arms": None, "pulls": 8}
    ours = gym.make_vec(ENV_ID, LANES, autoreset_mode=mode, **options)
    theirs = gym.make_vec(
        ENV_ID, LANES, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **options
    )
    assert isinstance(ours, BanditsVectorEnv)
    assert_same_steps(ours.reset(seed=3), theirs.reset(seed=3))
    rng, ends = np.random.default_rng(0), 0
    for step in range(40):
        actions = rng.integers(FAMILIES[family], size=LANES)
        result = ours.step(actions)
        assert_same_steps(result, theirs.step(actions))
        ends += result[3].sum()
        mask = result[3].copy() if mode is AutoresetMode.DISABLED else np.zeros(LANES, np.bool_)
        if step in (4, 17):  # from here on the lanes are out of step with each other
            mask |= rng.random(LANES) < 0.5
        if mask.any():
            choice = {"means": rng.random(FAMILIES[family]), "reset_mask": mask}
            assert_same_steps(*(env.reset(options=copy.deepcopy(choice)) for env in (ours, theirs)))
    assert ends > 2 * LANES


def test_what_is_returned_is_never_shared():
    env = gym.make_vec(ENV_ID, 3, autoreset_mode=AutoresetMode.SAME_STEP, pulls=2)
    arrays = arrays_in(env.reset(seed=0))
    for _ in range(4):
        arrays += arrays_in(env.step(np.zeros(3, np.int64)))
    assert len(arrays) > 30
    for index, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:index])


def test_whoever_knows_the_best_arm_has_no_regret():
    env = BanditsEnv(pulls=200)
    _, info = env.reset(seed=1)
    best = int(np.argmax(info["means"]))
    rewards = [env.step(best)[1] for _ in range(200)]
    assert np.mean(rewards) == pytest.approx(info["means"][best], abs=0.1)
    assert env._lanes.regret[0] == 0.0


def test_the_informative_arm_tells_the_target():
    env = BanditsEnv(family="informative", pulls=2)
    for seed in range(20):
        env.reset(seed=seed)
        told = env.step(10)[1]
        assert env.step(round(10 * told) - 1)[1] == 5.0


def test_the_dependent_arms_of_two_add_up_to_one():
    env = BanditsEnv(family="dependent")
    means = np.array([env.reset(seed=seed)[1]["means"] for seed in range(400)])
    np.testing.assert_allclose(means.sum(axis=1), 1.0)
    assert np.histogram(means[:, 0], 4, (0, 1))[0] == pytest.approx([100] * 4, abs=30)  # uniform


def test_means_can_be_fixed():
    env = BanditsVectorEnv(2, arms=2)
    _, info = env.reset(seed=0, options={"means": [[1.0, 0.0], [0.0, 1.0]]})
    assert info["means"].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert env.step(np.array([0, 0]))[1].tolist() == [1.0, 0.0]
    assert BanditsVectorEnv(2, max_episode_steps=3).options.pulls == 3
    assert BanditsVectorEnv(2, max_episode_steps=300).options.pulls == 100


def test_pictures_show_the_arms_and_the_pulls():
    env = gym.make(ENV_ID, render_mode="rgb_array", arms=3, render_size=90)
    env.reset(seed=0, options={"means": [0.2, 0.9, 0.5]})
    before = env.render()
    env.step(2)
    after = env.render()
    assert before.shape == (90, 90, 3)  # type: ignore[union-attr]
    assert not np.array_equal(before, after)  # type: ignore[arg-type]
    frame = draw_bandit([0.2, 0.9, 0.5], [2], [1.0], size=90)
    np.testing.assert_array_equal(frame[:, :60], after[:, :60])  # type: ignore[index]
    # The best arm's bar is the highest, and darker than the others.
    assert frame[12, 45].tolist() == [74, 138, 92]
    assert frame[12, 20].tolist() == [246, 244, 239]
    vector = gym.make_vec(ENV_ID, 2, render_mode="rgb_array", render_size=16)
    vector.reset(seed=0)
    frames = vector.render()
    assert frames is not None
    assert len(frames) == 2
    with pytest.raises(ValueError, match=r"chosen and rewards \(k,\), not \(2,\), \(1,\) and \(2,\)"):
        draw_bandit([0.1, 0.2], [1], [1.0, 2.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"family": "gausian"},
            "unknown bandit family 'gausian': did you mean 'gaussian'? there is dependent, gaussian, "
            "independent, informative",
        ),
        ({"arms": 1}, "arms must be a whole number of at least 2, not 1"),
        ({"arms": 2, "family": "informative"}, "arms must be a whole number of at least 3, not 2"),
        ({"pulls": 0}, "pulls must be a whole number of at least 1, not 0"),
        ({"show_previous": 1}, "show_previous must be True or False, not 1"),
        ({"render_mode": "ansi"}, "render_mode must be None, 'human' or 'rgb_array', not 'ansi'"),
    ],
)
def test_constructor_arguments_of_no_use_are_refused(options, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        BanditsEnv(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (5, "an action must be a whole number from 0 to 4, not 5"),
        (-1, "an action must be a whole number from 0 to 4, not -1"),
        (0.0, "an action must be a whole number from 0 to 4, not 0.0"),
        ("left", "an action must be a whole number from 0 to 4, not 'left'"),
        (np.array([0]), r"an action must have the shape \(\), not \(1,\)"),
    ],
)
def test_actions_of_no_use_are_refused(action, message):
    env = BanditsEnv()
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=f"^{message}$"):
        env.step(action)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.1]}, "unknown reset option 'mean': did you mean 'means'"),
        ({"means": [0.1]}, r"means must have the shape \(5,\) or \(1, 5\), not \(1,\)"),
        ({"means": [0, 0, 0, 0, 1.5]}, "means must be from 0 to 1, not 1.5"),
        ({"means": [0, 0, 0, 0, np.nan]}, "means must be from 0 to 1, not nan"),
        ({"means": "high"}, "means must be numbers, one an arm, not 'high'"),
    ],
)
def test_reset_options_of_no_use_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BanditsEnv().reset(seed=0, options=options)
