"""Speed of the environments: one alone, many one after the other, and many computed together."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import VectorizeMode

_NAMESPACE = "lsnn_gym"
_REPETITIONS = 5
_NUM_DRAWN_ACTIONS = 16


def benchmark_environments(num_envs: int = 1024, seconds: float = 6.0) -> dict[str, Any]:
    """Measure this library's natively vectorised environments, stepped with random actions drawn beforehand.

    The forms of an environment take turns, and the medians of their turns count, so that a machine that is
    busy for a while slows all of them alike.

    Args:
        num_envs: Lanes of the vectorised forms.
        seconds: Time to spend on each environment, without the time it takes to make it.

    Returns:
        By environment id: ``num_envs``; ``steps_per_second``, environment steps a second, summed over the
        lanes, of ``single``, ``sync_vector_env`` (Gymnasium's, without its checker) and
        ``native_vector_env``; and ``ratio_to_sync_vector_env``, the native form's steps over Gymnasium's.

    Raises:
        ValueError: If ``num_envs`` or ``seconds`` is not greater than 0.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, not {num_envs!r}")
    if not seconds > 0:
        raise ValueError(f"seconds must be greater than 0, not {seconds!r}")
    return {env_id: _benchmark(env_id, num_envs, seconds) for env_id in environment_ids()}


def environment_ids() -> list[str]:
    """Return the ids of this library's registered environments that have a natively vectorised form, sorted."""
    return sorted(
        env_id
        for env_id, spec in gym.registry.items()
        if spec.namespace == _NAMESPACE and spec.vector_entry_point is not None
    )


def _benchmark(env_id: str, num_envs: int, seconds: float) -> dict[str, Any]:
    makers: dict[str, Callable[[], gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]]] = {
        "single": lambda: gym.make(env_id, disable_env_checker=True),
        "sync_vector_env": lambda: gym.make_vec(
            env_id, num_envs, vectorization_mode=VectorizeMode.SYNC, disable_env_checker=True
        ),
        "native_vector_env": lambda: gym.make_vec(env_id, num_envs),
    }
    lanes = {"single": 1, "sync_vector_env": num_envs, "native_vector_env": num_envs}
    envs = {form: make() for form, make in makers.items()}
    try:
        steppers = {form: _steps(env) for form, env in envs.items()}
        rates: dict[str, list[float]] = {form: [] for form in envs}
        turn = seconds / (_REPETITIONS * len(envs))
        for _ in range(_REPETITIONS):
            for form, stepper in steppers.items():
                rates[form].append(lanes[form] * _rate(stepper, turn))
    finally:
        for env in envs.values():
            env.close()
    steps_per_second = {form: statistics.median(rates[form]) for form in lanes}
    ratio = steps_per_second["native_vector_env"] / steps_per_second["sync_vector_env"]
    return {
        "num_envs": num_envs,
        "steps_per_second": steps_per_second,
        "ratio_to_sync_vector_env": ratio,
    }


def _steps(env: gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]) -> Iterator[None]:
    """Take one step of all lanes each time the next item is asked for."""
    env.action_space.seed(0)
    actions = itertools.cycle([env.action_space.sample() for _ in range(_NUM_DRAWN_ACTIONS)])
    env.reset(seed=0)
    alone = isinstance(env, gym.Env)
    while True:
        _, _, terminated, truncated, _ = env.step(next(actions))
        if alone and (terminated or truncated):
            env.reset()
        yield


def _rate(stepper: Iterator[None], seconds: float) -> float:
    """Return the steps a second, measured for at least one step."""
    next(stepper)  # caches are cold after another form's turn
    start = time.perf_counter()
    elapsed, count = 0.0, 0
    while elapsed < seconds:
        next(stepper)
        count += 1
        elapsed = time.perf_counter() - start
    return count / elapsed
