"""What is shown of function regression: a table, a plot of errors against examples seen, an episode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsnn_gym.envs.functions import FunctionFamily
from lsnn_gym.errors import UserError, unknown
from lsnn_gym.pictures import (
    ErrorCurve,
    Knowledge,
    Panel,
    RegressionPicture,
    draw_regression_episode,
    error_curves,
)
from lsnn_gym.regression.filming import film_regression
from lsnn_gym.regression.probing import SEEN, ProbedEpisode
from lsnn_gym.report_parts.parts import Belief, ErrorLines, Lines, Raster, Replay, Table, View
from lsnn_gym.training.run_folder import RunFolder

_SHOWN_TRIALS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
_WIDTH = 20
_FORMATS = (".mp4", ".gif", ".png")
_REPLAY_SECONDS = 20.0
_MOST_ASKED = 100


def error_headline(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the mean error of a batch, that of its last trial, and the firing rate, for the progress bar."""
    shown = {"error": f"{figures['error']:.4f}"}
    if "last_error" in figures:
        shown["last"] = f"{figures['last_error']:.4f}"
    if figures.get("firing_rate_hz") is not None:
        shown["rate"] = f"{figures['firing_rate_hz']:.0f} Hz"
    return shown


def regression_table(figures: Mapping[str, Any]) -> str:
    """Lay figures of ``evaluate_regression`` out: agent and references, a row each, then the same on other families.

    Errors are squared ones in units of the targets; what follows ± is the standard error over functions.
    """
    table = regression_rows(figures)
    lines = [_line("squared error", table.columns)]
    lines += [_line(name, cells) for name, cells in table.rows.items()]
    lines.append(table.note)
    if figures["firing_rate_hz"] is not None:
        lines.append(f"firing rate {figures['firing_rate_hz']:.1f} Hz")
    if figures.get("error_over_maml"):
        shown = ", ".join(f"{share:.2f} after {shots}" for shots, share in figures["error_over_maml"].items())
        lines.append(f"agent's error over MAML's: {shown} examples")
    return "\n".join([*lines, *_transfer(figures.get("transfer", {}))])


def regression_rows(figures: Mapping[str, Any]) -> Table:
    """Return errors of agent and references, a row each: over the trials judged, and at some trials."""
    first, last = figures["trials"]
    trials = [each for each in _SHOWN_TRIALS if each <= len(figures["error_by_trial"])]
    rows = {}
    for name, row in _rows(figures).items():
        cells = [f"{row['error']:.5f}", f"{row['error_standard_error']:.5f}", _share(row)]
        values = [row["error_by_trial"][trial - 1] for trial in trials]
        rows[name] = cells + ["-" if value is None else f"{value:.5f}" for value in values]
    note = f"targets' variance {figures['target_variance']:.5f}, {figures['episodes']} episodes"
    return Table(
        [f"{first} to {last}", "±", "of variance", *map(str, trials)], rows, note, "squared error in trials"
    )


def course_panels(metrics: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Return what is drawn of the course of a training."""
    panels = [Panel({"all trials": "error", "last trial": "last_error"}, "squared error")]
    if any(record.get("firing_rate_hz") is not None for record in metrics):
        panels.append(Panel({"all neurons": "firing_rate_hz"}, "firing rate (Hz)"))
    return panels


def errors_by_trial(figures: Mapping[str, Any]) -> ErrorLines:
    """Return the errors of agent and references against examples seen."""
    rows = _rows(figures)
    return ErrorLines("squared error by examples seen", {name: rows[name]["error_by_trial"] for name in rows})


def asked_numbers(trials: int) -> list[int]:
    """Return after how many examples a replay asks what is believed: each, or some of many."""
    return np.unique(np.linspace(0, trials - 1, min(trials, _MOST_ASKED)).astype(int)).tolist()


def regression_replay(
    probed: ProbedEpisode, family: FunctionFamily, groups: Mapping[str, int], dt: float, title: str
) -> Replay:
    """Return an episode to be replayed trial by trial: beliefs, answers, errors and spikes.

    Args:
        probed: The episode, asked after ``asked_numbers``.
        family: Of its function.
        groups: Names and sizes of groups of consecutive neurons.
        dt: Simulation step in ms.
        title: Which one it is.
    """
    targets, predictions = probed.episodes.targets[:, 0], probed.predictions
    bounds = (family.target_low, family.target_high)
    views: list[View] = []
    if probed.seen:
        views.append(
            Belief(
                probed.episodes.inputs[:, 0],
                targets,
                probed.grid,
                probed.values,
                probed.seen,
                probed.believed,
                *bounds,
            )
        )
    views.append(Lines("target and prediction", {"prediction": predictions, "target": targets}))
    views.append(Lines("squared error", {"error": (predictions - targets) ** 2}))
    if probed.spikes is not None:
        views.append(Raster(probed.spikes, {name: size for name, size in groups.items() if size}, dt))
    return Replay(title, len(targets), "trial", max(2.0, len(targets) / _REPLAY_SECONDS), views)


def draw_errors_by_trial(run: RunFolder, figures: Mapping[str, Any]) -> None:
    """Draw errors against examples seen, of agent and references, into a run's ``error_by_trial.png``."""
    curves = {
        name: ErrorCurve(row["error_by_trial"], row["quartiles_by_trial"])
        for name, row in _rows(figures).items()
    }
    error_curves(curves, run.path / "error_by_trial.png", title=run.path.name)


def draw_probed(
    probe: Callable[[Sequence[int] | None], ProbedEpisode],
    family: FunctionFamily,
    path: Path,
    groups: Mapping[str, int],
    dt: float,
    *,
    title: str = "",
) -> None:
    """Draw an episode as a film (.mp4, .gif) or picture (.png): what was believed of the function, and the spikes.

    Args:
        probe: Returns the episode; it is given after which numbers of examples to ask, None for before each trial.
        family: Of the function.
        path: Of the film or picture.
        groups: Names and sizes of groups of consecutive neurons.
        dt: Simulation step in ms.
        title: Above the picture.

    Raises:
        UserError: The suffix is none of these, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise UserError(f"{path}: {unknown('format', path.suffix, _FORMATS)}")
    if suffix != ".png":
        film_regression(probe(None), family, path, groups, dt)
        return
    probed = probe(SEEN)
    knowledge = Knowledge(
        inputs=probed.episodes.inputs[:, 0],
        grid=probed.grid,
        values=probed.values,
        seen=probed.seen,
        believed=probed.believed,
        target_range=(family.target_low, family.target_high),
    )
    picture = RegressionPicture(
        targets=probed.episodes.targets[:, 0],
        predictions=probed.predictions,
        spikes=probed.spikes,
        groups=groups,
        dt=dt,
        knowledge=knowledge if family.input_size <= 2 else None,
    )
    draw_regression_episode(picture, path, title=title)


def _rows(figures: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {"agent": figures} | {name.replace("_", " "): row for name, row in figures["references"].items()}


def _transfer(transfer: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a table of shares of variance: a column a family that was not trained on."""
    if not transfer:
        return []
    first = next(iter(transfer.values()))
    title = "trials {} to {}, families not trained on, of variance".format(*first["trials"])
    lines = ["", title, _line("", [name.replace("_", " ") for name in transfer], _WIDTH)]
    rows = {name: [_share(_rows(each)[name]) for each in transfer.values()] for name in _rows(first)}
    return lines + [_line(name, cells, _WIDTH) for name, cells in rows.items()]


def _line(name: str, cells: Sequence[str], width: int = 12) -> str:
    return f"{name:<{_WIDTH}}" + "".join(f"{cell:>{width}}" for cell in cells)


def _share(row: Mapping[str, Any]) -> str:
    return f"{100 * row['error_share']:.2f} %"
