"""Figures of benchmarks: dots to compare by, and lines that show how something grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lsnn_gym.pictures.style import GREY, GROUP_COLORS, css, new_figure, plain_style, write_figure

if TYPE_CHECKING:
    from matplotlib.axis import Axis


class Measure(NamedTuple):
    """One measure of several things: what it is, with its unit, and its value by name."""

    label: str
    values: Mapping[str, float]


class Line(NamedTuple):
    """Values that grow with a size."""

    label: str
    sizes: Sequence[float]
    values: Sequence[float]


def dot_chart(
    measures: Sequence[Measure], out: str | Path, *, title: str = "", highlighted: str = ""
) -> None:
    """Write a PNG of dots on logarithmic axes, one set of axes a measure, each dot with its value beside it.

    Args:
        measures: From left to right; the first one's names are shown from top to bottom.
        out: The PNG file.
        title: Above the picture.
        highlighted: Whose dots are coloured.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(5.0 * len(measures), 1.2 + 0.32 * max(len(each.values) for each in measures))
    all_axes = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    names = list(measures[0].values)
    for axes, measure in zip(all_axes, measures, strict=True):
        for index, name in enumerate(names):
            axes.axhline(index, color="#e6e3dc", linewidth=0.8, zorder=0)
            if value := measure.values.get(name):
                color = css(GROUP_COLORS[0]) if name == highlighted else GREY
                axes.plot(value, index, color=color, marker="o", markersize=7)
                label = {"xytext": (8, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
                axes.annotate(f"{value:.3g}", (value, index), color=color, **label)
        axes.set(xscale="log", xlabel=measure.label)
        axes.margins(x=0.2)
        plain_style(axes, grid=False)
        _plain_numbers(axes.xaxis)
    all_axes[0].set_yticks(range(len(names)), names)
    all_axes[0].invert_yaxis()
    if title:
        figure.suptitle(title, fontsize=10, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)


def _plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with 1, 2, 5, 10 ... instead of powers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:,.12g}")


def growth_chart(panels: Mapping[str, Sequence[Line]], out: str | Path, *, title: str = "") -> None:
    """Write a PNG of seconds against sizes on logarithmic axes, with the slope of proportional growth in grey.

    Args:
        panels: By what grows, the lines of one set of axes.
        out: The PNG file.
        title: Above the picture.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(4.6 * len(panels), 4.0)
    for axes, (size, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for index, line in enumerate(lines):
            color = css(GROUP_COLORS[index % len(GROUP_COLORS)])
            axes.plot(line.sizes, line.values, color=color, linewidth=2, marker="o", label=line.label)
        first = lines[0]
        proportional = [first.values[0] * each / first.sizes[0] for each in first.sizes]
        axes.plot(
            first.sizes, proportional, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="proportional"
        )
        axes.set(xscale="log", yscale="log", xlabel=size, ylabel="seconds")
        axes.set_xticks(first.sizes, [f"{each:,}" for each in first.sizes], minor=False)
        axes.minorticks_off()
        plain_style(axes)
        _plain_numbers(axes.yaxis)
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0))
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)
