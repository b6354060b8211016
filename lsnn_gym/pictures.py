"""Still pictures of what an agent learned, did, and which neurons fired.

Drawing needs the extra ``render`` (matplotlib); importing this module does not. No global matplotlib state is
used: functions draw on the Axes they are given, or write a PNG file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lsnn_gym.atomic import write_atomically

from .errors import UserError, unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Color = tuple[int, int, int]

BACKGROUND: Color = (246, 244, 239)
GOAL_COLOR: Color = (142, 190, 150)
# Told apart by readers with any colour vision, on screen and in grey print.
GROUP_COLORS: tuple[Color, ...] = ((38, 84, 150), (206, 86, 12), (24, 120, 92), (150, 62, 130), (110, 96, 30))

_GREY = "#6b6b6b"


def group_bounds(groups: Mapping[str, int] | None, neurons: int) -> dict[str, tuple[int, int]]:
    """Return the first and one past the last neuron of each group of consecutive neurons.

    Args:
        groups: Names and sizes; None is one group without a name.
        neurons: How many neurons there are.

    Raises:
        ValueError: The sizes do not sum to ``neurons``.
    """
    sizes = {"": neurons} if groups is None else dict(groups)
    if sum(sizes.values()) != neurons or min(sizes.values()) < 0:
        raise ValueError(f"groups {sizes} have {sum(sizes.values())} neurons in all, expected {neurons}")
    ends = np.cumsum(list(sizes.values())).tolist()
    return {name: (end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


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
    figure = _figure(8.0, 1.0 + 2.7 * len(panels))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for each, panel in zip(axes, panels, strict=True):
        _draw_panel(each, metrics, panel, x_key)
    figure.align_ylabels()
    axes[-1].set_xlabel(x_label or x_key.replace("_", " "))
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    _write(figure, out)


def _draw_panel(axes: Axes, metrics: Sequence[Mapping[str, Any]], panel: Panel, x_key: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for index, (label, key) in enumerate(panel.series.items()):
        x, y = _finite(metrics, x_key, key)
        color = _css(GROUP_COLORS[index % len(GROUP_COLORS)])
        smooth = _running_mean(y, max(1, len(y) // 40))
        if len(y) >= 80:
            axes.plot(x, y, color=color, alpha=0.25, linewidth=0.8)
        axes.plot(x, smooth, color=color, linewidth=2, label=label, marker="o" if len(y) == 1 else None)
    for value in panel.references.values():
        axes.axhline(value, color=_GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    _plain_style(axes)
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
            color=_GREY,
            fontsize=8,
            annotation_clip=False,
        )


def spike_raster(
    axes: Axes,
    spikes: npt.ArrayLike,
    *,
    dt: float = 1.0,
    groups: Mapping[str, int] | None = None,
    goal_times: Sequence[float] = (),
) -> None:
    """Draw which neuron fired when, with each group's mean firing rate in Hz.

    Args:
        axes: Where to draw.
        spikes: Boolean (or 0/1) ``[T, N]``.
        dt: Length of a simulation step in ms.
        groups: Names and sizes of groups of consecutive neurons, from the top; the sizes sum to N.
        goal_times: Times in ms to mark with vertical lines.

    Raises:
        ValueError: Shapes do not fit.
    """
    fired = np.asarray(spikes).astype(bool)
    if fired.ndim != 2 or 0 in fired.shape:
        raise ValueError(f"spikes are {list(fired.shape)}, expected [T, N]")
    steps, neurons = fired.shape
    bounds = group_bounds(groups, neurons)
    labels = []
    width = min(1.8, max(0.5, 350 / steps))  # in points; most of a step's room on usual axes
    for index, (name, (start, end)) in enumerate(bounds.items()):
        when, which = np.nonzero(fired[:, start:end])
        rows = which + start + 0.5
        color = _css(GROUP_COLORS[index % len(GROUP_COLORS)])
        axes.vlines((when + 0.5) * dt, rows - 0.42, rows + 0.42, color=color, linewidth=width)
        rate = fired[:, start:end].mean() / dt * 1000 if end > start else 0.0
        labels.append(f"{name}\n{rate:.3g} Hz".strip())
        if end < neurons:
            axes.axhline(end, color="#c9c6be", linewidth=0.8, zorder=0)
    _mark_goals(axes, goal_times)
    _plain_style(axes, grid=False)
    axes.set_yticks([(start + end) / 2 for start, end in bounds.values()], labels)
    axes.tick_params(axis="y", length=0)
    for index, tick in enumerate(axes.get_yticklabels()):
        tick.set_color(_css(GROUP_COLORS[index % len(GROUP_COLORS)]))
    axes.set_ylim(neurons, 0)
    axes.set_xlim(0, steps * dt)
    axes.set_xlabel("time (ms)")


def trajectory(
    axes: Axes,
    positions: npt.ArrayLike,
    *,
    goal: Sequence[float],
    goal_radius: float,
    starts: Sequence[int] = (),
    arena: str = "disc",
    arena_radius: float = 1.0,
) -> None:
    """Draw where the agent went: the search for the goal in one colour, the ways back to it in another.

    Args:
        axes: Where to draw.
        positions: ``[T, 2]``, in the arena's unit of length.
        goal: Centre of the goal.
        goal_radius: Its radius.
        starts: Indices into ``positions`` at which the agent had just been put somewhere else, having reached
            the goal: the line is interrupted there.
        arena: ``"disc"`` or ``"square"``.
        arena_radius: Radius of the disc, or half the side of the square.

    Raises:
        ValueError: Shapes do not fit, or there is no such arena.
    """
    from matplotlib.patches import Circle, Rectangle

    path = np.asarray(positions, dtype=float)
    if path.ndim != 2 or path.shape[1] != 2 or not len(path):
        raise ValueError(f"positions are {list(path.shape)}, expected [T, 2]")
    if arena not in ("disc", "square"):
        raise ValueError(unknown("arena", arena, ["disc", "square"]))
    border = {"facecolor": "#dde9ef", "edgecolor": "#6c8694", "linewidth": 2, "zorder": 0}
    if arena == "disc":
        axes.add_patch(Circle((0, 0), arena_radius, **border))
    else:
        corner, side = (-arena_radius, -arena_radius), 2 * arena_radius
        axes.add_patch(Rectangle(corner, side, side, **border))
    green = {"facecolor": _css(GOAL_COLOR), "edgecolor": "#4a8a5c", "linewidth": 1.5, "zorder": 1}
    axes.add_patch(Circle((goal[0], goal[1]), goal_radius, **green))
    pieces = np.split(path, [start for start in sorted(starts) if 0 < start < len(path)])
    for index, piece in enumerate(pieces):
        color = _css(GROUP_COLORS[0 if index else 1])
        label = {0: "until the goal is found", 1: "afterwards"}.get(index)
        axes.plot(*piece.T, color=color, linewidth=1.3, label=label, zorder=2 if index else 3)
        axes.plot(*piece[0], "o", color=color, markersize=4, markeredgecolor="white", zorder=4)
    limit = 1.05 * arena_radius
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])
    axes.set_frame_on(False)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2, fontsize=9)


def episode_picture(
    out: str | Path,
    *,
    positions: npt.ArrayLike,
    goal: Sequence[float],
    goal_radius: float,
    spikes: npt.ArrayLike,
    values: npt.ArrayLike,
    starts: Sequence[int] = (),
    groups: Mapping[str, int] | None = None,
    dt: float = 1.0,
    title: str = "",
    value_label: str = "value estimate",
    arena: str = "disc",
    arena_radius: float = 1.0,
) -> None:
    """Write a PNG of one episode: the way, the spikes, and one figure over time.

    Args:
        out: The PNG file.
        positions: ``[T, 2]``, one an environment step.
        goal: Centre of the goal.
        goal_radius: Its radius.
        spikes: ``[T * k, N]``, k simulation steps an environment step.
        values: ``[T]``, e.g. the critic's value.
        starts: As in :func:`trajectory`; also marked as goal times over the spikes and values.
        groups: As in :func:`spike_raster`.
        dt: Length of a simulation step in ms.
        title: Above the picture.
        value_label: What ``values`` are, with their unit.
        arena: As in :func:`trajectory`.
        arena_radius: As in :func:`trajectory`.

    Raises:
        UserError: The file cannot be written.
        ValueError: Shapes do not fit.
    """
    trace, fired = np.asarray(values, dtype=float), np.asarray(spikes)
    steps = len(np.asarray(positions))
    if trace.shape != (steps,) or len(fired) % steps:
        raise ValueError(
            f"positions of {steps} steps do not fit values {list(trace.shape)} and spikes {list(fired.shape)}"
        )
    step_ms = len(fired) // steps * dt
    figure = _figure(12.0, 5.2)
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.5), height_ratios=(3, 1))
    place = figure.add_subplot(grid[:, 0])
    trajectory(
        place,
        positions,
        goal=goal,
        goal_radius=goal_radius,
        starts=starts,
        arena=arena,
        arena_radius=arena_radius,
    )
    goal_times = [start * step_ms for start in starts]
    raster = figure.add_subplot(grid[0, 1])
    spike_raster(raster, fired, dt=dt, groups=groups, goal_times=goal_times)
    raster.set_xlabel("")
    raster.tick_params(labelbottom=False)
    below = figure.add_subplot(grid[1, 1], sharex=raster)
    _mark_goals(below, goal_times)
    below.plot((np.arange(steps) + 0.5) * step_ms, trace, color=_GREY, linewidth=1.2)
    _plain_style(below)
    below.set(xlabel="time (ms); green: goal reached", ylabel=value_label)
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    _write(figure, out)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError('pictures need matplotlib: pip install "lsnn-gym[render]"') from None
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Figure, out: str | Path) -> None:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    write_atomically(out, png.getvalue())


def _plain_style(axes: Axes, grid: bool = True) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(colors=_GREY, labelsize=9)
    if grid:
        axes.grid(axis="y", color="#e6e3dc", linewidth=0.8)
        axes.set_axisbelow(True)


def _mark_goals(axes: Axes, times: Sequence[float]) -> None:
    for time in times:
        axes.axvline(time, color=_css(GOAL_COLOR), linewidth=1, alpha=0.8, zorder=0)


def _finite(
    metrics: Sequence[Mapping[str, Any]], x_key: str, key: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    pairs = [(record.get(x_key), record.get(key)) for record in metrics]
    numbers = [(x, y) for x, y in pairs if _is_finite(x) and _is_finite(y)]
    table = np.array(numbers, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _running_mean(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Average over up to ``width`` values on either side, fewer at the ends."""
    if width <= 1:
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(0, index - width), np.minimum(len(values), index + width + 1)
    return (sums[last] - sums[first]) / (last - first)


def _css(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
