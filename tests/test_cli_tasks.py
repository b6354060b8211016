"""The command line with supervised tasks: trains, judges, draws, refuses in one line; tasks beside an agent."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

from lsnn_gym.data import data_set, store
from lsnn_gym.thetas import connection_budget
from lsnn_gym.training.checkpoint import latest_checkpoint
from tests.command_line import SMALL_MAZE, assert_newest_weights, only_run, run
from tests.data.fake_server import FakeServer

DIGITS: dict[str, Any] = {
    "name": "digits",
    "seed": 2,
    "task": {"kind": "sequential-images", "data": "digits", "coding": "rows", "repeats": 2},
    "network": {"regular_neurons": 6, "adaptive_neurons": 4, "threshold": 0.03},
    "model": {"tau_readout": 5.0},
    "train": {"iterations": 4, "batch_size": 8, "checkpoint_every": 2, "validate_every": 2},
    "evaluate": {"batch_size": 8},
}
MAZE = ["water-maze-quick", *SMALL_MAZE, "--set=train.iterations=4"]
BESIDE = (
    "--set=train.auxiliary="
    "[{task: {kind: sequential-images, data: digits, coding: rows}, weight: 0.1, batch_size: 4}]"
)


def config(folder: Path, **changes: Any) -> str:
    """Write a config of the digits task and return its path."""
    path = folder / "digits.yaml"
    path.write_text(yaml.safe_dump({**DIGITS, **changes}))
    return str(path)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run what has to be refused in one line with status 2, and return that line."""
    capsys.readouterr()
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("lsnn-gym: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("task")
    assert run("train", config(parent), f"--out={parent / 'runs'}", "--quiet") == 0
    return only_run(parent / "runs")


def test_the_network_of_a_run_has_its_newest_weights(trained: Path):
    assert_newest_weights(trained)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("beside")
    assert run("train", *MAZE, BESIDE, f"--out={parent}", "--quiet") == 0
    return only_run(parent)


# A task ------------------------------------------------------------------------------------------


def test_a_training_leaves_the_same_as_an_agents_with_a_picture_for_the_film(trained: Path):
    assert {path.name for path in trained.iterdir()} == {
        "config.yaml",
        "metrics.jsonl",
        "timing.jsonl",
        "tensorboard",
        "checkpoints",
        "environment.json",
        "results.json",
        "learning_curve.png",
        "sequence.png",
    }
    for name in ("learning_curve.png", "sequence.png"):
        assert (trained / name).read_bytes().startswith(b"\x89PNG")
    lines = metrics(trained)
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert all({"loss", "accuracy", "firing_rate_hz", "gradient_norm"} <= set(line) for line in lines)
    assert ["validation_accuracy" in line for line in lines] == [False, True, False, True]
    assert all(line["simulation_steps"] == 16 * 8 for line in lines)
    timing = [json.loads(line) for line in (trained / "timing.jsonl").read_text().splitlines()]
    assert [set(line) for line in timing] == [
        {"iteration", "seconds", "processor_seconds", "steps_per_second"}
    ] * 4
    assert all(line["steps_per_second"] > 0 for line in timing)
    assert sorted(path.name for path in (trained / "checkpoints").iterdir()) == ["00000002", "00000004"]
    assert json.loads((trained / "environment.json").read_text())["seed"] == 2
    assert list((trained / "tensorboard").glob("events*"))


def test_the_config_of_a_run_repeats_it(trained: Path, tmp_path: Path):
    assert run("train", str(trained / "config.yaml"), f"--out={tmp_path}", "--quiet") == 0
    assert (only_run(tmp_path) / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()


def test_evaluate_prints_split_loss_accuracy_and_rate(trained: Path, capsys):
    capsys.readouterr()
    assert run("evaluate", str(trained), "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"split", "loss", "accuracy", "firing_rate_hz"}
    assert figures["split"] == "test"
    assert figures["loss"] == pytest.approx(2.3, abs=0.5)
    assert figures["accuracy"] * 360 == pytest.approx(round(figures["accuracy"] * 360))
    assert figures["firing_rate_hz"] > 0
    assert run("evaluate", str(trained)) == 0
    rows = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["split", "test"],
        ["loss", f"{figures['loss']:.4f}"],
        ["accuracy", f"{figures['accuracy']:.4f}"],
        ["firing rate hz", f"{figures['firing_rate_hz']:.4f}"],
    ]


def test_the_last_validation_is_what_evaluate_finds_on_that_split(trained: Path, tmp_path: Path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    _, _, text = (folder / "config.yaml").read_text().partition("\n")  # without its checksum
    assert text.count("split: test") == 1
    (folder / "config.yaml").write_text(text.replace("split: test", "split: validation"))
    capsys.readouterr()
    assert run("evaluate", str(folder), "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["split"] == "validation"
    last = metrics(trained)[-1]
    assert figures["accuracy"] == last["validation_accuracy"]
    assert figures["loss"] == pytest.approx(last["validation_loss"], rel=1e-6)
    assert figures["firing_rate_hz"] == pytest.approx(last["validation_firing_rate_hz"], rel=1e-6)


def test_a_resumed_training_ends_as_the_undisturbed_one(trained: Path, tmp_path: Path):
    assert_goes_on_bit_for_bit(trained, tmp_path / "run")


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_a_non_spiking_core_trains_and_is_drawn_too(core: str, tmp_path: Path, capsys):
    arguments = [config(tmp_path), f"--set=model.core={core}", "--set=train.iterations=1"]
    assert run("train", *arguments, f"--out={tmp_path / 'runs'}", "--quiet") == 0
    folder = only_run(tmp_path / "runs")
    assert (folder / "sequence.png").is_file()
    capsys.readouterr()
    assert run("evaluate", str(folder), "--json") == 0
    assert json.loads(capsys.readouterr().out)["firing_rate_hz"] is None


def test_render_draws_the_sequence_of_that_number(trained: Path, tmp_path: Path, capsys):
    first, second, again = (tmp_path / f"{name}.png" for name in ("first", "second", "again"))
    for path, number in ((first, 0), (second, 359), (again, 0)):
        capsys.readouterr()
        assert run("render", str(trained), "--out", str(path), "--seed", str(number)) == 0
        assert capsys.readouterr().out == f"{path}\n"
    assert first.read_bytes() != second.read_bytes()
    assert first.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["evaluate", "RUN", "--episodes", "3"],
            "--episodes is for agents: a task is judged on all sequences of",
        ),
        (
            ["render", "RUN", "--human"],
            "--human is for agents in an environment: a sequence is drawn as a picture",
        ),
        (
            ["render", "RUN", "--out", "x.mp4"],
            "x.mp4: a sequence is drawn as a picture: expected a name that ends",
        ),
        (
            ["render", "RUN", "--seed", "360"],
            "--seed is 360: the split has only 360 sequences, numbered from 0",
        ),
    ],
    ids=lambda each: " ".join(each[2:]) if isinstance(each, list) else "",
)
def test_what_a_task_does_not_have_is_refused_in_one_line(
    arguments: list[str], message: str, trained: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = sorted(trained.rglob("*"))
    given = [str(trained) if each == "RUN" else each for each in arguments]
    assert message in refusal(capsys, *given)
    assert not list(tmp_path.iterdir())
    assert sorted(trained.rglob("*")) == before


TASK_NAMES = (
    "evidence-accumulation, few-shot, framewise-phones, sequential-images, spoken-digits, store-recall"
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("env={id: lsnn_gym/WaterMaze-v0}", "digits.yaml: there is task and env: expected one of them\n"),
        (
            "task.kind=sequential-image",
            f"unknown task.kind 'sequential-image': did you mean 'sequential-images'? there is {TASK_NAMES}\n",
        ),
        ("task=store-recal", "unknown task.kind 'store-recal': did you mean 'store-recall'? there is "),
        (
            "task.codin=rows",
            "unknown key 'task.codin': did you mean 'task.coding'? task has answer, channels",
        ),
        ("task.coding=row", "unknown task.coding 'row': did you mean 'rows'? there is "),
        ("task.answer=3", "task: answer is 3: expected to divide the sequence of 8 units"),
        ("model.core=lsn", "unknown model.core 'lsn': did you mean 'lsnn'?"),
        ("train.optimizer=adm", "unknown train.optimizer 'adm': did you mean 'adam'?"),
        ("evaluate.split=tset", "unknown evaluate.split 'tset': did you mean 'test'?"),
        (
            "train.auxiliary=[{task: store-recal}]",
            "unknown train.auxiliary.0.task.kind 'store-recal': did you mean 'store-recall'? there is ",
        ),
        (
            "train.auxiliary=[{task: store-recall}, {task: {kind: store-recall, lenth: 4}}]",
            "unknown key 'train.auxiliary.1.task.lenth': did you mean 'train.auxiliary.1.task.length'?",
        ),
        (
            "train.auxiliary=[{task: store-recall, wieght: 4}]",
            "unknown key 'train.auxiliary.0.wieght': did you mean 'train.auxiliary.0.weight'?",
        ),
    ],
)
def test_configs_that_make_no_task_are_refused_in_one_line(
    changes: str, message: str, tmp_path: Path, capsys
):
    given = config(tmp_path)
    assert message in refusal(capsys, "train", given, "--set", changes, f"--out={tmp_path / 'runs'}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_tasks_beside_need_a_spiking_network(core: str, tmp_path: Path, capsys):
    out = f"--out={tmp_path / 'runs'}"
    line = refusal(capsys, "train", config(tmp_path), f"--set=model.core={core}", BESIDE, out)
    assert f"model: core is '{core}': auxiliary tasks need 'lsnn', a spiking network to share" in line
    line = refusal(capsys, "train", *MAZE, f"--set=agent.core={core}", BESIDE, out)
    assert f"agent: core is '{core}': expected 'lsnn', which has a spiking network" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("tasks", TASK_NAMES.split(", ")),
        ("rules", ["bptt", "eprop", "antlr", "bptt", "lstm", "mlp", "st-rsbp", "tssl-bp"]),
    ],
)
def test_list_names_tasks_and_rules_with_what_they_are(what: str, names: list[str], capsys):
    capsys.readouterr()
    assert run("list", what) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in lines)


# Missing data ------------------------------------------------------------------------------------

MNIST_TASK = {"kind": "sequential-images", "data": "mnist", "coding": "rows"}
MNIST_BESIDE = "--set=train.auxiliary=[{task: {kind: sequential-images, data: mnist, coding: rows}}]"


@pytest.fixture
def nothing_to_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Data are neither in LSNN_GYM_DATA, which is returned, nor in the cache nor on any server."""
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("LSNN_GYM_DATA", str(own))
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path / "cache")
    original, server = data_set.download, FakeServer({})
    monkeypatch.setattr(data_set, "download", lambda *given: original(*given, session=server.session()))
    return own


@pytest.mark.parametrize("where", ["main", "beside a task", "beside an agent"])
def test_data_that_cannot_be_had_are_one_line_and_leave_no_run(
    where: str, nothing_to_be_had: Path, tmp_path: Path, capsys
):
    changes = {"task": MNIST_TASK} if where == "main" else {}
    arguments = {
        "main": [config(tmp_path, **changes)],
        "beside a task": [config(tmp_path, **changes), MNIST_BESIDE],
        "beside an agent": [*MAZE, MNIST_BESIDE],
    }[where]
    line = refusal(capsys, "train", *arguments, f"--out={tmp_path / 'runs'}", "--quiet")
    assert re.match(
        r"lsnn-gym: cannot download (train|t10k)-\w+-idx\d-ubyte\.gz \(expected sha256:\w+\): https:", line
    )
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_data_that_is_not_complete_says_what_it_lacks(
    nothing_to_be_had: Path, tmp_path: Path, capsys
):
    (nothing_to_be_had / "mnist").mkdir()
    given = config(tmp_path, task=MNIST_TASK)
    line = refusal(capsys, "train", given, f"--out={tmp_path / 'runs'}", "--quiet")
    assert line == (
        f"lsnn-gym: {nothing_to_be_had / 'mnist'}: the data set 'mnist' lacks train-images-idx3-ubyte.gz and 3 more; "
        "complete it, or unset LSNN_GYM_DATA to have it downloaded\n"
    )
    assert not (tmp_path / "runs").exists()


# Beside an agent ---------------------------------------------------------------------------------


def assert_goes_on_bit_for_bit(whole: Path, stopped: Path) -> None:
    """Make ``stopped`` what ``whole`` was after its 2nd iteration, resume it, and compare."""
    shutil.copytree(whole, stopped)
    shutil.rmtree(stopped / "checkpoints" / "00000004")
    for path in (stopped / "learning_curve.png", *stopped.glob("events*")):
        path.unlink()
    lines = (whole / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    (stopped / "metrics.jsonl").write_bytes(b"".join(lines[:2]))
    assert run("train", "--resume", str(stopped), "--quiet") == 0
    assert (stopped / "metrics.jsonl").read_bytes() == b"".join(lines)
    assert (stopped / "learning_curve.png").is_file()
    newest = [latest_checkpoint(each / "checkpoints") for each in (whole, stopped)]
    for name in ("model.safetensors", "training.safetensors"):
        one, other = (safetensors.torch.load_file(each / name) for each in newest if each is not None)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_task_beside_an_agent_is_in_every_line_of_the_metrics(beside: Path):
    lines = metrics(beside)
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    name = "auxiliary/sequential-images"
    keys = {f"{name}/accuracy", f"{name}/loss", "goals_per_episode", "first_latency", "firing_rate_hz"}
    for line in lines:
        assert keys <= set(line)
        assert 0 <= line[f"{name}/accuracy"] <= 1
    assert len({line[f"{name}/loss"] for line in lines}) == 4, "each has a batch of its own"


def test_with_a_task_beside_a_resumed_training_is_the_undisturbed_one(beside: Path, tmp_path: Path):
    assert_goes_on_bit_for_bit(beside, tmp_path / "run")


def test_evaluate_prints_the_task_beside_with_the_agent(beside: Path, capsys):
    capsys.readouterr()
    assert run("evaluate", str(beside), "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures["references"]) == {"random", "oracle", "sweep_then_exploit"}
    assert set(figures["auxiliary"]) == {"sequential-images"}
    accuracy = figures["auxiliary"]["sequential-images"]["accuracy"]
    assert accuracy * 360 == pytest.approx(round(accuracy * 360)), (
        "a share of the 360 digits of the test part"
    )
    assert run("evaluate", str(beside)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"sequential-images: accuracy {accuracy:.3g}"


def test_of_a_task_with_one_beside_both_are_judged(tmp_path: Path, capsys):
    task = {"kind": "store-recall", "num_inputs": 8, "length": 4, "duration": 5, "evaluation_sequences": 6}
    given = [config(tmp_path, task=task), BESIDE, "--set=train.iterations=1"]
    wired = ["--set=network.wiring={kind: deep_r, connectivity: 0.3}"]
    assert run("train", *given, *wired, f"--out={tmp_path / 'runs'}", "--quiet") == 0
    folder = only_run(tmp_path / "runs")
    capsys.readouterr()
    assert run("evaluate", str(folder), "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"split", "loss", "recall_error", "firing_rate_hz", "auxiliary"}
    assert set(figures["auxiliary"]) == {"sequential-images"}
    (line,) = metrics(folder)
    # Inputs, recurrence, readout; encoder and readout of the digits.
    sizes = [8 * 10, 10 * 10, 10 * 2, 8 * 10, 10 * 10]
    assert line["connections"] == connection_budget([(size, 0.3) for size in sizes]) == 114
    assert run("evaluate", str(folder)) == 0
    accuracy = figures["auxiliary"]["sequential-images"]["accuracy"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.split(r"  +", last) == ["sequential-images accuracy", f"{accuracy:.4f}"]
