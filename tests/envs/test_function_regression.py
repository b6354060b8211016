"""The single environment: contracts, an episode against its slow form, and what it says to bad input."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as check_by_gymnasium
from stable_baselines3.common.env_checker import check_env as check_by_sb3

from lsnn_gym.envs import FUNCTION_FAMILIES, FunctionRegressionEnv

ENV_IDS = {"lsnn_gym/FunctionRegression-v0": 500, "lsnn_gym/FunctionRegressionQuick-v0": 50}
PLANE = {"slopes": [0.5, -1.0], "offset": 0.25}


@pytest.fixture(autouse=True)
def _without_a_screen(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("env_id", ENV_IDS)
@pytest.mark.parametrize("family", FUNCTION_FAMILIES)
def test_both_checkers_are_content(env_id, family):
    options = {"family": family, "noise_std": 0.1, "render_size": 64}
    check_by_gymnasium(gym.make(env_id, **options).unwrapped)
    for render_mode in (None, "rgb_array", "human"):
        env = gym.make(env_id, render_mode=render_mode, **options)
        check_by_sb3(env)
        env.close()


@pytest.mark.parametrize("options", [{"show_target": False}, {"input_distribution": "normal"}])
def test_both_checkers_are_content_with_other_options(options):
    check_by_gymnasium(gym.make("lsnn_gym/FunctionRegression-v0", **options).unwrapped)
    check_by_sb3(gym.make("lsnn_gym/FunctionRegression-v0", **options))


@pytest.mark.parametrize(("env_id", "trials"), ENV_IDS.items())
def test_an_episode_lasts_its_trials(env_id, trials):
    env = gym.make(env_id)
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(trials)]
    assert ends == [(False, False)] * (trials - 1) + [(False, True)]
    with pytest.raises(ResetNeeded, match=rf"the episode is over after trials={trials}: call reset\(\)"):
        env.step(np.zeros(1, np.float32))


@pytest.mark.parametrize("family", FUNCTION_FAMILIES)
def test_an_episode_equals_the_slow_form(family):
    env = FunctionRegressionEnv(family=family, trials=12, noise_std=0.2)
    env.reset(seed=0)
    env.np_random = np.random.default_rng(11)
    observation, info = env.reset()
    about, generator = FUNCTION_FAMILIES[family], np.random.default_rng(11)
    drawn = about.draw([generator])
    span = about.input_high - about.input_low
    inputs = about.input_low + span * generator.random((13, about.input_size))
    values = np.clip(about.values(drawn, inputs[None])[0], about.target_low, about.target_high)
    targets = values + 0.2 * np.clip(generator.standard_normal(13), -4, 4)
    for name, each in drawn.items():
        np.testing.assert_array_equal(info["function"][name], each[0])
    np.testing.assert_array_equal(observation, np.array([*inputs[0], 0.0], np.float32))
    for trial, action in enumerate(np.random.default_rng(2).uniform(-1, 1, 12)):
        assert info["target"] == targets[trial]
        assert info["value"] == values[trial]
        observation, reward, _, _, info = env.step(np.array([action]))
        assert reward == pytest.approx(-((about.target_scale * action - targets[trial]) ** 2))
        np.testing.assert_array_equal(observation, np.array([*inputs[trial + 1], targets[trial]], np.float32))
    assert info["target"] == targets[12]


def test_whoever_knows_the_target_loses_nothing():
    env = FunctionRegressionEnv(family="sinusoid", trials=20)
    _, info = env.reset(seed=3)
    rewards = []
    for _ in range(20):
        _, reward, _, _, info = env.step(np.array([info["target"] / 5.0]))
        rewards.append(reward)
    assert rewards == pytest.approx([0.0] * 20, abs=1e-25)


def test_a_function_can_be_fixed():
    env = FunctionRegressionEnv(family="linear", trials=5)
    observation, info = env.reset(seed=0, options={"function": PLANE})
    assert info["target"] == pytest.approx(0.5 * observation[0] - observation[1] + 0.25, abs=1e-6)
    assert info["function"]["slopes"].tolist() == PLANE["slopes"]
    again, info_again = env.reset(seed=9, options={"function": info["function"]})
    assert again.tolist() != observation.tolist()
    assert info_again["function"]["offset"] == 0.25
    _, drawn = env.reset()  # for one episode only
    assert drawn["function"]["offset"] != 0.25


def test_inputs_can_be_normal_about_the_middle():
    spread = {}
    for distribution in ("uniform", "normal"):
        env = FunctionRegressionEnv(family="sinusoid", input_distribution=distribution, trials=4000)
        env.reset(seed=0)
        inputs = np.array([env.step(np.zeros(1))[0][0] for _ in range(4000)])
        assert np.abs(inputs).max() <= 5.0
        spread[distribution] = inputs.std()
    assert spread["uniform"] == pytest.approx(10 / np.sqrt(12), rel=0.03)
    assert spread["normal"] == pytest.approx(2.4, rel=0.05)  # 2.5, less what is cut off


def test_noise_is_on_targets_and_not_on_values():
    env = FunctionRegressionEnv(family="linear", trials=4000, noise_std=0.5)
    _, info = env.reset(seed=0, options={"function": PLANE})
    differences = []
    for _ in range(4000):
        differences.append(info["target"] - info["value"])
        info = env.step(np.zeros(1))[4]
    assert np.std(differences) == pytest.approx(0.5, rel=0.05)
    assert np.abs(differences).max() <= 2.0


def test_the_target_can_be_kept_back():
    env = FunctionRegressionEnv(family="sinusoid", trials=3, show_target=False)
    assert env.observation_space.shape == (1,)
    assert env.reset(seed=0)[0].shape == (1,)


def test_the_same_seed_gives_the_same_episode_and_another_another():
    def episode(seed: int) -> list[float]:
        env = FunctionRegressionEnv(trials=6)
        observations = [env.reset(seed=seed)[0]]
        observations += [env.step(np.zeros(1))[0] for _ in range(6)]
        return np.concatenate(observations).tolist()

    assert episode(4) == episode(4)
    assert episode(4) != episode(5)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_alike(duplicate):
    env = FunctionRegressionEnv(trials=4)
    env.reset(seed=0)
    env.step(np.zeros(1))
    twin = duplicate(env)
    for _ in range(3):
        np.testing.assert_array_equal(env.step(np.zeros(1))[0], twin.step(np.zeros(1))[0])
    np.testing.assert_array_equal(env.reset()[0], twin.reset()[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"family": "two_layer_netwrk"},
            "unknown function family 'two_layer_netwrk': did you mean 'two_layer_network'? there is "
            "gaussian_process, linear, polynomial, sinusoid, two_layer_network",
        ),
        (
            {"input_distribution": "nromal"},
            "input_distribution must be one of 'uniform', 'normal', not 'nromal' (did you mean 'normal'?)",
        ),
        ({"noise_std": -0.1}, "noise_std must be a finite number of at least 0, not -0.1"),
        ({"noise_std": np.nan}, "noise_std must be a finite number of at least 0, not nan"),
        ({"trials": 0}, "trials must be a whole number of at least 1, not 0"),
        ({"trials": 2.5}, "trials must be a whole number of at least 1, not 2.5"),
        ({"show_target": 1}, "show_target must be True or False, not 1"),
        ({"render_mode": "ansi"}, "render_mode must be None, 'human' or 'rgb_array', not 'ansi'"),
        ({"render_size": 0}, "render_size must be a whole number from 1 to 8192, not 0"),
    ],
)
def test_constructor_arguments_of_no_use_are_refused(options, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        FunctionRegressionEnv(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([np.nan], "an action must be finite, not [nan]"),
        ([np.inf], "an action must be finite, not [inf]"),
        ([1e200], "an action must be finite, not [1e+200]"),
        ([0.0, 0.0], "an action must have the shape (1,), not (2,)"),
        (0.0, "an action must have the shape (1,), not ()"),
        ("left", "an action must be numbers of shape (1,), not 'left'"),
    ],
)
def test_actions_of_no_use_are_refused_and_nothing_changes(action, message):
    env, twin = (FunctionRegressionEnv(trials=3) for _ in range(2))
    for each in (env, twin):
        each.reset(seed=0)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        env.step(action)
    assert str(caught.value) == message
    np.testing.assert_array_equal(env.step(np.zeros(1))[0], twin.step(np.zeros(1))[0])


def test_reset_options_of_no_use_are_refused():
    env = FunctionRegressionEnv(trials=3)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(np.zeros(1))
    with pytest.raises(ValueError, match=r"^unknown reset option 'fuction': did you mean 'function'\?"):
        env.reset(options={"fuction": {}})
    with pytest.raises(
        ValueError, match=r"^function must have the parameter 'hidden_weights', but has none$"
    ):
        env.reset(options={"function": {}})
