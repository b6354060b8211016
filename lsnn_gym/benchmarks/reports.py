"""Benchmarks as Markdown, JSON and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsnn_gym.atomic import cannot_write, write_atomically
from lsnn_gym.pictures import Line, Measure, dot_chart, growth_chart


def recurrent_markdown(results: Mapping[str, Any]) -> str:
    """Return the figures of ``benchmark_recurrent`` as a table and what they say in words."""
    lines = [
        _recurrent_title(results),
        "",
        "| library | seconds | peak memory (MB) | rate (Hz) | model |",
        "| --- | --- | --- | --- | --- |",
        *(_recurrent_row(name, each) for name, each in results["libraries"].items()),
        "",
        *(f"- {name} was left out: {why}" for name, why in results["missing"].items()),
        f"- fastest peer ({results['fastest_peer'] or 'none'}) over native: {_times(results['ratio_to_fastest_peer'])}",
        f"- native over the dense matrix products: {_times(results['ratio_to_dense_products'])}",
        f"- native's peak memory over norse's: {_times(results['peak_memory_ratio_to_norse'])}",
        f"- {_equality(results['equality'])}",
        f"- {_machine(results)}",
    ]
    return "\n".join(lines) + "\n"


def write_recurrent_report(folder: Path, name: str, results: Mapping[str, Any]) -> list[Path]:
    """Write ``<name>.json``, ``.md`` and ``.png`` of a recurrent benchmark and return where they are.

    Raises:
        UserError: A file cannot be written, or there is no matplotlib.
    """
    paths = _write_texts(folder, name, results, recurrent_markdown(results))
    libraries = results["libraries"]
    measures = {"seconds": ("seconds", 1.0), "peak_memory_bytes": ("peak memory (MB)", 1e-6)}
    drawn = [
        Measure(label, {name: each[key] * unit for name, each in libraries.items() if each[key] is not None})
        for key, (label, unit) in measures.items()
    ]
    dot_chart(drawn, paths[-1], title=_recurrent_title(results), highlighted="native")
    return paths


def scaling_markdown(results: Mapping[str, Any]) -> str:
    """Return the figures of ``benchmark_scaling`` as one table a sweep."""
    lines: list[str] = []
    for sweep in results["sweeps"].values():
        lines += [
            f"Against {sweep['title']}",
            "",
            f"| {sweep['axis']} | seconds | grew with the power | rate (Hz) |",
            "| --- | --- | --- | --- |",
        ]
        powers = ["", *(f"{each:.2f}" for each in sweep["exponents"])]
        lines += [
            f"| {point['problem'][sweep['axis']]:,} | {point['seconds']:.3g} | {power} "
            f"| {point['firing_rate_hz']:.0f} |"
            for point, power in zip(sweep["points"], powers, strict=True)
        ]
        lines.append("")
    return "\n".join([*lines, _machine(results)]) + "\n"


def write_scaling_report(folder: Path, results: Mapping[str, Any]) -> list[Path]:
    """Write ``scaling.json``, ``.md`` and ``.png`` and return where they are.

    Raises:
        UserError: A file cannot be written, or there is no matplotlib.
    """
    paths = _write_texts(folder, "scaling", results, scaling_markdown(results))
    panels: dict[str, list[Line]] = {}
    for sweep in results["sweeps"].values():
        sizes = [point["problem"][sweep["axis"]] for point in sweep["points"]]
        line = Line(sweep["title"], sizes, [point["seconds"] for point in sweep["points"]])
        panels.setdefault(sweep["axis"], []).append(line)
    growth_chart(panels, paths[-1], title="One recurrent layer, forward and backward: native engine")
    return paths


def make_folder(folder: Path) -> None:
    """Make a folder for reports, before anything is measured for them.

    Raises:
        UserError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _write_texts(folder: Path, name: str, results: Mapping[str, Any], markdown: str) -> list[Path]:
    make_folder(folder)
    paths = [folder / f"{name}.{suffix}" for suffix in ("json", "md", "png")]
    write_atomically(paths[0], json.dumps(results, indent=2) + "\n")
    write_atomically(paths[1], markdown)
    return paths


def _recurrent_title(results: Mapping[str, Any]) -> str:
    problem = results["problem"]
    return (
        f"{problem['inputs']} inputs, {problem['neurons']} neurons, {problem['steps']:,} steps, "
        f"{problem['batch']} samples, {problem['connectivity']:.0%} of synapses, "
        f"{problem['input_density']:.0%} input spikes"
    )


def _recurrent_row(name: str, figures: Mapping[str, Any]) -> str:
    memory, rate = figures["peak_memory_bytes"], figures["firing_rate_hz"]
    return (
        f"| {name} {figures['version']} | {figures['seconds']:.3g} "
        f"| {'' if memory is None else f'{memory / 1e6:,.0f}'} | {'' if rate is None else f'{rate:.0f}'} "
        f"| {figures['model']} |"
    )


def _times(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{ratio:.3g}"


def _equality(equality: Mapping[str, Any]) -> str:
    engines = [name for name in equality if name not in ("steps", "batch")]
    if not engines:
        return "no engine of ours was compared with the reference"
    error = max(each["largest_gradient_error"] for name in engines for each in equality[name].values())
    return (
        f"{' and '.join(engines)} gave the reference's spikes, and its gradients to {error:.0e}, "
        f"on {equality['steps']} steps of {equality['batch']} samples"
    )


def _machine(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    return (
        f"median of {results['repetitions']}; {machine['processor']}, {machine['threads']} threads, "
        f"PyTorch {machine['torch']}, Python {machine['python']}"
    )
