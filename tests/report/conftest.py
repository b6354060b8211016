"""One tiny rewired agent in the water maze, and its report, for all tests of reports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lsnn_gym.command_line.starting import Place, train_or_go_on
from lsnn_gym.experiment import experiment_of, family_of, load_experiment
from lsnn_gym.training.results import write_results
from lsnn_gym.training.run_folder import RunFolder
from tests.classification.test_trainer import DIGITS as CLASSES
from tests.command_line import SMALL_MAZE, run
from tests.test_cli_regression import SMALL as SMALL_REGRESSION
from tests.test_cli_tasks import DIGITS

EPISODES = 2


def train(folder: Path, config: str, *overrides: str) -> Path:
    """Train in the folder, and leave all pictures of the run undrawn."""
    experiment = load_experiment(config, tuple(each.removeprefix("--set=") for each in overrides))
    train_or_go_on(experiment, Place(folder=folder), show_progress=False)
    return folder


@pytest.fixture(scope="session")
def maze_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported") / "maze"
    wiring = "network.wiring={kind: deep_r, connectivity: 0.3, temperature: 0.01}"
    train(
        folder,
        "water-maze-quick",
        *SMALL_MAZE,
        "env.options.max_steps=60",
        "train.iterations=4",
        wiring,
        "network.threshold=0.02",
    )
    experiment = experiment_of(RunFolder(folder))
    write_results(RunFolder(folder), family_of(experiment).evaluate(RunFolder(folder), experiment))
    return folder


@pytest.fixture(scope="session")
def maze_page(maze_run: Path) -> Path:
    assert run("report", str(maze_run), f"--episodes={EPISODES}", "--seed=5") == 0
    return maze_run / "report.html"


def replays_of(page: str) -> list[dict[str, Any]]:
    """Return the episodes in a page."""
    found = re.search(r'id="replays">(.*?)</script>', page)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture(scope="session")
def family_pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of the other kinds of experiments, by name."""
    parent = tmp_path_factory.mktemp("families")
    for name, settings in (("task", DIGITS), ("classes", CLASSES)):
        (parent / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    configs = {
        "task": [str(parent / "task.yaml")],
        "classes": [str(parent / "classes.yaml"), "train.epochs=1"],
        "curves": ["sinusoid-quick", *SMALL_REGRESSION, "evaluate.maml=null", "evaluate.transfer=[]"],
        "surfaces": ["regression-quick", *SMALL_REGRESSION, "evaluate.transfer=[]"],
        "points": [
            "water-maze-smoke", "env.id=lsnn_gym/GoalReaching-v0", "agent.encoding.events=[]",
            "train.iterations=1", "train.episodes_per_iteration=2", "evaluate.episodes=2",
        ],
    }  # fmt: skip
    for name, (config, *overrides) in configs.items():
        folder = train(parent / name, config, *overrides)
        assert run("report", str(folder), "--episodes=2", f"--out={parent / name}.html") == 0
    return {name: parent / f"{name}.html" for name in configs}
