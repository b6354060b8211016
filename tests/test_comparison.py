"""Comparisons: which variants there are, how they are trained and set side by side."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import yaml

from lsnn_gym.comparison import Comparison, is_comparison, load_comparison, markdown_table, plan, planned
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import config_names, experiment_of, load_experiment
from lsnn_gym.plain_yaml import read_yaml
from tests.command_line import run

BASE = {
    "name": "tiny",
    "task": {"kind": "sequential-images", "data": "digits", "coding": "rows"},
    "network": {"regular_neurons": 6, "adaptive_neurons": 4},
    "train": {"iterations": 4, "batch_size": 8, "validate_every": 2, "threads": 1},
}


def write(path: Path, content: object) -> str:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


@pytest.fixture
def base(tmp_path: Path) -> str:
    return write(tmp_path / "tiny.yaml", BASE)


def test_axes_give_every_combination_and_variants_come_after():
    comparison = Comparison(
        name="x",
        base="y",
        axes={
            "threshold": {"adaptive": {}, "constant": {"network.adaptive_neurons": 0}},
            "rule": {"bptt": {}, "e-prop": {"network.rule": "eprop"}},
        },
        variants={"lstm": {"model.core": "lstm"}},
    )
    assert comparison.all_variants() == {
        "adaptive+bptt": {},
        "adaptive+e-prop": {"network.rule": "eprop"},
        "constant+bptt": {"network.adaptive_neurons": 0},
        "constant+e-prop": {"network.adaptive_neurons": 0, "network.rule": "eprop"},
        "lstm": {"model.core": "lstm"},
    }


def test_every_run_gets_its_config(base, tmp_path):
    config = write(
        tmp_path / "c.yaml",
        {
            "name": "c",
            "base": base,
            "seeds": [5, 6],
            "set": {"train.batch_size": 3},
            "variants": {"a": {}, "b": {"network.rule": "eprop", "train.batch_size": 9}},
        },
    )
    folder, runs = plan(load_comparison([config], ("train.iterations=7",), ()), tmp_path / "out")
    assert [(each.variant, each.seed) for each in runs] == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]
    experiments = [experiment_of(each.run) for each in runs]
    assert [each.seed for each in experiments] == [5, 6, 5, 6]
    rules = [each.network.rule for each in experiments]  # type: ignore[union-attr]
    assert rules == ["bptt", "bptt", "eprop", "eprop"]
    assert {each.train.iterations for each in experiments} == {7}
    sizes = {each.train.model_dump()["batch_size"] for each in experiments}
    assert sizes == {3}, "what is set holds for all variants"
    assert [each.run.path for each in planned(folder)] == [each.run.path for each in runs]


def test_several_experiments_are_variants_by_their_names(base, tmp_path):
    other = write(tmp_path / "other.yaml", {**BASE, "name": "other", "model": {"core": "gru"}})
    comparison = load_comparison([base, other], (), (4,))
    assert comparison.name == "tiny-other"
    assert comparison.seeds == (4,)
    _, runs = plan(comparison, tmp_path / "out")
    assert [each.variant for each in runs] == ["tiny", "other"]
    assert [experiment_of(each.run).model.core for each in runs] == ["lsnn", "gru"]  # type: ignore[union-attr]


def test_an_experiment_keeps_none_of_the_first_ones_sections(base, tmp_path):
    other = {key: value for key, value in BASE.items() if key != "network"} | {"name": "other"}
    _, runs = plan(load_comparison([base, write(tmp_path / "o.yaml", other)], (), (1,)), tmp_path / "out")
    network = experiment_of(runs[1].run).network  # type: ignore[union-attr]
    assert network.regular_neurons == 80, "the default, not the first one's 6"


def test_variants_can_be_chosen(base, tmp_path):
    axes = {"rule": {"bptt": {}, "e-prop": {"network.rule": "eprop"}}}
    file = {
        "name": "c",
        "base": base,
        "seeds": [1],
        "axes": axes,
        "variants": {"lstm": {"model.core": "lstm"}},
    }
    comparison = load_comparison([write(tmp_path / "c.yaml", file)], (), ())
    folder, runs = plan(comparison.only(["lstm", "e-prop"]), tmp_path / "out")
    assert [each.variant for each in runs] == ["e-prop", "lstm"] == [each.variant for each in planned(folder)]
    assert [each.run.path.name for each in runs] == ["seed-1", "seed-1"]
    assert experiment_of(runs[0].run).network.rule == "eprop"  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_comparison_trains_once_and_reports_means_and_spread(base, tmp_path, capsys):
    config = write(
        tmp_path / "c.yaml",
        {"name": "c", "base": base, "seeds": [1, 2], "variants": {"a": {}, "b": {"model.core": "lstm"}}},
    )
    out = tmp_path / "out"
    assert run("compare", config, "--out", str(out), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (folder,) = out.iterdir()
    assert {"results.json", "results.md", "comparison.png", "comparison.yaml", "a", "b"} == {
        path.name for path in folder.iterdir()
    }
    assert found == json.loads((folder / "results.json").read_text())
    assert found["figure"] == "accuracy"
    for row in found["variants"].values():
        of_seeds = [each["accuracy"] for each in row["seeds"].values()]
        assert row["mean"]["accuracy"] == pytest.approx(statistics.fmean(of_seeds))
        assert row["std"]["accuracy"] == pytest.approx(statistics.stdev(of_seeds))
        assert all(
            each["train_seconds"] > 0 and each["peak_memory_bytes"] > 0 for each in row["seeds"].values()
        )
    assert found["variants"]["b"]["seeds"]["1"]["firing_rate_hz"] is None
    table = (folder / "results.md").read_text()
    assert table == markdown_table(found) + "\n"
    assert [line.split(" ")[1] for line in table.splitlines()] == ["variant", "---", "a", "b"]

    # What has results is not trained again; what lacks them is.
    kept, again = folder / "a" / "seed-1", folder / "b" / "seed-2"
    before = (kept / "results.json").read_bytes()
    (again / "results.json").unlink()
    assert run("compare", "--resume", str(folder), "--json") == 0
    after = json.loads(capsys.readouterr().out)
    assert (kept / "results.json").read_bytes() == before
    assert (
        after["variants"]["b"]["seeds"]["2"]["accuracy"] == found["variants"]["b"]["seeds"]["2"]["accuracy"]
    )


def test_a_failed_training_is_one_line(base, tmp_path, capsys):
    config = write(tmp_path / "c.yaml", {"name": "c", "base": base, "seeds": [1], "variants": {"a": {}}})
    comparison = load_comparison([config], (), ())
    folder, runs = plan(comparison, tmp_path / "out")
    _, _, text = runs[0].run.config.read_text().partition("\n")  # without its checksum
    runs[0].run.config.write_text(text.replace("batch_size: 8", "batch_size: -8"))
    assert run("compare", "--resume", str(folder)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "training ended with status 2" in error
    assert "batch_size" in error


BAD = [
    ([], "expected a comparison or several CONFIGs"),
    (["store-recal-ablation"], "did you mean 'store-recall-ablation'?"),
    (["store-recall-ablation", "store-recall"], "is a comparison of its own"),
    (["store-recall-ablation", "--seeds", "1,x"], "--seeds is '1,x'"),
    (["store-recall-ablation", "--set", "train.iteratons=1"], "did you mean 'train.iterations'?"),
    (["store-recall", "store-recall"], "expected experiments of different names"),
    (["--resume", "nowhere"], "no folder of a comparison"),
    (["store-recall-ablation", "--resume", "nowhere"], "leave out the rest"),
    (["--variant", "lstm", "--resume", "nowhere"], "leave out the rest"),
    (["store-recall-ablation", "--variant", "lsm"], "unknown variant 'lsm': did you mean 'lstm'?"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda each: " ".join(each)[:50])
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("compare", *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "neither axes nor variants"),
        ({"variants": {"a/b": {}}}, "variant 'a/b': expected a plain folder name"),
        ({"variants": {"a": {}}, "seeds": []}, "seeds"),
    ],
)
def test_a_comparison_of_no_use_is_refused(changes, message, base, tmp_path):
    config = write(tmp_path / "c.yaml", {"name": "c", "base": base, **changes})
    with pytest.raises(UserError, match=message):
        load_comparison([config], (), ())


def test_training_a_comparison_says_which_command_it_is_for(capsys):
    assert run("train", "store-recall-ablation") == 2
    assert "lsnn-gym compare store-recall-ablation" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(config_names()))
def test_every_config_of_the_package_is_valid(name, tmp_path):
    if is_comparison(read_yaml(config_names()[name])):
        comparison = load_comparison([name], (), ())
        _, runs = plan(comparison, tmp_path)
        assert len(runs) == len(comparison.all_variants()) * len(comparison.seeds)
    else:
        assert load_experiment(name).name == name
