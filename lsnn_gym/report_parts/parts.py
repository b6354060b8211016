"""What a report is made of: a family of experiments fills these in, and knows nothing of the page.

A ``Replay`` is an episode (or sequence) with a clock of T steps. Its views are drawn beside one another: some show
the present step only (``Arena``, ``Belief``), others all steps with a cursor (``Lines``, ``Raster``, ``Channels``).
``data`` is what ``views.js`` gets of each; its ``kind`` names the function there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lsnn_gym.pictures import Panel
from lsnn_gym.report_parts.packing import pack_levels, pack_spikes, pooled

Floats = npt.NDArray[np.floating]

_MOST_NEURONS = 400  # of a raster: more rows than pixels show nothing
_MOST_CHANNELS = 128


class View(Protocol):
    """One part of a replay."""

    def data(self) -> dict[str, Any]:
        """Return it as JSON can hold it, with its ``kind``."""
        ...


@dataclass(frozen=True)
class Arena:
    """A way through a plane with a goal.

    Attributes:
        shape: ``"disc"`` or ``"square"``.
        size: Its radius, or half its side.
        goal: Centre of the goal.
        goal_radius: Its radius.
        path: Where the agent was ``[T, 2]``.
        starts: Steps at which it had just been put somewhere else, having reached the goal.
        walls: Steps at which it had just run into the wall.
        told: Where it says that the goal lies, ``[T, 2]``: there, or some way towards it; None of one that does not.
    """

    shape: str
    size: float
    goal: Sequence[float]
    goal_radius: float
    path: Floats
    starts: Sequence[int]
    walls: Sequence[int]
    told: Floats | None = None

    def data(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "kind": "arena",
            "shape": self.shape,
            "size": float(self.size),
            "goal": [float(each) for each in self.goal],
            "goalRadius": float(self.goal_radius),
            "path": np.round(np.asarray(self.path, np.float64), 4).tolist(),
            "starts": [int(each) for each in self.starts],
            "walls": [int(each) for each in self.walls],
            "told": None if self.told is None else np.round(np.asarray(self.told, np.float64), 4).tolist(),
        }


@dataclass(frozen=True)
class Belief:
    """A function of one input or two, and what is believed of it as examples come in, one a step.

    Attributes:
        inputs: Of the examples ``[T, D]``.
        targets: Of the examples ``[T]``.
        grid: Inputs everywhere ``[M, D]``: in ascending order or, of two, a square whose second varies fastest.
        values: Of the function there ``[M]``.
        seen: After how many examples it was asked, in ascending order, K of them.
        believed: What it said then ``[K, M]``.
        low: Lowest target there can be.
        high: Highest.
    """

    inputs: Floats
    targets: Floats
    grid: Floats
    values: Floats
    seen: Sequence[int]
    believed: Floats
    low: float
    high: float

    def data(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "kind": "belief",
            "dimensions": self.grid.shape[1],
            "inputs": np.round(self.inputs, 4).tolist(),
            "targets": np.round(self.targets, 4).tolist(),
            "bounds": [
                [float(low), float(high)]
                for low, high in zip(self.grid.min(0), self.grid.max(0), strict=True)
            ],
            "points": len(self.grid),
            "values": pack_levels(self.values, self.low, self.high),
            "seen": [int(each) for each in self.seen],
            "believed": pack_levels(self.believed, self.low, self.high),
            "errors": [float(each) for each in np.mean((self.believed - self.values) ** 2, axis=1).round(5)],
            "low": float(self.low),
            "high": float(self.high),
        }


@dataclass(frozen=True)
class Lines:
    """Figures over time.

    Attributes:
        label: What they are, with their unit.
        lines: Name and values ``[T]`` of each; missing values are NaN.
        bounds: Lowest and highest value shown; by default those there are.
        strong: Names of those to stand out; by default all.
    """

    label: str
    lines: Mapping[str, Floats]
    bounds: tuple[float, float] | None = None
    strong: Sequence[str] | None = None

    def data(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        every = np.concatenate([np.asarray(each, np.float64) for each in self.lines.values()])
        finite = every[np.isfinite(every)]
        found = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        return {
            "kind": "lines",
            "label": self.label,
            "lines": [
                {
                    "name": name,
                    "values": _numbers(values),
                    "strong": self.strong is None or name in self.strong,
                }
                for name, values in self.lines.items()
            ],
            "bounds": list(self.bounds or found),
        }


@dataclass(frozen=True)
class Raster:
    """Which neurons fired when.

    Attributes:
        spikes: Boolean ``[T * S, N]``.
        groups: Names and sizes of groups of consecutive neurons; the sizes sum to N.
        dt: Length of a simulation step in ms.
    """

    spikes: npt.NDArray[np.bool_]
    groups: Mapping[str, int]
    dt: float

    def rates(self) -> dict[str, Floats]:
        """Return the mean rate of each neuron in Hz, by group."""
        rates = 1000 / self.dt * self.spikes.mean(axis=0)
        ends = np.cumsum(list(self.groups.values()))
        return dict(zip(self.groups, np.split(rates, ends[:-1]), strict=True))

    def data(self) -> dict[str, Any]:
        """Return it as JSON can hold it; of many neurons, every so many."""
        neurons = self.spikes.shape[1]
        shown = np.unique(np.linspace(0, neurons - 1, min(neurons, _MOST_NEURONS)).round().astype(int))
        ends = np.searchsorted(shown, np.cumsum(list(self.groups.values())))
        sizes = np.diff(ends, prepend=0)
        return {
            "kind": "raster",
            "rows": len(self.spikes),
            "neurons": len(shown),
            "of": neurons,
            "groups": [[name, int(size)] for name, size in zip(self.groups, sizes, strict=True) if size],
            "spikes": pack_spikes(self.spikes[:, shown]),
        }


@dataclass(frozen=True)
class Channels:
    """What came in, over time.

    Attributes:
        label: What it is.
        values: ``[T, I]``.
    """

    label: str
    values: Floats

    def data(self) -> dict[str, Any]:
        """Return it as JSON can hold it; of many channels, the strongest of neighbours."""
        shown = pooled(self.values, _MOST_CHANNELS)
        return {
            "kind": "channels",
            "label": self.label,
            "rows": len(shown),
            "channels": shown.shape[1],
            "of": self.values.shape[1],
            "levels": pack_levels(shown, min(0.0, float(shown.min())), float(shown.max())),
        }


class Mark(NamedTuple):
    """Steps at which something happened.

    Attributes:
        name: What, in the plural.
        color: Name of its colour in ``palette``.
        steps: When.
    """

    name: str
    color: str
    steps: Sequence[int]


class Question(NamedTuple):
    """A stretch of steps in which an answer is asked for: the first, the one after the last, the right answer."""

    first: int
    after: int
    answer: str


@dataclass(frozen=True)
class Replay:
    """One episode.

    Attributes:
        title: Which one.
        steps: T.
        step_name: What a step is, e.g. "step" or "trial".
        steps_per_second: Speed at which it is played.
        views: What is shown.
        marks: What happened.
        questions: When an answer was asked for.
    """

    title: str
    steps: int
    step_name: str
    steps_per_second: float
    views: Sequence[View]
    marks: Sequence[Mark] = ()
    questions: Sequence[Question] = ()

    def data(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "title": self.title,
            "steps": self.steps,
            "stepName": self.step_name,
            "stepsPerSecond": self.steps_per_second,
            "views": [view.data() for view in self.views],
            "marks": [{**mark._asdict(), "steps": [int(step) for step in mark.steps]} for mark in self.marks],
            "questions": [question._asdict() for question in self.questions],
        }


class Table(NamedTuple):
    """Figures in rows.

    Attributes:
        columns: Their headings, without that of the rows' names.
        rows: Name and cells of each.
        note: Below it.
        corner: Heading of the rows' names.
    """

    columns: Sequence[str]
    rows: Mapping[str, Sequence[str]]
    note: str = ""
    corner: str = ""


def plain_rows(figures: Mapping[str, Any]) -> Table:
    """Return the figures that are numbers or text, a row each."""
    shown = {
        name.replace("_", " "): [_shown(value)]
        for name, value in figures.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }
    return Table(["figure"], shown)


class ErrorLines(NamedTuple):
    """Errors by trial, of several that learn; missing ones are None.

    Attributes:
        title: Above the chart.
        lines: Name, and error after 0, 1, 2 ... examples, of each.
    """

    title: str
    lines: Mapping[str, Sequence[float | None]]


class Confusions(NamedTuple):
    """How often each class was taken for each.

    Attributes:
        title: Above the chart.
        counts: ``[K, K]``: true classes down, decided ones to the right.
    """

    title: str
    counts: npt.NDArray[np.integer]


@dataclass(frozen=True)
class Parts:
    """What a family says about a run.

    Attributes:
        table: The figures, beside references where there are any.
        panels: Figures over the course of the training.
        replays: Episodes or sequences.
        charts: Whatever else there is.
        before: Weights at the start of the training, by name, ``[post, pre]``.
        after: Those of the newest checkpoint, of the same names.
    """

    table: Table
    panels: Sequence[Panel]
    replays: Sequence[Replay]
    charts: Sequence[ErrorLines | Confusions] = ()
    before: Mapping[str, Floats] = field(default_factory=dict)
    after: Mapping[str, Floats] = field(default_factory=dict)


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _numbers(values: npt.ArrayLike) -> list[float | None]:
    return [round(float(each), 4) if np.isfinite(each) else None for each in np.asarray(values)]
