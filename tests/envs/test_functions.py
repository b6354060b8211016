"""The families of functions: against slow forms of them, and what every family has to hold to."""

import math

import numpy as np
import pytest

from lsnn_gym.envs import FUNCTION_FAMILIES, FunctionFamily, register_family
from lsnn_gym.envs.functions import Linear, Parameters, checked_parameters, function_family


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng((seed, number)) for number in range(count)]


def draw_inputs(family: FunctionFamily, count: int, points: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(family.input_low, family.input_high, (count, points, family.input_size))


def one_of(parameters: Parameters, number: int) -> dict[str, np.ndarray]:
    return {name: each[number] for name, each in parameters.items()}


def slow_network(p: dict[str, np.ndarray], x: np.ndarray) -> float:
    hidden = [
        1 / (1 + math.exp(-(sum(w * v for w, v in zip(weights, x, strict=True)) + bias)))
        for weights, bias in zip(p["hidden_weights"], p["hidden_biases"], strict=True)
    ]
    return sum(w * h for w, h in zip(p["output_weights"], hidden, strict=True)) + float(p["output_bias"])


def slow_process(p: dict[str, np.ndarray], x: np.ndarray) -> float:
    features = zip(p["amplitudes"], p["frequencies"], p["phases"], strict=True)
    return math.sqrt(2 / 64) * sum(a * math.cos(w * x[0] + phase) for a, w, phase in features)


SLOW = {
    "two_layer_network": slow_network,
    "sinusoid": lambda p, x: float(p["amplitude"]) * math.sin(x[0] + p["phase"]),
    "polynomial": lambda p, x: sum(c * x[0] ** k for k, c in enumerate(p["coefficients"])),
    "gaussian_process": slow_process,
    "linear": lambda p, x: p["slopes"][0] * x[0] + p["slopes"][1] * x[1] + p["offset"],
}


@pytest.mark.parametrize("name", FUNCTION_FAMILIES)
def test_values_equal_a_slow_form(name):
    family = FUNCTION_FAMILIES[name]
    parameters, inputs = family.draw(generators(6)), draw_inputs(family, 6, 9)
    expected = [[SLOW[name](one_of(parameters, f), x) for x in inputs[f]] for f in range(6)]
    np.testing.assert_allclose(family.values(parameters, inputs), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTION_FAMILIES)
def test_one_of_many_functions_is_bit_for_bit_the_one_drawn_alone(name):
    family = FUNCTION_FAMILIES[name]
    many, inputs = family.draw(generators(37)), draw_inputs(family, 37, 13)
    values = family.values(many, inputs)
    for number in (0, 5, 36):
        alone = family.draw(generators(37)[number : number + 1])
        for parameter, each in alone.items():
            np.testing.assert_array_equal(each[0], many[parameter][number])
        np.testing.assert_array_equal(family.values(alone, inputs[number : number + 1])[0], values[number])


@pytest.mark.parametrize("name", FUNCTION_FAMILIES)
def test_a_family_is_what_it_says(name):
    family = FUNCTION_FAMILIES[name]
    parameters, inputs = family.draw(generators(500)), draw_inputs(family, 500, 20)
    assert {key: each.shape[1:] for key, each in parameters.items()} == dict(family.parameter_shapes)
    assert all(each.dtype == np.float64 and len(each) == 500 for each in parameters.values())
    values = family.values(parameters, inputs)
    assert values.shape == (500, 20)
    slack = 0.01 * (family.target_high - family.target_low)
    assert (values > family.target_low - slack).mean() > 0.999
    assert (values < family.target_high + slack).mean() > 0.999
    assert values.max() - values.min() > 0.5 * (family.target_high - family.target_low)
    assert family.target_scale == max(-family.target_low, family.target_high)
    assert values.std(axis=1).min() < values.std(axis=1).max()
    assert type(family).__doc__


def test_networks_have_weights_as_told_and_span_the_unit_interval():
    family = FUNCTION_FAMILIES["two_layer_network"]
    parameters = family.draw(generators(2000))
    for name in ("hidden_weights", "hidden_biases"):
        each = parameters[name]
        assert np.abs(each).max() <= 1
        assert each.std() == pytest.approx(1 / math.sqrt(3), abs=0.02)
    fine = np.stack(np.meshgrid(*[np.linspace(-1, 1, 25)] * 2), axis=-1).reshape(1, -1, 2)
    values = family.values(parameters, np.broadcast_to(fine, (2000, *fine.shape[1:])))
    assert np.abs(values.min(axis=1)).max() < 0.02
    assert np.abs(values.max(axis=1) - 1).max() < 0.02


def test_sinusoids_are_as_in_maml():
    parameters = FUNCTION_FAMILIES["sinusoid"].draw(generators(3000))
    for name, low, high in (("amplitude", 0.1, 5.0), ("phase", 0.0, math.pi)):
        each = parameters[name]
        assert low <= each.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < each.max() <= high
        assert each.mean() == pytest.approx((low + high) / 2, rel=0.03)


def test_random_features_have_the_kernel_they_stand_for():
    family = FUNCTION_FAMILIES["gaussian_process"]
    parameters = family.draw(generators(6000))
    scales = parameters["length_scale"]
    assert 0.2 <= scales.min() < 0.21
    assert 0.98 < scales.max() <= 1.0
    x = np.broadcast_to(np.array([0.0, 0.3])[None, :, None], (6000, 2, 1))
    values = family.values(parameters, x)
    assert values.var() == pytest.approx(1.0, abs=0.05)
    for low, high in ((0.2, 0.3), (0.6, 1.0)):
        chosen = (scales >= low) & (scales < high)
        expected = np.exp(-(0.3**2) / (2 * scales[chosen] ** 2)).mean()
        assert (values[chosen, 0] * values[chosen, 1]).mean() == pytest.approx(expected, abs=0.09)


def test_a_family_can_be_added():
    class Steep(Linear):
        """Planes, by another name."""

    try:
        register_family("steep", Steep())
        assert isinstance(function_family("steep"), Steep)
    finally:
        FUNCTION_FAMILIES.pop("steep", None)
    with pytest.raises(
        ValueError, match=r"^unknown function family 'sinusiod': did you mean 'sinusoid'\? there is"
    ):
        function_family("sinusiod")


def test_given_parameters_are_for_all_functions_or_one_each():
    family = FUNCTION_FAMILIES["linear"]
    one = checked_parameters(family, {"slopes": [1, 2], "offset": 3, "_slopes": True}, 2)
    assert one["slopes"].tolist() == [[1, 2], [1, 2]]
    assert one["offset"].tolist() == [3, 3]
    each = checked_parameters(family, {"slopes": [[1, 2], [3, 4]], "offset": [0, 1]}, 2)
    assert each["slopes"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "function must be its parameters by name, not 3"),
        (
            {"slope": [1, 2], "offset": 0},
            "unknown parameter of the function 'slope': did you mean 'slopes'? there is offset, slopes",
        ),
        ({"slopes": [1, 2]}, "function must have the parameter 'offset', but has slopes"),
        ({"slopes": [1], "offset": 0}, "slopes must have the shape (2,) or (3, 2), not (1,)"),
        ({"slopes": [1, np.nan], "offset": 0}, "slopes must be finite, not [1.0, nan]"),
        ({"slopes": ["a", "b"], "offset": 0}, "slopes must be numbers of shape (2,), not ['a', 'b']"),
    ],
)
def test_parameters_of_no_use_are_refused(given, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        checked_parameters(FUNCTION_FAMILIES["linear"], given, 3)
    assert str(caught.value) == message
