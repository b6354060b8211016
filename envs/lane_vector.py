"""What natively vectorised environments share: lanes stepped together, seeds, autoreset, infos with masks."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Space
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from .frames import Frame

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
StepResult = tuple[Float32Array, FloatArray, BoolArray, BoolArray, dict[str, Any]]

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class Lanes(Protocol[S_contra]):
    """``n`` episodes side by side, truncated at their end; S_contra says how an episode is to begin.

    Attributes:
        started: Which lanes have begun an episode at all, ``[n]``.
    """

    started: BoolArray

    def begin(self, lanes: IntArray, generators: Sequence[np.random.Generator], start: S_contra) -> None:
        """Begin new episodes in ``lanes``; ``generators`` has one for each of the ``n``."""
        ...

    def advance(
        self,
        actions: npt.NDArray[Any],
        generators: Sequence[np.random.Generator],
        active: BoolArray | None = None,
    ) -> FloatArray:
        """Take one step with ``actions`` ``[n, …]`` in the ``active`` lanes (None: all); return rewards ``[n]``."""
        ...

    def finished(self) -> BoolArray:
        """Return which episodes are over, ``[n]``."""
        ...

    def observations(self) -> Float32Array:
        """Return new observations ``[n, O]``."""
        ...


class LaneVectorEnv(VectorEnv[Float32Array, npt.NDArray[Any], npt.NDArray[Any]], ABC, Generic[S]):
    """A vectorised environment made of ``Lanes``.

    Lane ``i`` of an environment seeded ``s`` has the generator of a single environment seeded ``s + i``. All three
    autoreset modes are Gymnasium's:

    - ``NEXT_STEP``: the step after an episode's last one ignores the lane's action and begins its next episode:
      reset observation, reward 0, neither terminated nor truncated.
    - ``SAME_STEP``: the last step already returns the next episode's first observation; ``infos`` has the last one
      in ``final_obs`` (object array ``[n]``) and its info in ``final_info``, with the masks ``_final_obs`` and
      ``_final_info``.
    - ``DISABLED``: the caller resets, with ``options={"reset_mask": bool array [n]}``.

    Args:
        lanes: Where the episodes happen.
        num_envs: Number of lanes.
        render_mode: None or ``"rgb_array"``.
        autoreset_mode: Member of ``gymnasium.vector.AutoresetMode``, or its value.
        action_space: Of one lane.
        observation_space: Of one lane.

    Raises:
        ValueError: If an argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or, with ``DISABLED``, past an episode's end.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        lanes: Lanes[S],
        num_envs: int,
        render_mode: str | None,
        autoreset_mode: AutoresetMode | str,
        action_space: Space[Any],
        observation_space: Space[Any],
    ) -> None:
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.autoreset_mode: AutoresetMode = _autoreset_mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.single_action_space: Space[Any] = action_space
        self.single_observation_space: Space[Any] = observation_space
        self.action_space: Space[Any] = batch_space(action_space, num_envs)
        self.observation_space: Space[Any] = batch_space(observation_space, num_envs)
        self._lanes = lanes
        self._generators: list[np.random.Generator] = []

    @abstractmethod
    def _start(self, options: dict[str, Any] | None) -> S:
        """Read the options of a reset; None stands for those of an autoreset."""

    @abstractmethod
    def _checked(self, actions: npt.NDArray[Any], unused: BoolArray | None = None) -> npt.NDArray[Any]:
        """Return usable actions ``[n, …]``; those of ``unused`` lanes ``[n]`` may be anything, and become 0."""

    @abstractmethod
    def _all_infos(self) -> dict[str, Any]:
        """Return new infos of all lanes, each with its mask."""

    @abstractmethod
    def _frames(self) -> tuple[Frame, ...]:
        """Draw every lane."""

    def _watch(self, observations: Float32Array, *, in_place: bool) -> None:
        """Keep what pictures need of new observations ``[n, O]``, in place of the last ones or after them.

        Called only with a render mode.
        """

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Begin new episodes in all lanes, or in those of ``options["reset_mask"]``.

        Args:
            seed: Seeds lane ``i`` with ``seed + i``, or with the i-th of a sequence; lanes given None go on
                drawing from where they are. Only lanes that are reset are seeded.
            options: See the class.

        Returns:
            Observations ``[n, O]`` and infos.
        """
        options = {} if options is None else dict(options)
        mask = self._reset_mask(options)
        start = self._start(options)
        lanes = np.flatnonzero(np.ones(self.num_envs, np.bool_) if mask is None else mask)
        if mask is not None and not self._lanes.started[~mask].all():
            raise ResetNeeded("the first reset must be of all lanes: call reset() without a reset_mask first")
        self._seed(seed, lanes)
        self._lanes.begin(lanes, self._generators, start)
        observations = self._lanes.observations()
        if self.render_mode is not None:
            # Lanes that go on must not get a second row for the same step.
            self._watch(observations, in_place=mask is not None)
        infos = self._all_infos()
        return observations, infos if mask is None else _only(infos, mask)

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        """Take one step in every lane.

        Args:
            actions: ``[n, A]``.

        Returns:
            Observations ``[n, O]``, rewards ``[n]``, terminated ``[n]`` (never), truncated ``[n]``, infos.
        """
        lanes = self._lanes
        if not self._generators:
            raise ResetNeeded("call reset() before step()")
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            rewards = self._step_or_begin(actions)
        else:
            if self.autoreset_mode is AutoresetMode.DISABLED and lanes.finished().any():
                over = np.flatnonzero(lanes.finished())[:8].tolist()
                raise ResetNeeded(f'lanes {over} are over: reset(options={{"reset_mask": …}}) them first')
            rewards = lanes.advance(self._checked(actions), self._generators)
        truncated = lanes.finished()
        observations, infos = lanes.observations(), self._all_infos()
        if self.autoreset_mode is AutoresetMode.SAME_STEP and truncated.any():
            observations, infos = self._begin_next(truncated, observations, infos)
        if self.render_mode is not None:
            self._watch(observations, in_place=False)
        return observations, rewards, np.zeros(self.num_envs, np.bool_), truncated, infos

    def render(self) -> tuple[Frame, ...] | None:
        """Return one frame ``[render_size, render_size, 3]``, uint8, a lane; None without a render mode."""
        if self.render_mode is None:
            return None
        if not self._generators:
            raise ResetNeeded("call reset() before render()")
        return self._frames()

    def _step_or_begin(self, actions: npt.NDArray[Any]) -> FloatArray:
        """Take a step where an episode is running, begin one where it is over; return the rewards."""
        over = self._lanes.finished()
        if not over.any():
            return self._lanes.advance(self._checked(actions), self._generators)
        rewards = np.zeros(self.num_envs)
        if not over.all():
            rewards = self._lanes.advance(self._checked(actions, over), self._generators, ~over)
        self._lanes.begin(np.flatnonzero(over), self._generators, self._start(None))
        return rewards

    def _begin_next(
        self, over: BoolArray, observations: Float32Array, infos: dict[str, Any]
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Begin the next episodes within the step; return its observations and infos."""
        final_obs = np.full(self.num_envs, None, dtype=object)
        final_info = _only(infos, over)
        lanes = np.flatnonzero(over)
        for lane in lanes:
            final_obs[lane] = observations[lane]
        self._lanes.begin(lanes, self._generators, self._start(None))
        infos = self._all_infos()
        infos |= {"final_obs": final_obs, "_final_obs": over.copy()}
        infos |= {"final_info": final_info, "_final_info": over.copy()}
        return self._lanes.observations(), infos

    def _reset_mask(self, options: dict[str, Any]) -> BoolArray | None:
        mask = options.pop("reset_mask", None)
        if mask is None:
            return None
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},), not {mask!r}")
        if not mask.any():
            raise ValueError("reset_mask must name at least one lane, but is False for all")
        return mask

    def _seed(self, seed: int | Sequence[int | None] | None, lanes: IntArray) -> None:
        seeds: list[int | None]
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, (Sequence, np.ndarray)):
            seeds = [None if one is None else int(one) for one in seed]
        else:
            super().reset(seed=int(seed))
            seeds = [int(seed) + lane for lane in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must be one number or {self.num_envs} of them, not {len(seeds)}")
        if not self._generators:
            self._generators = [seeding.np_random(one)[0] for one in seeds]
            return
        for lane in lanes:
            if seeds[lane] is not None:
                self._generators[lane] = seeding.np_random(seeds[lane])[0]


def checked_num_envs(num_envs: Any) -> int:
    """Return the number of lanes.

    Raises:
        ValueError: If it is not a whole number of at least 1.
    """
    if not isinstance(num_envs, numbers.Integral) or isinstance(num_envs, bool) or num_envs < 1:
        raise ValueError(f"num_envs must be a whole number of at least 1, not {num_envs!r}")
    return int(num_envs)


def checked_vector_render_mode(render_mode: str | None) -> str | None:
    """Return the render mode of a vectorised environment.

    Raises:
        ValueError: If it is neither None nor ``"rgb_array"``.
    """
    if render_mode not in (None, "rgb_array"):
        raise ValueError(
            f"render_mode must be None or 'rgb_array', not {render_mode!r}: a window is for one lane"
        )
    return render_mode


def with_masks(infos: dict[str, Any], mask: BoolArray) -> dict[str, Any]:
    """Return ``infos`` (arrays ``[n, …]``, or dicts of such) with a copy of ``mask`` ``[n]`` beside each."""
    masked: dict[str, Any] = {}
    for key, values in infos.items():
        masked[key] = with_masks(values, mask) if isinstance(values, dict) else values
        masked[f"_{key}"] = mask.copy()
    return masked


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError:
        known = ", ".join(repr(member.value) for member in AutoresetMode)
        raise ValueError(f"autoreset_mode must be an AutoresetMode or one of {known}, not {mode!r}") from None


def _only(infos: dict[str, Any], mask: BoolArray) -> dict[str, Any]:
    """Return the infos that speak of lanes of ``mask``; the other lanes have zeros."""
    chosen: dict[str, Any] = {}
    for key, values in infos.items():
        spoken_of = infos.get(f"_{key}")
        if spoken_of is not None and (spoken_of & mask).any():
            if isinstance(values, dict):
                chosen[key] = _only(values, mask)
            else:
                rows = mask.reshape(-1, *[1] * (values.ndim - 1))
                chosen[key] = np.where(rows, values, np.zeros((), values.dtype))
            chosen[f"_{key}"] = spoken_of & mask
    return chosen
