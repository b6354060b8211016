"""Figures over the course of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsnn_gym.errors import UserError, unknown
from lsnn_gym.pictures.style import GREY, GROUP_COLORS, css, new_figure, plain_style, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Panel(NamedTuple):
    """One set of axes of a learning curve.

    Attributes:
        series: Label and metrics key of each line.
        y_label: What is drawn, with its unit.
        references: Label and value of each horizontal line to compare with.
    """

    series: Mapping[str, str]
    y_label: str = ""
    references: Mapping[str, float] = {}


def learning_curve(
    metrics: Sequence[Mapping[str, Any]],
    series: Mapping[str, str],
    out: str | Path,
    *,
    title: str = "",
    x_key: str = "iteration",
    x_label: str = "",
    y_label: str = "",
    references: Mapping[str, float] | None = None,
) -> None:
    """Write a PNG of figures over the course of a run.

    Args:
        metrics: One record a step, as :func:`lsnn_gym.training.metrics.read_metrics` gives them; missing
            values and None are left out.
        series: Label and key of each line.
        out: The PNG file.
        title: Above the picture.
        x_key: Key of what runs to the right.
        x_label: Its name; the key by default.
        y_label: What is drawn, with its unit.
        references: Label and value of horizontal lines to compare with.

    Raises:
        UserError: There are no metrics, none has a key that is asked for, or the file cannot be written.
    """
    panel = Panel(series, y_label, references or {})
    learning_curves(metrics, [panel], out, title=title, x_key=x_key, x_label=x_label)


def learning_curves(
    metrics: Sequence[Mapping[str, Any]],
    panels: Sequence[Panel],
    out: str | Path,
    *,
    title: str = "",
    x_key: str = "iteration",
    x_label: str = "",
) -> None:
    """Write a PNG of several sets of axes above one another: figures of different units.

    Arguments and errors are those of :func:`learning_curve`.
    """
    known = {key for record in metrics for key in record}
    if not metrics:
        raise UserError("there are no metrics to draw yet")
    for key in (x_key, *(key for panel in panels for key in panel.series.values())):
        if key not in known:
            raise UserError(unknown("metric", key, known))
    figure = new_figure(8.0, 1.0 + 2.7 * len(panels))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for each, panel in zip(axes, panels, strict=True):
        _draw_panel(each, metrics, panel, x_key)
    figure.align_ylabels()
    axes[-1].set_xlabel(x_label or x_key.replace("_", " "))
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)


def _draw_panel(axes: Axes, metrics: Sequence[Mapping[str, Any]], panel: Panel, x_key: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for index, (label, key) in enumerate(panel.series.items()):
        x, y = finite_points(metrics, x_key, key)
        color = css(GROUP_COLORS[index % len(GROUP_COLORS)])
        smooth = running_mean(y, max(1, len(y) // 40))
        if len(y) >= 80:
            axes.plot(x, y, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(x, smooth, color=color, linewidth=2, label=label, marker="o" if len(y) == 1 else None)
    for value in panel.references.values():
        axes.axhline(value, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    plain_style(axes)
    axes.set_ylabel(panel.y_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0)
    low, high = axes.get_ylim()
    if 0 < low < 0.5 * high:
        low = 0.0
    axes.set_ylim(low, high)
    _name_references(axes, panel.references, gap=0.06 * (high - low))
    if panel.series:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.14), ncols=4, fontsize=9)


def _name_references(axes: Axes, references: Mapping[str, float], gap: float) -> None:
    """Write names to the right of the lines, apart from one another by at least ``gap``."""
    height = -math.inf
    for label, value in sorted(references.items(), key=lambda item: item[1]):
        height = max(value, height + gap)
        axes.annotate(
            f"{label} {value:.3g}",
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=GREY,
            fontsize=8,
            annotation_clip=False,
        )


class CurveGroup(NamedTuple):
    """The runs of one variant: its name, and each run's metrics."""

    label: str
    runs: Sequence[Sequence[Mapping[str, Any]]]


def comparison_curves(
    groups: Sequence[CurveGroup], key: str, out: str | Path, *, title: str = "", x_key: str = "iteration"
) -> None:
    """Write a PNG with one line a variant, the mean over its runs, in a band from the lowest run to the highest.

    Args:
        groups: Variants; a run's validation figure (``validation_<key>``) is drawn where there is one.
        key: Of the figure.
        out: The PNG file.
        title: Above the picture.
        x_key: Key of what runs to the right.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(9.0, 4.6)
    axes = figure.add_subplot()
    for index, group in enumerate(groups):
        color = css(GROUP_COLORS[index % len(GROUP_COLORS)])
        style = ("-", "--", ":", "-.")[index // len(GROUP_COLORS) % 4]
        x, runs = _aligned(group.runs, x_key, key)
        if len(x) == 0:
            continue
        smooth = np.array([running_mean(run, max(1, len(x) // 40)) for run in runs])
        axes.plot(
            x,
            smooth.mean(axis=0),
            color=color,
            linestyle=style,
            linewidth=2,
            label=group.label,
            marker="o" if len(x) == 1 else None,  # a line through one point is invisible
        )
        axes.fill_between(x, smooth.min(axis=0), smooth.max(axis=0), color=color, alpha=0.15, linewidth=0)
    plain_style(axes)
    axes.set(xlabel=x_key.replace("_", " "), ylabel=key.replace("_", " "))
    axes.margins(x=0)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)


def _aligned(
    runs: Sequence[Sequence[Mapping[str, Any]]], x_key: str, key: str
) -> tuple[npt.NDArray[np.float64], list[npt.NDArray[np.float64]]]:
    """Return the x that all runs have, and each run's figures there."""
    validated = any(f"validation_{key}" in record for run in runs for record in run)
    pairs = [finite_points(run, x_key, f"validation_{key}" if validated else key) for run in runs]
    common = pairs[0][0]
    for x, _ in pairs[1:]:
        common = np.intersect1d(common, x)
    return common, [y[np.isin(x, common)] for x, y in pairs]


def finite_points(
    metrics: Sequence[Mapping[str, Any]], x_key: str, key: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the places and values ``[k]`` of a figure where both are finite numbers."""
    pairs = [(record.get(x_key), record.get(key)) for record in metrics]
    numbers = [(x, y) for x, y in pairs if _is_finite(x) and _is_finite(y)]
    table = np.array(numbers, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def running_mean(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Average over up to ``width`` values on either side, fewer at the ends."""
    if width <= 1:
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(0, index - width), np.minimum(len(values), index + width + 1)
    return (sums[last] - sums[first]) / (last - first)
