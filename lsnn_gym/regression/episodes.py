"""Whole episodes of function regression as batches, the same ones that the environment has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding
from pydantic import Field, model_validator

from lsnn_gym.envs.function_regression_lanes import InputDistribution, RegressionLanes, RegressionOptions
from lsnn_gym.envs.functions import FunctionFamily, Parameters
from lsnn_gym.settings import Settings

FloatArray = npt.NDArray[np.float64]


class RegressionSettings(Settings):
    """Function regression, as ``lsnn_gym/FunctionRegression-v0`` has it."""

    family: str = Field(default="two_layer_network", description="see lsnn-gym list functions")
    input_distribution: InputDistribution = Field(
        default="uniform", description="over the family's range, or normal about its middle"
    )
    noise_std: float = Field(
        default=0.0, ge=0, description="of the noise on targets, in units of the targets"
    )
    trials: int = Field(default=500, ge=2, description="examples that an episode shows")

    @property
    def options(self) -> RegressionOptions:
        """Return the environment's options."""
        return RegressionOptions(self.family, self.input_distribution, self.noise_std, self.trials)

    @property
    def functions(self) -> FunctionFamily:
        """Return the family of functions."""
        return self.options.functions

    @model_validator(mode="after")
    def _check(self) -> RegressionSettings:
        _ = self.options  # which says what is of no use
        return self


class Episodes(NamedTuple):
    """B episodes of T trials, float64, in units of the family.

    Attributes:
        inputs: ``[T, B, D]``.
        targets: With noise, ``[T, B]``.
    """

    inputs: FloatArray
    targets: FloatArray

    @property
    def targets_before(self) -> FloatArray:
        """Return what is shown of the targets, those of the trials before, 0 at first, ``[T, B]``."""
        return np.concatenate([np.zeros_like(self.targets[:1]), self.targets[:-1]])


def draw_episodes(settings: RegressionSettings, size: int, seed: int) -> Episodes:
    """Return ``size`` episodes: those of the environment's lanes after ``reset(seed=seed)``."""
    return draw_functions(settings, size, seed)[1]


def draw_functions(settings: RegressionSettings, size: int, seed: int) -> tuple[Parameters, Episodes]:
    """Return the episodes of ``draw_episodes`` and, before them, the parameters of the functions they are about."""
    lanes = RegressionLanes(settings.options, size)
    lanes.begin(np.arange(size), [seeding.np_random(seed + lane)[0] for lane in range(size)], None)
    episodes = Episodes(
        np.ascontiguousarray(lanes.inputs[:, :-1].swapaxes(0, 1)),
        np.ascontiguousarray(lanes.targets[:, :-1].T),
    )
    return lanes.parameters, episodes
