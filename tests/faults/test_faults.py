"""A few of each fault that ``python -m tests.faults`` injects by the hundred: nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from lsnn_gym.errors import UserError
from lsnn_gym.settings import to_yaml
from lsnn_gym.training.run_folder import RunFolder
from tests.command_line import run
from tests.faults.damage import flipped, restored, warnings_of_training
from tests.faults.disks import read_only, small_disk
from tests.faults.trainings import as_the_command_line, experiment, reached

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_nothing_is_lost_by_a_few_of_each_fault(tmp_path: Path):
    # In a process of its own: forks must not meet the threads of other tests.
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "tests.faults",
        "--kills",
        "9",
        "--step",
        "8",
        "--folder",
        str(tmp_path),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as faults:
        try:
            said, errors = faults.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            faults.send_signal(signal.SIGABRT)  # it then says where it stood
            said, errors = faults.communicate(timeout=20)
    assert faults.returncode == 0, said + errors
    assert re.search(r"\n[0-9]{3} faults, 0 losses\n", said)
    rows = [line.split(" | ") for line in said.splitlines() if line.startswith("| ")][2:]
    injected = {row[0]: int(row[1]) for row in rows}
    assert len(injected) >= 9
    assert all(injected.values()), injected
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stopped(tmp_path: Path) -> RunFolder:
    """A run with checkpoints after iterations 3 and 4."""
    assert as_the_command_line(experiment("supervised", 4), tmp_path / "run") == 0
    return RunFolder(tmp_path / "run")


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors", "progress.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning_and_trained_again(stopped: RunFolder, name: str):
    before = {path.name: path.read_bytes() for path in (stopped.checkpoints / "00000004").iterdir()}
    metrics = stopped.metrics.read_bytes()
    path = stopped.checkpoints / "00000004" / name
    path.write_bytes(flipped(path.read_bytes(), Random(1)))
    with warnings_of_training() as told:
        assert as_the_command_line(experiment("supervised", 4), stopped.path) == 0
    (line,) = told
    assert line.startswith(f"{path} is damaged: ")
    assert line.endswith(f"; going on from {stopped.checkpoints / '00000003'}")
    assert stopped.metrics.read_bytes() == metrics
    again = {path.name: path.read_bytes() for path in (stopped.checkpoints / "00000004.1").iterdir()}
    assert again == before


def test_without_an_older_checkpoint_the_damaged_one_is_refused(stopped: RunFolder):
    for number in (3, 4):
        (stopped.checkpoints / f"0000000{number}" / "model.safetensors").write_bytes(b"")
    before = {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()}
    with pytest.raises(
        UserError, match=r"00000004/model.safetensors is truncated: .*; no older checkpoint is whole$"
    ):
        restored(stopped)
    assert {path: path.read_bytes() for path in stopped.path.rglob("*") if path.is_file()} == before


def test_damaged_metrics_are_written_again_from_the_checkpoint_before(stopped: RunFolder):
    lines = stopped.metrics.read_bytes().splitlines(keepends=True)
    digit = re.search(rb"[1-8]", lines[3])
    assert digit
    changed = lines[3][: digit.start()] + bytes([lines[3][digit.start()] + 1]) + lines[3][digit.end() :]
    stopped.metrics.write_bytes(b"".join([*lines[:3], changed]))
    with warnings_of_training() as told:
        assert as_the_command_line(experiment("supervised", 4), stopped.path) == 0
    (line,) = told
    assert re.match(rf"{stopped.metrics} is damaged: its first [0-9]+ bytes have the checksum ", line)
    assert stopped.metrics.read_bytes() == b"".join(lines)


def test_damage_before_all_checkpoints_is_refused_unless_the_metrics_are_moved_away(stopped: RunFolder):
    lines = stopped.metrics.read_bytes().splitlines(keepends=True)
    stopped.metrics.write_bytes(b"".join([lines[0].replace(b"1", b"2", 1), *lines[1:]]))
    with pytest.raises(
        UserError, match=r"no older checkpoint is whole; move it away to go on without its lines$"
    ):
        restored(stopped)
    stopped.metrics.unlink()
    with warnings_of_training() as told:
        found = restored(stopped)
    assert told == [f"{stopped.metrics} is missing: going on without the lines before"]
    assert found is not None
    assert found.iteration == 4


def test_lines_after_the_checkpoint_do_not_matter(stopped: RunFolder):
    metrics = stopped.metrics.read_bytes()
    stopped.metrics.write_bytes(metrics + b'{"iteration": 5}\nnot JSON\n\0\n')
    with warnings_of_training() as told:
        assert restored(stopped) is not None
    assert told == []
    assert stopped.metrics.read_bytes() == metrics


def test_runs_from_before_there_were_checksums_go_on(stopped: RunFolder, monkeypatch: pytest.MonkeyPatch):
    settings = experiment("supervised", 4)
    stopped.config.write_text(to_yaml(settings))
    from lsnn_gym.training import loop

    monkeypatch.setattr(loop, "_METRICS", "unknown then")
    assert restored(stopped) is not None
    assert as_the_command_line(settings, stopped.path) == 0


def refusal(stopped: RunFolder) -> str | None:
    try:
        stopped.read_config()
    except UserError as error:
        return str(error)
    return None


def test_any_bit_of_a_config_is_found_or_has_no_meaning(stopped: RunFolder):
    whole = stopped.config.read_bytes()
    settings = stopped.read_config()
    refused = 0
    for position in range(0, len(whole), 5):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        stopped.config.write_bytes(changed)
        found = refusal(stopped)
        if found is None:
            assert stopped.read_config() == settings
        else:
            assert found.startswith(str(stopped.config))
            refused += 1
    assert refused > len(whole) // 5 - 10


def test_an_edited_config_is_refused_until_its_checksum_is_removed(
    stopped: RunFolder, capsys: pytest.CaptureFixture
):
    stopped.config.write_text(stopped.config.read_text().replace("iterations: 4", "iterations: 5"))
    assert run("train", f"--resume={stopped.path}", "--quiet") == 2
    assert capsys.readouterr().err.endswith("if they were edited on purpose, remove the first line\n")
    stopped.config.write_text(stopped.config.read_text().partition("\n")[2])
    assert run("train", f"--resume={stopped.path}", "--quiet") == 0
    assert reached(stopped.path) == 5


def test_a_read_only_run_can_be_judged_but_not_trained(tmp_path: Path, capsys: pytest.CaptureFixture):
    with small_disk(tmp_path / "disk", "4m") as disk:
        if disk is None:
            pytest.skip(
                "this user may not mount a file system; injected errors stand in for it (test_nothing_is_lost)"
            )
        folder = disk / "run"
        assert as_the_command_line(experiment("supervised", 2), folder) == 0
        with read_only(disk):
            before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
            capsys.readouterr()
            assert run("train", f"--resume={folder}", "--quiet") == 2
            assert (
                capsys.readouterr().err == f"lsnn-gym: cannot write {folder}/.lock: Read-only file system\n"
            )
            assert run("evaluate", str(folder), "--json") == 0
            assert run("train", "digits-rows", f"--out={disk}", "--quiet") == 2
            error = capsys.readouterr().err
            assert error.startswith(f"lsnn-gym: cannot write {disk}/digits-rows-")
            assert error.endswith(": Read-only file system\n")
            assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("hour", [-1, 1])
def test_a_clock_that_jumps_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hour: int):
    assert as_the_command_line(experiment("regression", 3), tmp_path / "undisturbed") == 0
    now, ticks = 1.8e9, 0

    def jumping() -> float:
        nonlocal ticks
        ticks += 1
        return now + 3600 * hour * ticks

    monkeypatch.setattr("time.time", jumping)
    monkeypatch.setattr("time.strftime", lambda *_: "20270115-080000")
    made = [RunFolder.create(tmp_path, "run").path.name for _ in range(3)]
    assert made == ["run-20270115-080000", "run-20270115-080000-2", "run-20270115-080000-3"]
    folder = tmp_path / made[2]
    for iterations in (1, 3):
        settings = experiment("regression", iterations)
        RunFolder(folder).write_config(to_yaml(settings))
        assert as_the_command_line(settings, folder) == 0
    assert ticks > 0
    assert (folder / "metrics.jsonl").read_bytes() == (
        tmp_path / "undisturbed" / "metrics.jsonl"
    ).read_bytes()
    timing = RunFolder(folder).timing.read_text().splitlines()
    assert all(0 < float(re.search(r'"seconds": ([0-9.e-]+)', line)[1]) < 600 for line in timing)  # type: ignore[index]
