"""Pictures of regression: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest

from lsnn_gym.pictures import ErrorCurve, Knowledge, RegressionPicture, draw_regression_episode, error_curves

pytest.importorskip("matplotlib")


def episode(**changes) -> RegressionPicture:
    rng = np.random.default_rng(0)
    picture = RegressionPicture(
        targets=np.array([0.1, 0.5, 0.9]),
        predictions=np.array([0.4, 0.5, 1.0]),
        spikes=rng.random((12, 5)) < 0.3,
        groups={"regular": 3, "adaptive": 2},
    )
    return picture._replace(**changes)


def test_errors_are_drawn_against_examples_seen_where_there_are_any(tmp_path, drawn):
    quartiles = [[0.1, 0.2, 0.5], [0.1, 0.15, 0.3], [0.05, 0.1, 0.2]]
    curves = {
        "agent": ErrorCurve([0.4, 0.2, 0.1], quartiles),
        "other": ErrorCurve([0.3, None, 0.2], [[0.2, 0.3, 0.4], None, [0.1, 0.2, 0.3]]),
    }
    error_curves(curves, tmp_path / "errors.png", title="run")
    axes, of_agent, of_other, unused = drawn[0].axes
    assert axes.get_yscale() == "log"
    agent, other = axes.get_lines()
    assert agent.get_xydata().tolist() == [[0, 0.4], [1, 0.2], [2, 0.1]]
    assert other.get_xydata().tolist() == [[0, 0.3], [2, 0.2]]
    assert agent.get_linewidth() > other.get_linewidth()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["agent", "other"]
    assert not unused.get_visible()
    assert [each.get_title() for each in (of_agent, of_other)] == ["agent", "other"]
    for each, low, high in ((axes, 0.05, 0.5), (of_agent, 0.05, 0.5), (of_other, 0.1, 0.4)):
        (shade,) = each.collections
        heights = shade.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == (low, high)


def curves(**changes) -> Knowledge:
    """What was believed of a function of one input, after one and after two examples."""
    knowledge = Knowledge(
        inputs=np.array([[-0.5], [0.0], [0.5]]),
        grid=np.array([[-1.0], [0.0], [1.0]]),
        values=np.array([0.0, 0.5, 1.0]),
        seen=(1, 2),
        believed=np.array([[0.0, 0.5, 0.4], [0.0, 0.5, 0.9]]),
        target_range=(0.0, 1.0),
    )
    return knowledge._replace(**changes)


def surfaces() -> Knowledge:
    """The same of a function of two inputs."""
    grid = np.array([[x, y] for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    believed = np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0]])
    return curves(
        inputs=np.zeros((3, 2)), grid=grid, values=np.array([0.0, 0.0, 1.0, 1.0]), believed=believed
    )


@pytest.mark.parametrize("spiking", [True, False])
def test_an_episode_shows_targets_predictions_errors_and_spikes(tmp_path, drawn, spiking):
    picture = episode() if spiking else episode(spikes=None)
    draw_regression_episode(picture, tmp_path / "episode.png")
    axes = drawn[0].axes
    assert len(axes) == (2 if spiking else 1)
    targets, predictions = axes[0].get_lines()
    assert targets.get_ydata().tolist() == [0.1, 0.5, 0.9]
    assert predictions.get_ydata().tolist() == [0.4, 0.5, 1.0]
    (errors,) = axes[0].collections
    assert [abs(line[0, 1] - line[1, 1]) for line in errors.get_segments()] == pytest.approx([0.3, 0.0, 0.1])


def test_beliefs_about_a_curve_are_drawn_over_it_with_the_examples_seen(tmp_path, drawn):
    draw_regression_episode(episode(knowledge=curves()), tmp_path / "episode.png")
    first, second, _, raster = drawn[0].axes
    assert first.get_title() == "after 1 example\nerror 0.12"
    assert second.get_title() == "after 2 examples\nerror 0.0033"
    function, believed, examples = second.get_lines()
    assert function.get_ydata().tolist() == [0.0, 0.5, 1.0]
    assert believed.get_ydata().tolist() == [0.0, 0.5, 0.9]
    assert examples.get_xydata().tolist() == [[-0.5, 0.1], [0.0, 0.5]]
    # Four steps of 1 ms a trial: asked after one and after two of them.
    marks = [line.get_xdata()[0] for line in raster.get_lines() if line.get_alpha()]
    assert marks == [4.0, 8.0]


def test_beliefs_about_a_surface_stand_beside_it(tmp_path, drawn):
    draw_regression_episode(episode(knowledge=surfaces()), tmp_path / "episode.png")
    function, first, second = drawn[0].axes[:3]
    assert function.get_title() == "the function"
    # Rows are the second input, upwards; columns the first.
    assert function.images[0].get_array().tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert first.images[0].get_array().tolist() == [[0.1, 0.3], [0.2, 0.4]]
    assert first.images[0].get_clim() == (0.0, 1.0)
    (examples,) = second.collections
    assert examples.get_array().tolist() == [0.1, 0.5]
    assert second.get_title() == "after 2 examples\nerror 0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predictions": np.zeros(2)}, r"targets are \[3\] and predictions \[2\], expected \[T\] both"),
        ({"spikes": np.zeros((7, 5), bool)}, r"spikes are \[7, 5\], expected a multiple of 3 rows"),
        (
            {"knowledge": curves(grid=np.zeros((3, 2)))},
            r"grid is \[3, 2\], expected \[M, 1\], or \[M, 2\] of a",
        ),
        ({"knowledge": curves(believed=np.zeros((1, 3)))}, r"believed is \[1, 3\], expected \[2, 3\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        draw_regression_episode(episode(**changes), tmp_path / "episode.png")
    assert not list(tmp_path.iterdir())
