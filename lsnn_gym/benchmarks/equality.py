"""Whether our engines compute the same layer: a time is worth nothing where the result is another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lsnn_gym.benchmarks.layers import DifferentiatedLayer
from lsnn_gym.benchmarks.libraries import make_ours
from lsnn_gym.benchmarks.problem import Problem, draw_inputs, draw_output_gradient
from lsnn_gym.errors import UserError

GRADIENT_TOLERANCE = 1e-5
"""Largest difference of a gradient, relative to its largest value."""

_STEPS, _SAMPLES = 200, 18  # more samples than the native engine computes side by side
_EQUAL_SAMPLES = {torch.float64: 1.0, torch.float32: 0.5}
"""Share of samples whose spikes must be equal: float32 may round a voltage to the threshold's other side."""


def check_engines(engines: Sequence[str], problem: Problem, gain: float) -> dict[str, Any]:
    """Compare engines with the reference on a slice of a problem, in float64 and in float32.

    In float64 all spikes have to be equal, in float32 those of half of the samples at least; the gradients, of
    the samples with equal spikes, to ``GRADIENT_TOLERANCE``.

    Args:
        engines: Their names.
        problem: The layer; at most 200 steps of 18 samples are computed.
        gain: Of its weights.

    Returns:
        ``steps`` and ``batch`` of the slice and, by engine and type of numbers, ``equal_samples`` (their share),
        ``spikes`` (how many the reference emitted) and ``largest_gradient_error`` (relative).

    Raises:
        UserError: An engine differs.
    """
    part = replace(problem, steps=min(problem.steps, _STEPS), batch=min(problem.batch, _SAMPLES))
    found: dict[str, Any] = {"steps": part.steps, "batch": part.batch}
    for engine in engines:
        found[engine] = {
            str(dtype).removeprefix("torch."): _compare(engine, part, gain, dtype) for dtype in _EQUAL_SAMPLES
        }
    return found


def _compare(engine: str, problem: Problem, gain: float, dtype: torch.dtype) -> dict[str, float]:
    layers = [make_ours(name, problem, gain, dtype) for name in (engine, "reference")]
    inputs = draw_inputs(problem).to(dtype)
    spikes, expected = (layer.forward(inputs) for layer in layers)
    equal = (spikes == expected).all(dim=2).all(dim=0)
    share = float(equal.float().mean())
    if share < _EQUAL_SAMPLES[dtype]:
        raise UserError(
            f"the {engine} engine differs from the reference: equal {dtype} spikes in {share:.0%} of the samples"
        )
    by_spikes = draw_output_gradient(problem).to(dtype) * equal[None, :, None]
    error = max(
        _relative_error(value, wanted)
        for value, wanted in zip(
            _gradients(layers[0], spikes, by_spikes), _gradients(layers[1], expected, by_spikes), strict=True
        )
    )
    if not error <= GRADIENT_TOLERANCE:
        raise UserError(f"the {engine} engine differs from the reference: {dtype} gradients by {error:.1e}")
    return {
        "equal_samples": share,
        "spikes": int(expected.count_nonzero()),
        "largest_gradient_error": error,
    }


def _gradients(layer: DifferentiatedLayer, spikes: Tensor, by_spikes: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(spikes, layer.weights, by_spikes)


def _relative_error(value: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest expected value."""
    difference = float((value - expected).abs().max())
    return difference / float(expected.abs().max()) if difference else 0.0
