"""What a network was shown in a supervised task, which neurons fired, and what the readouts said."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lsnn_gym.pictures.episodes import spike_raster
from lsnn_gym.pictures.style import GOAL_COLOR, GREY, GROUP_COLORS, css, new_figure, plain_style, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SequencePicture(NamedTuple):
    """One sequence of T steps in W windows.

    Attributes:
        inputs: Spikes or currents ``[T, I]``.
        spikes: Boolean ``[T, N]``; None of a network without.
        groups: Names and sizes of groups of consecutive neurons; the sizes sum to N.
        probabilities: Of the K classes ``[T, K]``.
        targets: Class that each window asks for, or None ``[W]``.
        dt: Length of a step in ms.
    """

    inputs: npt.NDArray[np.floating]
    spikes: npt.NDArray[np.bool_] | None
    groups: Mapping[str, int]
    probabilities: npt.NDArray[np.floating]
    targets: Sequence[int | None]
    dt: float = 1.0


def draw_sequence(picture: SequencePicture, out: str | Path, *, title: str = "") -> None:
    """Write a PNG of a sequence: inputs, spikes and the probabilities of the classes, above one another.

    Windows that ask for an answer are shaded, with the right class written above (once where it is that of
    neighbouring windows).

    Args:
        picture: What is drawn.
        out: The PNG file.
        title: Above the picture.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
        ValueError: Shapes do not fit.
    """
    _check_shapes(picture)
    spiking = picture.spikes is not None
    figure = new_figure(11.0, 7.0 if spiking else 5.0)
    heights = (2, 3, 2) if spiking else (2, 2)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_inputs(axes[0], picture)
    _name_answers(axes[0], picture)
    if picture.spikes is not None:
        groups = {name: size for name, size in picture.groups.items() if size}
        spike_raster(axes[1], picture.spikes, dt=picture.dt, groups=groups)
        axes[1].set_xlabel("")
    _draw_answers(axes[-1], picture)
    for each in axes:
        _shade_questions(each, picture)
    axes[-1].set_xlabel("time (ms); shaded: an answer is asked for")
    axes[-1].set_xlim(0, len(picture.inputs) * picture.dt)
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)


def _check_shapes(picture: SequencePicture) -> None:
    inputs = np.shape(picture.inputs)
    if len(inputs) != 2 or 0 in inputs:
        raise ValueError(f"inputs are {list(inputs)}, expected [T, I]")
    steps, windows = inputs[0], len(picture.targets)
    parts = {"probabilities": picture.probabilities, "spikes": picture.spikes}
    for name, part in parts.items():
        if part is not None and (np.ndim(part) != 2 or len(part) != steps):
            raise ValueError(f"{name} are {list(np.shape(part))}, expected {steps} rows as there are inputs")
    if windows == 0 or steps % windows:
        raise ValueError(f"{steps} steps cannot be divided into {windows} equal windows")


def _draw_inputs(axes: Axes, picture: SequencePicture) -> None:
    steps, channels = picture.inputs.shape
    extent = (0.0, steps * picture.dt, float(channels), 0.0)
    axes.imshow(picture.inputs.T, aspect="auto", cmap="Greys", extent=extent, interpolation="nearest")
    axes.set_ylabel("input channel")
    plain_style(axes, grid=False)


def _name_answers(axes: Axes, picture: SequencePicture) -> None:
    width = len(picture.inputs) * picture.dt / len(picture.targets)
    first = 0
    for target, same in itertools.groupby(picture.targets):
        after = first + len(list(same))
        if target is not None:
            middle, above = (first + after) / 2 * width, axes.get_xaxis_transform()
            axes.text(
                middle, 1, str(target), transform=above, ha="center", va="bottom", fontsize=8, color=GREY
            )
        first = after


def _draw_answers(axes: Axes, picture: SequencePicture) -> None:
    times = (np.arange(len(picture.probabilities)) + 0.5) * picture.dt
    asked = {target for target in picture.targets if target is not None}
    for number, line in enumerate(picture.probabilities.T):
        right = number in asked
        color = css(GROUP_COLORS[number % len(GROUP_COLORS)]) if right else GREY
        axes.plot(times, line, color=color, linewidth=1.8 if right else 0.6, alpha=1.0 if right else 0.5)
        if right:
            axes.plot([], [], color=color, linewidth=1.8, label=f"class {number}")
    axes.set(ylim=(0, 1), ylabel="probability")
    plain_style(axes)
    if asked:
        axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=5)


def _shade_questions(axes: Axes, picture: SequencePicture) -> None:
    width = len(picture.inputs) * picture.dt / len(picture.targets)
    for number, target in enumerate(picture.targets):
        if target is not None:
            axes.axvspan(number * width, (number + 1) * width, color=css(GOAL_COLOR), alpha=0.2, linewidth=0)
