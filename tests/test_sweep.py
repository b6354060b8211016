"""Sweeps: trials are runs, the best is printed, a stopped one goes on, two processes share, bad spaces are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lsnn_gym.experiment import experiment_of
from lsnn_gym.training.run_folder import RunFolder
from tests.command_line import run

EXPERIMENT: dict[str, Any] = {
    "name": "recall",
    "task": {
        "kind": "store-recall",
        "num_inputs": 8,
        "length": 4,
        "duration": 5,
        "rate": 300.0,
        "evaluation_sequences": 8,
    },
    "network": {"regular_neurons": 3, "adaptive_neurons": 2},
    "train": {"iterations": 1, "batch_size": 4},
}
SPACE: dict[str, Any] = {
    "parameters": {
        "train.learning_rate": {"kind": "float", "low": 1e-3, "high": 0.1, "log": True},
        "network.adaptive_neurons": {"kind": "int", "low": 2, "high": 4},
        "train.optimizer": {"kind": "categorical", "choices": ["adam", "epsilon-hat-adam"]},
    }
}


def arguments(folder: Path, trials: int, space: dict[str, Any] = SPACE, **experiment: Any) -> list[str]:
    config, ranges = folder / "config.yaml", folder / "space.yaml"
    config.write_text(yaml.safe_dump(EXPERIMENT | experiment))
    ranges.write_text(yaml.safe_dump(space))
    return ["sweep", str(config), str(ranges), f"--out={folder / 'sweep'}", f"--trials={trials}"]


def trials_in(folder: Path) -> list[Path]:
    return sorted((folder / "sweep").glob("trial-*"))


def results(path: Path) -> dict[str, Any]:
    return json.loads((path / "results.json").read_text())


@pytest.mark.slow
def test_trials_are_runs_and_the_best_is_printed_and_a_sweep_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(*arguments(tmp_path, 1), "--seed=1") == 0
    (first,) = trials_in(tmp_path)
    begun = results(first)
    assert run(*arguments(tmp_path, 2), "--seed=2") == 0
    both = trials_in(tmp_path)
    assert len(both) == 2
    assert results(first) == begun
    capsys.readouterr()
    assert run(*arguments(tmp_path, 2)) == 0  # nothing is left to do
    told = capsys.readouterr()
    assert trials_in(tmp_path) == both
    # Store-recall is judged by its error, which falls.
    best = min(both, key=lambda path: results(path)["recall_error"])
    assert f"best: {best}" in told.err
    assert told.out == (best / "config.yaml").read_text()
    rates = [experiment_of(RunFolder(path)).model_dump()["train"]["learning_rate"] for path in both]
    assert rates[0] != rates[1]
    assert all(1e-3 <= rate <= 0.1 for rate in rates)
    assert run(*arguments(tmp_path, 2, seed=7)) == 2
    assert "with other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_share_a_sweep(tmp_path: Path):
    command = [sys.executable, "-m", "lsnn_gym", *arguments(tmp_path, 2)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    told = [each.communicate(timeout=300) for each in both]
    assert [each.returncode for each in both] == [0, 0], told
    assert all(b"learning_rate" in printed for printed, _ in told)
    # Each may have begun one before the other had counted it.
    assert 2 <= len(trials_in(tmp_path)) <= 3
    assert all((path / "results.json").is_file() for path in trials_in(tmp_path))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"train.learning_rat": SPACE["parameters"]["train.learning_rate"]},
            "did you mean 'train.learning_rate'",
        ),
        ({"train.batch_size": {"kind": "int", "low": 4, "high": 2}}, "expected low to be at most high"),
        (
            {"train.learning_rate": {"kind": "float", "low": 0.0, "high": 1.0, "log": True}},
            "expected more than 0",
        ),
        (
            {"train.batch_size": {"kind": "integer", "low": 1, "high": 2}},
            "unknown parameters.train.batch_size.kind",
        ),
        ({"train.batch_size": {"kind": "int", "low": 0, "high": 2}}, "train.batch_size is 0"),
        ({}, "parameters"),
    ],
)
def test_a_space_of_no_use_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], parameters: dict[str, Any], message: str
):
    assert run(*arguments(tmp_path, 1, {"parameters": parameters})) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "sweep").exists()
