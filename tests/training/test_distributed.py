"""Training by 1, 2 and 4 processes is one and the same; a killed worker costs only what came after the checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lsnn_gym.training.checkpoint import latest_checkpoint, load_checkpoint
from lsnn_gym.training.metrics import read_metrics
from tests.command_line import only_run, run
from tests.training import ranks_worker

ROOT = Path(__file__).parents[2]
FAMILIES = list(ranks_worker.EXPERIMENTS)


def torchrun(ranks: int, module: str, *arguments: str, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a module in several processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [*launcher, f"--max-restarts={restarts}", "--monitor-interval=0.05", "-m", module, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare figures; None where there is none."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] is None) == (value is None), name
        if value is not None:
            assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return json.loads(json.dumps(ranks_worker.work()))


@pytest.fixture(scope="module", params=[2, 4])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("ranks") / "found.json"
    done = torchrun(request.param, "tests.training.ranks_worker", str(path))
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())
    assert found["ranks"] == request.param
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_more_ranks_give_the_same_curves_and_connections(alone, together, family: str):
    assert len(alone[family]["figures"]) == len(together[family]["figures"]) >= 2
    for one, many in zip(alone[family]["figures"], together[family]["figures"], strict=True):
        assert_close(many, one)
    assert together[family]["connected"] == alone[family]["connected"]
    if alone[family]["carried"] is not None:
        carried = torch.tensor(together[family]["carried"])
        torch.testing.assert_close(carried, torch.tensor(alone[family]["carried"]), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_connections_were_rewired_on_the_way(alone):
    for family in ("ppo", "supervised", "regression"):
        start = ranks_worker.connected_at_start(family)
        assert start.keys() == alone[family]["connected"].keys()
        assert start != alone[family]["connected"]


@pytest.mark.slow
def test_shared_means_are_those_of_the_whole(alone, together):
    assert together["parts"].keys() == alone["parts"].keys()
    for name, values in alone["parts"].items():
        assert together["parts"][name] == pytest.approx(values, rel=1e-4, abs=1e-6), name


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused_with_the_nearest_that_can(alone, together):
    assert set(alone["refused"].values()) == {None}
    ranks = together["ranks"]
    near = {2: 8, 4: 8}[ranks]
    for family, key in (
        ("ppo", "episodes_per_iteration"),
        ("supervised", "batch_size"),
        ("regression", "batch_size"),
        ("classification", "batch_size"),
    ):
        expected = f"train.{key} is 7: expected a multiple of {ranks}, the number of ranks, e.g. {near}"
        assert together["refused"][family] == expected


@pytest.mark.slow
def test_after_a_kill_and_a_stop_a_run_goes_on_with_any_number_of_ranks(tmp_path: Path):
    config = tmp_path / "recall.yaml"
    experiment = ranks_worker.EXPERIMENTS["supervised"]
    train = {**experiment["train"], "iterations": 7, "checkpoint_every": 2}
    config.write_text(yaml.safe_dump({**experiment, "train": train}))
    assert run("train", str(config), f"--folder={tmp_path / 'undisturbed'}", "--quiet") == 0
    done = torchrun(
        2,
        "tests.training.dying_worker",
        "train",
        str(config),
        f"--out={tmp_path / 'runs'}",
        "--quiet",
        restarts=1,
    )
    assert done.returncode != 0  # it was stopped
    disturbed = only_run(tmp_path / "runs")
    assert f"{disturbed}: going on after iteration 2, 2 ranks" in done.stdout
    newest = latest_checkpoint(disturbed / "checkpoints")
    assert newest is not None
    # Rank 1 alone was asked to stop, in its fifth iteration; both stopped after it, and all was saved.
    assert load_checkpoint(newest).iteration == 5
    assert run("train", f"--resume={disturbed}", "--quiet") == 0
    found, expected = (read_metrics(each / "metrics.jsonl") for each in (disturbed, tmp_path / "undisturbed"))
    assert [each["iteration"] for each in found] == list(range(1, 8))
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


def test_a_folder_is_begun_and_gone_on_with_but_not_by_another_experiment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = tmp_path / "recall.yaml"
    config.write_text(yaml.safe_dump(ranks_worker.EXPERIMENTS["uncarried"]))
    folder = f"--folder={tmp_path / 'deep' / 'run'}"
    assert run("train", str(config), folder, "--quiet") == 0
    before = (tmp_path / "deep" / "run" / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert run("train", str(config), folder, "--quiet") == 0
    assert "going on after iteration 2" in capsys.readouterr().out
    assert (tmp_path / "deep" / "run" / "metrics.jsonl").read_bytes() == before
    assert run("train", str(config), folder, "--set=seed=9", "--quiet") == 2
    assert "there is a run with other settings" in capsys.readouterr().err
    assert run("train", str(config), folder, f"--out={tmp_path}") == 2
    assert "expected one of them" in capsys.readouterr().err
