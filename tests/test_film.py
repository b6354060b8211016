from __future__ import annotations

import builtins
import gc
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsnn_gym.errors import UserError
from lsnn_gym.film import FilmWriter, Frame, RasterStrip, stack_frames
from lsnn_gym.pictures import BACKGROUND, GOAL_COLOR, GROUP_COLORS

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
Image = pytest.importorskip("PIL.Image")


def frames(count: int, height: int = 40, width: int = 60) -> list[Frame]:
    """Grey frames, brighter each time, with a red left half."""
    made = []
    for index in range(count):
        frame = np.full((height, width, 3), 10 + index * 200 // count, dtype=np.uint8)
        frame[:, : width // 2] = (200, 30, 30)
        made.append(frame)
    return made


def film(path: Path, pictures: list[Frame], fps: float = 25) -> Path:
    with FilmWriter(path, fps) as writer:
        for picture in pictures:
            writer.add(picture)
    return path


def read_mp4(path: Path) -> tuple[list[Frame], dict[str, Any]]:
    import imageio.v2 as imageio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # imageio leaves its own pipes open
        reader: Any = imageio.get_reader(str(path), format="ffmpeg")  # pyright: ignore[reportArgumentType]
        read = [np.asarray(frame) for frame in reader]
        meta = reader.get_meta_data()
        reader.close()
        del reader
        gc.collect()
    return read, meta


def read_gif(path: Path) -> tuple[list[Frame], list[int]]:
    with Image.open(path) as gif:
        read, durations = [], []
        for index in range(gif.n_frames):
            gif.seek(index)
            read.append(np.asarray(gif.convert("RGB")))
            durations.append(gif.info["duration"])
    return read, durations


# Writing -----------------------------------------------------------------------------------------


def test_mp4_reads_back(tmp_path: Path):
    written = frames(23)
    read, meta = read_mp4(film(tmp_path / "a.mp4", written))
    assert len(read) == 23
    assert meta["fps"] == 25
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p")
    for mine, theirs in zip(written, read, strict=True):
        assert theirs.shape == (40, 60, 3)
        difference = np.abs(theirs.astype(int) - mine.astype(int))
        assert difference[:, 40:].max() < 10  # greys come back as they were, in order
        assert difference.mean() < 10
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize(("height", "width"), [(41, 61), (41, 60), (40, 61), (2, 2), (17, 33)])
def test_mp4_of_any_size(tmp_path: Path, height: int, width: int):
    read, _ = read_mp4(film(tmp_path / "a.mp4", frames(5, height, width)))
    assert len(read) == 5
    assert read[0].shape == (height + height % 2, width + width % 2, 3)
    if width > 10:  # the added row and column repeat the last ones
        assert abs(int(read[4][-1, -1, 0]) - int(read[4][-2, -2, 0])) < 8


def test_gif_reads_back(tmp_path: Path):
    written = frames(12, 41, 61)
    read, durations = read_gif(film(tmp_path / "a.gif", written))
    assert len(read) == 12
    assert durations == [40] * 12
    for mine, theirs in zip(written, read, strict=True):
        assert theirs.shape == (41, 61, 3)
        assert np.abs(theirs.astype(int) - mine.astype(int)).max() < 8
    assert os.listdir(tmp_path) == ["a.gif"]


def test_a_fast_gif_skips_frames_to_keep_its_pace(tmp_path: Path):
    read, durations = read_gif(film(tmp_path / "a.GIF", frames(30), fps=100))
    assert len(read) == 15
    assert set(durations) == {20}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.mp3", "unknown film format '.mp3': did you mean '.mp4'? there is .gif, .mp4"),
        ("a.git", "unknown film format '.git': did you mean '.gif'? there is .gif, .mp4"),
        ("a", "unknown film format '': there is .gif, .mp4"),
    ],
)
def test_unknown_suffix(tmp_path: Path, name: str, expected: str):
    with pytest.raises(UserError) as caught:
        FilmWriter(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {expected}"


def test_a_failed_film_leaves_nothing(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"an older film")

    def fail() -> None:
        with FilmWriter(path) as writer:
            for frame in frames(5):
                writer.add(frame)
            assert len(os.listdir(tmp_path)) == 2
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_bytes() == b"an older film"
    assert os.listdir(tmp_path) == ["a.mp4"]
    film(path, frames(5))
    assert len(read_mp4(path)[0]) == 5


def test_a_film_without_frames(tmp_path: Path):
    with pytest.raises(ValueError, match="at least one frame"):
        film(tmp_path / "a.mp4", [])
    assert os.listdir(tmp_path) == []


def test_unwritable_places_are_known_before_the_first_frame(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for place, reason in (("missing/a.mp4", "No such file or directory"), ("file/a.mp4", "Not a directory")):
        with pytest.raises(UserError) as caught:
            FilmWriter(tmp_path / place).__enter__()
        assert str(caught.value) == f"cannot write {tmp_path / place}: {reason}"
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=r"^cannot write .*/folder\.mp4: Is a directory$"):
        film(tmp_path / "folder.mp4", frames(2))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


@pytest.mark.parametrize(
    "script",
    [
        "import sys; print('first\\nlast words', file=sys.stderr); sys.exit(1)",
        "import sys; sys.exit(3)",
        "import sys; sys.stdin.buffer.read(); sys.exit(3)",
    ],
)
def test_a_failing_encoder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str):
    encoder = tmp_path / "encoder"
    encoder.write_text(f"#!{sys.executable}\n{script}\n")
    encoder.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(UserError, match=r"^cannot write .*/a\.mp4: (last words|the encoder failed)$"):
        film(tmp_path / "a.mp4", frames(50, 200, 200))
    assert os.listdir(tmp_path) == ["encoder"]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (np.zeros((4, 4, 3)), "a frame is float64 [4, 4, 3], expected uint8 [H, W, 3]"),
        (np.zeros((4, 4, 4), np.uint8), "a frame is uint8 [4, 4, 4], expected uint8 [H, W, 3]"),
        (np.zeros((4, 4), np.uint8), "a frame is uint8 [4, 4], expected uint8 [H, W, 3]"),
        (np.zeros((4, 6, 3), np.uint8), "a frame is [4, 6, 3], but the first was [4, 4, 3]"),
    ],
)
def test_bad_frames(tmp_path: Path, bad: Any, expected: str):
    with FilmWriter(tmp_path / "a.mp4") as writer:
        writer.add(np.zeros((4, 4, 3), np.uint8))
        with pytest.raises(ValueError, match="a frame is") as caught:
            writer.add(bad)
    assert str(caught.value) == expected


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_bad_fps(tmp_path: Path, fps: float):
    with pytest.raises(ValueError, match="expected more than 0"):
        FilmWriter(tmp_path / "a.mp4", fps)


def test_frames_need_not_be_contiguous(tmp_path: Path):
    frame = frames(1)[0].transpose(1, 0, 2)
    frame = np.ascontiguousarray(frame).transpose(1, 0, 2)
    assert not frame.flags.c_contiguous
    read, _ = read_mp4(film(tmp_path / "a.mp4", [frame]))
    assert abs(int(read[0][20, 10, 0]) - 200) < 25
    assert abs(int(read[0][20, 50, 0]) - 10) < 10


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "imageio_ffmpeg":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'^films need ffmpeg: pip install "lsnn-gym\[render\]"$'):
        FilmWriter(tmp_path / "a.mp4")


def test_stacking():
    top, bottom = np.zeros((2, 5, 3), np.uint8), np.ones((3, 5, 3), np.uint8)
    stacked = stack_frames(top, bottom)
    assert stacked.shape == (5, 5, 3)
    assert stacked[:, 0, 0].tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match=r"not \[2, 5, 3\] and \[3, 4, 3\]"):
        stack_frames(top, bottom[:, :4])


# The raster --------------------------------------------------------------------------------------


def is_color(frame: Frame, color: tuple[int, int, int]) -> Any:
    return (frame == np.array(color, dtype=np.uint8)).all(axis=2)


def test_one_spike_moves_from_right_to_left():
    spikes = np.zeros((40, 5), bool)
    spikes[7, 3] = True
    strip = RasterStrip(spikes, window=10, width=100, height=50)
    for t in range(40):
        frame = strip.frame(t)
        assert frame.shape == (50, 100, 3)
        assert frame.dtype == np.uint8
        rows, columns = np.nonzero(is_color(frame, GROUP_COLORS[0]))
        if 7 <= t <= 16:
            assert columns.min() == 100 - 10 * (t - 7 + 1)
            assert (rows.min(), rows.max()) == (30, 37)
        else:
            assert len(rows) == 0
            assert is_color(frame, BACKGROUND).all()


def test_groups_have_their_colors_and_boundaries():
    strip = RasterStrip(np.ones((20, 6)), window=10, width=300, height=90, groups={"LIF": 4, "ALIF": 2})
    frame = strip.frame(19)
    right = frame[:, 150:]
    assert is_color(right[:60], GROUP_COLORS[0]).any()
    assert not is_color(right[60:], GROUP_COLORS[0]).any()
    assert is_color(right[60:], GROUP_COLORS[1]).any()
    assert not is_color(right[:60], GROUP_COLORS[1]).any()
    silent = RasterStrip(np.zeros((20, 6)), window=10, width=300, height=90, groups={"LIF": 4, "ALIF": 2})
    lines = ~is_color(silent.frame(19)[:, 150:], BACKGROUND)
    assert np.nonzero(lines.all(axis=1))[0].tolist() == [60]
    assert lines.sum() == 150
    # names of the groups, each in its colour and beside its rows
    gutter = silent.frame(19)[:, :100]
    for rows, color in ((slice(20, 40), GROUP_COLORS[0]), (slice(60, 76), GROUP_COLORS[1])):
        assert np.abs(gutter[rows].astype(int) - color).sum(axis=2).min() < 120  # the letters' edges are soft


def test_goal_times_are_marked():
    strip = RasterStrip(np.zeros((20, 3)), window=20, width=200, height=30, goal_times=[5, 12])
    marked = is_color(strip.frame(19), GOAL_COLOR)
    assert np.nonzero(marked.all(axis=0))[0].tolist() == [50, 51, 120, 121]
    assert marked.sum() == 4 * 30


@pytest.mark.parametrize(
    ("steps", "neurons", "window", "width", "height"),
    [(1, 1, 1, 2, 2), (500, 300, 400, 90, 40), (7, 3, 100, 64, 64), (50, 700, 10, 101, 33)],
)
def test_every_spike_is_seen_at_any_size(steps: int, neurons: int, window: int, width: int, height: int):
    strip = RasterStrip(np.ones((steps, neurons)), window=window, width=width, height=height)
    shown = is_color(strip.frame(steps - 1), GROUP_COLORS[0])
    assert shown.shape == (height, width)
    visible = round(min(steps, window) / window * width)
    assert shown.any(axis=0)[width - visible :].mean() > 0.35
    assert not shown[:, : max(0, width - visible - 1)].any()


def test_frames_are_the_callers_own():
    strip = RasterStrip(np.zeros((5, 3)), window=5, width=20, height=10)
    strip.frame(2)[:] = 0
    assert is_color(strip.frame(2), BACKGROUND).all()


def test_bad_rasters():
    with pytest.raises(ValueError, match=r"spikes are \[5\], expected \[T, N\]"):
        RasterStrip(np.zeros(5), window=5, width=20, height=10)
    with pytest.raises(ValueError, match=r"spikes are \[0, 5\], expected \[T, N\]"):
        RasterStrip(np.zeros((0, 5)), window=5, width=20, height=10)
    with pytest.raises(ValueError, match="have 3 neurons in all, expected 4"):
        RasterStrip(np.zeros((5, 4)), window=5, width=200, height=10, groups={"LIF": 1, "ALIF": 2})
    with pytest.raises(ValueError, match="no room to draw 5 steps in 20 x 10 pixels"):
        RasterStrip(np.zeros((5, 3)), window=5, width=20, height=10, groups={"LIF": 1, "ALIF": 2})
    strip = RasterStrip(np.zeros((5, 3)), window=5, width=20, height=10)
    for t in (-1, 5):
        with pytest.raises(IndexError, match=f"step {t} of 5"):
            strip.frame(t)


def test_a_long_raster_is_drawn_fast():
    spikes = np.random.default_rng(0).random((2000, 256)) < 0.05
    start = time.process_time()
    strip = RasterStrip(spikes, window=200, width=480, height=140, groups={"LIF": 128, "ALIF": 128})
    for t in range(2000):
        strip.frame(t)
    assert time.process_time() - start < 5  # a drawing of each frame by matplotlib would take minutes
