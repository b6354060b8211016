"""Many episodes of function regression in one environment, computed as arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from .actions import checked_actions
from .frames import Frame, checked_size
from .function_regression import lane_frame
from .function_regression_lanes import (
    InputDistribution,
    RegressionLanes,
    RegressionOptions,
    action_space,
    observation_space,
    start_from,
)
from .functions import Parameters
from .lane_vector import (
    BoolArray,
    FloatArray,
    LaneVectorEnv,
    checked_num_envs,
    checked_vector_render_mode,
    with_masks,
)


class FunctionRegressionVectorEnv(LaneVectorEnv[Parameters | None]):
    """``num_envs`` episodes of function regression; the task is specified by ``FunctionRegressionEnv``.

    Lane ``i`` of an environment seeded ``s`` does, bit for bit, what a single environment seeded ``s + i``
    does with the same actions, in every autoreset mode. It is the environment behind ``gymnasium.make_vec``.

    ## Autoreset
    ``NEXT_STEP`` (default), ``SAME_STEP`` or ``DISABLED``, as ``LaneVectorEnv`` has them.

    ## Reset options
    As in ``FunctionRegressionEnv``, where the parameters in ``function`` may be those of one function for all lanes,
    or of one a lane ``[n, …]`` as the infos have them; also ``reset_mask``, in every mode: only these lanes begin a
    new episode. Options hold for the episodes begun by that reset, not for those begun by an autoreset.

    ## Infos
    New arrays, each with a mask ``_key`` of the lanes it speaks of: ``function`` (a dict of arrays ``[n, …]``, with
    masks of their own), ``target`` ``[n]`` and ``value`` ``[n]``.

    Args:
        num_envs: Number of lanes.
        render_mode: None or ``"rgb_array"``, which makes ``render()`` return a tuple with one frame a lane.
        autoreset_mode: Member of ``gymnasium.vector.AutoresetMode``, or its value.
        max_episode_steps: Ends episodes earlier than ``trials``, as ``gymnasium.make_vec`` asks for.
        family: Name of a family of functions.
        input_distribution: ``"uniform"`` or ``"normal"``.
        noise_std: Standard deviation of the noise on targets, in their units.
        trials: Trials an episode lasts.
        show_target: Whether the target of the trial before is observed.
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
        family: str = "two_layer_network",
        input_distribution: InputDistribution = "uniform",
        noise_std: float = 0.0,
        trials: int = 500,
        show_target: bool = True,
        render_size: int = 512,
    ) -> None:
        num_envs = checked_num_envs(num_envs)
        checked_vector_render_mode(render_mode)
        self.options: RegressionOptions = RegressionOptions(
            family, input_distribution, noise_std, trials, show_target
        )
        if max_episode_steps is not None:
            limited = dataclasses.replace(self.options, trials=max_episode_steps)
            self.options = min(self.options, limited, key=lambda options: options.trials)
        self.render_size: int = checked_size(render_size)
        self._regression = RegressionLanes(self.options, num_envs)
        spaces = action_space(), observation_space(self.options)
        super().__init__(self._regression, num_envs, render_mode, autoreset_mode, *spaces)

    def _start(self, options: dict[str, Any] | None) -> Parameters | None:
        return start_from(options, self.options, self.num_envs)

    def _checked(self, actions: npt.NDArray[Any], unused: BoolArray | None = None) -> FloatArray:
        return checked_actions(actions, (self.num_envs, 1), unused)

    def _all_infos(self) -> dict[str, Any]:
        return with_masks(self._regression.info(), np.ones(self.num_envs, np.bool_))

    def _frames(self) -> tuple[Frame, ...]:
        return tuple(lane_frame(self._regression, lane, self.render_size) for lane in range(self.num_envs))
