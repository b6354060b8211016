"""What a finished training leaves for comparisons: figures, time and memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lsnn_gym.atomic import write_atomically
from lsnn_gym.errors import UserError
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.run_folder import RunFolder

COSTS = (
    "connections",
    "train_seconds",
    "peak_memory_bytes",
    "seconds_per_sample",
    "memory_per_sample_bytes",
)
"""What ``write_results`` adds to the figures."""


def write_results(run: RunFolder, figures: dict[str, Any]) -> None:
    """Write ``results.json``: figures of the trained network, and what the training took.

    Added are ``connections`` (of a rewired network), ``train_seconds`` (all iterations, those before a resume
    included) and ``peak_memory_bytes`` (of this process so far; None where the system does not tell). Where the
    trainer measured them, also ``seconds_per_sample`` of learning, and ``memory_per_sample_bytes``, by which the
    process grew for its first batch.

    Args:
        run: Whose training is complete.
        figures: Of its family's ``evaluate``.

    Raises:
        UserError: The file cannot be written.
    """
    added = {
        "connections": read_metrics(run.metrics)[-1].get("connections"),
        "train_seconds": sum(record["seconds"] for record in read_metrics(run.timing)),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    added |= _per_sample(read_metrics(run.timing))
    write_atomically(run.results, json.dumps(figures | added, indent=2) + "\n")


def read_results(run: RunFolder) -> dict[str, Any]:
    """Return what ``write_results`` wrote.

    Raises:
        UserError: The file cannot be read, or is no JSON object.
    """
    try:
        found = json.loads(run.results.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {run.results}: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{run.results} is damaged: expected a JSON object")
    return found


def _per_sample(timing: list[dict[str, Any]]) -> dict[str, float]:
    found = {}
    learnt = [record for record in timing if "learning_seconds" in record]  # those of older releases had none
    samples = sum(record.get("samples", 0) for record in learnt)
    if samples:
        found["seconds_per_sample"] = sum(record["learning_seconds"] for record in learnt) / samples
    memory = [record["memory_per_sample_bytes"] for record in timing if "memory_per_sample_bytes" in record]
    if memory:
        found["memory_per_sample_bytes"] = max(memory)
    return found


_forgotten: list[int] = []
"""Largest resident sizes of this process that the system no longer knows of, for they were measured from anew."""


class MemoryGrowth:
    """Measures by how much this process grows at most within a ``with`` block; on Linux only.

    Attributes:
        bytes: Afterwards; None where the system does not tell.
    """

    def __init__(self) -> None:
        self.bytes: int | None = None
        self._before: int | None = None

    def __enter__(self) -> MemoryGrowth:
        try:
            _forgotten.append(peak_memory_bytes() or 0)
            Path("/proc/self/clear_refs").write_text("5")  # the largest size so far is forgotten
            self._before = _status_bytes("VmRSS")
        except OSError:
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            self.bytes = max(0, _status_bytes("VmHWM") - self._before)


def _status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def peak_memory_bytes() -> int | None:
    """Return the largest resident size that this process has had."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max([used if sys.platform == "darwin" else used * 1024, *_forgotten])
