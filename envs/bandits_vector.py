"""Many bandits in one environment, computed as arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from .actions import checked_choices
from .bandits import lane_frame
from .bandits_lanes import (
    BanditFamily,
    BanditLanes,
    BanditOptions,
    action_space,
    observation_space,
    start_from,
)
from .frames import Frame, checked_size
from .lane_vector import (
    BoolArray,
    FloatArray,
    LaneVectorEnv,
    checked_num_envs,
    checked_vector_render_mode,
    with_masks,
)


class BanditsVectorEnv(LaneVectorEnv[FloatArray | None]):
    """``num_envs`` bandits; the task is specified by ``BanditsEnv``.

    Lane ``i`` of an environment seeded ``s`` does, bit for bit, what a single environment seeded ``s + i``
    does with the same actions, in every autoreset mode. It is the environment behind ``gymnasium.make_vec``.

    ## Autoreset
    ``NEXT_STEP`` (default), ``SAME_STEP`` or ``DISABLED``, as ``LaneVectorEnv`` has them.

    ## Reset options
    As in ``BanditsEnv``, where the ``means`` may be those of one bandit for all lanes, or of one a lane ``[n, arms]``;
    also ``reset_mask``. Options hold for the episodes begun by that reset, not for those begun by an autoreset.

    ## Infos
    New arrays, each with a mask ``_key`` of the lanes it speaks of: ``means`` ``[n, arms]`` and ``regret`` ``[n]``.

    Args:
        num_envs: Number of lanes.
        render_mode: None or ``"rgb_array"``, which makes ``render()`` return a tuple with one frame a lane.
        autoreset_mode: Member of ``gymnasium.vector.AutoresetMode``, or its value.
        max_episode_steps: Ends episodes earlier than ``pulls``, as ``gymnasium.make_vec`` asks for.
        arms: How many arms there are; None: as the family has them.
        pulls: Pulls an episode lasts.
        family: How a bandit is drawn.
        show_previous: Whether the last arm and its reward are observed.
        render_size: Pixels along each side of a frame.

    Raises:
        ValueError: If an argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or, with ``DISABLED``, past an
            episode's end.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        *,
        arms: int | None = None,
        pulls: int = 100,
        family: BanditFamily = "independent",
        show_previous: bool = True,
        render_size: int = 512,
    ) -> None:
        num_envs = checked_num_envs(num_envs)
        checked_vector_render_mode(render_mode)
        self.options: BanditOptions = BanditOptions(arms, pulls, family, show_previous)
        if max_episode_steps is not None:
            limited = dataclasses.replace(self.options, pulls=max_episode_steps)
            self.options = min(self.options, limited, key=lambda options: options.pulls)
        self.render_size: int = checked_size(render_size)
        self._bandits = BanditLanes(self.options, num_envs)
        spaces = action_space(self.options), observation_space(self.options)
        super().__init__(self._bandits, num_envs, render_mode, autoreset_mode, *spaces)

    def _start(self, options: dict[str, Any] | None) -> FloatArray | None:
        return start_from(options, self.options, self.num_envs)

    def _checked(self, actions: npt.NDArray[Any], unused: BoolArray | None = None) -> npt.NDArray[np.int64]:
        return checked_choices(actions, (self.num_envs,), self.options.number, unused)

    def _all_infos(self) -> dict[str, Any]:
        return with_masks(self._bandits.info(), np.ones(self.num_envs, np.bool_))

    def _frames(self) -> tuple[Frame, ...]:
        return tuple(lane_frame(self._bandits, lane, self.render_size) for lane in range(self.num_envs))
