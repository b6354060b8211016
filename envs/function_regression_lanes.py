"""Rules and bookkeeping of function regression, many episodes side by side, one lane each.

Both environments stand on this one definition: the single one is a batch of one lane. All that is random in an
episode (function, inputs, noise) is drawn when it begins, so that a step is only looked up.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from gymnasium.spaces import Box

from lsnn_gym.errors import nearest, unknown

from .functions import FunctionFamily, Parameters, checked_parameters, function_family
from .lane_vector import BoolArray, Float32Array, FloatArray, IntArray

InputDistribution = Literal["uniform", "normal"]

_RESET_OPTIONS = ("function",)
_NOISE_CUTOFF = 4.0
_POINTS_AT_ONCE = 65536  # functions of many lanes are computed in parts: what they need fits into caches


@dataclass(frozen=True)
class RegressionOptions:
    """What function regression is like.

    Args:
        family: Name of the family that functions are drawn from, a key of ``FUNCTION_FAMILIES``.
        input_distribution: ``"uniform"`` over the family's range of inputs, or ``"normal"``: about its middle,
            with a quarter of it as standard deviation, cut off at its ends.
        noise_std: Standard deviation of the Gaussian noise on targets, cut off at 4 of them.
        trials: Trials an episode lasts.
        show_target: Whether the target of the trial before is observed.

    Raises:
        ValueError: If a value is of the wrong type or out of range; the message names it.
    """

    family: str = "two_layer_network"
    input_distribution: InputDistribution = "uniform"
    noise_std: float = 0.0
    trials: int = 500
    show_target: bool = True

    def __post_init__(self) -> None:
        function_family(self.family)
        known = get_args(InputDistribution)
        if self.input_distribution not in known:
            near = nearest(self.input_distribution, known)
            hint = f" (did you mean {near!r}?)" if near else ""
            names = ", ".join(map(repr, known))
            raise ValueError(
                f"input_distribution must be one of {names}, not {self.input_distribution!r}{hint}"
            )
        std = self.noise_std
        if not isinstance(std, numbers.Real) or isinstance(std, bool) or not 0 <= std < math.inf:
            raise ValueError(f"noise_std must be a finite number of at least 0, not {std!r}")
        trials = self.trials
        if not isinstance(trials, numbers.Integral) or isinstance(trials, bool) or trials < 1:
            raise ValueError(f"trials must be a whole number of at least 1, not {trials!r}")
        if not isinstance(self.show_target, (bool, np.bool_)):
            raise ValueError(f"show_target must be True or False, not {self.show_target!r}")
        object.__setattr__(self, "noise_std", float(std))
        object.__setattr__(self, "trials", int(trials))

    @property
    def functions(self) -> FunctionFamily:
        """Return the family."""
        return function_family(self.family)

    @property
    def target_range(self) -> tuple[float, float]:
        """Return the lowest and the highest target that can be observed, noise included."""
        beyond = _NOISE_CUTOFF * self.noise_std
        return self.functions.target_low - beyond, self.functions.target_high + beyond


def action_space() -> Box:
    """Return the space of actions ``[1]``: the prediction in units of the family's ``target_scale``."""
    return Box(-1.0, 1.0, (1,), np.float32)


def observation_space(options: RegressionOptions) -> Box:
    """Return the space of observations ``[D + 1]``, the inputs and the target before, or only ``[D]``."""
    family = options.functions
    low, high = ([bound] * family.input_size for bound in (family.input_low, family.input_high))
    if options.show_target:
        lowest, highest = options.target_range
        low.append(min(lowest, 0.0))
        high.append(max(highest, 0.0))
    return Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)


def start_from(
    options: dict[str, Any] | None, regression: RegressionOptions, num_lanes: int
) -> Parameters | None:
    """Return the parameters of the functions that a reset's options give, or None: draw them.

    Raises:
        ValueError: If an option is not known, or its value is of no use; the message names it.
    """
    given = {} if options is None else options
    for name in given:
        if name not in _RESET_OPTIONS:
            raise ValueError(unknown("reset option", name, _RESET_OPTIONS))
    function = given.get("function")
    return None if function is None else checked_parameters(regression.functions, function, num_lanes)


class RegressionLanes:
    """``n`` episodes of function regression and what has happened in them.

    Attributes:
        parameters: Of the functions, each ``[n, …]``.
        inputs: Of all trials, and one that is shown after the last, ``[n, trials + 1, D]``.
        values: Of the functions at these inputs, ``[n, trials + 1]``.
        targets: The same with noise, ``[n, trials + 1]``.
        predictions: Answers so far, 0 elsewhere, ``[n, trials]``.
        steps: Trials answered since the start of the episode, ``[n]``.
        started: Which lanes have begun an episode at all, ``[n]``.
    """

    def __init__(self, options: RegressionOptions, num_lanes: int) -> None:
        self.options = options
        self.num_lanes = num_lanes
        self.family: FunctionFamily = options.functions
        shown = options.trials + 1
        shapes = self.family.parameter_shapes.items()
        self.parameters: Parameters = {name: np.zeros((num_lanes, *shape)) for name, shape in shapes}
        self.inputs: FloatArray = np.zeros((num_lanes, shown, self.family.input_size))
        self.values: FloatArray = np.zeros((num_lanes, shown))
        self.targets: FloatArray = np.zeros((num_lanes, shown))
        self.predictions: FloatArray = np.zeros((num_lanes, options.trials))
        self.steps: IntArray = np.zeros(num_lanes, np.int64)
        self.started: BoolArray = np.zeros(num_lanes, np.bool_)
        self._rows = np.arange(num_lanes)

    def begin(
        self, lanes: IntArray, generators: Sequence[np.random.Generator], start: Parameters | None
    ) -> None:
        """Begin a new episode in ``lanes``; the function is drawn first, then the inputs, then the noise.

        Args:
            lanes: Indices of the lanes.
            generators: One a lane, for all ``num_lanes``.
            start: Parameters of the functions, for all ``num_lanes``; None: draw them.
        """
        at_once = max(1, _POINTS_AT_ONCE // self.inputs.shape[1])
        for first in range(0, len(lanes), at_once):
            self._begin(lanes[first : first + at_once], generators, start)

    def advance(
        self,
        actions: FloatArray,
        generators: Sequence[np.random.Generator],
        active: BoolArray | None = None,
    ) -> FloatArray:
        """Answer one trial.

        Args:
            actions: Checked actions ``[n, 1]``.
            generators: Not drawn from.
            active: Lanes that answer ``[n]``; None: all do. The others are to begin an episode next.

        Returns:
            The rewards, ``[n]``; 0 where a lane is not active.
        """
        rows = self._rows if active is None else np.flatnonzero(active)
        trials = self.steps[rows]
        predictions = self.family.target_scale * actions[rows, 0]
        self.predictions[rows, trials] = predictions
        errors = predictions - self.targets[rows, trials]
        self.steps += 1
        if active is None:
            return -errors * errors
        rewards = np.zeros(self.num_lanes)
        rewards[rows] = -errors * errors
        return rewards

    def finished(self) -> BoolArray:
        """Return which episodes have had all their trials, ``[n]``."""
        return self.steps >= self.options.trials

    def observations(self) -> Float32Array:
        """Return new observations ``[n, D + 1]``: the inputs and the target before (0 at first), or ``[n, D]``."""
        inputs = self.inputs[self._rows, self.steps]
        if not self.options.show_target:
            return inputs.astype(np.float32)
        observations = np.empty((self.num_lanes, inputs.shape[1] + 1), np.float32)
        observations[:, :-1] = inputs
        observations[:, -1] = np.where(self.steps > 0, self.targets[self._rows, self.steps - 1], 0.0)
        return observations

    def info(self) -> dict[str, Any]:
        """Return new arrays of what is not observed, one row a lane."""
        return {
            "function": {name: values.copy() for name, values in self.parameters.items()},
            "target": self.targets[self._rows, self.steps],
            "value": self.values[self._rows, self.steps],
        }

    def _begin(
        self, lanes: IntArray, generators: Sequence[np.random.Generator], start: Parameters | None
    ) -> None:
        options, family = self.options, self.family
        own = [generators[lane] for lane in lanes]
        drawn = family.draw(own) if start is None else {name: each[lanes] for name, each in start.items()}
        inputs = self._draw_inputs(own)
        values = np.clip(family.values(drawn, inputs), family.target_low, family.target_high)
        for name, parameter in drawn.items():
            self.parameters[name][lanes] = parameter
        self.inputs[lanes] = inputs
        self.values[lanes] = values
        if options.noise_std:
            noise = np.stack([each.standard_normal(values.shape[1]) for each in own])
            values = values + options.noise_std * np.clip(noise, -_NOISE_CUTOFF, _NOISE_CUTOFF)
        self.targets[lanes] = values
        self.predictions[lanes] = 0.0
        self.steps[lanes] = 0
        self.started[lanes] = True

    def _draw_inputs(self, generators: Sequence[np.random.Generator]) -> FloatArray:
        """Draw the inputs of all trials of one episode with each generator, ``[len(generators), trials + 1, D]``."""
        family, shape = self.family, self.inputs.shape[1:]
        if self.options.input_distribution == "uniform":
            share = np.stack([each.random(shape) for each in generators])
        else:
            normal = np.stack([each.standard_normal(shape) for each in generators])
            share = np.clip(0.5 + 0.25 * normal, 0.0, 1.0)
        return family.input_low + (family.input_high - family.input_low) * share
