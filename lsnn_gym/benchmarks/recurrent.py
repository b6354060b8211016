"""Forward and backward pass of one recurrent layer: our engines beside other people's libraries."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from torch import Tensor

from lsnn_gym.benchmarks.equality import check_engines
from lsnn_gym.benchmarks.firing import find_gain, firing_rate_hz
from lsnn_gym.benchmarks.libraries import LIBRARIES, Library, why_missing
from lsnn_gym.benchmarks.memory import OutOfMemoryError, peak_of_layer
from lsnn_gym.benchmarks.problem import (
    INPUT_DENSITY,
    SIZES,
    Problem,
    draw_inputs,
    draw_output_gradient,
)
from lsnn_gym.benchmarks.timing import describe_machine, number_of_threads, time_in_turns
from lsnn_gym.errors import UserError, unknown
from lsnn_gym.training.denormals import flushed_denormals

_QUICK_ENOUGH = 10_000_000
"""Outputs T * B * N up to which the reference engine is measured unasked."""


def problem_of(size: str, connectivity: float) -> Problem:
    """Return the problem of a size.

    Raises:
        UserError: There is no such size.
    """
    if size not in SIZES:
        raise UserError(unknown("size", size, SIZES))
    return replace(SIZES[size], connectivity=connectivity)


def benchmark_recurrent(
    problem: Problem,
    *,
    repetitions: int = 5,
    threads: int | None = None,
    reference: bool = False,
    libraries: Mapping[str, Library] = LIBRARIES,
) -> dict[str, Any]:
    """Measure a recurrent layer's forward and backward pass in every library that is installed.

    First our engines are compared with the reference. Then every library's peak memory is measured in a process
    of its own, and at last their times, in this process and in turns. Denormal numbers are taken as 0
    throughout, as in training.

    Args:
        problem: The layer, batch and sequence.
        repetitions: Of the timing, after one that does not count; the median counts.
        threads: PyTorch's; None for what it uses by default.
        reference: Whether the reference engine is measured also where it takes long.
        libraries: By name.

    Returns:
        ``problem``, ``machine``, ``repetitions``, ``equality`` (see ``check_engines``); ``libraries``: by name
        ``model``, ``version``, ``seconds``, ``all_seconds``, ``peak_memory_bytes`` and ``firing_rate_hz``;
        ``missing``: by name why a library was left out; and the ratios of ``ratios``.

    Raises:
        UserError: One of our engines differs from the reference.
    """
    missing = {name: why for name, each in libraries.items() if (why := why_missing(name, each)) is not None}
    if not reference and problem.steps * problem.batch * problem.neurons > _QUICK_ENOUGH:
        missing.setdefault("reference", "takes long at this size; measured on request")
    present = {name: each for name, each in libraries.items() if name not in missing}
    with number_of_threads(threads) as used, flushed_denormals():
        gains = {name: find_gain(each, problem) for name, each in present.items()}
        engines = [name for name, each in present.items() if each.role == "ours" and name != "reference"]
        equality = check_engines(engines, problem, gains[engines[0]]) if engines else {}
        peaks, lost = _measure_peaks(present, problem, gains, used)
        measured = _time_layers({name: present[name] for name in peaks}, problem, gains, repetitions)
        machine = describe_machine(used)
    found = {
        name: {"model": present[name].model, "version": present[name].version}
        | times
        | {"peak_memory_bytes": peaks[name]}
        for name, times in measured.items()
    }
    return {
        "problem": asdict(problem) | {"neurons": problem.neurons, "input_density": INPUT_DENSITY},
        "machine": machine,
        "repetitions": repetitions,
        "equality": equality,
        "libraries": found,
        "missing": missing | lost,
        **ratios(found, [name for name, each in libraries.items() if each.role == "peer"]),
    }


def ratios(found: Mapping[str, Mapping[str, Any]], peers: Collection[str]) -> dict[str, Any]:
    """Return what the figures of the libraries say about the native engine; None where one is missing.

    Args:
        found: ``seconds`` and ``peak_memory_bytes`` by library.
        peers: Names of other people's spiking layers.

    Returns:
        ``fastest_peer``, its name; ``ratio_to_fastest_peer``, its time over the native engine's;
        ``ratio_to_dense_products``, the native engine's time over theirs; ``peak_memory_ratio_to_norse``, the
        native engine's memory over norse's.
    """
    fastest = min(
        (name for name in peers if name in found), key=lambda name: found[name]["seconds"], default=""
    )
    return {
        "fastest_peer": fastest or None,
        "ratio_to_fastest_peer": _ratio(found, "seconds", fastest, "native"),
        "ratio_to_dense_products": _ratio(found, "seconds", "native", "dense_products"),
        "peak_memory_ratio_to_norse": _ratio(found, "peak_memory_bytes", "native", "norse"),
    }


def _ratio(found: Mapping[str, Mapping[str, Any]], key: str, of: str, to: str) -> float | None:
    numerator, denominator = (found.get(name, {}).get(key) for name in (of, to))
    return numerator / denominator if numerator is not None and denominator else None


def _measure_peaks(
    libraries: Mapping[str, Library], problem: Problem, gains: Mapping[str, float], threads: int
) -> tuple[dict[str, int | None], dict[str, str]]:
    """Return peak memory by library, and why by library that ended before it could be told."""
    peaks: dict[str, int | None] = {}
    lost: dict[str, str] = {}
    for name, each in libraries.items():
        try:
            peaks[name] = peak_of_layer(each, problem, gains[name], threads)
        except OutOfMemoryError as error:
            lost[name] = str(error)
    return peaks, lost


def _time_layers(
    libraries: Mapping[str, Library], problem: Problem, gains: Mapping[str, float], repetitions: int
) -> dict[str, dict[str, Any]]:
    """Return ``seconds``, ``all_seconds`` and ``firing_rate_hz`` of every library."""
    inputs, by_outputs = draw_inputs(problem), draw_output_gradient(problem)
    turns: dict[str, Callable[[], Tensor]] = {}
    rates: dict[str, float | None] = {}
    for name, each in libraries.items():
        turns[name] = partial(each.make(problem, gains[name]).learn, inputs, by_outputs)
        outputs = turns[name]()
        rates[name] = firing_rate_hz(outputs) if each.spiking else None
    return {
        name: {
            "seconds": statistics.median(seconds),
            "all_seconds": seconds,
            "firing_rate_hz": rates[name],
        }
        for name, seconds in time_in_turns(turns, repetitions).items()
    }
