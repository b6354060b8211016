"""What single environments made of one lane share: resets and steps, infos, frames and windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Space

from .frames import Frame, Window, checked_size
from .lane_vector import Float32Array, Lanes, S, S_contra

_RENDER_MODES = ("human", "rgb_array")


class TellingLanes(Lanes[S_contra], Protocol[S_contra]):
    """Lanes that say what is not observed."""

    def info(self) -> dict[str, Any]:
        """Return new arrays ``[n, …]``, one row a lane."""
        ...


class LaneEnv(gym.Env[Float32Array, Any], ABC, Generic[S]):
    """An environment that is a batch of one lane, so that it does what its vectorised form does.

    Args:
        lanes: One lane.
        render_mode: None, ``"rgb_array"`` or ``"human"``.
        render_size: Pixels along each side of a frame.
        action_space: Of actions.
        observation_space: Of observations.

    Attributes:
        caption: Of the window.
        lasts: How long an episode lasts, for the message to who goes on stepping.

    Raises:
        ValueError: If an argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or past the end of an episode.
        gymnasium.error.DependencyNotInstalled: If a frame is to be drawn and pygame is not there.
    """

    metadata: dict[str, Any] = {"render_modes": list(_RENDER_MODES), "render_fps": 10}  # noqa: RUF012
    caption: str
    lasts: str

    def __init__(
        self,
        lanes: TellingLanes[S],
        render_mode: str | None,
        render_size: int,
        action_space: Space[Any],
        observation_space: Space[Any],
    ) -> None:
        if render_mode is not None and render_mode not in _RENDER_MODES:
            raise ValueError(f"render_mode must be None, 'human' or 'rgb_array', not {render_mode!r}")
        self.render_mode = render_mode
        self.render_size: int = checked_size(render_size)
        self.action_space = action_space
        self.observation_space = observation_space
        self._one_lane = lanes
        self._window = Window(self.caption) if render_mode == "human" else None

    @abstractmethod
    def _start(self, options: dict[str, Any] | None) -> S:
        """Read the options of a reset."""

    @abstractmethod
    def _checked(self, action: Any) -> npt.NDArray[Any]:
        """Return a usable action, with an axis of one lane."""

    @abstractmethod
    def _frame(self) -> Frame:
        """Draw what is."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seeds the generator of all that is random; None goes on drawing from where it is.
            options: See the environment's "Starting State".

        Returns:
            Observation ``[O]`` and info.
        """
        super().reset(seed=seed)
        self._one_lane.begin(np.zeros(1, np.int64), (self.np_random,), self._start(options))
        self._note(first=True)
        self._show()
        return self._one_lane.observations()[0], self._info()

    def step(self, action: Any) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Returns:
            Observation ``[O]``, reward, terminated (never), truncated and info.
        """
        lanes = self._one_lane
        if not lanes.started[0]:
            raise ResetNeeded("call reset() before step()")
        if lanes.finished()[0]:
            raise ResetNeeded(f"the episode is over after {self.lasts}: call reset()")
        reward = float(lanes.advance(self._checked(action), (self.np_random,))[0])
        self._note(first=False)
        self._show()
        return lanes.observations()[0], reward, False, bool(lanes.finished()[0]), self._info()

    def render(self) -> Any:
        """Return a frame ``[render_size, render_size, 3]``, uint8, if the render mode is ``rgb_array``."""
        if self.render_mode is None:
            gym.logger.warn('nothing to render: make the environment with render_mode="rgb_array" or "human"')
            return None
        if self.render_mode == "human":
            return None
        if not self._one_lane.started[0]:
            raise ResetNeeded("call reset() before render()")
        return self._frame()

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()

    def _note(self, *, first: bool) -> None:
        """Take down what frames and infos are to tell of a reset (``first``) or a step."""

    def _show(self) -> None:
        """Show what is, where somebody watches."""
        if self._window is not None:
            self._window.show(self._frame(), self.metadata["render_fps"])

    def _info(self) -> dict[str, Any]:
        rows = {name: values[0] for name, values in self._one_lane.info().items()}
        return {name: row if isinstance(row, np.ndarray) else row.item() for name, row in rows.items()}
