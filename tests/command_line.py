"""Calling the command line from within a test, and the smallest water maze that trains by it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lsnn_gym.cli import main
from lsnn_gym.experiment import experiment_of, family_of
from lsnn_gym.training.checkpoint import latest_checkpoint, load_checkpoint
from lsnn_gym.training.run_folder import RunFolder

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


def assert_newest_weights(path: Path) -> None:
    """Compare the network of a run, as its family gives it, with the run's newest checkpoint."""
    folder = RunFolder.open(path)
    experiment = experiment_of(folder)
    state = family_of(experiment).network(folder, experiment).state_dict()
    newest = latest_checkpoint(folder.checkpoints)
    assert newest is not None
    expected = load_checkpoint(newest).model
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], each) for name, each in expected.items())
