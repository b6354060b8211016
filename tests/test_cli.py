"""The command line as a user meets it: trains, stops, resumes, judges, films, and refuses in one line."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lsnn_gym.training.checkpoint import latest_checkpoint, load_checkpoint
from tests.command_line import SMALL_MAZE, only_run, run

SMALL = [*SMALL_MAZE, "--set=train.iterations=6"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    parent = tmp_path_factory.mktemp("runs")
    assert run("train", "water-maze-quick", *SMALL, f"--out={parent}", "--quiet") == 0
    return only_run(parent)


def test_a_training_leaves_what_the_readme_promises(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "config.yaml",
        "metrics.jsonl",
        "timing.jsonl",
        "tensorboard",
        "checkpoints",
        "environment.json",
        "results.json",
        "learning_curve.png",
        "episode.mp4",
    }
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[0]["environment_steps"] == 60
    assert {"goals_per_episode", "first_latency", "later_latency", "found_share", "firing_rate_hz"} <= set(
        lines[0]
    )
    assert list((trained / "tensorboard").glob("events*"))


def test_config_of_a_run_repeats_it(trained, tmp_path):
    assert run("train", str(trained / "config.yaml"), f"--out={tmp_path}", "--quiet") == 0
    again = only_run(tmp_path)
    assert (again / "metrics.jsonl").read_bytes() == (trained / "metrics.jsonl").read_bytes()


def test_evaluate_prints_the_agent_and_the_references(trained, capsys):
    assert run("evaluate", str(trained), "--episodes", "16", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    keys = {"goals_per_episode", "first_latency", "later_latency", "found_share", "firing_rate_hz"}
    assert keys <= set(figures)
    assert figures["episodes"] == 16
    assert set(figures["references"]) == {"random", "oracle", "sweep_then_exploit"}
    assert all(keys == set(row) for row in figures["references"].values())
    assert figures["firing_rate_hz"] > 0
    assert run("evaluate", str(trained)) == 0
    assert "sweep then exploit" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["episode.gif", "episode.png", "other.mp4"])
def test_render_writes_what_the_suffix_says(trained, tmp_path, name):
    assert run("render", str(trained), "--out", str(tmp_path / name)) == 0
    start = (tmp_path / name).read_bytes()[:12]
    assert start.startswith(b"GIF8") or start.startswith(b"\x89PNG") or start[4:8] == b"ftyp"


def test_render_in_a_window_ends_with_the_episode(trained):
    assert run("render", str(trained), "--human") == 0


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_a_non_spiking_core_is_one_setting_away(core, tmp_path, capsys):
    arguments = [
        "train",
        "water-maze-quick",
        *SMALL,
        f"--set=agent.core={core}",
        f"--out={tmp_path}",
        "--quiet",
    ]
    assert run(*arguments) == 0
    capsys.readouterr()
    assert run("evaluate", str(only_run(tmp_path)), "--json") == 0
    assert json.loads(capsys.readouterr().out)["firing_rate_hz"] is None


def test_another_environment_trains_too(tmp_path):
    config = {
        "name": "pendulum",
        "env": {"id": "Pendulum-v1"},
        "network": {"regular_neurons": 5, "adaptive_neurons": 0},
    }
    config["train"] = {"iterations": 1, "episodes_per_iteration": 2}
    path = tmp_path / "pendulum.yaml"
    path.write_text(yaml.safe_dump(config))
    assert run("train", str(path), f"--out={tmp_path / 'runs'}", "--quiet") == 0
    assert (only_run(tmp_path / "runs") / "episode.mp4").is_file()


@pytest.mark.parametrize("what", [[], ["envs"], ["configs"], ["cores"], ["engines"], ["data"], ["policies"]])
def test_list_names_what_there_is(what, capsys):
    assert run("list", *what) == 0
    out = capsys.readouterr().out
    expected = {"envs": "lsnn_gym/WaterMaze-v0", "configs": "water-maze-quick", "cores": "gru"}
    assert expected.get(what[0] if what else "envs", "") in out
    assert out.strip()


BAD_INPUT = [
    (["train", "water-maze-quik"], "unknown config 'water-maze-quik': did you mean 'water-maze-quick'?"),
    (["train", "missing.yaml"], "no such file: missing.yaml"),
    (["train"], "expected a CONFIG"),
    (["trian"], "did you mean 'train'?"),
    (["train", "water-maze-quick", "--set", "train.iteratons=3"], "did you mean 'train.iterations'?"),
    (
        ["train", "water-maze-quick", "--set", "train.iterations=many"],
        "train.iterations is 'many', expected a whole",
    ),
    (["train", "water-maze-quick", "--set", "train.iterations"], "expected section.key=value"),
    (
        ["train", "water-maze-quick", "--set", "env.options.goal_radius=-1"],
        "goal_radius must be greater than 0",
    ),
    (["train", "water-maze-quick", "--set", "env.options.goal_radus=1"], "did you mean 'goal_radius'?"),
    (["train", "water-maze-quick", "--set", "env.options.render_mode=human"], "unknown option 'render_mode'"),
    (
        ["train", "water-maze-quick", "--set", "env.id=lsnn_gym/WaterMaz-v0"],
        "did you mean 'lsnn_gym/WaterMaze-v0'?",
    ),
    (["train", "water-maze-quick", "--set", "env.id=CartPole-v1"], "action space is Discrete"),
    (["train", "water-maze-quick", "--set", "agent.core=lsnm"], "lsnn"),
    (["train", "water-maze-quick", "--set", "agent.encoding.events=[7]"], "expected indices from 0 to 3"),
    (["train", "water-maze-quick", "--set", "train.device=cuda:9"], "train.device: 'cuda:9' cannot be used"),
    (["train", "water-maze-quick", "--set", "network.engine=nativ"], "network.engine"),
    (["train", "water-maze-quick", "--resume", "x"], "leave out CONFIG"),
    (["train", "--resume", "no-such-run"], "no run folder no-such-run"),
    (["train", "water-maze-quick", "--out", "/proc/none"], "cannot write /proc/none"),
    (["evaluate", "no-such-run"], "no run folder no-such-run"),
    (["evaluate", ".", "--episodes", "0"], "0 is not in the range"),
    (["render", "no-such-run"], "no run folder no-such-run"),
    (["list", "env"], "did you mean 'envs'?"),
    (["data", "check", "mnits"], "did you mean 'mnist'?"),
    (["data", "fetch", "fsd"], "did you mean 'fsdd'?"),
    (["bench", "enviroments"], "did you mean 'environments'?"),
    (["bench", "recurrent", "--size", "navigatoin"], "unknown size 'navigatoin': did you mean 'navigation'?"),
    (["bench", "recurrent", "--size", "navigation", "--connectivity", "0"], "0.0 is not in the range"),
    (["bench", "recurrent", "--size", "navigation", "--out", "/proc/none"], "cannot write /proc/none"),
    (["bench", "scaling", "--out", "/proc/none"], "cannot write /proc/none"),
    (["evaluate", ".", "--jsn"], "--json"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=lambda each: " ".join(each)[:60])
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_film_of_unknown_format_is_refused(trained, tmp_path, capsys):
    assert run("render", str(trained), "--out", str(tmp_path / "film.mp5")) == 2
    assert "did you mean '.mp4'?" in capsys.readouterr().err


def test_without_the_means_to_film_a_training_is_complete_all_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert run("train", "water-maze-quick", *SMALL, f"--out={tmp_path}", "--quiet") == 0
    captured = capsys.readouterr()
    assert "sweep then exploit" in captured.out
    assert captured.err.startswith('No pictures: films need ffmpeg: pip install "lsnn-gym[render]"')
    assert (only_run(tmp_path) / "learning_curve.png").is_file()


def test_a_folder_that_goes_away_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "lsnn_gym.training.loop.save_checkpoint",
        lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")),
    )
    assert run("train", "water-maze-quick", *SMALL, f"--out={tmp_path}", "--quiet") == 1
    assert capsys.readouterr().err == "lsnn-gym: [Errno 28] No space left\n"


def test_a_run_without_checkpoint_says_how_to_go_on(trained, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    assert run("evaluate", str(tmp_path / "run")) == 2
    assert f"lsnn-gym train --resume {tmp_path / 'run'}" in capsys.readouterr().err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def truncated(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def from_the_future(checkpoint: Path) -> None:
    path = checkpoint / "progress.json"
    progress = json.loads(path.read_text()) | {"format_version": 99}
    covered = {key: value for key, value in progress.items() if key != "sha256"}
    canonical = json.dumps(covered, sort_keys=True, separators=(",", ":")).encode()
    path.write_text(json.dumps(progress | {"sha256": hashlib.sha256(canonical).hexdigest()}))


def foreign(checkpoint: Path) -> None:
    (checkpoint / "progress.json").write_text('{"format": "somebody-elses"}')


def of_another_agent(checkpoint: Path) -> None:
    config = checkpoint.parent.parent / "config.yaml"
    _, _, edited = config.read_text().replace("regular_neurons: 6", "regular_neurons: 7").partition("\n")
    config.write_text(edited)


@pytest.mark.parametrize(
    ("damage", "message", "command"),
    [
        (damage, message, command)
        for damage, message in [
            (truncated, "model.safetensors"),
            (from_the_future, "99"),
            (foreign, "somebody-elses"),
            (of_another_agent, "checkpoint of another network: "),
        ]
        for command in ["train", "evaluate", "render"]
        if (damage, command) != (truncated, "train")  # which goes on from an older one: test_damage
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_one_line_and_nothing_changes(
    damage, message, command, trained, tmp_path, capsys
):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    newest = latest_checkpoint(folder / "checkpoints")
    assert newest is not None
    damage(newest)
    before = contents(folder)
    arguments = ["train", "--resume", str(folder)] if command == "train" else [command, str(folder)]
    capsys.readouterr()
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert contents(folder) == before


# Stopping and resuming, in processes of their own.

LONG = [*(each for each in SMALL if "iterations" not in each), "--set=train.iterations=60", "--quiet"]


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "lsnn_gym.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def wait_for_lines(parent: Path, count: int) -> Path:
    """Wait until the run in ``parent`` has ``count`` lines of metrics."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for metrics in parent.glob("*/metrics.jsonl"):
            if metrics.read_bytes().count(b"\n") >= count:
                return metrics.parent
        time.sleep(0.02)
    raise AssertionError("the training did not get going")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> bytes:
    parent = tmp_path_factory.mktemp("undisturbed")
    assert run("train", "water-maze-quick", *LONG, f"--out={parent}") == 0
    return (only_run(parent) / "metrics.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on_and_ends_as_if_undisturbed(number, status, undisturbed, tmp_path):
    process = start("train", "water-maze-quick", *LONG, f"--out={tmp_path}")
    folder = wait_for_lines(tmp_path, 3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert f"lsnn-gym train --resume {folder}" in out
    done = (folder / "metrics.jsonl").read_bytes()
    assert done != undisturbed
    assert undisturbed.startswith(done)
    newest = latest_checkpoint(folder / "checkpoints")
    assert newest is not None
    assert int(newest.name) == done.count(b"\n"), "nothing done is lost"
    assert run("train", "--resume", str(folder), "--quiet") == 0
    assert (folder / "metrics.jsonl").read_bytes() == undisturbed
    assert (folder / "episode.mp4").is_file()


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once_and_damages_nothing(undisturbed, tmp_path):
    process = start("train", "water-maze-quick", *LONG, f"--out={tmp_path}")
    folder = wait_for_lines(tmp_path, 3)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "\n"
    assert (
        process.stderr.readline()
        == "Stopping after this iteration, to save; Ctrl-C once more stops at once.\n"
    )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "interrupted" or "saved" in out
    newest = latest_checkpoint(folder / "checkpoints")
    assert newest is not None
    assert load_checkpoint(newest).iteration >= 2
    assert run("train", "--resume", str(folder), "--quiet") == 0
    assert (folder / "metrics.jsonl").read_bytes() == undisturbed


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_if_undisturbed(undisturbed, tmp_path):
    chance = random.Random(0)
    process = start("train", "water-maze-quick", *LONG, f"--out={tmp_path}")
    folder = wait_for_lines(tmp_path, 1)
    for _ in range(4):
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=60)
        before = (folder / "metrics.jsonl").read_bytes().count(b"\n")
        process = start("train", "--resume", str(folder), "--quiet")
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (folder / "metrics.jsonl").read_bytes().count(b"\n") > before:
                break
            time.sleep(0.02)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert (folder / "metrics.jsonl").read_bytes() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [True, False])
def test_bench_environments_prints_speeds_and_ratio_of_each(as_json, capsys):
    assert run("bench", "environments", "--num-envs", "8", *(["--json"] if as_json else [])) == 0
    out = capsys.readouterr().out
    if not as_json:
        assert "lsnn_gym/WaterMazeQuick-v0: single" in out
        return
    results = json.loads(out)
    assert {"lsnn_gym/WaterMazeQuick-v0", "lsnn_gym/FunctionRegressionQuick-v0"} <= set(results)
    for result in results.values():
        speeds = result["steps_per_second"]
        assert set(speeds) == {"single", "sync_vector_env", "native_vector_env"}
        assert all(speed > 0 for speed in speeds.values())
        assert result["ratio_to_sync_vector_env"] > 0


def test_data_commands_name_and_check_the_packaged_digits(capsys):
    assert run("data", "list") == 0
    assert "digits" in capsys.readouterr().out
    assert run("data", "check", "digits") == 0
    assert "digits: whole" in capsys.readouterr().out
