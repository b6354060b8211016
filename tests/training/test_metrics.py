from __future__ import annotations

import builtins
import json
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.training.metrics import MetricsLog, TensorBoardLog, cut_to, extent_problem, read_metrics


def record(iteration: int) -> dict[str, Any]:
    return {"iteration": iteration, "goals": iteration / 3, "text": "é\n", "loss": math.nan}


def test_each_line_is_json_and_there_at_once(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.append(
            {
                "nan": math.nan,
                "inf": [math.inf, -math.inf, 1.5],
                "numpy": np.float32(0.1),
                "count": np.int64(3),
                "flag": np.bool_(True),
                "tensor": torch.tensor(0.25),
                "nested": {"a": (1, float("nan"))},
                "none": None,
                "text": "a\nb",
            }
        )
        text = path.read_text()
        assert text.endswith("\n")
        assert text.count("\n") == 1
        found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found == {
        "nan": None,
        "inf": [None, None, 1.5],
        "numpy": float(np.float32(0.1)),
        "count": 3,
        "flag": True,
        "tensor": 0.25,
        "nested": {"a": [1, None]},
        "none": None,
        "text": "a\nb",
    }
    assert read_metrics(path) == [found]


@pytest.mark.parametrize("stop", [0, 1, 4, 6])
def test_a_resumed_run_gives_the_same_bytes(tmp_path: Path, stop: int):
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    with MetricsLog(whole) as log:
        for iteration in range(1, 10):
            log.append(record(iteration))
    size = len(whole.read_bytes().splitlines(keepends=True)[5])
    for cut in range(0, size + 1, 3):
        with MetricsLog(resumed) as log:
            for iteration in range(1, 7):
                log.append(record(iteration))
        content = resumed.read_bytes()
        resumed.write_bytes(content[: len(content) - size + cut])  # killed while writing line 6
        with MetricsLog(resumed) as log:
            last = min(stop, 5 if cut < size - 1 else 6)
            log.truncate_after(last)
            for iteration in range(last + 1, 10):
                log.append(record(iteration))
        assert resumed.read_bytes() == whole.read_bytes()
        resumed.unlink()


def test_opening_removes_half_a_line(tmp_path: Path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"iteration": 1}\n{"iteration": 2, "go')
    assert read_metrics(path) == [{"iteration": 1}]
    with MetricsLog(path) as log:
        log.append({"iteration": 2})
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n'
    assert os.listdir(tmp_path) == ["m.jsonl"]


def test_a_whole_last_line_without_its_end_is_kept(tmp_path: Path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"iteration": 1}\n{"iteration": 2}')
    with MetricsLog(path) as log:
        log.truncate_after(2)
        log.append({"iteration": 3})
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n'


def test_truncating_by_another_key(tmp_path: Path):
    path = tmp_path / "m.jsonl"
    lines = ['{"step": 1}', '{"note": "x"}', '{"step":  3}', '{"step": null}', '{"step": 2}', '{"step": 4}']
    path.write_text("\n".join(lines) + "\n")
    with MetricsLog(path) as log:
        log.truncate_after(2, key="step")
    assert path.read_text().splitlines() == [lines[0], lines[1], lines[3], lines[4]]


def test_truncating_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "m.jsonl"
    with MetricsLog(path) as log:
        for iteration in range(3):
            log.append(record(iteration))
        before = path.read_bytes()

        def full(*paths: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(UserError, match=r"^cannot write .*m\.jsonl: No space left on device$"):
            log.truncate_after(1)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.jsonl"]


@pytest.mark.parametrize("bad", ["not json", "[1]", "3", '{"a": NaN', ""])
def test_a_bad_line_in_the_middle_is_named(tmp_path: Path, bad: str):
    path = tmp_path / "m.jsonl"
    content = f'{{"iteration": 1}}\n{bad}\n{{"iteration": 2}}\n'
    path.write_text(content)
    for use in (read_metrics, MetricsLog):
        with pytest.raises(UserError) as caught:
            use(path)
        assert str(caught.value) == f"{path}, line 2: expected a JSON object, found {bad.encode()!r}"
    assert path.read_text() == content


def test_places_that_cannot_be_used(tmp_path: Path):
    with pytest.raises(UserError, match=r"^no such file: .*m\.jsonl$"):
        read_metrics(tmp_path / "m.jsonl")
    with pytest.raises(UserError, match=r"^cannot write .*m\.jsonl: No such file or directory$"):
        MetricsLog(tmp_path / "missing" / "m.jsonl")
    with pytest.raises(UserError, match=r"^cannot read .*: Is a directory$"):
        MetricsLog(tmp_path)


def test_full_disk(tmp_path: Path):
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    with MetricsLog(tmp_path / "m.jsonl") as log:
        descriptor = os.open("/dev/full", os.O_WRONLY)
        os.dup2(descriptor, log._file.fileno())
        os.close(descriptor)
        with pytest.raises(UserError, match=r"^cannot write .*m\.jsonl: No space left on device$"):
            log.append({"a": 1})


def test_sigkill_leaves_whole_lines(tmp_path: Path):
    path = tmp_path / "m.jsonl"
    program = (
        "import sys, itertools\n"
        "from lsnn_gym.training.metrics import MetricsLog\n"
        "log = MetricsLog(sys.argv[1])\n"
        "for i in itertools.count(1):\n"
        "    log.append({'iteration': i, 'fill': 'x' * 3000})\n"
        "    print(i, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = 0
        for _ in range(50):
            told = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        told = int(([str(told), *child.stdout.read().rpartition("\n")[0].split()])[-1])
    found = [line["iteration"] for line in read_metrics(path)]
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= told >= 50


def test_sync_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[int] = []
    with MetricsLog(tmp_path / "m.jsonl") as log:
        monkeypatch.setattr(os, "fsync", synced.append)
        log.sync()
        assert synced == [log._file.fileno()]


# TensorBoard -------------------------------------------------------------------------------------


def events(folder: Path) -> list[tuple[int, str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    tags: Any = accumulator.Tags()["scalars"]
    return sorted((entry.step, tag, entry.value) for tag in tags for entry in accumulator.Scalars(tag))


def test_tensorboard_shows_the_figures(tmp_path: Path):
    pytest.importorskip("tensorboard")
    with TensorBoardLog(tmp_path / "tb") as log:
        log.log(1, {"goals": 2, "loss": np.float32(0.5), "note": "text", "none": None})
        log.log(2, {"goals": torch.tensor(3.0)})
        assert events(tmp_path / "tb") == [(1, "goals", 2.0), (1, "loss", 0.5), (2, "goals", 3.0)]
    log.log(3, {"goals": 4})  # after closing: nothing, no error
    assert len(events(tmp_path / "tb")) == 3


def test_a_resumed_run_purges_what_it_writes_again(tmp_path: Path):
    pytest.importorskip("tensorboard")
    with TensorBoardLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.log(step, {"goals": step})
    (first,) = tmp_path.iterdir()
    first.rename(tmp_path / "events.out.tfevents.0000000001.host")  # written earlier, so read first
    with TensorBoardLog(tmp_path, purge_step=2) as log:
        log.log(2, {"goals": 20})
    assert events(tmp_path) == [(1, "goals", 1.0), (2, "goals", 20.0)]


def test_without_tensorboard_one_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("tensorboard"):
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(TensorBoardLog, "_told", False)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with TensorBoardLog(tmp_path / "tb") as log:
                log.log(1, {"goals": 1})
    assert [entry.getMessage() for entry in caplog.records] == [
        'TensorBoard is not installed: no events (pip install "lsnn-gym[tensorboard]")'
    ]
    assert not (tmp_path / "tb").exists()


def test_unwritable_event_folder(tmp_path: Path):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^cannot write .*file/tb: Not a directory$"):
        TensorBoardLog(tmp_path / "file" / "tb")


# What a file was when a checkpoint was saved ---------------------------------------------------------


def test_an_extent_tells_whether_the_file_still_begins_so(tmp_path: Path):
    path = tmp_path / "m.jsonl"
    with MetricsLog(path) as log:
        log.append({"iteration": 1, "loss": 0.5})
        extent = log.extent()
        log.append({"iteration": 2})
    with MetricsLog(path) as log:
        assert log.extent()["bytes"] == path.stat().st_size
    whole = path.read_bytes()
    assert extent_problem(path, extent) is None
    cut_to(path, extent)
    assert path.read_bytes() == whole.splitlines(keepends=True)[0]
    assert extent_problem(path, extent) is None
    path.write_bytes(whole.replace(b"0.5", b"0.4"))
    problem = extent_problem(path, extent)
    assert problem is not None
    assert problem.startswith(f"{path} is damaged: its first {extent['bytes']} bytes have the checksum ")
    path.write_bytes(whole[:5])
    assert (
        extent_problem(path, extent)
        == f"{path} is truncated: found 5 bytes, expected at least {extent['bytes']}"
    )
    assert extent_problem(tmp_path / "none", extent) is not None


@pytest.mark.parametrize("extent", [None, [], {}, {"bytes": "3", "sha256": ""}, {"bytes": 3, "sha256": None}])
def test_what_is_no_extent_is_a_problem_and_no_fault(tmp_path: Path, extent: object):
    problem = extent_problem(tmp_path / "m.jsonl", extent)
    assert problem is not None
    assert "expected bytes and sha256" in problem
