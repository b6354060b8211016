"""From the metrics of a run to what a summary keeps of them: figures on the test part, and a curve of few points."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lsnn_gym.published.measures import MEASURES

MOST_POINTS = 200

Record = Mapping[str, Any]
Curve = dict[str, list[float | int | None]]
"""``iteration`` and, where there are epochs, ``epoch``; and figures by name, a value a point."""


def test_figures(metrics: Sequence[Record]) -> dict[str, Any]:
    """Return the figures on the test part that metrics with epochs have; empty where they have none.

    Returns:
        Those after the last epoch, by name; ``last_ten_accuracy``, the mean of the last ten epochs (of ten at least);
        ``best_on_test_accuracy`` and ``best_on_test_epoch``; and, if there was validation, ``chosen_accuracy`` and
        ``chosen_epoch``, of the first epoch of the best validation.
    """
    tested = [each for each in metrics if each.get("test_accuracy") is not None]
    if not tested:
        return {}
    accuracies = [each["test_accuracy"] for each in tested]
    best = max(tested, key=lambda each: each["test_accuracy"])
    found = {key.removeprefix("test_"): value for key, value in tested[-1].items() if key.startswith("test_")}
    found |= {"best_on_test_accuracy": best["test_accuracy"], "best_on_test_epoch": best["epoch"]}
    found["last_ten_accuracy"] = statistics.fmean(accuracies[-10:]) if len(accuracies) >= 10 else None
    if "validation_accuracy" in tested[-1]:
        chosen = max(tested, key=lambda each: each["validation_accuracy"])
        found |= {"chosen_accuracy": chosen["test_accuracy"], "chosen_epoch": chosen["epoch"]}
    return found


def thinned(metrics: Sequence[Record]) -> Curve:
    """Return the course of the figures that are known by name.

    Where there are epochs, a point is an epoch: the test figures as they are, those of training the mean over it. Else
    there are at most ``MOST_POINTS``, each the mean of as many iterations before it.
    """
    groups = _groups(metrics)
    keys = {key for each in metrics for key in each if _is_known(key)}
    curve: Curve = {"iteration": [group[-1]["iteration"] for group in groups]}
    if "epoch" in metrics[-1]:
        curve["epoch"] = [group[-1]["epoch"] for group in groups]
    return curve | {key: [_mean(group, key) for group in groups] for key in sorted(keys)}


def _is_known(key: str) -> bool:
    return key.removeprefix("test_").removeprefix("validation_") in MEASURES


def _groups(metrics: Sequence[Record]) -> list[Sequence[Record]]:
    if "epoch" in metrics[-1]:
        by_epoch: dict[int, list[Record]] = {}
        for each in metrics:
            by_epoch.setdefault(each["epoch"], []).append(each)
        groups: list[Sequence[Record]] = list(by_epoch.values())
        stride = -(-len(groups) // MOST_POINTS)
        return groups[stride - 1 :: stride]
    size = -(-len(metrics) // MOST_POINTS)
    return [metrics[start : start + size] for start in range(0, len(metrics), size)]


def _mean(group: Sequence[Record], key: str) -> float | None:
    values = [each[key] for each in group if each.get(key) is not None]
    return statistics.fmean(values) if values else None
