"""Networks that come with the package: they reach what their cards say, and so does the table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lsnn_gym import pretrained
from lsnn_gym.agents.actor_critic import ActorCritic
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import experiment_of, load_experiment
from lsnn_gym.families.family import newest_checkpoint
from lsnn_gym.published.measures import figure_in
from lsnn_gym.published.publishing import LIMIT_BYTES, judge_alone, publish
from lsnn_gym.published.repeating import parsed
from lsnn_gym.published.rows import Row, read_rows, row_named
from lsnn_gym.published.summaries import summarise, summary_of
from lsnn_gym.regression.network import RegressionNetwork
from lsnn_gym.regression.trainer import RegressionTrainer
from lsnn_gym.training.run_folder import RunFolder
from tests.command_line import SMALL_MAZE, run

DOCS = Path(__file__).parent.parent / "docs"
NAMES = pretrained.names()


def test_the_water_maze_and_regression_are_there():
    assert {"water-maze", "water-maze-full", "regression"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_reaches_what_card_and_table_say(name: str):
    card = pretrained.card(name)
    assert row_named(read_rows(DOCS), card.row)
    summary = summary_of(DOCS, card.row, card.seed)
    with pretrained.run_folder(name) as folder:
        experiment = experiment_of(folder)
        assert experiment == summary.experiment()
        found = judge_alone(folder, experiment, 0)
    assert not folder.path.exists()
    assert "backprop_network" not in found["references"]  # which take minutes
    assert len(card.figures) >= 2
    for key, expected in card.figures.items():
        assert expected.value == figure_in(summary.figures, key)
        assert expected.spread > 0
        assert figure_in(found, key) == pytest.approx(expected.value, abs=expected.spread), key


@pytest.mark.parametrize("name", NAMES)
def test_its_command_has_the_settings_it_was_trained_with(name: str):
    card = pretrained.card(name)
    with pretrained.run_folder(name) as folder:
        experiment = experiment_of(folder)
    config, _ = parsed(card.command)
    assert load_experiment(config).name == experiment.name


@pytest.mark.parametrize("name", NAMES)
def test_evaluate_judges_it_beside_its_references_and_trains_none(name: str, monkeypatch, capsys):
    def refused(self: RegressionTrainer) -> None:
        raise AssertionError("a reference is trained, though its weights come with the package")

    monkeypatch.setattr(RegressionTrainer, "run_iteration", refused)
    assert run("evaluate", f"--pretrained={name}", "--episodes=2", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["episodes"] == 2
    assert len(figures["references"]) >= 3


def test_render_leaves_its_film_here(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("render", "--pretrained=water-maze") == 0
    assert capsys.readouterr().out == "water-maze-episode.mp4\n"
    assert [path.name for path in tmp_path.iterdir()] == ["water-maze-episode.mp4"]


@pytest.mark.parametrize(("name", "kind"), [("water-maze", ActorCritic), ("regression", RegressionNetwork)])
def test_load_gives_the_network_with_its_weights(name: str, kind: type):
    network = pretrained.load(name)
    assert isinstance(network, kind)
    kept = safetensors.torch.load_file(pretrained.folder_of_all() / name / pretrained.WEIGHTS_FILE)
    state = network.state_dict()
    assert state.keys() == kept.keys()
    # Small whole numbers are kept in one byte.
    assert all(torch.equal(state[key], each.to(state[key].dtype)) for key, each in kept.items())


def test_all_of_them_are_small_and_none_is_a_pickle():
    files = [path for path in pretrained.folder_of_all().glob("*/**/*") if path.is_file()]
    files = [path for path in files if "__pycache__" not in path.parts]
    assert {path.suffix for path in files} == {".yaml", ".json", ".safetensors"}
    assert sum(path.stat().st_size for path in files) <= LIMIT_BYTES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["evaluate", "--pretrained=water-mase"],
            "unknown pretrained network 'water-mase': did you mean 'water-maze'?",
        ),
        (["evaluate"], "expected a RUN, or --pretrained with one of "),
        (["render", "x", "--pretrained=water-maze"], "expected a RUN, or --pretrained with one of "),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments, message, capsys):
    assert run(*arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("file", [pretrained.WEIGHTS_FILE, pretrained.CONFIG_FILE])
def test_a_damaged_file_is_not_used(file: str, tmp_path: Path, monkeypatch):
    copied = tmp_path / "water-maze"
    shutil.copytree(pretrained.folder_of_all() / "water-maze", copied)
    content = bytearray((copied / file).read_bytes())
    content[-1] ^= 1
    (copied / file).write_bytes(content)
    monkeypatch.setattr(pretrained, "folder_of_all", lambda: tmp_path)
    with pytest.raises(UserError, match=f"{file} is damaged: found checksum .*; installing lsnn_gym anew"):
        pretrained.load("water-maze")
    (copied / file).unlink()
    with pytest.raises(UserError, match=f"cannot read .*{file}"):
        pretrained.load("water-maze")


def test_a_run_is_published_and_judged_as_before(tmp_path: Path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    arguments = [*SMALL_MAZE, "--set=train.iterations=2", "--quiet", f"--folder={folder.path}"]
    assert run("train", "water-maze-smoke", *arguments) == 0
    row = Row(
        name="maze",
        system="s",
        what="w",
        config="water-maze-smoke",
        figures={"firing_rate_hz": None, "references.oracle.goals_per_episode": None},
    )
    summary = summarise(folder, row)
    publish(folder, "tiny", row, summary, sets=2, parent=tmp_path / "networks")
    monkeypatch.setattr(pretrained, "folder_of_all", lambda: tmp_path / "networks")
    assert pretrained.names() == ["tiny"]
    card = pretrained.card("tiny")
    assert set(card.figures) == {"firing_rate_hz"}
    assert "--set network.regular_neurons=6" in card.command
    original = newest_checkpoint(folder).model
    kept = safetensors.torch.load_file(tmp_path / "networks" / "tiny" / pretrained.WEIGHTS_FILE)
    assert any(kept[key].dtype != each.dtype for key, each in original.items())
    loaded = pretrained.load("tiny").state_dict()
    for key, each in original.items():
        assert loaded[key].dtype == each.dtype
        assert torch.equal(loaded[key], each)
    with pretrained.run_folder("tiny") as copied:
        found = judge_alone(copied, experiment_of(copied), 0)
    assert found["firing_rate_hz"] == pytest.approx(summary.figures["firing_rate_hz"], rel=1e-6)
    other = summary.model_copy(update={"settings": {**summary.settings, "seed": 9}})
    with pytest.raises(
        UserError, match=r"row maze has another run as seed 1: expected `lsnn-gym results add"
    ):
        publish(folder, "tiny", row, other, sets=2, parent=tmp_path / "networks")
    monkeypatch.setattr("lsnn_gym.published.publishing.LIMIT_BYTES", 1000)
    with pytest.raises(
        UserError, match=r"with it the networks of the package would have .* MB: expected at most 0.001"
    ):
        publish(folder, "tiny", row, summary, sets=2, parent=tmp_path / "networks")
