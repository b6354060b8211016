from __future__ import annotations

import builtins
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsnn_gym.errors import UserError
from lsnn_gym.pictures import (
    GROUP_COLORS,
    CurveGroup,
    Panel,
    comparison_curves,
    episode_picture,
    group_bounds,
    learning_curve,
    learning_curves,
    spike_raster,
    trajectory,
)

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.collections import LineCollection  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Circle, Rectangle  # noqa: E402


def axes() -> Axes:
    figure = Figure()
    FigureCanvasAgg(figure)
    return figure.subplots()


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def points(line: Any) -> np.ndarray[Any, Any]:
    return np.asarray(line.get_data())


def share(picture: np.ndarray[Any, Any], color: tuple[int, int, int]) -> float:
    return float((np.abs(picture.astype(int) - color).max(axis=2) < 12).mean())


def records(count: int = 50) -> list[dict[str, Any]]:
    return [
        {
            "iteration": i,
            "goals": 10 * (1 - math.exp(-i / 10)),
            "first": 40.0,
            "later": None if i < 5 else 100.0 / i,
            "rate": math.nan if i == 7 else 20.0,
        }
        for i in range(1, count + 1)
    ]


# Learning curves ---------------------------------------------------------------------------------


def test_learning_curve(tmp_path: Path, drawn: list[Figure]):
    out = tmp_path / "curve.png"
    learning_curve(
        records(),
        {"agent": "goals"},
        out,
        title="water maze",
        y_label="goals per episode",
        references={"random": 0.64, "oracle": 31.0},
    )
    picture = pixels(out)
    assert picture.shape[0] > 300
    assert picture.shape[1] > 600
    assert share(picture, GROUP_COLORS[0]) > 0.001
    assert 0.5 < share(picture, (255, 255, 255)) < 0.99
    (each,) = drawn[0].axes
    assert each.get_xlabel() == "iteration"
    assert each.get_ylabel() == "goals per episode"
    assert drawn[0].get_suptitle() == "water maze"
    x, y = points(each.lines[0])
    assert list(x) == list(range(1, 51))
    assert y[-1] == pytest.approx(10, abs=0.1)
    assert each.get_legend_handles_labels()[1] == ["agent"]
    assert [text.get_text() for text in each.texts] == ["random 0.64", "oracle 31"]
    assert each.get_ylim()[1] > 31


def test_missing_values_are_left_out(tmp_path: Path, drawn: list[Figure]):
    learning_curve(records(), {"later": "later", "rate": "rate"}, tmp_path / "c.png")
    later, rate = (points(line) for line in drawn[0].axes[0].lines)
    assert list(later[0]) == list(range(5, 51))
    assert 7 not in list(rate[0])
    assert len(rate[0]) == 49


def test_long_curves_are_smoothed_over_their_values(tmp_path: Path, drawn: list[Figure]):
    noisy = [{"iteration": i, "goals": (-1.0) ** i} for i in range(400)]
    learning_curve(noisy, {"goals": "goals"}, tmp_path / "c.png")
    raw, smooth = (points(line)[1] for line in drawn[0].axes[0].lines)
    assert np.abs(raw).min() == 1
    assert np.abs(smooth).max() < 0.1
    assert len(smooth) == len(raw)
    # the ends are means of what there is: 0 .. 10 and 389 .. 399
    assert smooth[0] == pytest.approx(1 / 11)
    assert smooth[-1] == pytest.approx(-1 / 11)


def test_panels_share_the_time_and_have_their_own_scale(tmp_path: Path, drawn: list[Figure]):
    panels = [
        Panel({"agent": "goals"}, "goals", {"oracle": 31}),
        Panel({"a": "first", "b": "later"}, "steps"),
    ]
    learning_curves(records(), panels, tmp_path / "c.png", x_label="iterations")
    top, bottom = drawn[0].axes
    assert top.get_xlim() == bottom.get_xlim()
    assert (top.get_xlabel(), bottom.get_xlabel()) == ("", "iterations")
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("goals", "steps")


def test_close_references_are_named_apart(tmp_path: Path, drawn: list[Figure]):
    learning_curve(
        records(), {"goals": "goals"}, tmp_path / "c.png", references={"a": 5, "b": 5.01, "c": 5.02}
    )
    texts: list[Any] = list(drawn[0].axes[0].texts)
    heights = [text.xy[1] for text in texts]
    low, high = drawn[0].axes[0].get_ylim()
    assert min(np.diff(heights)) >= 0.05 * (high - low)


@pytest.mark.parametrize("count", [1, 2])
def test_short_runs_can_be_drawn(tmp_path: Path, count: int):
    learning_curve(records(count), {"goals": "goals", "later": "later"}, tmp_path / "c.png")
    assert share(pixels(tmp_path / "c.png"), GROUP_COLORS[0]) > 0


def test_what_cannot_be_drawn(tmp_path: Path):
    with pytest.raises(UserError, match=r"^there are no metrics to draw yet$"):
        learning_curve([], {"a": "goals"}, tmp_path / "c.png")
    with pytest.raises(UserError) as caught:
        learning_curve(records(), {"a": "gaols"}, tmp_path / "c.png")
    assert str(caught.value) == (
        "unknown metric 'gaols': did you mean 'goals'? there is first, goals, iteration, later, rate"
    )
    with pytest.raises(UserError, match=r"^unknown metric 'step'"):
        learning_curve(records(), {"a": "goals"}, tmp_path / "c.png", x_key="step")
    with pytest.raises(UserError, match=r"^cannot write .*/missing/c\.png: No such file or directory$"):
        learning_curve(records(), {"a": "goals"}, tmp_path / "missing" / "c.png")


# Rasters -----------------------------------------------------------------------------------------


def test_group_bounds():
    assert group_bounds({"LIF": 3, "ALIF": 2}, 5) == {"LIF": (0, 3), "ALIF": (3, 5)}
    assert group_bounds(None, 4) == {"": (0, 4)}
    with pytest.raises(ValueError, match=r"groups {'LIF': 3} have 3 neurons in all, expected 5"):
        group_bounds({"LIF": 3}, 5)
    with pytest.raises(ValueError, match="expected 5"):
        group_bounds({"LIF": 7, "ALIF": -2}, 5)


def test_raster_shows_each_spike_at_its_time():
    spikes = np.zeros((20, 5), bool)
    spikes[3, 0] = spikes[10, 4] = spikes[11, 4] = True
    each = axes()
    spike_raster(each, spikes, dt=0.5, groups={"LIF": 3, "ALIF": 2}, goal_times=[2.5])
    lif, alif = (c for c in each.collections if isinstance(c, LineCollection))
    (segment,) = lif.get_segments()
    assert segment[:, 0].tolist() == [1.75, 1.75]
    assert segment[:, 1].mean() == pytest.approx(0.5)
    assert [segment[0, 0] for segment in alif.get_segments()] == [5.25, 5.75]
    assert {segment[:, 1].mean() for segment in alif.get_segments()} == {4.5}
    drawn_in: Any = alif.get_color()
    assert to_rgb(drawn_in[0]) == tuple(part / 255 for part in GROUP_COLORS[1])
    # 1 spike of 3 neurons and 2 of 2, in 10 ms
    assert [text.get_text() for text in each.get_yticklabels()] == ["LIF\n33.3 Hz", "ALIF\n100 Hz"]
    assert each.get_xlim() == (0, 10)
    assert each.get_ylim() == (5, 0)
    assert each.get_xlabel() == "time (ms)"
    assert any(points(line)[0].tolist() == [2.5, 2.5] for line in each.lines)


def test_raster_without_spikes_or_groups():
    each = axes()
    spike_raster(each, np.zeros((4, 2)))
    assert [text.get_text() for text in each.get_yticklabels()] == ["0 Hz"]
    for bad in (np.zeros(4), np.zeros((0, 3)), np.zeros((2, 3, 4))):
        with pytest.raises(ValueError, match=r"expected \[T, N\]"):
            spike_raster(each, bad)


# Trajectories ------------------------------------------------------------------------------------


def test_trajectory_is_interrupted_where_the_agent_is_put_elsewhere():
    path = np.arange(20).reshape(10, 2) / 20
    each = axes()
    trajectory(each, path, goal=(0.5, -0.25), goal_radius=0.3, starts=[7, 4])
    ways = [line for line in each.lines if line.get_marker() != "o"]
    assert [points(line).shape[1] for line in ways] == [4, 3, 3]
    assert np.array_equal(points(ways[1]), path[4:7].T)
    colors = [to_rgb(line.get_color()) for line in ways]
    assert colors[1] == colors[2] != colors[0]
    arena, goal = each.patches
    assert isinstance(arena, Circle)
    assert isinstance(goal, Circle)
    assert (arena.get_radius(), goal.get_radius()) == (1.0, 0.3)
    assert goal.get_center() == (0.5, -0.25)
    assert each.get_aspect() == 1
    assert each.get_legend_handles_labels()[1] == ["until the goal is found", "afterwards"]


def test_square_arena_and_no_goal_found():
    each = axes()
    trajectory(each, [[0, 0]], goal=(0, 0), goal_radius=0.1, arena="square", arena_radius=2)
    arena = each.patches[0]
    assert isinstance(arena, Rectangle)
    assert arena.get_bbox().bounds == (-2, -2, 4, 4)
    assert each.get_legend_handles_labels()[1] == ["until the goal is found"]


def test_bad_trajectories():
    each = axes()
    for bad in (np.zeros((3, 3)), np.zeros(2), np.zeros((0, 2))):
        with pytest.raises(ValueError, match=r"expected \[T, 2\]"):
            trajectory(each, bad, goal=(0, 0), goal_radius=0.3)
    with pytest.raises(ValueError, match="unknown arena 'disk': did you mean 'disc'"):
        trajectory(each, [[0, 0]], goal=(0, 0), goal_radius=0.3, arena="disk")


# Episodes ----------------------------------------------------------------------------------------


def episode(**changes: Any) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        "positions": generator.uniform(-0.7, 0.7, (50, 2)),
        "goal": (0.3, 0.3),
        "goal_radius": 0.3,
        "spikes": generator.random((200, 30)) < 0.1,
        "values": np.linspace(0, 2, 50),
        "starts": [20, 30],
        "groups": {"LIF": 20, "ALIF": 10},
        **changes,
    }


def test_episode_picture(tmp_path: Path, drawn: list[Figure]):
    out = tmp_path / "episode.png"
    episode_picture(out, title="episode 1", **episode())
    picture = pixels(out)
    assert picture.shape[1] > 1000
    for color in GROUP_COLORS[:2]:
        assert share(picture, color) > 0.002
    assert share(picture, (221, 233, 239)) > 0.1  # the arena
    _, raster, trace = drawn[0].axes
    # four simulation steps of 1 ms an environment step
    assert raster.get_xlim() == trace.get_xlim() == (0, 200)
    goal_marks = {points(line)[0, 0] for line in trace.lines[:2]}
    assert goal_marks == {80, 120}
    assert points(trace.lines[2])[0, 0] == 2
    assert trace.get_ylabel() == "value estimate"
    assert "(ms)" in trace.get_xlabel()


@pytest.mark.parametrize("changes", [{"values": np.zeros(49)}, {"spikes": np.zeros((201, 30))}])
def test_figures_of_different_lengths(tmp_path: Path, changes: dict[str, Any]):
    with pytest.raises(ValueError, match="positions of 50 steps do not fit"):
        episode_picture(tmp_path / "e.png", **episode(**changes))


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'^pictures need matplotlib: pip install "lsnn-gym\[render\]"$'):
        learning_curve(records(), {"a": "goals"}, tmp_path / "c.png")


def test_nothing_heavy_is_loaded_and_no_global_state_made(tmp_path: Path):
    program = (
        "import sys\n"
        "import lsnn_gym.pictures, lsnn_gym.film, lsnn_gym.training.run_folder, lsnn_gym.settings\n"
        "heavy = {'matplotlib', 'imageio', 'imageio_ffmpeg', 'PIL', 'tensorboard', 'torch'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "lsnn_gym.pictures.learning_curve([{'iteration': 1, 'a': 2}], {'a': 'a'}, sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program, str(tmp_path / "c.png")], check=True)


# Comparisons -------------------------------------------------------------------------------------


def test_a_variant_is_drawn_as_the_mean_of_its_runs_in_a_band(tmp_path: Path, drawn: list[Figure]):
    def metrics(*figures: float) -> list[dict[str, Any]]:
        return [{"iteration": i + 1, "accuracy": figure} for i, figure in enumerate(figures)]

    groups = [
        CurveGroup("two runs", [metrics(0.0, 0.4), metrics(0.2, 0.8)]),
        CurveGroup("validated", [[{"iteration": 1, "accuracy": 0.1, "validation_accuracy": 0.9}]]),
        CurveGroup("without the figure", [[{"iteration": 1, "loss": 1.0}]]),
    ]
    comparison_curves(groups, "accuracy", tmp_path / "out.png", title="which is better")
    (axes,) = drawn[0].axes
    means, one = axes.get_lines()
    assert np.asarray(means.get_xydata()) == pytest.approx(np.array([[1, 0.1], [2, 0.6]]))
    assert np.asarray(one.get_xydata()) == pytest.approx(np.array([[1, 0.9]]))
    assert (means.get_marker(), one.get_marker()) == ("None", "o"), "a single point has to be seen"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["two runs", "validated"]
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx((0.0, 0.8))
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
