"""The figures of merit that the table knows, how each is written and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lsnn_gym.errors import UserError, unknown


class Measure(NamedTuple):
    """How a figure is written.

    Attributes:
        label: What it is.
        factor: From the figure as runs have it to what is written.
        digits: Behind the point.
        unit: Behind the number.
        better: ``higher``, ``lower``, or empty where neither is.
    """

    label: str
    factor: float = 1.0
    digits: int = 2
    unit: str = ""
    better: str = ""

    def written(self, value: float) -> str:
        """Return the figure as it stands in the table, e.g. ``89.33 %``."""
        return f"{self.number(value)}{self.unit}"

    def number(self, value: float) -> str:
        """Return the figure without its unit."""
        return f"{self.factor * value:,.{self.digits}f}"

    def difference(self, value: float, published: float) -> str:
        """Return by how much ``value`` is above or below what was published, e.g. ``-0.42 points``."""
        unit = " points" if self.unit == " %" else self.unit
        return f"{self.factor * (value - published):+,.{self.digits}f}{unit}"

    def falls_short(self, value: float, published: float) -> bool:
        """Return whether ``value`` is worse than what was published, by what is written."""
        gap = round(self.factor * value, self.digits) - round(self.factor * published, self.digits)
        return gap < 0 if self.better == "higher" else self.better == "lower" and gap > 0


def _accuracy(label: str) -> Measure:
    return Measure(label, 100.0, 2, " %", "higher")


MEASURES = {
    "accuracy": _accuracy("test accuracy, as training ended"),
    "chosen_accuracy": _accuracy("test accuracy, epoch chosen by validation"),
    "last_ten_accuracy": _accuracy("test accuracy, mean of the last ten epochs"),
    "best_on_test_accuracy": _accuracy("test accuracy, best epoch on test"),
    "validation_accuracy": _accuracy("validation accuracy"),
    "accuracy_presentation_2": _accuracy("accuracy at the second presentation"),
    "accuracy_presentation_4": _accuracy("accuracy at the fourth presentation"),
    "best_on_test_epoch": Measure("its epoch", 1.0, 0),
    "decision_error": Measure("decision error", 100.0, 1, " %", "lower"),
    "recall_error": Measure("recall error", 100.0, 1, " %", "lower"),
    "error": Measure("squared error", 1.0, 4, "", "lower"),
    "error_by_trial": Measure("squared error", 1.0, 4, "", "lower"),
    "error_share": Measure("squared error, of the targets' variance", 100.0, 2, " %", "lower"),
    "error_over_maml": Measure("squared error, of MAML's", 100.0, 1, " %", "lower"),
    "goals_per_episode": Measure("goals an episode", 1.0, 2, "", "higher"),
    "first_latency": Measure("steps to the first goal", 1.0, 1, "", "lower"),
    "later_latency": Measure("steps to later goals", 1.0, 1, "", "lower"),
    "found_share": Measure("episodes in which the goal is found", 100.0, 1, " %", "higher"),
    "episode_return": Measure("return of an episode", 1.0, 2, "", "higher"),
    "firing_rate_hz": Measure("firing rate", 1.0, 1, " Hz"),
    "spikes": Measure("spikes a sample", 1.0, 0),
    "spikes_until_decision": Measure("spikes until the decision", 1.0, 0),
    "synaptic_operations": Measure("synaptic operations a sample", 1e-3, 0, " thousand"),
    "connections": Measure("connections", 1.0, 0),
}
"""By the last part of a figure's name."""


def measure_of(key: str) -> Measure:
    """Return how the figure ``key`` is written; of a nested one, ``references.oracle.error``, with its owner's name.

    The last part may be a number of examples, as in ``error_over_maml.5`` and ``error_by_trial.5``.

    Raises:
        UserError: No such figure is known.
    """
    *owners, name = key.split(".")
    examples = ""
    if name.isdecimal() and owners:
        examples, name = name, owners.pop()
    if name not in MEASURES:
        raise UserError(unknown("figure", name, MEASURES))
    owner = ", ".join(each.replace("_", " ") for each in owners if each != "references")
    measure = MEASURES[name]
    if examples:
        measure = measure._replace(label=f"{measure.label}, after {examples} examples")
    return measure._replace(label=f"{measure.label}: {owner}") if owner else measure


def figure_in(figures: Mapping[str, Any], key: str) -> float | None:
    """Return the number that dotted ``key`` names; None where there is none."""
    found: Any = figures
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else None
