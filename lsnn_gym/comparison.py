"""Comparisons: variants of an experiment, several seeds each, trained and set side by side."""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from lsnn_gym.atomic import cannot_write, write_atomically
from lsnn_gym.errors import UserError, last_line, shortened, unknown
from lsnn_gym.experiment import Experiment, config_path, experiment_from, experiment_of, family_of
from lsnn_gym.folder_lock import holding
from lsnn_gym.pictures import CurveGroup, TradePoint, comparison_curves, trade_off
from lsnn_gym.plain_yaml import read_yaml
from lsnn_gym.settings import Settings, apply_overrides, assign, to_yaml, validate
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.results import read_results
from lsnn_gym.training.run_folder import RunFolder, is_plain_name

_MOST_RUNS = 10_000

Changes = dict[str, Any]
"""Dotted keys of an experiment and the values they are to have."""


class Comparison(Settings):
    """Variants of one experiment. With axes, every combination of their choices is a variant."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$", description="begins the folder's name")
    base: str | None = Field(
        description="the experiment: name of a config, or path of a YAML file; null where each variant is whole"
    )
    seeds: tuple[int, ...] = Field(
        default=(1, 2, 3), min_length=1, description="each variant is trained with each"
    )
    set: Changes = Field(default={}, description="changes of the base that all variants share")
    axes: dict[str, dict[str, Changes]] = Field(
        default={}, description="by name, choices by name, each with its changes"
    )
    variants: dict[str, Changes] = Field(default={}, description="further variants by name")

    @model_validator(mode="after")
    def _check(self) -> Comparison:
        count = math.prod(len(choices) for choices in self.axes.values()) if self.axes else 0
        if (count + len(self.variants)) * len(self.seeds) > _MOST_RUNS:
            raise ValueError(
                f"the axes make {count:,} variants, each with {len(self.seeds):,} seeds: expected at most "
                f"{_MOST_RUNS:,} runs"
            )
        names = list(self.all_variants())
        if not names:
            raise ValueError("there are neither axes nor variants: expected something to compare")
        wrong = [name for name in names if not is_plain_name(name)]
        if wrong:
            raise ValueError(f"variant {shortened(wrong[0])!r}: expected a plain folder name")
        return self

    def all_variants(self) -> dict[str, Changes]:
        """Return the changes of each variant, by name; a combination's name joins its choices by ``+``."""
        combined: dict[str, Changes] = {}
        for choices in itertools.product(*(axis.items() for axis in self.axes.values())) if self.axes else ():
            changes: Changes = {}
            for _, more in choices:
                changes |= more
            combined["+".join(name for name, _ in choices)] = changes
        return combined | self.variants

    def only(self, names: Sequence[str]) -> Comparison:
        """Return the comparison with the variants of these names alone, in its own order.

        Raises:
            UserError: There is no such variant.
        """
        every = self.all_variants()
        for name in names:
            if name not in every:
                raise UserError(unknown("variant", name, every))
        chosen = {name: changes for name, changes in every.items() if name in names}
        return self.model_copy(update={"axes": {}, "variants": chosen})


@dataclass(frozen=True)
class PlannedRun:
    """One variant with one seed, and where it is trained."""

    variant: str
    seed: int
    run: RunFolder


def is_comparison(mapping: Mapping[str, Any]) -> bool:
    """Return whether plain data describe a comparison, not an experiment."""
    return "base" in mapping


def load_comparison(configs: Sequence[str], overrides: tuple[str, ...], seeds: tuple[int, ...]) -> Comparison:
    """Read a comparison, or make one of several experiments.

    Args:
        configs: One comparison, or experiments to be set side by side.
        overrides: ``section.key=value`` for all variants.
        seeds: Instead of the comparison's own; none for those.

    Raises:
        UserError: A config cannot be read or used.
    """
    mappings = {config: read_yaml(config_path(config)) for config in configs}
    comparisons = [config for config, mapping in mappings.items() if is_comparison(mapping)]
    if len(configs) == 1 and comparisons:
        comparison = validate(Comparison, mappings[configs[0]], configs[0])
    elif comparisons:
        raise UserError(f"{comparisons[0]} is a comparison of its own: expected one, or experiments only")
    else:
        chosen = {str(mapping.get("name", config)): mapping for config, mapping in mappings.items()}
        if len(chosen) < len(configs):
            raise UserError(f"{', '.join(configs)}: expected experiments of different names")
        variants = {name: _as_changes(mapping) for name, mapping in chosen.items()}
        name = "-".join(chosen)
        comparison = validate(
            Comparison, {"name": name, "base": None, "variants": variants}, ", ".join(configs)
        )
    common = comparison.set | _as_changes(apply_overrides({}, overrides))
    return comparison.model_copy(update={"set": common} | ({"seeds": seeds} if seeds else {}))


def _as_changes(mapping: Mapping[str, Any], prefix: str = "") -> Changes:
    """Return nested settings as dotted keys and values."""
    changes: Changes = {}
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            changes |= _as_changes(value, f"{prefix}{key}.")
        else:
            changes[prefix + key] = value
    return changes


def plan(comparison: Comparison, parent: Path) -> tuple[Path, list[PlannedRun]]:
    """Make the folders of all runs, each with its config.

    Raises:
        UserError: A variant does not describe an experiment (no folder is made then), or nothing can be written.
    """
    base = {} if comparison.base is None else read_yaml(config_path(comparison.base))
    experiments: list[tuple[str, int, Experiment]] = []
    for variant, changes in comparison.all_variants().items():
        for seed in comparison.seeds:
            source = f"{comparison.name}, variant {variant}"
            mapping = assign(base, {**changes, **comparison.set, "seed": seed}, source)
            experiments.append((variant, seed, experiment_from(mapping, source)))
    folder = RunFolder.create(parent, comparison.name).path
    try:
        for variant, seed, experiment in experiments:
            run = _run(folder, variant, seed)
            run.path.mkdir(parents=True)
            run.write_config(to_yaml(experiment))
    except OSError as error:
        raise cannot_write(folder, error) from error
    write_atomically(folder / "comparison.yaml", to_yaml(comparison))
    return folder, [
        PlannedRun(variant, seed, _run(folder, variant, seed)) for variant, seed, _ in experiments
    ]


def planned(folder: Path) -> list[PlannedRun]:
    """Return the runs of a comparison that was begun in ``folder``.

    Raises:
        UserError: There is none.
    """
    path = folder / "comparison.yaml"
    if not path.is_file():
        raise UserError(f"{folder} is no folder of a comparison (it has no comparison.yaml)")
    comparison = validate(Comparison, read_yaml(path), str(path))
    return [
        PlannedRun(variant, seed, _run(folder, variant, seed))
        for variant in comparison.all_variants()
        for seed in comparison.seeds
    ]


def _run(folder: Path, variant: str, seed: int) -> RunFolder:
    return RunFolder(folder / variant / f"seed-{seed}")


def train_all(runs: Sequence[PlannedRun], jobs: int) -> Iterator[PlannedRun]:
    """Train what is not trained yet, each run in a process of its own; give each as it is done.

    Args:
        runs: Those with results are left as they are; those that were begun go on.
        jobs: How many at once; they share the cores.

    Raises:
        UserError: A training failed; those under way are finished first. Or another process is at it.
    """
    waiting = [each for each in runs if not each.run.results.is_file()]
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
    if not waiting:
        return
    folder = waiting[0].run.path.parent.parent  # as of ``_run``
    with holding(folder, "comparing"), ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_train, each, environment) for each in waiting]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _train(planned_run: PlannedRun, environment: Mapping[str, str]) -> PlannedRun:
    path = planned_run.run.path
    command = [sys.executable, "-m", "lsnn_gym.cli", "train", "--resume", str(path), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        reason = last_line(done.stderr)
        raise UserError(f"{path}: training ended with status {done.returncode}: {reason}")
    return planned_run


def results(runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """Return the figures of all variants.

    Returns:
        ``figure``, the name of what is compared, and ``variants``: for each, under ``seeds`` every seed's
        results and under ``mean`` and ``std`` the mean and standard deviation over seeds of all numbers
        (None for the latter with one seed).
    """
    by_variant: dict[str, dict[str, dict[str, Any]]] = {}
    for each in runs:
        found = read_results(each.run)
        by_variant.setdefault(each.variant, {})[str(each.seed)] = found
    first = experiment_of(runs[0].run)
    variants = {
        name: {"seeds": of_seeds, **_spread(list(of_seeds.values()))} for name, of_seeds in by_variant.items()
    }
    return {"figure": family_of(first).figure(first), "variants": variants}


def _spread(rows: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    mean: dict[str, float | None] = {}
    std: dict[str, float | None] = {}
    for key in rows[0]:
        values = [row.get(key) for row in rows]
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if len(numbers) == len(rows):
            mean[key] = statistics.fmean(numbers)
            std[key] = statistics.stdev(numbers) if len(numbers) > 1 else None
    return {"mean": mean, "std": std}


_COLUMNS = {
    "firing_rate_hz": ("firing rate (Hz)", 1.0, 0),
    "spikes_per_neuron": ("spikes a neuron and sample", 1.0, 2),
    "spikes": ("spikes a sample", 1.0, 0),
    "spikes_until_decision": ("until the decision", 1.0, 0),
    "synaptic_operations": ("synaptic operations (thousands)", 1e-3, 0),
    "connections": ("connections", 1.0, 0),
    "seconds_per_sample": ("learning (ms a sample)", 1e3, 2),
    "memory_per_sample_bytes": ("memory (KiB a sample)", 2.0**-10, 0),
    "train_seconds": ("training (s)", 1.0, 0),
    "peak_memory_bytes": ("peak memory (MiB)", 2.0**-20, 0),
}
"""Key to heading, factor and decimals."""


def markdown_table(found: Mapping[str, Any]) -> str:
    """Return ``results`` as a Markdown table: mean ± standard deviation over seeds, a row a variant."""
    figure = found["figure"]
    variants = found["variants"]
    keys = [key for key in _COLUMNS if any(row["mean"].get(key) is not None for row in variants.values())]
    header = ["variant", figure.replace("_", " "), *(_COLUMNS[key][0] for key in keys), "seeds"]
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for name, row in variants.items():
        cells = [name, _cell(row, figure, 1.0, 3)]
        cells += [_cell(row, key, *_COLUMNS[key][1:]) for key in keys]
        lines.append(f"| {' | '.join([*cells, str(len(row['seeds']))])} |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any], key: str, factor: float, digits: int) -> str:
    mean, std = row["mean"].get(key), row["std"].get(key)
    if mean is None:
        return "–"
    spread = "" if std is None else f" ± {factor * std:.{digits}f}"
    return f"{factor * mean:,.{digits}f}{spread}"


def write_report(folder: Path, runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """Write ``results.json``, ``results.md`` and ``comparison.png``; return the results.

    Of variants that count spikes there is ``by_spikes.png`` too, the figure against the spikes of a sample.

    Raises:
        UserError: A file cannot be written, or matplotlib is not installed.
    """
    found = results(runs)
    write_atomically(folder / "results.json", json.dumps(found, indent=2) + "\n")
    write_atomically(folder / "results.md", markdown_table(found) + "\n")
    groups = list(_curves(runs))
    comparison_curves(groups, found["figure"], folder / "comparison.png", title=folder.name)
    points = _by_spikes(found)
    if points:
        trade_off(points, "spikes a sample", found["figure"], folder / "by_spikes.png", title=folder.name)
    return found


def _by_spikes(found: Mapping[str, Any]) -> list[TradePoint]:
    """Return spikes and figure of each seed of each variant that has spikes."""
    return [
        TradePoint(name, [(each["spikes"], each[found["figure"]]) for each in row["seeds"].values()])
        for name, row in found["variants"].items()
        if row["mean"].get("spikes") is not None
    ]


def _curves(runs: Sequence[PlannedRun]) -> Iterator[CurveGroup]:
    for variant, of_variant in itertools.groupby(runs, key=lambda each: each.variant):
        yield CurveGroup(variant, [read_metrics(each.run.metrics) for each in of_variant])
