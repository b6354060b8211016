"""Any environment as a meta-learning task: trials of several episodes, and what happened before as an observation."""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict, Space, flatten, flatten_space

from lsnn_gym.errors import unknown

Float32Array = npt.NDArray[np.float32]
TaskDraw = Callable[[gym.Env[Any, Any], np.random.Generator], Mapping[str, Any] | None]
"""Draws the task of a trial: sets it in the environment, or returns the options for its resets."""

PREVIOUS_ACTION, PREVIOUS_REWARD, INNER_DONE = "previous_action", "previous_reward", "inner_done"


class MetaRL(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """An environment as a meta-learning task (RL²): one episode of it is a trial of several inner episodes.

    An agent with a memory learns in the first inner episodes what the trial's task is, and makes use of it in the
    later ones; its memory is to be kept from inner episode to inner episode, as it is from step to step. Therefore
    inner episodes begin inside ``step``, without ``terminated`` or ``truncated``.

    ## Observation Space
    Observations of a flat kind become one `Box`, float32, of these parts one after the other:

    | part            | meaning                                                                            |
    | --------------- | ---------------------------------------------------------------------------------- |
    | observation     | flattened; discrete ones one-hot                                                   |
    | previous action | of a bounded `Box` in [-1, 1], of an unbounded one as it was, discrete ones one-hot  |
    | previous reward | times ``reward_scale``                                                             |
    | inner done      | 1 where an inner episode ended with the previous action, else 0                    |

    The last three are 0 (or as near as ``reward_range`` has it) at the beginning of a trial, and go over from inner
    episode to inner episode. Those of a `Dict` stay one, with the keys `previous_action`, `previous_reward` and
    `inner_done` added; so do others with ``keep_apart``, their own key being `observation`, for images say.

    ## Episode End
    Terminated with the end of the ``inner_episodes``-th inner episode, truncated after ``trial_steps`` steps,
    whichever comes first. The observation is then the inner episode's last one.

    ## Tasks
    What a task is, the environment says. Its resets within a trial must keep it, which they do by one of these:

    - ``task_keys``: what the trial's first reset has told in its info is given to the others as options of the
      same name, e.g. ``("goal",)`` for the water maze;
    - ``draw_task``: it sets the task, or returns the options that all the trial's resets are given;
    - the environment itself, if its resets do not change it.

    ``reset(options=…)`` gives options to all resets of the trial; ``reset(seed=…)`` seeds the environment and the
    tasks that are drawn. Tasks of ``task_keys`` give way to options of that name.

    ## Info
    That of the environment, and

    - `trial`: `step`, steps so far; `inner_episode`, index of the current one; `return`, rewards so far;
    - `inner_episode`, only in steps that end one: its `return`, `length` and `terminated`, and, where the next has
      begun, its last observation `final_observation`.

    Args:
        env: Any whose spaces can be flattened, or with a `Dict` of such observations.
        inner_episodes: Inner episodes a trial has at most; None: as many as there is time for.
        trial_steps: Steps a trial has at most; None: as many as its inner episodes take.
        task_keys: See "Tasks".
        draw_task: See "Tasks"; its generator is the trials' own.
        reward_scale: Factor on rewards as they are observed, not on those to be earned.
        reward_range: Lowest and highest reward to be observed, after scaling; those beyond are seen as at its ends.
        keep_apart: Whether the observation stays apart from what is added.

    Raises:
        ValueError: If an argument or a space is of no use, or a key is taken; the message names it.
        gymnasium.error.ResetNeeded: If stepped past a trial's end.

    Source: Duan et al., "RL²: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016; Wang et al.,
    "Learning to reinforcement learn", 2016.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        inner_episodes: int | None = None,
        trial_steps: int | None = None,
        *,
        task_keys: Sequence[str] = (),
        draw_task: TaskDraw | None = None,
        reward_scale: float = 1.0,
        reward_range: tuple[float, float] = (-math.inf, math.inf),
        keep_apart: bool = False,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self,
            inner_episodes=inner_episodes,
            trial_steps=trial_steps,
            task_keys=task_keys,
            draw_task=draw_task,
            reward_scale=reward_scale,
            reward_range=reward_range,
            keep_apart=keep_apart,
        )
        super().__init__(env)
        if inner_episodes is None and trial_steps is None:
            raise ValueError(
                "inner_episodes and trial_steps are both None: expected a number for at least one"
            )
        self.inner_episodes: int | None = _checked_count("inner_episodes", inner_episodes)
        self.trial_steps: int | None = _checked_count("trial_steps", trial_steps)
        self.task_keys: tuple[str, ...] = _checked_keys(task_keys)
        if not isinstance(reward_scale, numbers.Real) or not math.isfinite(reward_scale):
            raise ValueError(f"reward_scale must be a finite number, not {reward_scale!r}")
        self.reward_scale: float = float(reward_scale)
        self.reward_range: tuple[float, float] = _checked_range(reward_range)
        self.draw_task = draw_task
        self._previous_action = _ActionCode(env.action_space)
        rewards = Box(*self.reward_range, (1,), np.float32)
        kind = _Apart if keep_apart or isinstance(env.observation_space, Dict) else _Flat
        self._layout: _Apart | _Flat = kind(env.observation_space, self._previous_action.space, rewards)
        self.observation_space = self._layout.space
        self._task_random: np.random.Generator | None = None
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a trial, and its first inner episode.

        Args:
            seed: Seeds the environment and the tasks that are drawn; None goes on drawing from where they are.
            options: For all resets of the trial.

        Returns:
            Observation and info.
        """
        self._options = dict(options or {})
        if self.draw_task is not None:
            if seed is not None or self._task_random is None:
                # Of the same seed as the environment, and yet other numbers than it draws.
                entropy = np.random.SeedSequence(seed).entropy
                self._task_random = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(1,)))
            self._options = {**(self.draw_task(self.env, self._task_random) or {}), **self._options}
        # A copy: an environment may take out of its options what it has read.
        observation, info = self.env.reset(seed=seed, options=dict(self._options) or None)
        self._options = {**self._told_task(info), **self._options}
        self._steps = self._finished = self._length = 0
        self._trial_return = self._return = 0.0
        self._over = False
        none = float(np.clip(0.0, *self.reward_range))
        seen = self._layout.join(observation, self._previous_action.none(), none, False)
        return seen, {**info, "trial": self._trial()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step; where an inner episode ends and the trial goes on, begin the next one.

        Returns:
            Observation, reward, terminated, truncated and info; see the class.
        """
        if self._over:
            raise ResetNeeded("no trial is running: call reset() first")
        observation, reward, terminated, truncated, info = self.env.step(action)
        reward = float(reward)
        self._steps += 1
        self._length += 1
        self._return += reward
        self._trial_return += reward
        ended = bool(terminated or truncated)
        self._finished += ended
        complete = ended and self._finished == self.inner_episodes
        cut = not complete and self._steps == self.trial_steps
        self._over = complete or cut
        info = dict(info)
        if ended:
            info["inner_episode"] = self._ended(bool(terminated))
            if not self._over:
                info["inner_episode"]["final_observation"] = observation
                observation, _ = self.env.reset(options=copy.deepcopy(self._options) or None)
        info["trial"] = self._trial()
        code = self._previous_action.of(action)
        seen = float(np.clip(self.reward_scale * reward, *self.reward_range))
        return self._layout.join(observation, code, seen, ended), reward, complete, cut, info

    def _told_task(self, info: Mapping[str, Any]) -> dict[str, Any]:
        for key in self.task_keys:
            if key not in info:
                raise ValueError(unknown("key of task_keys in the info of a reset", key, info))
        return {key: copy.deepcopy(info[key]) for key in self.task_keys}

    def _trial(self) -> dict[str, Any]:
        return {"step": self._steps, "inner_episode": self._finished, "return": self._trial_return}

    def _ended(self, terminated: bool) -> dict[str, Any]:
        """Return the figures of the inner episode that has ended, and count the next from 0."""
        figures = {"return": self._return, "length": self._length, "terminated": terminated}
        self._return, self._length = 0.0, 0
        return figures


class _ActionCode:
    """The previous action as a vector ``[A]``; ``space`` is where it is."""

    def __init__(self, space: Space[Any]) -> None:
        self._space = space
        if not isinstance(space, Box):
            flat = _flat_space("action space", space)
            low, high = (
                end.astype(np.float32) for end in (np.minimum(flat.low, 0), np.maximum(flat.high, 0))
            )
            self.space = Box(low, high, dtype=np.float32)
            return
        low, high = space.low.astype(np.float64).ravel(), space.high.astype(np.float64).ravel()
        self._bounded = np.isfinite(low) & np.isfinite(high)
        self._low = np.where(self._bounded, low, 0.0)
        span = np.where(self._bounded, high, 1.0) - self._low
        self._span = np.where(span > 0, span, 1.0)
        limit = np.where(self._bounded, 1.0, np.inf).astype(np.float32)
        self.space = Box(-limit, limit, dtype=np.float32)

    def none(self) -> Float32Array:
        """Return what stands for no action."""
        return np.zeros(self.space.shape, np.float32)

    def of(self, action: Any) -> Float32Array:
        """Return the code of an action; one outside its bounds counts as at them."""
        if not isinstance(self._space, Box):
            return np.asarray(flatten(self._space, action), np.float32)
        flat = np.asarray(action, np.float64).ravel()
        scaled = np.clip(2.0 * (flat - self._low) / self._span - 1.0, -1.0, 1.0)
        return np.where(self._bounded, scaled, flat).astype(np.float32)


class _Flat:
    """Observation, previous action, reward and inner done in one vector."""

    def __init__(self, observed: Space[Any], action: Box, reward: Box) -> None:
        self._observed = observed
        flat = _flat_space("observation space", observed)
        done = Box(0.0, 1.0, (1,), np.float32)
        with np.errstate(over="ignore"):  # bounds of float64 that float32 does not reach are none
            low, high = (
                np.concatenate([getattr(part, end) for part in (flat, action, reward, done)]).astype(
                    np.float32
                )
                for end in ("low", "high")
            )
        self.space: Space[Any] = Box(low, high, dtype=np.float32)

    def join(self, observation: Any, action: Float32Array, reward: float, done: bool) -> Float32Array:
        flat = np.asarray(flatten(self._observed, observation), np.float32)
        return np.concatenate([flat, action, np.array([reward, done], np.float32)])


class _Apart:
    """A dictionary to which previous action, reward and inner done are added."""

    def __init__(self, observed: Space[Any], action: Box, reward: Box) -> None:
        self._alone = not isinstance(observed, Dict)
        own = observed.spaces if isinstance(observed, Dict) else {"observation": observed}
        added = {
            PREVIOUS_ACTION: action,
            PREVIOUS_REWARD: reward,
            INNER_DONE: Box(0.0, 1.0, (1,), np.float32),
        }
        for name in added:
            if name in own:
                raise ValueError(
                    f"the observation space already has the key {name!r}: expected one without it"
                )
        self.space: Space[Any] = Dict({**own, **added})

    def join(self, observation: Any, action: Float32Array, reward: float, done: bool) -> dict[str, Any]:
        own = {"observation": observation} if self._alone else observation
        return {
            **own,
            PREVIOUS_ACTION: action,
            PREVIOUS_REWARD: np.array([reward], np.float32),
            INNER_DONE: np.array([done], np.float32),
        }


def _flat_space(name: str, space: Space[Any]) -> Box:
    if not space.is_np_flattenable:
        raise ValueError(f"the {name} {space} cannot be flattened: expected one of fixed size")
    flat = flatten_space(space)
    assert isinstance(flat, Box)  # as Gymnasium says of spaces that can be flattened
    return flat


def _checked_count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be None or a whole number of at least 1, not {value!r}")
    return int(value)


def _checked_range(value: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"reward_range must be two numbers, not {value!r}") from None
    if not low < high:
        raise ValueError(f"reward_range must have the lower number first, not {value!r}")
    return low, high


def _checked_keys(keys: Any) -> tuple[str, ...]:
    if isinstance(keys, str) or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"task_keys must be a sequence of names, as in ('goal',), not {keys!r}")
    return tuple(keys)
