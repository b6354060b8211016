"""Pictures of function regression: what can be seen in them."""

import numpy as np
import pytest

from lsnn_gym.envs import (
    FUNCTION_FAMILIES,
    FunctionRegressionEnv,
    FunctionRegressionVectorEnv,
    draw_belief,
    draw_regression,
)
from lsnn_gym.envs import function_regression_drawing as drawing

FLAT = {"amplitude": np.array(0.0), "phase": np.array(0.0)}
SIDE = 400


def pixel(frame: np.ndarray, right: float, up: float) -> np.ndarray:
    """Return the colour at shares of the drawn range."""
    margin, inner = SIDE * drawing._MARGIN, SIDE * (1 - 2 * drawing._MARGIN)
    return frame[round(SIDE - margin - inner * up) - 1, round(margin + inner * right)].astype(int)


def near(color: np.ndarray, expected: drawing.Color, tolerance: int = 40) -> bool:
    return bool(np.abs(color - np.array(expected)).max() <= tolerance)


def test_a_curve_its_prediction_and_the_question_are_where_they_belong():
    sinusoid = FUNCTION_FAMILIES["sinusoid"]
    frame = draw_regression(sinusoid, FLAT, [[-2.5], [2.5]], [3.0], size=SIDE)
    assert frame.shape == (SIDE, SIDE, 3)
    assert near(pixel(frame, 0.5, 0.5), drawing.CURVE)
    assert near(pixel(frame, 0.25, 0.8), drawing.PREDICTION)
    assert near(pixel(frame, 0.75, 0.9), drawing.QUESTION, 120)
    assert near(pixel(frame, 0.25, 0.2), drawing.GROUND)


def test_a_right_prediction_has_the_colour_of_its_ground():
    linear = FUNCTION_FAMILIES["linear"]
    plane = {"slopes": np.array([0.0, 0.0]), "offset": np.array(1.5)}
    frame = draw_regression(linear, plane, [[0.0, 0.0], [-0.5, 0.5], [0.8, 0.8]], [1.5, -3.0], size=SIDE)
    ground = pixel(frame, 0.2, 0.2)
    assert near(ground, drawing._heat(linear, 1.5), 3)
    assert near(pixel(frame, 0.5, 0.5), tuple(ground), 3)
    assert near(pixel(frame, 0.25, 0.75), drawing.LOW, 3)


@pytest.mark.parametrize("family", FUNCTION_FAMILIES)
def test_environments_draw_their_own_episode(family):
    env = FunctionRegressionEnv("rgb_array", family=family, trials=6, render_size=80)
    many = FunctionRegressionVectorEnv(2, "rgb_array", family=family, trials=6, render_size=80)
    observation, info = env.reset(seed=1)
    many.reset(seed=0)
    before = env.render()
    inputs, answers = [observation[:-1]], []
    for action in np.random.default_rng(0).uniform(-1, 1, 4):
        observation, *_ = env.step(np.array([action]))
        many.step(np.full((2, 1), action))
        inputs.append(observation[:-1])
        answers.append(action * FUNCTION_FAMILIES[family].target_scale)
    frame = env.render()
    assert (frame != before).any()
    expected = draw_regression(FUNCTION_FAMILIES[family], info["function"], inputs, answers, size=80)
    assert np.abs(frame.astype(int) - expected).max() < 40  # inputs were observed as float32
    frames = many.render()
    assert frames is not None
    np.testing.assert_array_equal(frames[1], frame)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(
        ValueError, match=r"inputs must have the shape \(k \+ 1, 1\) and predictions \(k,\), not"
    ):
        draw_regression(FUNCTION_FAMILIES["sinusoid"], FLAT, [[0.0]], [1.0])
    with pytest.warns(UserWarning, match="nothing to render"):
        assert FunctionRegressionEnv().render() is None
    assert FunctionRegressionVectorEnv(2).render() is None


def test_a_belief_about_a_curve_is_drawn_beside_it_with_the_examples():
    sinusoid = FUNCTION_FAMILIES["sinusoid"]
    frame = draw_belief(sinusoid, FLAT, [[-2.5], [2.5]], [-3.0], np.full(40, 2.0), size=SIDE)
    assert near(pixel(frame, 0.5, 0.5), drawing.CURVE)
    assert near(pixel(frame, 0.5, 0.7), drawing.PREDICTION)
    assert near(pixel(frame, 0.25, 0.2), drawing.RIM)
    assert near(pixel(frame, 0.75, 0.9), drawing.QUESTION, 120)


def test_a_belief_about_a_surface_is_its_ground_and_a_target_another_colour():
    linear = FUNCTION_FAMILIES["linear"]
    plane = {"slopes": np.array([0.0, 0.0]), "offset": np.array(1.5)}
    believed = np.full((4, 4), 3.0)
    believed[3, 0] = -3.0  # the first input high, the second low
    frame = draw_belief(linear, plane, [[0.0, 0.0], [-0.9, 0.9]], [-3.0], believed, size=SIDE)
    assert near(pixel(frame, 0.25, 0.5), drawing.HIGH, 3)
    assert near(pixel(frame, 0.5, 0.5), drawing.LOW, 3)
    assert near(pixel(frame, 0.99, 0.01), drawing.LOW)


@pytest.mark.parametrize(
    ("family", "believed", "message"),
    [
        ("sinusoid", np.zeros((4, 4)), r"believed must have the shape \(n,\), n at least 2, not \(4, 4\)"),
        ("linear", np.zeros(4), r"believed must have the shape \(n, n\), n at least 2, not \(4,\)"),
        ("linear", np.zeros((4, 3)), r"believed must have the shape \(n, n\)"),
    ],
)
def test_a_belief_of_another_shape_is_refused(family, believed, message):
    size = FUNCTION_FAMILIES[family].input_size
    with pytest.raises(ValueError, match=message):
        draw_belief(FUNCTION_FAMILIES[family], {}, np.zeros((2, size)), [0.0], believed)
    with pytest.raises(ValueError, match=r"targets \(k,\), not"):
        draw_belief(FUNCTION_FAMILIES[family], {}, np.zeros((2, size)), [0.0, 1.0], believed)
