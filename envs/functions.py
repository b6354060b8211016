"""Families of functions to be learnt from examples, by name.

A family draws functions, each from a generator of its own, and computes their values. Parameters of ``n``
functions are arrays by name, whose first axis is the function; inputs are float64 ``[n, T, D]`` and values
``[n, T]``. Only operations that treat every element alike touch whole arrays, and sums run over axes whose length
does not depend on ``n``: one function of a thousand has the values that it has alone.

A new family is a subclass of ``FunctionFamily`` and a call of ``register_family``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lsnn_gym.errors import unknown

FloatArray = npt.NDArray[np.float64]
Parameters = dict[str, FloatArray]


class FunctionFamily(ABC):
    """Functions of ``input_size`` numbers in [``input_low``, ``input_high``], one of which an episode is about.

    Attributes:
        input_size: D.
        input_low, input_high: Range of each input.
        target_low, target_high: Range of the values; what lies beyond is cut off by whoever shows them.
        parameter_shapes: Shape of each parameter of one function.
    """

    input_size: int = 1
    input_low: float = -1.0
    input_high: float = 1.0
    target_low: float
    target_high: float
    parameter_shapes: Mapping[str, tuple[int, ...]]

    @property
    def target_scale(self) -> float:
        """Return the greatest distance of a value from 0."""
        return max(abs(self.target_low), abs(self.target_high))

    @abstractmethod
    def draw(self, generators: Sequence[np.random.Generator]) -> Parameters:
        """Draw one function with each of ``n`` generators, and from nothing else; return their parameters."""

    @abstractmethod
    def values(self, parameters: Parameters, inputs: FloatArray) -> FloatArray:
        """Return the values ``[n, T]`` of ``n`` functions at inputs ``[n, T, D]``."""


class TwoLayerNetwork(FunctionFamily):
    """Networks of 2 inputs, 10 sigmoid units and a linear output, rescaled to [0, 1].

    All weights and biases are uniform in [-1, 1]. Then output weights and bias are rescaled, so that the values
    at a grid of 7 x 7 points of the input square run from 0 to 1 (in between they stray less than 0.02 from it).

    Source: Bellec et al., NIPS 2018, section 4; the scaling to the unit interval is this library's choice.
    """

    input_size = 2
    target_low: float = 0.0
    target_high: float = 1.0
    hidden_units = 10
    parameter_shapes: Mapping[str, tuple[int, ...]] = {
        "hidden_weights": (hidden_units, input_size),
        "hidden_biases": (hidden_units,),
        "output_weights": (hidden_units,),
        "output_bias": (),
    }
    _grid = np.stack(np.meshgrid(*[np.linspace(-1.0, 1.0, 7)] * 2), axis=-1).reshape(1, -1, 2)

    def draw(self, generators: Sequence[np.random.Generator]) -> Parameters:
        """See the base class."""
        size = self.hidden_units
        drawn = np.stack([each.uniform(-1.0, 1.0, 4 * size + 1) for each in generators])
        weights, biases, output_weights, output_bias = np.split(drawn, [2 * size, 3 * size, 4 * size], axis=1)
        parameters = {
            "hidden_weights": weights.reshape(-1, size, 2),
            "hidden_biases": biases,
            "output_weights": output_weights,
            "output_bias": output_bias[:, 0],
        }
        grid = self.values(parameters, np.broadcast_to(self._grid, (len(drawn), *self._grid.shape[1:])))
        lowest = grid.min(axis=1)
        span = np.maximum(grid.max(axis=1) - lowest, 1e-9)
        parameters["output_weights"] = output_weights / span[:, None]
        parameters["output_bias"] = (output_bias[:, 0] - lowest) / span
        return parameters

    def values(self, parameters: Parameters, inputs: FloatArray) -> FloatArray:
        """See the base class."""
        weights = parameters["hidden_weights"]
        total = np.zeros(inputs.shape[:2])
        for unit in range(self.hidden_units):
            incoming = weights[:, unit, :, None]
            activation = incoming[:, 0] * inputs[..., 0] + incoming[:, 1] * inputs[..., 1]
            activation += parameters["hidden_biases"][:, unit, None]
            total += parameters["output_weights"][:, unit, None] / (1.0 + np.exp(-activation))
        return total + parameters["output_bias"][:, None]


class Sinusoid(FunctionFamily):
    """Sine waves, amplitude · sin(x + phase): amplitude in [0.1, 5], phase in [0, pi], x in [-5, 5].

    Source: Finn et al., Model-agnostic meta-learning, ICML 2017, section 5.1.
    """

    input_low: float = -5.0
    input_high: float = 5.0
    target_low: float = -5.0
    target_high: float = 5.0
    parameter_shapes: Mapping[str, tuple[int, ...]] = {"amplitude": (), "phase": ()}

    def draw(self, generators: Sequence[np.random.Generator]) -> Parameters:
        """See the base class."""
        drawn = np.stack([each.random(2) for each in generators])
        return {"amplitude": 0.1 + 4.9 * drawn[:, 0], "phase": np.pi * drawn[:, 1]}

    def values(self, parameters: Parameters, inputs: FloatArray) -> FloatArray:
        """See the base class."""
        waves = np.sin(np.ascontiguousarray(inputs[..., 0]) + parameters["phase"][:, None])
        return parameters["amplitude"][:, None] * waves


class Polynomial(FunctionFamily):
    """Cubic polynomials on [-1, 1], the coefficients uniform in [-1, 1]."""

    degree = 3
    target_low: float = -float(degree + 1)
    target_high: float = float(degree + 1)
    parameter_shapes: Mapping[str, tuple[int, ...]] = {"coefficients": (degree + 1,)}

    def draw(self, generators: Sequence[np.random.Generator]) -> Parameters:
        """See the base class; the constant coefficient comes first."""
        return {"coefficients": np.stack([each.uniform(-1.0, 1.0, self.degree + 1) for each in generators])}

    def values(self, parameters: Parameters, inputs: FloatArray) -> FloatArray:
        """See the base class."""
        x = inputs[..., 0]
        total = np.zeros_like(x)
        for power in reversed(range(self.degree + 1)):  # Horner's scheme
            total = total * x + parameters["coefficients"][:, power, None]
        return total


class GaussianProcess(FunctionFamily):
    """Smooth random functions on [-1, 1]: a Gaussian process whose length scale is drawn anew for each.

    The kernel is exp(-(x - x')² / (2 l²)), the length scale l log-uniform in [0.2, 1]. It is approximated by 64
    random Fourier features: f(x) = sqrt(2 / 64) · sum_m a_m · cos(w_m x + p_m), a_m standard normal, w_m normal
    with standard deviation 1 / l, p_m uniform in [0, 2 pi]. Values beyond 4 standard deviations are cut off.

    Source: Rahimi and Recht, Random features for large-scale kernel machines, NIPS 2007.
    """

    target_low: float = -4.0
    target_high: float = 4.0
    num_features = 64
    parameter_shapes: Mapping[str, tuple[int, ...]] = {
        "length_scale": (),
        "amplitudes": (num_features,),
        "frequencies": (num_features,),
        "phases": (num_features,),
    }

    def draw(self, generators: Sequence[np.random.Generator]) -> Parameters:
        """See the base class."""
        size = self.num_features
        uniform = np.stack([each.random(1 + size) for each in generators])
        normal = np.stack([each.standard_normal(2 * size) for each in generators])
        length_scale = 0.2 * 5.0 ** uniform[:, 0]
        return {
            "length_scale": length_scale,
            "amplitudes": normal[:, :size],
            "frequencies": normal[:, size:] / length_scale[:, None],
            "phases": 2.0 * np.pi * uniform[:, 1:],
        }

    def values(self, parameters: Parameters, inputs: FloatArray) -> FloatArray:
        """See the base class."""
        x = inputs[..., 0]
        total = np.zeros_like(x)
        for feature in range(self.num_features):
            amplitude, frequency, phase = (
                parameters[name][:, feature, None] for name in ("amplitudes", "frequencies", "phases")
            )
            total += amplitude * np.cos(frequency * x + phase)
        return np.sqrt(2.0 / self.num_features) * total


class Linear(FunctionFamily):
    """Planes over [-1, 1]²: two slopes and an offset, uniform in [-1, 1]."""

    input_size = 2
    target_low: float = -3.0
    target_high: float = 3.0
    parameter_shapes: Mapping[str, tuple[int, ...]] = {"slopes": (input_size,), "offset": ()}

    def draw(self, generators: Sequence[np.random.Generator]) -> Parameters:
        """See the base class."""
        drawn = np.stack([each.uniform(-1.0, 1.0, 3) for each in generators])
        return {"slopes": drawn[:, :2], "offset": drawn[:, 2]}

    def values(self, parameters: Parameters, inputs: FloatArray) -> FloatArray:
        """See the base class."""
        slopes = parameters["slopes"][:, None]
        planes = slopes[..., 0] * inputs[..., 0] + slopes[..., 1] * inputs[..., 1]
        return planes + parameters["offset"][:, None]


FUNCTION_FAMILIES: dict[str, FunctionFamily] = {
    "two_layer_network": TwoLayerNetwork(),
    "sinusoid": Sinusoid(),
    "polynomial": Polynomial(),
    "gaussian_process": GaussianProcess(),
    "linear": Linear(),
}


def register_family(name: str, family: FunctionFamily) -> None:
    """Make ``family`` known by ``name``, in place of any other of that name."""
    FUNCTION_FAMILIES[name] = family


def function_family(name: str) -> FunctionFamily:
    """Return the family of that name.

    Raises:
        ValueError: If there is none, naming the nearest.
    """
    if name not in FUNCTION_FAMILIES:
        raise ValueError(unknown("function family", name, FUNCTION_FAMILIES))
    return FUNCTION_FAMILIES[name]


def checked_parameters(family: FunctionFamily, given: Any, num_functions: int) -> Parameters:
    """Return parameters given by the user, of one function or one a lane, as those of ``num_functions``.

    Args:
        family: Whose functions they are.
        given: Arrays by name; names that begin with an underscore, as the masks in infos do, are passed over.
        num_functions: n.

    Raises:
        ValueError: If a parameter is missing, unknown, not finite or of another shape; the message names it.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"function must be its parameters by name, not {given!r}")
    named = {str(name): value for name, value in given.items() if not str(name).startswith("_")}
    for name in named:
        if name not in family.parameter_shapes:
            raise ValueError(unknown("parameter of the function", name, family.parameter_shapes))
    parameters: Parameters = {}
    for name, shape in family.parameter_shapes.items():
        if name not in named:
            raise ValueError(
                f"function must have the parameter {name!r}, but has {', '.join(named) or 'none'}"
            )
        parameters[name] = _checked_parameter(name, named[name], shape, num_functions)
    return parameters


def _checked_parameter(name: str, value: Any, shape: tuple[int, ...], num_functions: int) -> FloatArray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be numbers of shape {shape}, not {value!r}") from None
    several = (num_functions, *shape)
    if array.shape not in (shape, several):
        raise ValueError(f"{name} must have the shape {shape} or {several}, not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, not {array.tolist()}")
    return np.array(np.broadcast_to(array, several))
