"""Pictures of sequences: what is drawn where, with spikes and without, and shapes that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsnn_gym.errors import UserError
from lsnn_gym.pictures import GOAL_COLOR, GROUP_COLORS, SequencePicture, draw_sequence

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

from matplotlib.collections import LineCollection  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


def sequence(**changes: Any) -> SequencePicture:
    """Return 24 steps in 4 windows, of which the second asks for class 2 and the last for class 0."""
    generator = np.random.default_rng(0)
    likely = generator.random((24, 3))
    picture = SequencePicture(
        inputs=(generator.random((24, 5)) < 0.3).astype(np.float32),
        spikes=generator.random((24, 10)) < 0.2,
        groups={"regular": 6, "adaptive": 4},
        probabilities=likely / likely.sum(axis=1, keepdims=True),
        targets=[None, 2, None, 0],
        dt=0.5,
    )
    return picture._replace(**changes)


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def color_of(number: int) -> tuple[float, ...]:
    return tuple(part / 255 for part in GROUP_COLORS[number])


def shaded(axes: Any) -> list[tuple[float, float]]:
    """Return beginning and end of each shaded stretch of time."""
    green = tuple(part / 255 for part in GOAL_COLOR)
    patches = [each for each in axes.patches if to_rgb(each.get_facecolor()) == pytest.approx(green)]
    return [(each.get_x(), each.get_x() + each.get_width()) for each in patches]


def test_inputs_spikes_and_answers_above_one_another(tmp_path: Path, drawn: list[Figure]):
    picture = sequence()
    draw_sequence(picture, tmp_path / "sequence.png", title="digits, sequence 3")
    image = pixels(tmp_path / "sequence.png")
    assert image.shape[1] > 1000
    assert image.shape[0] > 700
    (figure,) = drawn
    assert figure.get_suptitle() == "digits, sequence 3"
    inputs, raster, answers = figure.axes
    # 24 steps of 0.5 ms
    assert inputs.get_xlim() == raster.get_xlim() == answers.get_xlim() == (0, 12)
    shown = np.asarray(inputs.images[0].get_array())
    assert np.array_equal(shown, picture.inputs.T)
    assert inputs.images[0].get_extent() == [0, 12, 5, 0]
    assert picture.spikes is not None
    spikes = [len(each.get_segments()) for each in raster.collections if isinstance(each, LineCollection)]
    assert spikes == [picture.spikes[:, :6].sum(), picture.spikes[:, 6:].sum()]
    assert [text.get_text().split("\n")[0] for text in raster.get_yticklabels()] == ["regular", "adaptive"]
    assert answers.get_xlabel() == "time (ms); shaded: an answer is asked for"
    assert (inputs.get_ylabel(), answers.get_ylabel()) == ("input channel", "probability")


def test_the_classes_asked_for_stand_out_and_their_windows_are_shaded(tmp_path: Path, drawn: list[Figure]):
    picture = sequence()
    draw_sequence(picture, tmp_path / "sequence.png")
    for axes in drawn[0].axes:
        assert shaded(axes) == [(3, 6), (9, 12)]
    answers = drawn[0].axes[-1]
    lines = [each for each in answers.lines if len(np.asarray(each.get_xdata()))]
    assert len(lines) == 3
    for number, line in enumerate(lines):
        assert np.asarray(line.get_xdata())[:2].tolist() == [0.25, 0.75]
        assert np.array_equal(np.asarray(line.get_ydata()), picture.probabilities[:, number])
    colors = [to_rgb(line.get_color()) for line in lines]
    assert colors[0] == pytest.approx(color_of(0))
    assert colors[2] == pytest.approx(color_of(2))
    assert lines[1].get_linewidth() < lines[0].get_linewidth()
    assert answers.get_legend_handles_labels()[1] == ["class 0", "class 2"]


def test_the_right_classes_are_written_above(tmp_path: Path, drawn: list[Figure]):
    draw_sequence(sequence(targets=[None, 2, 2, 0]), tmp_path / "sequence.png")
    inputs, *others = drawn[0].axes
    written = [(text.get_text(), *text.get_position()) for text in inputs.texts]
    assert written == [("2", 6, 1), ("0", 10.5, 1)]
    assert not any(axes.texts for axes in others)


def test_a_network_that_does_not_spike_has_no_raster(tmp_path: Path, drawn: list[Figure]):
    draw_sequence(sequence(spikes=None, groups={}), tmp_path / "sequence.png")
    assert pixels(tmp_path / "sequence.png").shape[0] < 700
    inputs, answers = drawn[0].axes
    assert inputs.get_ylabel() == "input channel"
    assert answers.get_ylabel() == "probability"
    assert answers.get_xlim() == (0, 12)


def test_groups_without_neurons_are_left_out(tmp_path: Path, drawn: list[Figure]):
    draw_sequence(sequence(groups={"regular": 10, "adaptive": 0}), tmp_path / "sequence.png")
    labels = [text.get_text().split("\n")[0] for text in drawn[0].axes[1].get_yticklabels()]
    assert labels == ["regular"]


def test_a_sequence_that_asks_for_nothing_can_be_drawn(tmp_path: Path, drawn: list[Figure]):
    draw_sequence(sequence(targets=[None, None]), tmp_path / "sequence.png")
    assert shaded(drawn[0].axes[0]) == []
    assert drawn[0].axes[-1].get_legend() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": np.zeros(24)}, r"^inputs are \[24\], expected \[T, I\]$"),
        ({"inputs": np.zeros((0, 5))}, r"^inputs are \[0, 5\], expected \[T, I\]$"),
        (
            {"probabilities": np.zeros((23, 3))},
            r"^probabilities are \[23, 3\], expected 24 rows as there are inputs$",
        ),
        (
            {"probabilities": np.zeros(24)},
            r"^probabilities are \[24\], expected 24 rows as there are inputs$",
        ),
        (
            {"spikes": np.zeros((25, 10), bool)},
            r"^spikes are \[25, 10\], expected 24 rows as there are inputs$",
        ),
        ({"spikes": np.zeros((24, 9), bool)}, r"^groups .* have 10 neurons in all, expected 9$"),
        ({"groups": {"regular": 6}}, r"^groups {'regular': 6} have 6 neurons in all, expected 10$"),
        ({"targets": [None, 2, 0, 1, 1]}, r"^24 steps cannot be divided into 5 equal windows$"),
        ({"targets": []}, r"^24 steps cannot be divided into 0 equal windows$"),
    ],
)
def test_shapes_that_do_not_fit_are_named_and_nothing_is_written(tmp_path: Path, changes: Any, message: str):
    with pytest.raises(ValueError, match=message):
        draw_sequence(sequence(**changes), tmp_path / "sequence.png")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(UserError, match=r"^cannot write .*/missing/s\.png: No such file or directory$"):
        draw_sequence(sequence(), tmp_path / "missing" / "s.png")
