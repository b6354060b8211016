"""Pictures of regression: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest

from lsnn_gym.pictures import RegressionPicture, draw_regression_episode, error_curves

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
    error_curves({"agent": [0.4, 0.2, 0.1], "other": [0.3, None, 0.2]}, tmp_path / "errors.png", title="run")
    (axes,) = drawn[0].axes
    assert axes.get_yscale() == "log"
    agent, other = axes.get_lines()
    assert agent.get_xydata().tolist() == [[0, 0.4], [1, 0.2], [2, 0.1]]
    assert other.get_xydata().tolist() == [[0, 0.3], [2, 0.2]]
    assert agent.get_linewidth() > other.get_linewidth()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["agent", "other"]


@pytest.mark.parametrize("spiking", [True, False])
def test_an_episode_shows_targets_predictions_errors_and_spikes(tmp_path, drawn, spiking):
    picture = episode() if spiking else episode(spikes=None)
    draw_regression_episode(picture, tmp_path / "episode.png")
    axes = drawn[0].axes
    assert len(axes) == (3 if spiking else 2)
    targets, predictions = axes[0].get_lines()
    assert targets.get_ydata().tolist() == [0.1, 0.5, 0.9]
    assert predictions.get_ydata().tolist() == [0.4, 0.5, 1.0]
    assert [bar.get_height() for bar in axes[1].patches] == pytest.approx([0.3, 0.0, 0.1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predictions": np.zeros(2)}, r"targets are \[3\] and predictions \[2\], expected \[T\] both"),
        ({"spikes": np.zeros((7, 5), bool)}, r"spikes are \[7, 5\], expected a multiple of 3 rows"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        draw_regression_episode(episode(**changes), tmp_path / "episode.png")
    assert not list(tmp_path.iterdir())
