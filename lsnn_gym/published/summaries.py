"""What is committed of a run: its settings, seed, versions, hardware, time, figures, and a thinned learning curve.

A summary is made of a run's folder by ``summarise``, never typed. ``docs/results/summaries/<row>/seed-<n>.json``.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from lsnn_gym.atomic import cannot_write, write_atomically
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import Experiment, experiment_from, experiment_of, family_of
from lsnn_gym.families.family import finished_iterations
from lsnn_gym.published.rows import Row
from lsnn_gym.published.thinning import Curve, test_figures, thinned
from lsnn_gym.settings import Settings, validate
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.results import write_results
from lsnn_gym.training.run_folder import RunFolder, processor_name

SUMMARIES = Path("results", "summaries")
"""Within the folder of documents."""

_LONGEST_LIST = 8
_KEPT_PLACES = (1, 2, 5, 10, 20, 50, 100, 200)
_DIGITS = 7


class Summary(Settings):
    """A run, as it is committed."""

    row: str = Field(description="that it belongs to")
    seed: int = Field(description="of the run")
    finished: bool = Field(description="whether it went as far as its settings say")
    iterations: int = Field(description="that were done")
    of_iterations: int = Field(description="that its settings say")
    epochs: float | None = Field(description="that were done, where a run has epochs")
    of_epochs: int | None = Field(description="that its settings say")
    seconds: float = Field(description="of training, by the clock, those before a resume included")
    processor_seconds: float | None = Field(
        description="of training, of all threads; null where not measured"
    )
    environment: dict[str, Any] = Field(description="versions, hardware, commit")
    figures: dict[str, Any] = Field(description="of the trained network")
    curve: Curve = Field(description="the course of the training")
    settings: dict[str, Any] = Field(description="all of them, as in the run's config.yaml")

    def experiment(self) -> Experiment:
        """Return the experiment; settings that came after the run have their defaults.

        Raises:
            UserError: There are no such settings any more.
        """
        return experiment_from(self.settings, f"summary of {self.row}, seed {self.seed}")


def summarise(run: RunFolder, row: Row) -> Summary:
    """Make the summary of a run.

    A run that is complete but was not judged yet is judged now, and keeps its ``results.json``. One that was stopped
    has the figures on the test part that its metrics have of the last epoch or, where they have none, those of its
    newest checkpoint, judged now.

    Args:
        run: Of which at least one checkpoint or one epoch is there.
        row: To which it is to belong.

    Raises:
        UserError: The run has nothing to be judged, or its files cannot be used.
    """
    experiment = experiment_of(run)
    metrics = read_metrics(run.metrics)
    if not metrics:
        raise UserError(f"{run.path}: no iteration is done yet")
    timing = read_metrics(run.timing)
    epochs = getattr(experiment.train, "epochs", None)
    tested = test_figures(metrics)
    done = metrics[-1]["iteration"]
    finished = done >= experiment.train.iterations
    if finished or not tested:
        figures = _judged(run, experiment, finished)
        done = done if finished else finished_iterations(run)
    else:
        figures = tested
        done = max(each["iteration"] for each in metrics if each.get("test_accuracy") is not None)
    if epochs is not None:
        figures = {"last_ten_accuracy": tested.get("last_ten_accuracy")} | figures
    within = [each for each in timing if each["iteration"] <= done]
    processor = [each.get("processor_seconds") for each in within]
    return Summary(
        row=row.name,
        seed=experiment.seed,
        finished=finished,
        iterations=done,
        of_iterations=experiment.train.iterations,
        epochs=None if epochs is None else done * epochs / experiment.train.iterations,
        of_epochs=epochs,
        seconds=_rounded(sum(each["seconds"] for each in within)),
        processor_seconds=None if None in processor else _rounded(sum(filter(None, processor))),
        environment=_environment(run),
        figures=_brief(figures),
        curve=_rounded(thinned([each for each in metrics if each["iteration"] <= done])),
        settings=plain(experiment),
    )


def _judged(run: RunFolder, experiment: Experiment, finished: bool) -> dict[str, Any]:
    if not run.results.is_file():
        figures = family_of(experiment).evaluate(run, experiment)
        if not finished:
            return figures
        write_results(run, figures)
    return json.loads(run.results.read_text(encoding="utf-8"))


def _environment(run: RunFolder) -> dict[str, Any]:
    """Return the run's own; an older run's processor is told if it was trained on the machine this is done on."""
    try:
        found: dict[str, Any] = json.loads(run.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{run.environment}: expected a JSON file with versions and hardware") from None
    here = found.get("platform") == platform.platform() and found.get("cpu_count") == os.cpu_count()
    if "cpu" not in found:
        found["cpu"] = processor_name() if here else None
    return found


def _brief(figures: Any) -> Any:
    """Thin long lists out, and leave out digits that nobody needs.

    Of a long list of numbers, as errors by trial, some are kept, under their places counted from 0; other long lists
    are left out.
    """
    if not isinstance(figures, Mapping):
        return _rounded(figures)
    long = {
        key: each for key, each in figures.items() if isinstance(each, list) and len(each) > _LONGEST_LIST
    }
    short = {key: _brief(each) for key, each in figures.items() if key not in long}
    return short | {key: kept for key, each in long.items() if (kept := _at_places(each))}


def _at_places(values: list[Any]) -> dict[str, float]:
    found = {str(place): values[place] for place in _KEPT_PLACES if place < len(values)}
    return {place: _rounded(value) for place, value in found.items() if isinstance(value, float)}


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def summary_path(documents: Path, row: str, seed: int) -> Path:
    """Return where the summary of a row's seed is."""
    return documents / SUMMARIES / row / f"seed-{seed}.json"


def write_summary(documents: Path, summary: Summary) -> Path:
    """Write a summary to its place, instead of a former one; return the path.

    Raises:
        UserError: Other seeds of the row were run with other settings, or it cannot be written.
    """
    for other in read_summaries(documents, summary.row):
        if other.seed != summary.seed:
            different = _different(plain(other.experiment()), plain(summary.experiment()))
            if different:
                raise UserError(
                    f"row {summary.row}: seed {summary.seed} was run with another {different} than seed "
                    f"{other.seed}: expected runs that differ in their seed alone, or remove the others first "
                    f"({documents / SUMMARIES / summary.row})"
                )
    path = summary_path(documents, summary.row, summary.seed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    write_atomically(path, _text(summary.model_dump(mode="json")))
    return path


def plain(experiment: Experiment) -> dict[str, Any]:
    """Return all settings of an experiment as JSON has them."""
    return experiment.model_dump(mode="json", round_trip=True)


def _different(ours: Mapping[str, Any], others: Mapping[str, Any]) -> str | None:
    """Return the first key in which settings differ, the seed and what only says how they are run left out."""
    aside = {"seed", "threads", "checkpoint_every", "checkpoints_kept"}
    for key in [*ours, *(key for key in others if key not in ours)]:
        mine, theirs = ours.get(key), others.get(key)
        if key in aside or mine == theirs:
            continue
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            below = _different(mine, theirs)
            if below:
                return f"{key}.{below}"
            continue
        return key
    return None


def _text(content: Mapping[str, Any]) -> str:
    """Write JSON, the points of the curve in a line each key."""
    lines = [
        f' "{key}": {json.dumps(value, indent=1) if key != "curve" else _curve_text(value)}'
        for key, value in content.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _curve_text(curve: Mapping[str, Any]) -> str:
    return "{\n" + ",\n".join(f'  "{key}": {json.dumps(value)}' for key, value in curve.items()) + "\n }"


def read_summaries(documents: Path, row: str) -> list[Summary]:
    """Return the summaries of a row, by seed.

    Raises:
        UserError: One cannot be used, or lies in the wrong place.
    """
    return sorted(_read(documents / SUMMARIES / row, row), key=lambda each: each.seed)


def summary_of(documents: Path, row: str, seed: int) -> Summary:
    """Return the summary of a row's seed.

    Raises:
        UserError: There is none.
    """
    found = {each.seed: each for each in read_summaries(documents, row)}
    if seed not in found:
        there = ", ".join(map(str, found)) or "none"
        raise UserError(
            f"row {row} has no summary of seed {seed} (there is {there}): expected "
            f"`lsnn-gym results add RUN --row {row}` first"
        )
    return found[seed]


def _read(folder: Path, row: str) -> Iterator[Summary]:
    for path in folder.glob("*.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: expected a JSON file: {error}") from None
        summary = validate(Summary, content, str(path))
        if (summary.row, f"seed-{summary.seed}.json") != (row, path.name):
            raise UserError(
                f"{path}: it is of row {summary.row}, seed {summary.seed}: expected it in "
                f"{summary.row}/seed-{summary.seed}.json"
            )
        yield summary
