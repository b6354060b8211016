"""Films: frames to a file, and a scrolling spike raster to put under them. Needs no matplotlib."""

from __future__ import annotations

import contextlib
import math
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from .errors import UserError, unknown
from .pictures import BACKGROUND, GOAL_COLOR, GROUP_COLORS, group_bounds

Frame = npt.NDArray[np.uint8]

_INK = (70, 70, 70)
_RULE = (205, 202, 194)
# Browsers slow a GIF down to 10 frames a second if its frames are shorter than 20 ms.
_GIF_MOST_FPS = 50
_ENCODING = {
    ".mp4": "-c:v libx264 -preset veryfast -crf 18 -pix_fmt yuv420p -movflags +faststart",
    # A palette for each frame: one for all of them would mean holding the whole film in memory.
    ".gif": "-loop 0 -filter_complex "
    "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none",
}


class FilmWriter:
    """Writes frames to an ``.mp4`` (H.264) or ``.gif`` file; a context manager.

    ::

        with FilmWriter("episode.mp4", fps=30) as film:
            film.add(frame)

    The film gets its name when it is complete; after an error, or without any frame, nothing is left behind
    and an older film of that name stays.

    Args:
        path: The film, in a folder that exists.
        fps: Frames a second. A GIF of more than 50 shows every second, third ... frame instead.

    Raises:
        UserError: The suffix is none of these, the film cannot be written there, or the extra ``render`` is
            not installed.
    """

    def __init__(self, path: str | Path, fps: float = 30):
        self.path: Path = Path(path)
        self._suffix = self.path.suffix.lower()
        if self._suffix not in _ENCODING:
            raise UserError(f"{path}: {unknown('film format', self.path.suffix, _ENCODING)}")
        if not 0 < fps < math.inf:
            raise ValueError(f"fps is {fps}, expected more than 0")
        self._stride = math.ceil(fps / _GIF_MOST_FPS) if self._suffix == ".gif" else 1
        self._rate = Fraction(fps).limit_denominator(1000) / self._stride
        self._ffmpeg = _ffmpeg()
        self._temporary = self.path.with_name(
            f".{self.path.stem[:100]}.{uuid.uuid4().hex[:12]}{self._suffix}"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._shape: tuple[int, ...] = ()
        self._frames = 0

    def add(self, frame: Frame) -> None:
        """Append a frame.

        Args:
            frame: uint8 ``[H, W, 3]``, of the first frame's size. An mp4 of odd size is padded by repeating
                the last row or column.

        Raises:
            ValueError: The frame has another type or size.
            UserError: The film cannot be written, e.g. the disk is full.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame is {frame.dtype} {list(frame.shape)}, expected uint8 [H, W, 3]")
        self._shape = self._shape or frame.shape
        if frame.shape != self._shape:
            raise ValueError(f"a frame is {list(frame.shape)}, but the first was {list(self._shape)}")
        if self._frames % self._stride == 0:
            self._send(frame)
        self._frames += 1

    def __enter__(self) -> FilmWriter:
        try:
            self._temporary.touch()  # better now than after the episode
        except (OSError, ValueError) as error:
            raise _cannot_write(self.path, getattr(error, "strerror", None) or str(error)) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._stop()
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def _send(self, frame: Frame) -> None:
        height, width = frame.shape[:2]
        if self._suffix == ".mp4" and (height % 2 or width % 2):
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._process is None:
            self._process = self._start(*frame.shape[:2])
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError:
            raise _cannot_write(self.path, self._complaint()) from None

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        raw = f"-v error -y -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {self._rate} -i - -an"
        command = [
            self._ffmpeg,
            *raw.split(),
            *_ENCODING[self._suffix].split(),
            str(self._temporary.absolute()),
        ]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process to handle
        )

    def _finish(self) -> None:
        if self._process is None:
            raise ValueError(f"{self.path}: a film needs at least one frame")
        complaint = self._complaint()
        if self._process.returncode:
            raise _cannot_write(self.path, complaint)
        try:
            self._temporary.replace(self.path)
        except OSError as error:
            raise _cannot_write(self.path, str(error.strerror)) from error

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()

    def _complaint(self) -> str:
        """Wait for the encoder to end; return the last line it wrote about a problem."""
        assert self._process is not None
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        assert self._process.stderr is not None
        lines = self._process.stderr.read().decode(errors="replace").split("\n")
        self._process.wait()
        return next((line.strip() for line in reversed(lines) if line.strip()), "the encoder failed")


def stack_frames(top: Frame, bottom: Frame) -> Frame:
    """Put one frame above another.

    Args:
        top: uint8 ``[H1, W, 3]``.
        bottom: uint8 ``[H2, W, 3]``.

    Returns:
        uint8 ``[H1 + H2, W, 3]``.

    Raises:
        ValueError: The widths differ.
    """
    if top.shape[1:] != bottom.shape[1:]:
        raise ValueError(f"frames of one width are needed, not {list(top.shape)} and {list(bottom.shape)}")
    return np.concatenate([top, bottom])


class RasterStrip:
    """Draws the last steps' spikes, scrolling: time to the right, a row a neuron, now at the right edge.

    The whole episode is drawn once; a frame is a piece of that picture.

    Args:
        spikes: Boolean (or 0/1) ``[T, N]``.
        window: How many simulation steps are visible.
        width: Of a frame, in pixels.
        height: Of a frame, in pixels.
        groups: Names and sizes of groups of consecutive neurons, from the top; the sizes sum to N.
        goal_times: Simulation steps to mark with a vertical line.
        dt: Length of a simulation step in ms, for the label.

    Raises:
        ValueError: Shapes do not fit.
    """

    def __init__(
        self,
        spikes: npt.ArrayLike,
        *,
        window: int,
        width: int,
        height: int,
        groups: Mapping[str, int] | None = None,
        goal_times: Sequence[int] = (),
        dt: float = 1.0,
    ):
        fired = np.asarray(spikes).astype(bool)
        if fired.ndim != 2 or 0 in fired.shape:
            raise ValueError(f"spikes are {list(fired.shape)}, expected [T, N]")
        bounds = group_bounds(groups, fired.shape[1])
        self._gutter = _gutter(bounds, fired.shape[1], height, f"last {window * dt:g} ms")
        self._width = width - self._gutter.shape[1]
        if window < 1 or self._width < 1 or height < 1:
            raise ValueError(f"no room to draw {window} steps in {width} x {height} pixels")
        self._steps = fired.shape[0]
        self._pixels_per_step = self._width / window
        self._picture = self._draw(fired, bounds, height, goal_times)

    def frame(self, t: int) -> Frame:
        """Return the picture just after simulation step ``t``, uint8 ``[height, width, 3]``.

        Raises:
            IndexError: There is no such step.
        """
        if not 0 <= t < self._steps:
            raise IndexError(f"step {t} of {self._steps}")
        right = self._x(t + 1)
        return np.concatenate([self._gutter, self._picture[:, right - self._width : right]], axis=1)

    def _x(self, step: int) -> int:
        """Return the column where a step begins; the picture begins with an empty window."""
        return self._width + round(step * self._pixels_per_step)

    def _draw(
        self,
        fired: npt.NDArray[np.bool_],
        bounds: Mapping[str, tuple[int, int]],
        height: int,
        goal_times: Sequence[int],
    ) -> Frame:
        steps, neurons = fired.shape
        picture = np.full((height, self._x(steps), 3), BACKGROUND, dtype=np.uint8)
        rows = height / neurons
        # At least two pixels each way, or a film's halved colour resolution washes the colours out.
        tall, wide = max(2, int(0.8 * rows)), max(2, min(4, round(self._pixels_per_step)))
        for _, end in list(bounds.values())[:-1]:
            picture[min(height - 1, round(end * rows))] = _RULE
        for step in goal_times:
            column = self._x(step)
            picture[:, column : column + 2] = GOAL_COLOR
        colors = np.zeros((neurons, 3), dtype=np.uint8)
        for index, (start, end) in enumerate(bounds.values()):
            colors[start:end] = GROUP_COLORS[index % len(GROUP_COLORS)]
        when, which = np.nonzero(fired)
        x = self._width + np.round(when * self._pixels_per_step).astype(int)
        y = (which * rows).astype(int)
        for dy in range(tall):
            for dx in range(wide):
                inside = (x + dx < picture.shape[1]) & (y + dy < height)
                picture[(y + dy)[inside], (x + dx)[inside]] = colors[which[inside]]
        return picture


def _gutter(bounds: Mapping[str, tuple[int, int]], neurons: int, height: int, note: str) -> Frame:
    """Return the names of the groups, and ``note``, as a picture to the left of the raster."""
    if not any(bounds):
        return np.empty((height, 0, 3), dtype=np.uint8)
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        return np.empty((height, 0, 3), dtype=np.uint8)  # the labels are a nicety
    font = ImageFont.load_default(11)
    width = 12 + math.ceil(max(font.getlength(text) for text in (*bounds, note)))
    image = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for index, (name, (start, end)) in enumerate(bounds.items()):
        middle = (start + end) / 2 / neurons * height
        draw.text((6, middle), name, fill=GROUP_COLORS[index % len(GROUP_COLORS)], font=font, anchor="lm")
    draw.text((6, height - 3), note, fill=_INK, font=font, anchor="ls")
    draw.line((width - 1, 0, width - 1, height), fill=_RULE)
    return np.asarray(image).copy()


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise UserError('films need ffmpeg: pip install "lsnn-gym[render]"') from None


def _cannot_write(path: Path, reason: str) -> UserError:
    return UserError(f"cannot write {path}: {reason}")
