"""How fast functions are learnt, and what a network said in one episode of regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lsnn_gym.pictures.episodes import spike_raster
from lsnn_gym.pictures.style import GREY, GROUP_COLORS, css, new_figure, plain_style, write_figure


def error_curves(curves: Mapping[str, Sequence[float | None]], out: str | Path, *, title: str = "") -> None:
    """Write a PNG of mean squared errors against the number of examples seen, on logarithmic error.

    Args:
        curves: Label and error in each trial; None where there is none. The first one is drawn thickest.
        out: The PNG file.
        title: Above the picture.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(8.0, 4.6)
    axes = figure.add_subplot()
    for number, (label, errors) in enumerate(curves.items()):
        known = [(seen, error) for seen, error in enumerate(errors) if error is not None and error > 0]
        seen, error = np.array(known, dtype=np.float64).reshape(-1, 2).T
        axes.plot(
            seen,
            error,
            label=label,
            color=css(GROUP_COLORS[number % len(GROUP_COLORS)]),
            linestyle=("-", "--", ":", "-.")[number // len(GROUP_COLORS) % 4],
            linewidth=2.5 if number == 0 else 1.3,
        )
    axes.set(xlabel="examples seen", ylabel="mean squared error", yscale="log")
    axes.margins(x=0)
    plain_style(axes)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)


class RegressionPicture(NamedTuple):
    """One episode of T trials, each S steps long.

    Attributes:
        targets: ``[T]``.
        predictions: ``[T]``, in the same units.
        spikes: Boolean ``[T * S, N]``; None of a network without.
        groups: Names and sizes of groups of consecutive neurons; the sizes sum to N.
        dt: Length of a step in ms.
    """

    targets: npt.NDArray[np.floating]
    predictions: npt.NDArray[np.floating]
    spikes: npt.NDArray[np.bool_] | None
    groups: Mapping[str, int]
    dt: float = 1.0


def draw_regression_episode(picture: RegressionPicture, out: str | Path, *, title: str = "") -> None:
    """Write a PNG of an episode: targets and predictions above, their errors in between, spikes below.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
        ValueError: Shapes do not fit.
    """
    trials = len(picture.targets)
    if picture.predictions.shape != picture.targets.shape or picture.targets.ndim != 1:
        raise ValueError(
            f"targets are {list(picture.targets.shape)} and predictions {list(picture.predictions.shape)}, "
            "expected [T] both"
        )
    if picture.spikes is not None and (picture.spikes.ndim != 2 or len(picture.spikes) % trials):
        raise ValueError(f"spikes are {list(picture.spikes.shape)}, expected a multiple of {trials} rows")
    spiking = picture.spikes is not None
    figure = new_figure(11.0, 7.0 if spiking else 4.5)
    axes = figure.subplots(3 if spiking else 2, 1, height_ratios=(3, 1, 4) if spiking else (3, 1))
    seen = np.arange(trials)
    axes[0].plot(seen, picture.targets, "o", color=GREY, markersize=4, label="target")
    axes[0].plot(seen, picture.predictions, "o", color=css(GROUP_COLORS[0]), markersize=4, label="prediction")
    axes[0].vlines(seen, picture.targets, picture.predictions, color=css(GROUP_COLORS[1]), linewidth=1)
    axes[0].legend(frameon=False, fontsize=9, loc="upper right", ncols=2)
    axes[1].bar(seen, np.abs(picture.predictions - picture.targets), color=css(GROUP_COLORS[1]))
    axes[1].set(ylabel="error", xlabel="examples seen")
    for each in axes[:2]:
        plain_style(each)
        each.set_xlim(-0.5, trials - 0.5)
    if picture.spikes is not None:
        groups = {name: size for name, size in picture.groups.items() if size}
        spike_raster(axes[2], picture.spikes, dt=picture.dt, groups=groups)
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)
