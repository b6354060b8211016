"""What the report of any run is made from: what its family says of it, and what the run folder holds."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lsnn_gym.errors import UserError
from lsnn_gym.families.family import ExperimentSettings, Family, newest_checkpoint
from lsnn_gym.report_parts.parts import Parts
from lsnn_gym.settings import to_yaml
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.results import COSTS
from lsnn_gym.training.run_folder import RunFolder


class Report(NamedTuple):
    """A run, ready to be laid out.

    Attributes:
        name: Of its folder.
        experiment: Name of the experiment.
        headline: The figures that matter, of the trained network.
        parts: What the family says.
        metrics: A record an iteration.
        course: What the training took, in words.
        machine: Versions, machine, commit.
        config: The settings, as YAML.
    """

    name: str
    experiment: str
    headline: Mapping[str, str]
    parts: Parts
    metrics: Sequence[Mapping[str, Any]]
    course: Mapping[str, str]
    machine: Mapping[str, str]
    config: str


def gather(
    run: RunFolder, experiment: ExperimentSettings, family: Family[Any], episodes: int, seed: int
) -> Report:
    """Collect everything that a run's report shows; a run that was never judged is judged now.

    Args:
        run: With a checkpoint and metrics.
        experiment: That it was started with.
        family: Of the experiment.
        episodes: How many to replay, or sequences.
        seed: Of the first.

    Raises:
        UserError: There is no checkpoint, or no record of the training, or a file of the run cannot be read.
    """
    newest_checkpoint(run)  # said first: all else would be in vain
    metrics = read_metrics(run.metrics)
    if not metrics:
        raise UserError(f"{run.metrics} is empty: expected a record an iteration")
    results = _read_json(run, "results")
    costs = {name: results.pop(name) for name in COSTS if name in results}
    figures = results or family.evaluate(run, experiment)
    return Report(
        name=run.path.resolve().name,
        experiment=experiment.name,
        headline=family.headline(figures),
        parts=family.report(run, experiment, figures, episodes, seed),
        metrics=metrics,
        course=_course(run, metrics, costs),
        machine={
            name.replace("_", " "): _words(each) for name, each in _read_json(run, "environment").items()
        },
        config=to_yaml(experiment),
    )


def _read_json(run: RunFolder, name: str) -> dict[str, Any]:
    """Return what one of a run's JSON files holds, nothing where there is none (the run may have been stopped)."""
    path = getattr(run, name)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"cannot read {path}: expected a JSON object, found {type(found).__name__}")
    return found


def _course(run: RunFolder, metrics: Sequence[Mapping[str, Any]], costs: Mapping[str, Any]) -> dict[str, str]:
    timing = read_metrics(run.timing) if run.timing.is_file() else []
    seconds = sum(record.get("seconds", 0.0) for record in timing)
    course = {"iterations": f"{metrics[-1]['iteration']:,}", "training time": _duration(seconds)}
    for key, name in (("environment_steps", "environment steps"), ("simulation_steps", "simulation steps")):
        total = sum(record.get(key) or 0 for record in metrics)
        if total:
            course[name] = f"{total:,}"
    if costs.get("peak_memory_bytes"):
        course["most memory"] = f"{costs['peak_memory_bytes'] / 2**20:,.0f} MiB"
    if metrics[-1].get("connections"):
        course["connections"] = f"{metrics[-1]['connections']:,}"
    course["last written"] = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.metrics.stat().st_mtime))
    return course


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    )


def _words(value: Any) -> str:
    if value is None:
        return "–"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
