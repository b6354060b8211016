"""One process a folder: the second is refused and told who is there, and no dead one is in the way."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsnn_gym.comparison import PlannedRun, train_all
from lsnn_gym.errors import UserError
from lsnn_gym.folder_lock import holding
from lsnn_gym.training.run_folder import RunFolder
from tests.command_line import run
from tests.faults.trainings import as_the_command_line, experiment

HOLDER = """
import sys, time
from pathlib import Path
from lsnn_gym.folder_lock import holding
with holding(Path(sys.argv[1]), "training"):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        yield process
        process.kill()


def test_the_second_is_told_who_is_there(tmp_path: Path, holder: subprocess.Popen[str]):
    with pytest.raises(UserError) as caught, holding(tmp_path, "training"):
        raise AssertionError("both are in")
    assert str(caught.value) == (
        f"{tmp_path}: process {holder.pid} on {socket.gethostname()} is training there; expected one process at a time"
    )
    holder.communicate()
    with holding(tmp_path, "training"):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_killed_one_is_not_in_the_way(tmp_path: Path, holder: subprocess.Popen[str]):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").exists()
    with holding(tmp_path, "training"):
        pass


def test_within_one_process_too(tmp_path: Path):
    with holding(tmp_path, "training"), pytest.raises(UserError, match=f"process {os.getpid()} on "):
        holding(tmp_path, "training").__enter__()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_child_does_not_hold_on(tmp_path: Path):
    program = f"""
import os, sys, time
from pathlib import Path
from lsnn_gym.folder_lock import holding
with holding(Path({str(tmp_path)!r}), "training"):
    if os.fork() == 0:
        print("forked", flush=True)
        sys.stdin.read()
        os._exit(0)
    os._exit(0)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "forked\n"
        parent.wait()
        with holding(tmp_path, "training"):
            pass
        assert parent.stdin is not None
        parent.stdin.close()


def test_a_second_training_in_a_run_folder_is_refused_and_changes_nothing(tmp_path: Path, capsys):
    folder = tmp_path / "run"
    settings = experiment("supervised", 2)
    assert as_the_command_line(settings, folder) == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    with holding(folder, "training"):
        assert run("train", f"--resume={folder}", "--quiet") == 2
        error = capsys.readouterr().err
        assert re.fullmatch(
            rf"lsnn-gym: {folder}: process {os.getpid()} on \S+ is training there; .*\n", error
        )
        (folder / ".lock").rename(tmp_path / "taken")  # not part of what is compared
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=f"cannot write {tmp_path}/none/.lock: No such file"):
        holding(tmp_path / "none", "training").__enter__()


def test_a_second_comparison_in_a_folder_is_refused(tmp_path: Path):
    planned = [PlannedRun("variant", 1, RunFolder(tmp_path / "variant" / "seed-1"))]
    with holding(tmp_path, "comparing"), pytest.raises(UserError, match="is comparing there"):
        list(train_all(planned, 1))
