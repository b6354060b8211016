"""How all pictures look: colours, figures without global matplotlib state, files written whole.

Drawing needs the extra ``render`` (matplotlib); importing this package does not.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from lsnn_gym.atomic import write_atomically
from lsnn_gym.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Color = tuple[int, int, int]

BACKGROUND: Color = (246, 244, 239)
GOAL_COLOR: Color = (142, 190, 150)
# Told apart by readers with any colour vision, on screen and in grey print.
GROUP_COLORS: tuple[Color, ...] = ((38, 84, 150), (206, 86, 12), (24, 120, 92), (150, 62, 130), (110, 96, 30))

GREY = "#6b6b6b"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sizes in inches.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError('pictures need matplotlib: pip install "lsnn-gym[render]"') from None
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, out: str | Path) -> None:
    """Write a figure as a PNG file, whole or not at all."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    write_atomically(out, png.getvalue())


def plain_style(axes: Axes, grid: bool = True) -> None:
    """Take away what is not data, and add horizontal lines to read values by."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY, labelsize=9)
    if grid:
        axes.grid(axis="y", color="#e6e3dc", linewidth=0.8)
        axes.set_axisbelow(True)


def css(color: Color) -> str:
    """Return a colour as matplotlib takes it."""
    return "#{:02x}{:02x}{:02x}".format(*color)
