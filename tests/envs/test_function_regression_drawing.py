"""Pictures of function regression: what can be seen in them."""

import numpy as np
import pytest

from lsnn_gym.envs import (
    FUNCTION_FAMILIES,
    FunctionRegressionEnv,
    FunctionRegressionVectorEnv,
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
