"""All that is fuzzed, by name."""

from __future__ import annotations

from collections.abc import Iterable

from lsnn_gym.errors import unknown
from tests.fuzz.data_targets import DATA_TARGETS
from tests.fuzz.run_targets import RUN_TARGETS
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {target.name: target for target in (*DATA_TARGETS, *RUN_TARGETS)}


def chosen(names: Iterable[str]) -> list[Target]:
    """Return the targets of these names.

    Raises:
        SystemExit: There is none of a name.
    """
    for name in names:
        if name not in TARGETS:
            raise SystemExit(unknown("parser", name, TARGETS))
    return [TARGETS[name] for name in names]
