"""Calling the command line from within a test, and the smallest water maze that trains by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsnn_gym.cli import main

SMALL_MAZE = (
    "--set=network.regular_neurons=6",
    "--set=network.adaptive_neurons=4",
    "--set=agent.encoding.neurons_per_value=5",
    "--set=agent.encoding.neurons_per_event=2",
    "--set=env.options.max_steps=15",
    "--set=train.episodes_per_iteration=4",
    "--set=train.checkpoint_every=2",
    "--set=evaluate.episodes=8",
)


def run(*arguments: str) -> int:
    """Return the exit status."""
    with pytest.raises(SystemExit) as outcome:
        main(arguments)
    code = outcome.value.code
    assert isinstance(code, int)
    return code


def only_run(parent: Path) -> Path:
    """Return the only folder in ``parent``."""
    (found,) = parent.iterdir()
    return found
