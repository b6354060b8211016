"""Rows of comparisons: one for each variant, and how a comparison's runs are put into them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lsnn_gym.comparison import PlannedRun, load_comparison, plan
from lsnn_gym.published.summaries import read_summaries
from tests.command_line import run
from tests.published.test_summaries import close, documents, refusal


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PlannedRun]]:
    """The folder of a comparison of two variants with two seeds each, all trained, beside ``c.yaml``, its config."""
    parent = tmp_path_factory.mktemp("compared")
    base = {
        "name": "rows",
        "task": {"kind": "sequential-images", "data": "digits", "coding": "rows"},
        "network": {"regular_neurons": 4, "adaptive_neurons": 2},
        "train": {"iterations": 2, "batch_size": 4, "validate_every": 2, "threads": 1},
    }
    (parent / "rows.yaml").write_text(yaml.safe_dump(base))
    comparison = {
        "name": "c",
        "base": str(parent / "rows.yaml"),
        "seeds": [1, 2],
        "variants": {"lif": {"network.adaptive_neurons": 0}, "lsnn+more": {"network.adaptive_neurons": 3}},
    }
    (parent / "c.yaml").write_text(yaml.safe_dump(comparison))
    folder, planned = plan(load_comparison([str(parent / "c.yaml")], (), ()), parent)
    for each in planned:
        assert run("train", f"--resume={each.run.path}", "--quiet") == 0
    return folder, planned


def _accuracies(planned: list[PlannedRun], variant: str) -> list[float]:
    found = [each.run.results for each in planned if each.variant == variant]
    return [json.loads(path.read_text())["accuracy"] for path in found]


def test_a_variant_of_a_comparison_brings_all_its_seeds(compared, tmp_path: Path, capsys):
    folder, planned = compared
    row = {"name": "lif", "config": str(folder.parent / "rows.yaml"), "figures": {"accuracy": None}}
    docs = documents(tmp_path, row)
    add = ["results", "add", str(folder), "--row=lif", f"--docs={docs}"]
    assert "unknown --variant 'life': did you mean 'lif'?" in refusal(capsys, *add, "--variant=life")
    assert run(*add, "--variant=lif") == 0
    summaries = read_summaries(docs, "lif")
    assert [each.seed for each in summaries] == [1, 2]
    assert [each.figures["accuracy"] for each in summaries] == close(_accuracies(planned, "lif"))
    assert "--set network.adaptive_neurons=0" in (docs / "results.md").read_text()


def _rows_of(folder: Path, **changes: Any) -> dict[str, Any]:
    rows = {
        "name": "thresholds",
        "comparison": str(folder.parent / "c.yaml"),
        "options": "--jobs 2",
        "variants": {"lsnn+more": "with three", "lif": "without"},
        "figures": {"accuracy": None},
    }
    return rows | changes


def test_a_comparison_is_a_row_for_each_of_its_variants(compared, tmp_path: Path):
    folder, planned = compared
    docs = documents(tmp_path, _rows_of(folder, notes="Small."))
    assert run("results", f"--docs={docs}") == 0
    text = (docs / "results.md").read_text()
    assert text.index("| s: with three | – |") < text.index("| s: without | – |")
    assert "rows.yaml --set network.adaptive_neurons=0`" in text
    add = ["results", "add", str(folder), "--row=thresholds", f"--docs={docs}"]
    assert run(*add, "--variant=lif") == 0
    assert read_summaries(docs, "thresholds-lsnn-more") == []
    assert run(*add) == 0
    for variant, name in (("lif", "thresholds-lif"), ("lsnn+more", "thresholds-lsnn-more")):
        found = [each.figures["accuracy"] for each in read_summaries(docs, name)]
        assert found == close(_accuracies(planned, variant))
    text = (docs / "results.md").read_text()
    assert "- Notes: Variant lsnn+more of `lsnn-gym compare" in text
    assert "c.yaml --jobs 2`. Small." in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {"lift": "x"}}, "row thresholds: unknown variant 'lift': did you mean 'lif'?"),
        ({"variants": {}}, "rows.0.variants is {}"),
        ({"varants": {"lif": "x"}}, "unknown key 'rows.0.varants': did you mean 'rows.0.variants'?"),
        ({"figures": {"acuracy": None}}, "unknown figure 'acuracy': did you mean 'accuracy'?"),
    ],
)
def test_rows_of_a_comparison_that_cannot_be_used_are_one_line(compared, changes, message, tmp_path, capsys):
    docs = documents(tmp_path, _rows_of(compared[0], **changes))
    assert message in refusal(capsys, "results", f"--docs={docs}")


@pytest.mark.parametrize("name", ["thresholds-lif", "thresholds"])
def test_a_name_stands_once(name: str, compared, tmp_path: Path, capsys):
    rows = _rows_of(compared[0])
    row = {"name": name, "config": rows["comparison"], "figures": {"accuracy": None}}
    docs = documents(tmp_path, rows, row)
    assert f"there are two rows named '{name}'" in refusal(capsys, "results", f"--docs={docs}")


def test_of_a_comparison_that_is_not_done_one_line_says_so(compared, tmp_path: Path, capsys):
    folder, planned = compared
    shutil.copytree(folder, tmp_path / "runs")
    for each in planned:
        if each.variant == "lif":
            (tmp_path / "runs" / each.run.path.relative_to(folder) / "results.json").unlink()
    docs = documents(tmp_path, _rows_of(folder))
    add = ["results", "add", str(tmp_path / "runs"), "--row=thresholds", f"--docs={docs}"]
    assert "no run of variant lif is complete yet" in refusal(capsys, *add)
    assert read_summaries(docs, "thresholds-lsnn-more") == []
    assert "unknown --variant 'life': did you mean 'lif'?" in refusal(capsys, *add, "--variant=life")
    assert run(*add, "--variant=lsnn+more") == 0
    assert len(read_summaries(docs, "thresholds-lsnn-more")) == 2
