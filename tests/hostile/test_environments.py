"""Whatever an environment is given: it takes it, or refuses it by name and goes on as if nothing had been."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lsnn_gym.envs  # noqa: F401 (registers them)

IDS = sorted(name for name in gym.registry if name.startswith("lsnn_gym/"))
BATCHED = [name for name in IDS if gym.registry[name].vector_entry_point is not None]
REFUSALS = (ValueError, gym.error.Error)
OPTIONS = ("goal", "position", "probe", "probe_from", "means", "function", "sequence", "reset_mask", "x", "")
FEW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

numbers = st.one_of(
    st.integers(-2, 5),
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([10**400, -(2**63), 2**64, 1e308, True, 1 + 2j, np.float32("nan"), np.int8(-1)]),
)
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
kinds = st.sampled_from(["f4", "f8", "f2", "i8", "u1", "bool", "c16", "U3", "O", "M8[s]", "V4"])
arrays = st.builds(lambda shape, kind: np.zeros(shape, kind), shapes, kinds)
anything = st.recursive(
    st.one_of(numbers, arrays, st.none(), st.text(max_size=3), st.binary(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
options = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from(OPTIONS), anything, max_size=2),
    st.dictionaries(st.text(), anything),
)


def is_refused(call: Any, *arguments: Any, **named: Any) -> bool:
    """Return whether a call refuses what it was given; anything but a refusal is an error of the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about what is refused or cut next
        try:
            call(*arguments, **named)
        except REFUSALS as error:
            refusal: Exception = error
        else:
            return False
    assert str(refusal)
    assert not isinstance(refusal, UnicodeError)
    return True


@pytest.fixture(scope="module", params=IDS)
def single(request: pytest.FixtureRequest) -> gym.Env[Any, Any]:
    return gym.make(request.param).unwrapped if "RL2" not in request.param else gym.make(request.param)


@pytest.fixture(scope="module", params=BATCHED)
def batched(request: pytest.FixtureRequest) -> Any:
    return gym.make_vec(request.param, num_envs=3)


@FEW
@given(action=anything, seed=st.integers(0, 2**32))
def test_actions(single: Any, action: Any, seed: int):
    single.reset(seed=seed)
    single.action_space.seed(seed)
    refused = is_refused(single.step, action)
    if refused:  # then the episode has not moved
        other = single.step(single.action_space.sample())
        single.reset(seed=seed)
        single.action_space.seed(seed)
        np.testing.assert_array_equal(single.step(single.action_space.sample())[0], other[0])
    observation = single.reset(seed=seed)[0]
    assert single.observation_space.contains(observation)


@FEW
@given(options=options, seed=st.one_of(st.none(), st.integers(-3, 2**70), st.floats(), st.text(max_size=2)))
def test_resets(single: Any, options: Any, seed: Any):
    is_refused(single.reset, options=options)
    is_refused(single.reset, seed=seed)
    observation = single.reset(seed=1)[0]
    assert single.observation_space.contains(observation)
    assert np.isfinite(single.step(single.action_space.sample())[1])


@FEW
@given(actions=anything, options=options)
def test_batches(batched: Any, actions: Any, options: Any):
    batched.reset(seed=1)
    is_refused(batched.step, actions)
    is_refused(batched.reset, options=options)
    batched.reset(seed=1)
    observations, rewards, *_ = batched.step(batched.action_space.sample())
    assert batched.observation_space.contains(observations)
    assert np.isfinite(rewards).all()
