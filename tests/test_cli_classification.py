"""The command line with classifiers: trains, judges, draws, resumes, refuses in one line; what is listed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lsnn_gym.comparison import is_comparison
from lsnn_gym.experiment import config_names, load_experiment
from lsnn_gym.families.classification import ClassificationExperiment
from lsnn_gym.plain_yaml import read_yaml
from lsnn_gym.rules.registry import RULES
from lsnn_gym.training.run_folder import RunFolder
from tests.classification.test_trainer import DIGITS
from tests.command_line import assert_newest_weights, only_run, run


def config(folder: Path, **changes: Any) -> str:
    """Write a config of the digits and return its path."""
    path = folder / "digits.yaml"
    path.write_text(yaml.safe_dump({**DIGITS, **changes}))
    return str(path)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("classifier")
    arguments = ["--set=train.checkpoint_every=2", "--set=train.checkpoints_kept=2"]
    assert run("train", config(parent), *arguments, f"--out={parent / 'runs'}", "--quiet") == 0
    return only_run(parent / "runs")


def test_a_training_leaves_what_every_training_leaves(finished: Path):
    assert {"config.yaml", "metrics.jsonl", "timing.jsonl", "results.json", "checkpoints"} <= {
        path.name for path in finished.iterdir()
    }
    for name in ("learning_curve.png", "sequence.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG")
    lines = metrics(finished)
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["00000004", "00000006"]
    results = json.loads((finished / "results.json").read_text())
    tested = [line["test_accuracy"] for line in lines if "test_accuracy" in line]
    assert results["accuracy"] == tested[-1]
    assert results["chosen_accuracy"] == tested[results["chosen_epoch"] - 1]
    assert results["best_on_test_accuracy"] == max(tested)
    assert results["train_seconds"] > 0


def test_evaluate_judges_the_last_and_the_chosen_epoch(finished: Path, capsys):
    capsys.readouterr()
    assert run("evaluate", str(finished), "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    results = json.loads((finished / "results.json").read_text())
    assert figures == {name: results[name] for name in figures}
    assert {"accuracy", "chosen_accuracy", "spikes_per_neuron", "spikes_until_decision"} <= set(figures)
    assert run("evaluate", str(finished)) == 0
    rows = dict(re.split(r"  +", line) for line in capsys.readouterr().out.splitlines())
    assert rows["accuracy"] == f"{figures['accuracy']:.4f}"
    assert rows["chosen epoch"] == str(figures["chosen_epoch"])


def test_the_network_of_a_run_has_its_newest_weights(finished: Path):
    assert_newest_weights(finished)


def test_a_resumed_run_ends_as_the_undisturbed_one(finished: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for name in ("results.json", "learning_curve.png", "sequence.png"):
        (folder / name).unlink()
    shutil.rmtree(folder / "checkpoints" / "00000006")
    assert run("train", f"--resume={folder}", "--quiet") == 0
    assert (folder / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()
    for name in ("model.safetensors", "training.safetensors"):
        left, expected = (each / "checkpoints" / "00000006" / name for each in (folder, finished))
        assert left.read_bytes() == expected.read_bytes()


def test_a_classifier_without_spikes_or_validation_is_drawn_and_judged_too(tmp_path: Path):
    arguments = [
        config(tmp_path, rule={"kind": "mlp"}, data={"name": "digits", "validation": 0}),
        "--set=train.epochs=1",
    ]
    assert run("train", *arguments, f"--out={tmp_path / 'runs'}", "--quiet") == 0
    results = json.loads((only_run(tmp_path / "runs") / "results.json").read_text())
    assert "spikes" not in results
    assert "chosen_accuracy" not in results
    assert (only_run(tmp_path / "runs") / "sequence.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["evaluate", "RUN", "--episodes", "3"],
            "--episodes is for agents: a classifier is judged on all test",
        ),
        (
            ["render", "RUN", "--human"],
            "--human is for agents in an environment: an example is drawn as a picture",
        ),
        (
            ["render", "RUN", "--out", "x.mp4"],
            "x.mp4: an example is drawn as a picture: expected a name that ends",
        ),
        (["render", "RUN", "--seed", "360"], "--seed is 360: there are 360 test examples, numbered from 0"),
        (
            ["train", "CONFIG", "--set=rule.kind=tsslbp"],
            "unknown rule.kind 'tsslbp': did you mean 'tssl-bp'?",
        ),
        (["train", "CONFIG", "--set=rule.tau=3"], "unknown key 'rule.tau'"),
        (
            ["train", "CONFIG", "--set=architecture=40x0"],
            "layer '40x0' of '40x0': expected layers joined by '-'",
        ),
        (
            ["train", "CONFIG", "--set=architecture=R40"],
            "layer R40: expected no recurrent layer with this rule",
        ),
        (
            ["train", "CONFIG", "--set=architecture=4C3-P4"],
            "layer P4 stands on images of 6 x 6: expected a multiple",
        ),
        (["train", "CONFIG", "--set=architecture=9C9"], "layer 9C9 does not fit on images of 8 x 8"),
        (["train", "CONFIG", "--set=data.name=digit"], "unknown data.name 'digit': did you mean 'digits'?"),
        (
            ["train", "CONFIG", "--set=data.validation=1437"],
            "validation is 1437: expected fewer than the 1437",
        ),
        (
            ["train", "CONFIG", "--set=coding={kind: events}"],
            "coding of digits is 'events': expected 'repeat'",
        ),
        (
            ["train", "CONFIG", "--set=rule={kind: antlr}"],
            "coding is 'repeat': rule 'antlr' learns from spikes",
        ),
        (["train", "CONFIG", "--set=train.epochs=0"], "train.epochs is 0"),
        (
            ["train", "CONFIG", "--set=train.optimizer=adm"],
            "unknown train.optimizer 'adm': did you mean 'adam'?",
        ),
        (["train", "CONFIG", "--set=train.device=cud"], "train.device: 'cud' cannot be used"),
        (["train", "CONFIG", "--set=env={}"], "there is rule and env: expected one of them"),
    ],
    ids=lambda each: " ".join(each[2:]) if isinstance(each, list) else "",
)
def test_bad_input_is_refused_in_one_line(
    arguments: list[str], message: str, finished: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    chosen = {"RUN": str(finished), "CONFIG": config(finished.parent.parent)}
    capsys.readouterr()
    assert run(*(chosen.get(each, each) for each in arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_configs_of_rules_say_paper_figure_and_time(capsys):
    capsys.readouterr()
    assert run("list", "configs") == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    rules = ("tssl-bp", "antlr", "bptt", "mlp", "st-rsbp")
    single = [name for name in config_names() if not is_comparison(read_yaml(config_names()[name]))]
    ours = [name for name in single if name.startswith(rules)]
    assert len(ours) >= 12
    for name in ours:
        assert isinstance(load_experiment(name), ClassificationExperiment)
        assert re.search(r"\d+(\.\d+)? (s|min|h) an epoch", listed[name]), listed[name]
        if name.startswith("tssl-bp") and "fsdd" not in name:
            assert re.search(r"Zhang, Li, NeurIPS 2020: \d\d\.\d\d ± 0\.\d\d %", listed[name])
        if name.startswith("st-rsbp"):
            assert re.search(r"Zhang, Li, NeurIPS 2019: \d\d\.\d\d %", listed[name])


def test_rules_are_listed(capsys):
    capsys.readouterr()
    assert run("list", "rules") == 0
    out = capsys.readouterr().out
    assert all(f"{name} (rule.kind)" in out for name in RULES)


def test_a_run_folder_is_found_by_its_parent(finished: Path):
    assert RunFolder.open(finished.parent).path == finished
