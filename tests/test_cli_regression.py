"""The command line with regression: trains, judges beside the references, draws, refuses in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lsnn_gym.experiment import load_experiment
from lsnn_gym.families.regression import RegressionExperiment
from tests.command_line import only_run, run

SMALL = (
    "--set=network.regular_neurons=6",
    "--set=network.adaptive_neurons=4",
    "--set=regression.trials=6",
    "--set=model.steps_per_observation=3",
    "--set=model.coding.neurons_per_value=5",
    "--set=model.coding.width=0.3",
    "--set=train.batch_size=4",
    "--set=train.iterations=4",
    "--set=train.checkpoint_every=2",
    "--set=evaluate.episodes=8",
    "--set=evaluate.first_trial=2",
    "--set=evaluate.trials=6",
)
FILES = {
    "config.yaml",
    "metrics.jsonl",
    "timing.jsonl",
    "tensorboard",
    "checkpoints",
    "environment.json",
    "results.json",
    "learning_curve.png",
    "error_by_trial.png",
    "episode.mp4",
    "episode.png",
    "references",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("regression")
    assert run("train", "sinusoid-quick", *SMALL, f"--out={parent}", "--quiet") == 0
    return only_run(parent)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run what has to be refused in one line with status 2, and return that line."""
    capsys.readouterr()
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_training_leaves_its_files(trained: Path):
    assert {path.name for path in trained.iterdir()} == FILES
    for name in ("learning_curve.png", "error_by_trial.png", "episode.png"):
        assert (trained / name).read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert all(
        {"loss", "error", "last_error", "firing_rate_hz", "gradient_norm"} <= set(line) for line in lines
    )


def test_evaluate_prints_errors_by_trial_of_agent_and_references(trained: Path, capsys):
    capsys.readouterr()
    assert run("evaluate", str(trained), "--episodes=5", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["episodes"] == 5
    assert list(figures["references"]) == [
        "family_mean",
        "last_target",
        "ridge_regression",
        "gaussian_process",
        "backprop_network",
        "backprop_10_steps",
        "lstm",
        "maml",
    ]
    assert list(figures["transfer"]) == ["polynomial", "gaussian_process"]
    for other in figures["transfer"].values():
        assert list(other["references"]) == list(figures["references"])
    maml = figures["references"]["maml"]["error_by_trial"]
    assert figures["error_over_maml"] == {
        shots: pytest.approx(figures["error_by_trial"][int(shots)] / maml[int(shots)]) for shots in ("1", "5")
    }
    for row in (figures, *figures["references"].values()):
        assert len(row["error_by_trial"]) == 6
        assert row["error"] == pytest.approx(sum(row["error_by_trial"][1:6]) / 5)
    assert run("evaluate", str(trained), "--episodes=5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["squared", "error", "2", "to", "6", "±", "of", "variance", "1", "2", "3", "5"]
    assert lines[1].split()[:2] == ["agent", f"{figures['error']:.5f}"]
    names = ["agent", *(name.replace("_", " ") for name in figures["references"])]
    assert [line[:20].strip() for line in lines[1:10]][: len(names)] == names
    assert f"agent's error over MAML's: {figures['error_over_maml']['1']:.2f} after 1" in lines[12]
    assert lines[14] == "trials 2 to 6, families not trained on, of variance"
    assert lines[15].split() == ["polynomial", "gaussian", "process"]
    assert [line[:20].strip() for line in lines[16:]] == names
    share = figures["transfer"]["gaussian_process"]["error_share"]
    assert lines[16].split() == ["agent", lines[16].split()[1], "%", f"{100 * share:.2f}", "%"]


def test_references_can_be_left_out(trained: Path, tmp_path: Path, capsys):
    alone = ["references=false", "lstm=null", "maml=null", "transfer=[]"]
    arguments = [*SMALL, *(f"--set=evaluate.{each}" for each in alone), f"--out={tmp_path}", "--quiet"]
    assert run("train", "sinusoid-quick", *arguments) == 0
    folder = only_run(tmp_path)
    figures = json.loads((folder / "results.json").read_text())
    beside = json.loads((trained / "results.json").read_text())
    assert figures["references"] == figures["transfer"] == {}
    assert figures["error_by_trial"] == beside["error_by_trial"]
    assert {path.name for path in folder.iterdir()} == FILES - {"references"}
    capsys.readouterr()
    assert run("evaluate", str(folder)) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == ["agent", "targets'"]


def test_a_resumed_training_ends_as_the_undisturbed_one(trained: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    shutil.rmtree(folder / "checkpoints" / "00000004")
    assert run("train", "--resume", str(folder), "--quiet") == 0
    for name in ("metrics.jsonl", "checkpoints/00000004/model.safetensors"):
        assert (folder / name).read_bytes() == (trained / name).read_bytes()


def test_an_lstm_trains_and_is_drawn_too(tmp_path: Path, capsys):
    arguments = ["regression-quick", *SMALL, "--set=model.core=lstm", "--set=train.iterations=1"]
    assert run("train", *arguments, f"--out={tmp_path}", "--quiet") == 0
    folder = only_run(tmp_path)
    assert {path.name for path in folder.iterdir()} == FILES - {"references"}
    assert "firing rate" not in capsys.readouterr().out
    assert run("render", str(folder), f"--out={tmp_path / 'other.png'}", "--seed=3") == 0
    assert (tmp_path / "other.png").read_bytes() != (folder / "episode.png").read_bytes()


@pytest.mark.parametrize("name", ["regression", "regression-paper", "regression-quick", "sinusoid-quick"])
def test_the_configs_are_experiments_of_regression(name: str):
    experiment = load_experiment(name)
    assert isinstance(experiment, RegressionExperiment)
    assert experiment.evaluate.episodes >= 256
    if name.endswith("quick"):
        assert experiment.network.num_neurons <= 150
    else:
        assert experiment.network.num_neurons == 300
        assert experiment.regression.trials == 500
        assert experiment.model.steps_per_observation == 20


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("regression.family=sinusiod", "unknown function family 'sinusiod': did you mean 'sinusoid'?"),
        ("regression.trails=3", "unknown key 'regression.trails': did you mean 'regression.trials'?"),
        ("evaluate.first_trial=7", "evaluate.first_trial is 7 and last_trial 10: expected them in order"),
        (
            "evaluate.transfer=[lienar]",
            "evaluate.transfer: unknown function family 'lienar': did you mean 'linear'?",
        ),
        ("evaluate.transfer=[linear]", "evaluate.transfer: linear has 2 inputs: expected families of 1"),
        ("train.trials=7", "train.trials is 7: expected at most regression.trials, 6"),
        ("train.skipped_trials=6", "train.skipped_trials is 6: expected less than 6"),
        ("env.id=x", "there is regression and env: expected one of them"),
    ],
)
def test_settings_of_no_use_are_refused(setting: str, message: str, tmp_path: Path, capsys):
    line = refusal(capsys, "train", "sinusoid-quick", *SMALL, f"--set={setting}", f"--out={tmp_path}")
    assert message in line
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_drawn_is_refused(trained: Path, capsys):
    line = refusal(capsys, "render", str(trained), "--out=film.mpg")
    assert "unknown format '.mpg'" in line
    assert "there is .gif, .mp4, .png" in line


def test_an_episode_is_filmed_drawn_and_shown(trained: Path, tmp_path: Path, capsys):
    imageio = pytest.importorskip("imageio.v3")
    capsys.readouterr()
    film = tmp_path / "film.gif"
    assert run("render", str(trained), f"--out={film}", "--seed=2") == 0
    frames = imageio.imread(film)
    assert frames.shape[0] == 6  # one a trial
    assert frames.shape[2] == 512
    assert run("render", str(trained), "--human") == 0
    (trained / "episode.png").unlink()
    (trained / "episode.mp4").unlink()
    capsys.readouterr()
    assert run("render", str(trained)) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(trained / "episode.mp4"),
        str(trained / "episode.png"),
    ]
    assert (trained / "episode.png").read_bytes().startswith(b"\x89PNG")
    assert b"ftyp" in (trained / "episode.mp4").read_bytes()[:16]
