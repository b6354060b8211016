"""What an agent did in an episode, and which neurons fired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lsnn_gym.errors import unknown
from lsnn_gym.pictures.style import GOAL_COLOR, GREY, GROUP_COLORS, css, new_figure, plain_style, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        color = css(GROUP_COLORS[index % len(GROUP_COLORS)])
        axes.vlines((when + 0.5) * dt, rows - 0.42, rows + 0.42, color=color, linewidth=width)
        rate = fired[:, start:end].mean() / dt * 1000 if end > start else 0.0
        labels.append(f"{name}\n{rate:.3g} Hz".strip())
        if end < neurons:
            axes.axhline(end, color="#c9c6be", linewidth=0.8, zorder=0)
    _mark_goals(axes, goal_times)
    plain_style(axes, grid=False)
    axes.set_yticks([(start + end) / 2 for start, end in bounds.values()], labels)
    axes.tick_params(axis="y", length=0)
    for index, tick in enumerate(axes.get_yticklabels()):
        tick.set_color(css(GROUP_COLORS[index % len(GROUP_COLORS)]))
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
        water = axes.add_patch(Circle((0, 0), arena_radius, **border))
    else:
        corner, side = (-arena_radius, -arena_radius), 2 * arena_radius
        water = axes.add_patch(Rectangle(corner, side, side, **border))
    green = {"facecolor": css(GOAL_COLOR), "edgecolor": "#4a8a5c", "linewidth": 1.5, "zorder": 1}
    # What of it is outside of the arena cannot be reached.
    axes.add_patch(Circle((goal[0], goal[1]), goal_radius, **green)).set_clip_path(water)
    pieces = np.split(path, [start for start in sorted(starts) if 0 < start < len(path)])
    for index, piece in enumerate(pieces):
        color = css(GROUP_COLORS[0 if index else 1])
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
    figure = new_figure(12.0, 5.2)
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
    below.plot((np.arange(steps) + 0.5) * step_ms, trace, color=GREY, linewidth=1.2)
    plain_style(below)
    below.set(xlabel="time (ms); green: goal reached", ylabel=value_label)
    if title:
        figure.suptitle(title, fontsize=12, x=0.02, ha="left", fontweight="bold")
    write_figure(figure, out)


def _mark_goals(axes: Axes, times: Sequence[float]) -> None:
    for time in times:
        axes.axvline(time, color=css(GOAL_COLOR), linewidth=1, alpha=0.8, zorder=0)
