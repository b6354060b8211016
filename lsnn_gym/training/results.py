"""What a finished training leaves for comparisons: figures, time and memory."""

from __future__ import annotations

import json
import sys
from typing import Any

from lsnn_gym.atomic import write_atomically
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.run_folder import RunFolder


def write_results(run: RunFolder, figures: dict[str, Any]) -> None:
    """Write ``results.json``: figures of the trained network, and what the training took.

    Added are ``connections`` (of a rewired network), ``train_seconds`` (all iterations, those before a resume
    included) and ``peak_memory_bytes`` (of this process so far; None where the system does not tell).

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
    write_atomically(run.results, json.dumps(figures | added, indent=2) + "\n")


def peak_memory_bytes() -> int | None:
    """Return the largest resident size that this process has had."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
