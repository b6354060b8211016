from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import torch

import lsnn_gym
from lsnn_gym.errors import UserError
from lsnn_gym.training import run_folder
from lsnn_gym.training.run_folder import RunFolder


def made(parent: Path, name: str) -> Path:
    path = parent / name
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("name: x\n")
    return path


def test_create_names_the_folder_by_the_time(tmp_path: Path):
    before = time.strftime("%Y%m%d-%H%M%S")
    run = RunFolder.create(tmp_path / "deep" / "runs", "water-maze")
    after = time.strftime("%Y%m%d-%H%M%S")
    assert run.path.is_dir()
    assert run.path.parent == tmp_path / "deep" / "runs"
    found = re.fullmatch(r"water-maze-(\d{8}-\d{6})", run.path.name)
    assert found
    assert before <= found[1] <= after


def test_runs_started_in_one_second_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "strftime", lambda form: "20250102-030405")
    names = [RunFolder.create(tmp_path, "x").path.name for _ in range(3)]
    assert names == ["x-20250102-030405", "x-20250102-030405-2", "x-20250102-030405-3"]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "a\nb", "a\0b", "a\\b"])
def test_names_that_are_paths(tmp_path: Path, name: str):
    with pytest.raises(UserError) as caught:
        RunFolder.create(tmp_path, name)
    assert str(caught.value) == f"run name {name!r}: expected a plain folder name, e.g. 'water-maze'"
    assert list(tmp_path.iterdir()) == []


def test_unwritable_parent(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for parent in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(UserError, match=r"^cannot write .*/x-[\d-]+: (File exists|Not a directory)$"):
            RunFolder.create(parent, "x")
    with pytest.raises(UserError, match=r"^cannot write .*: embedded null byte$"):
        RunFolder.create("a\0b", "x")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(UserError, match=r"^cannot write .*: Permission denied$"):
            RunFolder.create(tmp_path / "closed", "x")


def test_open(tmp_path: Path):
    path = made(tmp_path, "x-1")
    run = RunFolder.open(str(path))
    assert run.path == path
    assert repr(run) == f"RunFolder({str(path)!r})"
    assert {
        name: str(getattr(run, name).relative_to(path))
        for name, value in vars(RunFolder).items()
        if isinstance(value, property)
    } == {
        "config": "config.yaml",
        "metrics": "metrics.jsonl",
        "timing": "timing.jsonl",
        "checkpoints": "checkpoints",
        "environment": "environment.json",
        "learning_curve": "learning_curve.png",
        "results": "results.json",
        "episode": "episode.mp4",
        "tensorboard": "tensorboard",
        "not_finite": "not_finite",
        "report": "report.html",
    }


def refusal(path: object) -> str:
    with pytest.raises(UserError) as caught:
        RunFolder.open(path)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_opening_something_else_names_the_nearest_run(tmp_path: Path):
    runs = tmp_path / "runs"
    first = made(runs, "water-maze-20250102-030405")
    second = made(runs, "regression-20250102-030405")
    (runs / "water-maze-20250102-03040").mkdir()  # nearer by name, but no run
    os.utime(second, (1, 1))
    assert refusal(runs / "water-maze-20250102-030406") == (
        f"no run folder {runs}/water-maze-20250102-030406; did you mean {first}?"
    )
    assert refusal(runs / "water-maze-20250102-03040") == (
        f"{runs}/water-maze-20250102-03040 is no run folder (it has no config.yaml); did you mean {first}?"
    )
    assert refusal(runs / "zzz") == f"no run folder {runs}/zzz"
    # the folder of runs: the newest in it
    assert refusal(runs) == f"{runs} is no run folder (it has no config.yaml); did you mean {first}?"
    assert refusal(tmp_path / "nowhere" / "x") == f"no run folder {tmp_path}/nowhere/x"
    assert refusal("a" * 5000).startswith("no run folder aaa")
    assert refusal("a\0b") == "no run folder a\0b"


def test_a_folder_with_one_run_in_it_stands_for_that_run(tmp_path: Path):
    only = made(tmp_path / "runs", "x-1")
    assert RunFolder.open(tmp_path / "runs").path == only
    made(tmp_path / "runs", "x-2")
    assert "did you mean" in refusal(tmp_path / "runs")


def test_environment(tmp_path: Path):
    run = RunFolder.create(tmp_path, "x")
    run.write_environment(seed=7, threads=2, command=["train"])
    found = json.loads(run.environment.read_text())
    assert found["lsnn_gym"] == lsnn_gym.__version__
    assert found["torch"] == torch.__version__
    assert found["seed"] == 7
    assert found["torch_threads"] == 2
    assert found["command"] == ["train"]
    assert {"python", "numpy", "gymnasium", "platform", "git_commit", "git_modified"} <= set(found)
    assert all(found[key] for key in ("python", "numpy", "gymnasium", "platform"))
    run.write_environment(seed=7)
    assert json.loads(run.environment.read_text())["torch_threads"] == torch.get_num_threads()


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_commit_is_the_packages_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "lsnn_gym"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(lsnn_gym, "__file__", str(package / "__init__.py"))
    assert run_folder._git() == {"git_commit": None, "git_modified": None}
    git(tmp_path, "init", "-q")
    (tmp_path / "other").write_text("")
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "-qm", "x")
    # installed inside some other project: not that project's commit
    assert run_folder._git() == {"git_commit": None, "git_modified": None}
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "y")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert run_folder._git() == {"git_commit": commit, "git_modified": False}
    (package / "__init__.py").write_text("changed = 1")
    assert run_folder._git() == {"git_commit": commit, "git_modified": True}
    monkeypatch.setenv("PATH", "")
    assert run_folder._git() == {"git_commit": None, "git_modified": None}


def test_a_failed_environment_is_one_line(tmp_path: Path):
    run = RunFolder(tmp_path / "gone")
    with pytest.raises(UserError, match=r"^cannot write .*environment\.json: No such file or directory$"):
        run.write_environment(seed=1)
