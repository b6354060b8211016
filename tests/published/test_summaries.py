"""From the folder of a run to its summary and the page: complete or stopped, of every family."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from lsnn_gym.errors import UserError
from lsnn_gym.published.measures import measure_of
from lsnn_gym.published.page import pages
from lsnn_gym.published.summaries import read_summaries
from lsnn_gym.training.metrics import read_metrics
from tests.classification.test_trainer import DIGITS
from tests.command_line import SMALL_MAZE, run

RL_FIGURES = {"goals_per_episode": None, "references.oracle.goals_per_episode": None}


def documents(folder: Path, *rows: dict[str, Any]) -> Path:
    """Write rows into a folder of documents, each with what it lacks."""
    place = folder / "docs" / "results"
    place.mkdir(parents=True, exist_ok=True)
    own = [{} if "comparison" in row else {"what": "w"} for row in rows]
    whole = [
        {"system": "s", "not_run": "not yet", **lacking, **row}
        for lacking, row in zip(own, rows, strict=True)
    ]
    (place / "rows.yaml").write_text(yaml.safe_dump({"rows": whole}, sort_keys=False))
    return folder / "docs"


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    return capsys.readouterr().err


def close(expected: Any) -> Any:
    """Summaries have seven digits."""
    return pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a tiny maze, in a folder each."""
    parent = tmp_path_factory.mktemp("mazes")
    for seed in (1, 2):
        arguments = [*SMALL_MAZE, "--set=train.iterations=2", f"--set=seed={seed}", "--quiet"]
        assert run("train", "water-maze-smoke", *arguments, f"--folder={parent / str(seed)}") == 0
    return parent


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits, three epochs of two parts."""
    parent = tmp_path_factory.mktemp("classifier")
    (parent / "digits.yaml").write_text(yaml.safe_dump(DIGITS))
    arguments = ["--set=train.checkpoint_every=1", "--set=train.checkpoints_kept=9", "--quiet"]
    assert run("train", str(parent / "digits.yaml"), *arguments, f"--folder={parent / 'run'}") == 0
    return parent


def test_a_summary_has_what_the_run_has(maze: Path, tmp_path: Path):
    docs = documents(tmp_path, {"name": "maze", "config": "water-maze-smoke", "figures": RL_FIGURES})
    assert run("results", "add", str(maze / "1"), "--row=maze", f"--docs={docs}") == 0
    (summary,) = read_summaries(docs, "maze")
    results = json.loads((maze / "1" / "results.json").read_text())
    assert summary.finished
    assert (summary.seed, summary.iterations, summary.of_iterations, summary.epochs) == (1, 2, 2, None)
    assert summary.figures["goals_per_episode"] == results["goals_per_episode"]
    for key, value in summary.figures["references"]["oracle"].items():
        assert value == (results["references"]["oracle"][key] and close(results["references"]["oracle"][key]))
    timing = read_metrics(maze / "1" / "timing.jsonl")
    assert summary.seconds == close(sum(each["seconds"] for each in timing))
    assert summary.processor_seconds is not None
    assert summary.processor_seconds > 0
    assert summary.environment["cpu"]
    assert summary.environment["torch_threads"] == 1
    assert summary.settings["network"]["regular_neurons"] == 6
    metrics = read_metrics(maze / "1" / "metrics.jsonl")
    assert summary.curve["goals_per_episode"] == [each["goals_per_episode"] for each in metrics]


def test_of_errors_by_trial_some_are_kept(maze: Path, tmp_path: Path):
    shutil.copytree(maze / "1", tmp_path / "run")
    results = json.loads((maze / "1" / "results.json").read_text())
    by_trial = [1.0 / (trial + 1) for trial in range(60)]
    results["error_by_trial"] = [*by_trial[:50], None, *by_trial[51:]]
    results["references"]["lstm"] = {"error_by_trial": [None] * 5 + by_trial[:6]}
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    key = "references.lstm.error_by_trial.10"
    docs = documents(tmp_path, {"name": "maze", "config": "water-maze-smoke", "figures": {key: None}})
    assert run("results", "add", str(tmp_path / "run"), "--row=maze", f"--docs={docs}") == 0
    (summary,) = read_summaries(docs, "maze")
    assert summary.figures["error_by_trial"] == {
        str(place): close(by_trial[place]) for place in (1, 2, 5, 10, 20)
    }
    assert summary.figures["references"]["lstm"] == {"error_by_trial": {"5": 1.0, "10": close(1 / 6)}}
    assert "| squared error, after 10 examples: lstm | – | **0.1667** |" in (docs / "results.md").read_text()


def test_the_page_gives_mean_and_range_and_the_command_of_each_seed(maze: Path, tmp_path: Path):
    docs = documents(tmp_path, {"name": "maze", "config": "water-maze-smoke", "figures": RL_FIGURES})
    assert run("results", "add", str(maze / "1"), str(maze / "2"), "--row=maze", f"--docs={docs}") == 0
    values = [
        each.figures["references"]["oracle"]["goals_per_episode"] for each in read_summaries(docs, "maze")
    ]
    text = (docs / "results.md").read_text()
    mean, low, high = statistics.fmean(values), min(values), max(values)
    assert f"| goals an episode: oracle | – | **{mean:.2f}** ({low:.2f} to {high:.2f}) |" in text
    assert "| 1, 2 | 2 iterations |" in text
    (first, second) = re.findall(r"^lsnn-gym train water-maze-smoke .*$", text, re.MULTILINE)
    assert first.replace("train water-maze-smoke", "train water-maze-smoke --set seed=2") == second
    assert "--set network.regular_neurons=6" in first
    assert (docs / "results" / "curves" / "maze.svg").read_text().count("<polyline") == 2


def test_settings_that_came_after_a_run_have_their_defaults(maze: Path, tmp_path: Path):
    docs = documents(tmp_path, {"name": "maze", "config": "water-maze-smoke", "figures": RL_FIGURES})
    assert run("results", "add", str(maze / "1"), "--row=maze", f"--docs={docs}") == 0
    text = (docs / "results.md").read_text()
    path = docs / "results" / "summaries" / "maze" / "seed-1.json"
    older = json.loads(path.read_text())
    del older["settings"]["network"]["cell"], older["settings"]["train"]["auxiliary"]
    path.write_text(json.dumps(older))
    assert run("results", f"--docs={docs}") == 0
    assert (docs / "results.md").read_text() == text
    assert run("results", "add", str(maze / "2"), "--row=maze", f"--docs={docs}") == 0


def test_what_is_edited_by_hand_is_found(maze: Path, tmp_path: Path, capsys):
    docs = documents(tmp_path, {"name": "maze", "config": "water-maze-smoke", "figures": RL_FIGURES})
    assert run("results", "add", str(maze / "1"), "--row=maze", f"--docs={docs}") == 0
    assert run("results", "--check", f"--docs={docs}") == 0
    page = docs / "results.md"
    page.write_text(page.read_text().replace("2 iterations", "3 iterations"))
    capsys.readouterr()
    assert run("results", "--check", f"--docs={docs}") == 1
    assert f"{page}: not what rows and summaries say" in capsys.readouterr().out
    assert run("results", f"--docs={docs}") == 0
    assert run("results", "--check", f"--docs={docs}") == 0
    path = docs / "results" / "summaries" / "maze" / "seed-1.json"
    changed = json.loads(path.read_text())
    changed["figures"]["goals_per_episode"] += 1.0
    path.write_text(json.dumps(changed))
    assert run("results", "--check", f"--docs={docs}") == 1


def test_a_stopped_classifier_has_the_figures_of_its_last_whole_epoch(classifier: Path, tmp_path: Path):
    stopped = tmp_path / "run"
    shutil.copytree(classifier / "run", stopped)
    (stopped / "results.json").unlink()
    lines = (stopped / "metrics.jsonl").read_text().splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text("".join(lines[:5]))  # two epochs and a part
    figures = dict.fromkeys(("accuracy", "chosen_accuracy", "best_on_test_accuracy"))
    row = {"name": "digits", "config": str(classifier / "digits.yaml"), "figures": figures}
    docs = documents(tmp_path, row)
    assert run("results", "add", str(stopped), "--row=digits", f"--docs={docs}") == 0
    (summary,) = read_summaries(docs, "digits")
    tested = [json.loads(line) for line in (lines[1], lines[3])]
    assert not summary.finished
    assert (summary.epochs, summary.of_epochs, summary.iterations) == (2.0, 3, 4)
    assert summary.figures["accuracy"] == close(tested[1]["test_accuracy"])
    assert summary.figures["best_on_test_accuracy"] == close(max(each["test_accuracy"] for each in tested))
    chosen = max(tested, key=lambda each: each["validation_accuracy"])
    assert summary.figures["chosen_accuracy"] == close(chosen["test_accuracy"])
    assert summary.figures["last_ten_accuracy"] is None
    assert summary.curve["epoch"] == [1, 2]
    assert "**stopped after 2** of 3 epochs" in (docs / "results.md").read_text()


def test_a_complete_classifier_says_the_same_by_its_metrics_and_by_its_results(
    classifier: Path, tmp_path: Path
):
    figures = dict.fromkeys(("accuracy", "chosen_accuracy", "best_on_test_accuracy"))
    row = {"name": "digits", "config": str(classifier / "digits.yaml"), "figures": figures}
    docs = documents(tmp_path, row)
    assert run("results", "add", str(classifier / "run"), "--row=digits", f"--docs={docs}") == 0
    (summary,) = read_summaries(docs, "digits")
    metrics = read_metrics(classifier / "run" / "metrics.jsonl")
    tested = [each for each in metrics if "test_accuracy" in each]
    assert summary.figures["accuracy"] == close(tested[-1]["test_accuracy"])
    chosen = max(tested, key=lambda each: each["validation_accuracy"])
    assert summary.figures["chosen_accuracy"] == close(chosen["test_accuracy"])
    first = statistics.fmean(each["accuracy"] for each in metrics[:2])
    assert summary.curve["accuracy"][0] == close(first)


def test_a_stopped_agent_is_judged_by_its_newest_checkpoint(maze: Path, tmp_path: Path):
    stopped = tmp_path / "run"
    shutil.copytree(maze / "1", stopped)
    (stopped / "results.json").unlink()
    config = yaml.safe_load((stopped / "config.yaml").read_text())
    config["train"]["iterations"] = 5
    (stopped / "config.yaml").write_text(yaml.safe_dump(config))
    docs = documents(tmp_path, {"name": "maze", "config": "water-maze-smoke", "figures": RL_FIGURES})
    assert run("results", "add", str(stopped), "--row=maze", f"--docs={docs}") == 0
    (summary,) = read_summaries(docs, "maze")
    results = json.loads((maze / "1" / "results.json").read_text())
    assert (summary.finished, summary.iterations, summary.of_iterations) == (False, 2, 5)
    assert summary.figures["goals_per_episode"] == results["goals_per_episode"]
    assert not (stopped / "results.json").exists()


def test_runs_of_other_settings_do_not_mix(maze: Path, tmp_path: Path, capsys):
    docs = documents(tmp_path, {"name": "maze", "config": "water-maze-smoke", "figures": RL_FIGURES})
    assert run("results", "add", str(maze / "1"), "--row=maze", f"--docs={docs}") == 0
    other = tmp_path / "other"
    shutil.copytree(maze / "2", other)
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["train"]["ppo"]["discount"] = 0.5
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    said = refusal(capsys, "results", "add", str(other), "--row=maze", f"--docs={docs}")
    assert "row maze: seed 2 was run with another train.ppo.discount than seed 1" in said
    assert [each.seed for each in read_summaries(docs, "maze")] == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"not_run": ""},
            "row maze: there is no summary of it: expected `lsnn-gym results add RUN --row maze`",
        ),
        (
            {"figures": {"goal_per_episode": None}},
            "unknown figure 'goal_per_episode': did you mean 'goals_per",
        ),
        ({"config": "water-maze-quik"}, "unknown config 'water-maze-quik': did you mean 'water-maze-quick'?"),
        ({"publishd": 1}, "unknown key 'rows.0.publishd'"),
    ],
)
def test_rows_that_cannot_be_used_are_one_line(changes, message, tmp_path: Path, capsys):
    row = {"name": "maze", "config": "water-maze-smoke", "figures": {"goals_per_episode": None}}
    docs = documents(tmp_path, {**row, **changes})
    assert message in refusal(capsys, "results", f"--docs={docs}")
    assert not (docs / "results.md").exists()


def test_a_figure_that_falls_short_needs_what_was_tried_and_is_suspected(maze: Path, tmp_path: Path):
    figures = {"goals_per_episode": {"value": 1000.0, "spread": 2.0, "text": "mean"}}
    row = {"name": "maze", "config": "water-maze-smoke", "figures": figures}
    docs = documents(tmp_path, row)
    assert run("results", "add", str(maze / "1"), "--row=maze", f"--docs={docs}") == 2
    with pytest.raises(UserError, match="row maze: its goals_per_episode falls short of what was published"):
        pages(docs)
    pages(documents(tmp_path, {**row, "tried": "this", "suspected": "that"}))
    assert run("results", f"--docs={docs}") == 0
    (summary,) = read_summaries(docs, "maze")
    ours = summary.figures["goals_per_episode"]
    text = (docs / "results.md").read_text()
    assert f"1,000.00 ± 2.00, mean | **{ours:.2f}** | {ours - 1000:+,.2f} |" in text
    assert "- Tried: this" in text
    assert "- Suspected: that" in text


def test_what_is_published_stands_first_with_what_is_short_of_it(maze: Path, tmp_path: Path):
    row = {"name": "maze", "config": "water-maze-smoke", "figures": {"goals_per_episode": None}}
    docs = documents(tmp_path, row)
    assert run("results", "add", str(maze / "1"), "--row=maze", f"--docs={docs}") == 0
    assert "Beside what is published" not in (docs / "results.md").read_text()

    figures = {"goals_per_episode": {"value": 1000.0}, "first_latency": {"value": 1000.0}}
    explained = {"tried": "this", "suspected": "that"}
    pages(documents(tmp_path, {**row, "figures": figures, **explained}))
    assert run("results", f"--docs={docs}") == 0
    (summary,) = read_summaries(docs, "maze")
    goals, latency = (summary.figures[key] for key in figures)
    text = (docs / "results.md").read_text().partition("## All that was run")[0]
    assert "Figures that others state as a number: 2; reached: 1." in text
    for label, ours, word in (
        ("goals an episode", f"{goals:.2f}** | {goals - 1000:+,.2f}", "short"),
        ("steps to the first goal", f"{latency:.1f}** | {latency - 1000:+,.1f}", "reached"),
    ):
        pattern = (
            rf"^\| s: \[w\]\(#maze\) \| {label} \| [^|]+ \| \*\*{re.escape(ours)} \| [^|]+ \| {word} \|$"
        )
        assert re.search(pattern, text, re.MULTILINE), text


def test_outside_of_a_checkout_one_line_says_what_is_missing(tmp_path: Path, capsys):
    said = refusal(capsys, "results", f"--docs={tmp_path}")
    assert "rows.yaml: the table of results belongs to a checkout of lsnn_gym" in said
    docs = documents(tmp_path, {"name": "maze", "config": "water-maze-smoke", "figures": RL_FIGURES})
    assert "unknown row 'mace': did you mean 'maze'?" in refusal(
        capsys, "results", "add", str(tmp_path), "--row=mace", f"--docs={docs}"
    )


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("error_share", "squared error, of the targets' variance"),
        ("references.maml.error_share", "squared error, of the targets' variance: maml"),
        ("references.lstm.error_by_trial.10", "squared error, after 10 examples: lstm"),
        ("error_over_maml.5", "squared error, of MAML's, after 5 examples"),
        ("transfer.error_over_maml.10", "squared error, of MAML's, after 10 examples: transfer"),
    ],
)
def test_figures_say_whose_they_are_and_after_how_many_examples(key, label):
    assert measure_of(key).label == label


@pytest.mark.parametrize("key", ["5", "error_over_mmal.5", "error_over_maml.five"])
def test_figures_that_are_not_known_are_refused(key):
    with pytest.raises(UserError, match="unknown figure"):
        measure_of(key)
