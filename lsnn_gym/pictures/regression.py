"""How fast functions are learnt, and what a network said and believed in one episode of regression."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsnn_gym.pictures.episodes import spike_raster
from lsnn_gym.pictures.style import (
    BACKGROUND,
    GOAL_COLOR,
    GREY,
    GROUP_COLORS,
    css,
    new_figure,
    plain_style,
    write_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ErrorCurve(NamedTuple):
    """Errors of T trials over functions.

    Attributes:
        means: None where there is none.
        quartiles: Lower quartile, median and upper quartile of each trial, or None.
    """

    means: Sequence[float | None]
    quartiles: Sequence[Sequence[float] | None]


def error_curves(curves: Mapping[str, ErrorCurve], out: str | Path, *, title: str = "") -> None:
    """Write a PNG of mean squared errors against the number of examples seen, on logarithmic error.

    Where half of the functions lie is shaded: for the first curve and, beside it, for all in a panel each.

    Args:
        curves: By label. The first one is drawn thickest.
        out: The PNG file.
        title: Above the picture.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    columns = 3
    rows = math.ceil(len(curves) / columns)
    figure = new_figure(15.0, max(5.0, 1.7 * rows))
    sides = figure.add_gridspec(1, 2, width_ratios=(1.1, 1))
    together = figure.add_subplot(sides[0])
    apart = sides[1].subgridspec(rows, columns).subplots(sharex=True, sharey=True, squeeze=False).ravel()
    for number, (label, curve) in enumerate(curves.items()):
        color = css(GROUP_COLORS[number % len(GROUP_COLORS)])
        style = ("-", "--", ":", "-.")[number // len(GROUP_COLORS) % 4]
        seen, means = _known(curve.means)
        for axes in (together, apart[number]):
            width = 2.5 if number == 0 and axes is together else 1.3
            axes.plot(seen, means, label=label, color=color, linestyle=style, linewidth=width)
            if axes is not together or number == 0:
                _shade(axes, curve, color)
        apart[number].set_title(label, fontsize=9, color=color)
    for axes in (together, *apart):
        axes.set(yscale="log")
        axes.margins(x=0)
        plain_style(axes)
    for axes in apart[len(curves) :]:
        axes.set_visible(False)
    together.set(xlabel="examples seen", ylabel="mean squared error; shaded: the middle half of functions")
    together.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)


def _known(values: Sequence[float | None]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return trials, counted from 0, and values, where there are any that a logarithm takes."""
    known = [(seen, value) for seen, value in enumerate(values) if value is not None and value > 0]
    seen, found = np.array(known, dtype=np.float64).reshape(-1, 2).T
    return seen, found


def _shade(axes: Axes, curve: ErrorCurve, color: str) -> None:
    known = [(seen, each) for seen, each in enumerate(curve.quartiles) if each is not None and each[0] > 0]
    if known:
        low, high = ([each[place] for _, each in known] for place in (0, 2))
        axes.fill_between([seen for seen, _ in known], low, high, color=color, alpha=0.15, linewidth=0)


class Knowledge(NamedTuple):
    """What a network believed of a function of D inputs, one or two, at some points of an episode.

    Attributes:
        inputs: Of the episode's trials ``[T, D]``.
        grid: Inputs everywhere ``[M, D]``; of two a square, the second input varying fastest.
        values: Of the function there ``[M]``.
        seen: Numbers of examples seen when it was asked, K of them.
        believed: What it said then ``[K, M]``.
        target_range: Lowest and highest value that colours tell.
    """

    inputs: npt.NDArray[np.floating]
    grid: npt.NDArray[np.floating]
    values: npt.NDArray[np.floating]
    seen: Sequence[int]
    believed: npt.NDArray[np.floating]
    target_range: tuple[float, float]


class RegressionPicture(NamedTuple):
    """One episode of T trials, each S steps long.

    Attributes:
        targets: ``[T]``.
        predictions: ``[T]``, in the same units.
        spikes: Boolean ``[T * S, N]``; None of a network without.
        groups: Names and sizes of groups of consecutive neurons; the sizes sum to N.
        dt: Length of a step in ms.
        knowledge: What was believed of the whole function; None: it is not drawn.
    """

    targets: npt.NDArray[np.floating]
    predictions: npt.NDArray[np.floating]
    spikes: npt.NDArray[np.bool_] | None
    groups: Mapping[str, int]
    dt: float = 1.0
    knowledge: Knowledge | None = None


def draw_regression_episode(picture: RegressionPicture, out: str | Path, *, title: str = "") -> None:
    """Write a PNG of an episode: beliefs about the function, then targets and predictions, spikes below.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
        ValueError: Shapes do not fit.
    """
    _check(picture)
    knowledge = picture.knowledge
    shown = knowledge is not None and len(knowledge.seen) > 0
    heights = [3.0] * shown + [2.2] + [3.6] * (picture.spikes is not None)
    figure = new_figure(13.0, sum(heights) + 0.4)
    rows = iter(figure.add_gridspec(len(heights), 1, height_ratios=heights))
    if knowledge is not None and shown:
        grid = next(rows).subgridspec(1, _panels(knowledge))
        _draw_knowledge([figure.add_subplot(cell) for cell in grid], knowledge, picture.targets)
    _draw_answers(figure.add_subplot(next(rows)), picture)
    if picture.spikes is not None:
        raster = figure.add_subplot(next(rows))
        groups = {name: size for name, size in picture.groups.items() if size}
        trial = len(picture.spikes) // len(picture.targets) * picture.dt
        asked = [seen * trial for seen in knowledge.seen] if knowledge is not None else []
        spike_raster(raster, picture.spikes, dt=picture.dt, groups=groups, goal_times=asked)
        if asked:
            raster.set_xlabel("time (ms); green: asked about the whole function")
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)


def _check(picture: RegressionPicture) -> None:
    trials, knowledge = len(picture.targets), picture.knowledge
    if picture.predictions.shape != picture.targets.shape or picture.targets.ndim != 1:
        raise ValueError(
            f"targets are {list(picture.targets.shape)} and predictions {list(picture.predictions.shape)}, "
            "expected [T] both"
        )
    if picture.spikes is not None and (picture.spikes.ndim != 2 or len(picture.spikes) % trials):
        raise ValueError(f"spikes are {list(picture.spikes.shape)}, expected a multiple of {trials} rows")
    if knowledge is None:
        return
    points, size = knowledge.grid.shape
    if size not in (1, 2) or (size == 2 and math.isqrt(points) ** 2 != points):
        raise ValueError(f"grid is {list(knowledge.grid.shape)}, expected [M, 1], or [M, 2] of a square")
    if knowledge.believed.shape != (len(knowledge.seen), points):
        raise ValueError(
            f"believed is {list(knowledge.believed.shape)}, expected {[len(knowledge.seen), points]}"
        )


def _panels(knowledge: Knowledge) -> int:
    """Return how many panels beliefs take: a surface cannot be drawn over the function, which gets its own."""
    return len(knowledge.seen) + (knowledge.grid.shape[1] == 2)


def _draw_knowledge(panels: Sequence[Axes], knowledge: Knowledge, targets: npt.NDArray[np.floating]) -> None:
    surfaces = knowledge.grid.shape[1] == 2
    if surfaces:
        _draw_surface(panels[0], knowledge, knowledge.values)
        panels[0].set_title("the function", fontsize=10)
    for axes, seen, believed in zip(panels[surfaces:], knowledge.seen, knowledge.believed, strict=True):
        inputs, values = knowledge.inputs[:seen], targets[:seen]
        if surfaces:
            _draw_surface(axes, knowledge, believed)
            axes.scatter(
                *inputs.T, c=values, s=18, edgecolors="#222222", linewidths=0.7, **_colors(knowledge)
            )
        else:
            x = knowledge.grid[:, 0]
            axes.plot(x, knowledge.values, color=css(GOAL_COLOR), linewidth=2.5, label="function")
            axes.plot(x, believed, color=css(GROUP_COLORS[0]), linewidth=1.8, label="believed")
            axes.plot(inputs[:, 0], values, "o", color=GREY, markersize=4, label="examples")
            axes.set_ylim(*_with_margin(knowledge.target_range))
            plain_style(axes)
            axes.tick_params(labelleft=axes is panels[0])
        error = float(np.mean((believed - knowledge.values) ** 2))
        axes.set_title(f"after {seen} example{'s' * (seen > 1)}\nerror {error:.2g}", fontsize=10)
    if surfaces:
        figure = panels[-1].figure
        figure.colorbar(panels[-1].images[0], ax=list(panels), shrink=0.8, pad=0.01)
    else:
        panels[0].legend(frameon=False, fontsize=8, loc="lower left")


def _draw_surface(axes: Axes, knowledge: Knowledge, values: npt.NDArray[np.floating]) -> None:
    side = math.isqrt(len(values))
    low, high = knowledge.grid.min(axis=0), knowledge.grid.max(axis=0)
    # The first input runs to the right: along the picture's columns.
    axes.imshow(
        values.reshape(side, side).T,
        origin="lower",
        extent=(low[0], high[0], low[1], high[1]),
        interpolation="bilinear",
        **_colors(knowledge),
    )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _colors(knowledge: Knowledge) -> dict[str, Any]:
    from matplotlib.colors import LinearSegmentedColormap

    ends = [css(GROUP_COLORS[0]), css(BACKGROUND), css(GROUP_COLORS[1])]
    low, high = knowledge.target_range
    return {"cmap": LinearSegmentedColormap.from_list("values", ends), "vmin": low, "vmax": high}


def _with_margin(bounds: tuple[float, float]) -> tuple[float, float]:
    beyond = 0.05 * (bounds[1] - bounds[0])
    return bounds[0] - beyond, bounds[1] + beyond


def _draw_answers(axes: Axes, picture: RegressionPicture) -> None:
    """Draw targets and predictions of the trials, joined by their errors."""
    from matplotlib.ticker import MaxNLocator

    trials = len(picture.targets)
    seen = np.arange(trials)
    axes.plot(seen, picture.targets, "o", color=GREY, markersize=4, label="target")
    axes.plot(seen, picture.predictions, "o", color=css(GROUP_COLORS[0]), markersize=4, label="prediction")
    axes.vlines(seen, picture.targets, picture.predictions, color=css(GROUP_COLORS[1]), linewidth=1)
    axes.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    axes.set_xlabel("examples seen")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_style(axes)
    axes.set_xlim(-0.5, trials - 0.5)
