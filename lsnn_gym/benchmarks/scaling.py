"""How the native engine's time grows with neurons, steps and samples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor

from lsnn_gym.benchmarks.firing import find_gain, firing_rate_hz
from lsnn_gym.benchmarks.libraries import LIBRARIES, Library, why_missing
from lsnn_gym.benchmarks.problem import INPUT_DENSITY, Problem, draw_inputs, draw_output_gradient
from lsnn_gym.benchmarks.timing import describe_machine, number_of_threads, time_in_turns
from lsnn_gym.errors import UserError
from lsnn_gym.training.denormals import flushed_denormals

_CONNECTIVITY = 0.12
_NEURONS = (100, 200, 400, 800, 1600, 4000)
_SYNAPSES = 12  # per neuron of the smallest network at that connectivity


@dataclass(frozen=True)
class Sweep:
    """Problems that differ in one size.

    Attributes:
        title: What is varied, and what is not.
        axis: Which size it is.
        problems: In growing order.
    """

    title: str
    axis: Literal["neurons", "steps", "batch"]
    problems: tuple[Problem, ...]


def _problem(neurons: int, steps: int, batch: int, connectivity: float = _CONNECTIVITY) -> Problem:
    """Return a layer of which 40 % adapt, with as many inputs as neurons."""
    adaptive = round(0.4 * neurons)
    return Problem(neurons, neurons - adaptive, adaptive, steps, batch, connectivity)


SWEEPS: Mapping[str, Sweep] = MappingProxyType(
    {
        "neurons_at_constant_connectivity": Sweep(
            f"neurons, {_CONNECTIVITY:.0%} of synapses (T 200, B 16)",
            "neurons",
            tuple(_problem(neurons, 200, 16) for neurons in _NEURONS),
        ),
        "neurons_with_constant_synapses": Sweep(
            f"neurons, {_SYNAPSES} input and {_SYNAPSES} recurrent synapses each (T 200, B 16)",
            "neurons",
            tuple(_problem(neurons, 200, 16, _SYNAPSES / neurons) for neurons in _NEURONS),
        ),
        "steps": Sweep(
            f"steps (N 400, B 16, {_CONNECTIVITY:.0%} of synapses)",
            "steps",
            tuple(_problem(400, steps, 16) for steps in (125, 250, 500, 1000, 2000, 4000)),
        ),
        "batch": Sweep(
            f"samples (N 400, T 250, {_CONNECTIVITY:.0%} of synapses)",
            "batch",
            tuple(_problem(400, 250, batch) for batch in (1, 4, 16, 64, 256)),
        ),
    }
)
"""By name."""


def benchmark_scaling(
    *,
    repetitions: int = 5,
    threads: int | None = None,
    sweeps: Mapping[str, Sweep] | None = None,
) -> dict[str, Any]:
    """Measure the native engine's forward and backward pass at growing sizes; a sweep's sizes take turns.

    Args:
        repetitions: Of the timing, after one that does not count; the median counts.
        threads: PyTorch's; None for what it uses by default.
        sweeps: By name; None for ``SWEEPS``.

    Returns:
        ``machine``, ``repetitions``, ``input_density``; ``sweeps``: by name ``title``, ``axis``, ``points``
        (``problem``, ``seconds``, ``all_seconds`` and ``firing_rate_hz`` each, in growing order) and
        ``exponents``: k where time grew like size^k from one point to the next.

    Raises:
        UserError: The native engine cannot be used on this machine.
    """
    native = LIBRARIES["native"]
    if why := why_missing("native", native):
        raise UserError(f"the native engine cannot be used here: {why}")
    with number_of_threads(threads) as used, flushed_denormals():
        found = {name: _measure(sweep, native, repetitions) for name, sweep in (sweeps or SWEEPS).items()}
        machine = describe_machine(used)
    return {
        "machine": machine,
        "repetitions": repetitions,
        "input_density": INPUT_DENSITY,
        "sweeps": found,
    }


def _measure(sweep: Sweep, library: Library, repetitions: int) -> dict[str, Any]:
    turns: dict[str, Callable[[], Tensor]] = {}
    points: list[dict[str, Any]] = []
    for index, problem in enumerate(sweep.problems):
        layer = library.make(problem, find_gain(library, problem))
        turns[str(index)] = partial(layer.learn, draw_inputs(problem), draw_output_gradient(problem))
        rate = firing_rate_hz(turns[str(index)]())
        points.append({"problem": asdict(problem) | {"neurons": problem.neurons}, "firing_rate_hz": rate})
    timed = time_in_turns(turns, repetitions).values()
    for point, seconds in zip(points, timed, strict=True):
        point |= {"seconds": statistics.median(seconds), "all_seconds": seconds}
    return {
        "title": sweep.title,
        "axis": sweep.axis,
        "points": points,
        "exponents": exponents(
            [point["problem"][sweep.axis] for point in points], [point["seconds"] for point in points]
        ),
    }


def exponents(sizes: list[int], seconds: list[float]) -> list[float]:
    """Return, for every two neighbouring points, k where the seconds grew like the size to the power of k."""
    return [
        math.log(seconds[i + 1] / seconds[i]) / math.log(sizes[i + 1] / sizes[i])
        for i in range(len(sizes) - 1)
    ]
