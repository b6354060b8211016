"""What variants reach against what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lsnn_gym.pictures.style import GROUP_COLORS, css, new_figure, plain_style, write_figure

_MARKERS = ("o", "s", "^", "D", "v", "P")


class TradePoint(NamedTuple):
    """A variant.

    Attributes:
        label: Its name.
        runs: Of each run what it cost and what it reached.
    """

    label: str
    runs: Sequence[tuple[float, float]]


def trade_off(
    points: Sequence[TradePoint], x_label: str, y_label: str, out: str | Path, *, title: str = ""
) -> None:
    """Write a PNG with a marker a run, what it reached above what it cost on a logarithmic scale.

    Args:
        points: Variants, a colour and marker each; runs that cost nothing are left out.
        x_label: What it cost.
        y_label: What it reached.
        out: The PNG file.
        title: Above the picture.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    figure = new_figure(9.0, 4.6)
    axes = figure.add_subplot()
    for index, point in enumerate(points):
        shown = [each for each in point.runs if each[0] > 0]
        axes.plot(
            [cost for cost, _ in shown],
            [reached for _, reached in shown],
            linestyle="none",
            marker=_MARKERS[index // len(GROUP_COLORS) % len(_MARKERS)],
            markersize=8,
            color=css(GROUP_COLORS[index % len(GROUP_COLORS)]),
            label=point.label,
        )
    axes.set_xscale("log")
    plain_style(axes)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)
