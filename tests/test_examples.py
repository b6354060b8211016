"""The examples run, at a tiny budget."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("sb3_contrib")
EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def test_water_maze_loaded_and_filmed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(
        "recurrent_ppo_water_maze",
        "--steps",
        "800",
        "--mazes",
        "4",
        "--out",
        "policy",
        monkeypatch=monkeypatch,
    )
    run("load_and_film", "policy", monkeypatch=monkeypatch)
    assert (tmp_path / "episode.mp4").stat().st_size > 1000
    assert "episode.mp4: return" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        (
            "recurrent_ppo_water_maze",
            ["--cells", "lstm", "--steps", "1600", "--mazes", "4"],
            "goals_per_episode",
        ),
        ("hidden_velocities", ["--steps", "1024", "--episodes", "1"], "MlpLstmPolicy: return"),
        ("ppo_spiking_features", ["--steps", "256", "--episodes", "2"], "spiking: return"),
        ("dqn_and_sac", ["--steps", "20", "--episodes", "1"], "SAC: return"),
        ("rl2_wrapper", ["--steps", "160", "--trials", "2"], "inner episode 3: return"),
        ("nir_round_trip", ["--steps", "5"], "spikes, as many differ: 0"),
    ],
)
def test_the_others(name, arguments, said, tmp_path, monkeypatch, capsys):
    if name == "nir_round_trip":
        pytest.importorskip("nir")
    monkeypatch.chdir(tmp_path)
    run(name, *arguments, monkeypatch=monkeypatch)
    assert said in capsys.readouterr().out


def test_every_example_is_run():
    source = Path(__file__).read_text(encoding="utf-8")
    for example in EXAMPLES.glob("*.py"):
        assert f'"{example.stem}"' in source
