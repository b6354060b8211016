"""What is committed: the page says what rows and summaries say, and every row's command is one that trains so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from lsnn_gym import data
from lsnn_gym.classification.trainer import ClassificationTrainer
from lsnn_gym.data import fsdd, store
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import experiment_from, family_of, load_experiment
from lsnn_gym.published.page import entries
from lsnn_gym.published.repeating import command_of, parsed
from lsnn_gym.published.rows import read_rows
from lsnn_gym.settings import apply_overrides
from tests.command_line import run

DOCS = Path(__file__).parents[2] / "docs"
ENTRIES = entries(DOCS)
SUMMARIES = [(entry.row, summary) for entry in ENTRIES for summary in entry.summaries]
LIMIT_BYTES = 2_500_000


def test_the_committed_page_is_what_the_command_writes(capsys):
    assert run("results", "--check") == 0
    assert "as rows and summaries say" in capsys.readouterr().out


def test_every_figure_of_the_table_stands_in_a_summary():
    """Not by the code that writes the table: numbers are taken from the page, and looked for in the files."""
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    found = 0
    for row, summary in SUMMARIES:
        section = text.partition(f"## {row.name}\n")[2].partition("\n## ")[0]
        assert section, row.name
        plain = json.loads(
            (DOCS / "results" / "summaries" / row.name / f"seed-{summary.seed}.json").read_text()
        )
        numbers = list(_numbers(plain["figures"]))
        column = 2 + [each.seed for each in next(e for e in ENTRIES if e.row == row).summaries].index(
            summary.seed
        )
        rows = re.findall(r"^\| (?!figure|---|test accuracy after)[^|]+\|.*$", section, re.MULTILINE)
        for line in rows:
            cells = [cell.strip() for cell in line.split("|")]
            if cells[1].isdigit() or cells[column] == "–":
                continue
            written = re.match(r"-?[\d,.]+", cells[column])
            assert written, line
            value, digits = float(written[0].replace(",", "")), len(written[0].partition(".")[2])
            near = [n for n in numbers for factor in (1, 100, 1e-3) if round(factor * n, digits) == value]
            assert near, f"{row.name}, {line}: in no summary"
            found += 1
    assert found > 20


def _numbers(plain: Any):
    for value in plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list) else []:
        if isinstance(value, int | float):
            yield value
        else:
            yield from _numbers(value)


@pytest.mark.parametrize(("row", "summary"), SUMMARIES, ids=lambda each: getattr(each, "name", None) or "")
def test_a_rows_command_gives_the_settings_of_its_run(row, summary):
    config, overrides = parsed(command_of(row, summary))
    assert load_experiment(config, overrides) == summary.experiment()


def test_summaries_are_small_and_every_folder_has_its_row():
    files = [path for path in (DOCS / "results").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LIMIT_BYTES
    folders = {path.name for path in (DOCS / "results" / "summaries").iterdir()}
    assert folders <= {row.name for row in read_rows(DOCS)}


class NotHereError(UserError):
    """A data set would have to be downloaded."""


def _no_download(name: str) -> Path:
    raise NotHereError(f"the data set {name!r} is not on this machine")


def _few_recordings(split: Literal["train", "test"]) -> data.SpokenDigitRecordings:
    """Return a tenth of them: what a cochlea makes of sound takes long."""
    waveforms, labels, speakers = fsdd(split)
    return data.SpokenDigitRecordings(waveforms[::10], labels[::10], speakers[::10])


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.row.name for entry in ENTRIES])
def test_each_rows_command_trains_for_a_few_iterations(entry, monkeypatch):
    monkeypatch.setattr(store, "fetch", _no_download)
    monkeypatch.setattr(data, "fsdd", _few_recordings)
    summary = entry.summaries[0] if entry.summaries else None
    config, overrides = parsed(command_of(entry.row, summary))
    experiment = load_experiment(config, overrides)
    settings = experiment.model_dump(mode="json", round_trip=True)
    smaller = apply_overrides(settings, SMALLER[next(key for key in SMALLER if key in settings)])
    small = experiment_from(smaller, config)
    try:
        trainer = family_of(small).make_trainer(small)
    except NotHereError as error:
        pytest.skip(str(error))
    if isinstance(trainer, ClassificationTrainer):
        parts = {"parts_per_epoch": trainer.batches_per_epoch}  # a batch an iteration
        trainer.settings = trainer.settings.model_copy(update=parts)
    for number in (1, 2):
        figures = trainer.run_iteration()
        assert figures["iteration"] == number == trainer.finished_iterations


SMALLER = {
    "env": ("train.episodes_per_iteration=2", "train.ppo.minibatches=1"),
    "task": ("train.batch_size=2",),
    "regression": ("train.batch_size=2",),
    "rule": ("train.batch_size=2", "data.validation=0"),
}
"""By the section that only such experiments have: what makes an iteration short."""


def test_rows_name_configs_of_the_package():
    for row in read_rows(DOCS):
        assert load_experiment(row.config).name
        assert yaml.safe_dump(row.set)
