"""What a report is made from: packed spikes, connections before and after, the episodes that are filmed, the page."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lsnn_gym.agents.filming import MAZE_INFOS, play_episode
from lsnn_gym.experiment import experiment_of, family_of, load_experiment
from lsnn_gym.families.family import newest_weights
from lsnn_gym.families.reinforcement import ReinforcementExperiment, make_agent, make_env
from lsnn_gym.families.reinforcement_replays import episode_replay
from lsnn_gym.report.gather import gather
from lsnn_gym.report.page import page
from lsnn_gym.report.palette import PALETTE
from lsnn_gym.report_parts.packing import pack_levels, pack_spikes, pooled
from lsnn_gym.report_parts.parts import Arena, Lines, Raster
from lsnn_gym.report_parts.weights import Change, changes, matrices
from lsnn_gym.training.run_folder import RunFolder
from tests.command_line import SMALL_MAZE, run
from tests.report.conftest import EPISODES, replays_of


def unpacked(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Undo ``pack_spikes``, number by number."""
    spikes, place, number, digits = np.zeros(shape, dtype=bool), -1, 0, 0
    for byte in base64.b64decode(text):
        number |= (byte & 127) << 7 * digits
        digits += 1
        if byte < 128:
            place += number
            spikes.flat[place] = True
            number = digits = 0
    assert digits == 0
    return spikes


@pytest.mark.parametrize("rate", [0.0, 0.0001, 0.03, 0.9, 1.0])
def test_spikes_come_out_of_their_packing_as_they_went_in(rate):
    spikes = np.random.default_rng(1).random((300, 170)) < rate
    assert (unpacked(pack_spikes(spikes), spikes.shape) == spikes).all()


def test_a_first_and_a_last_spike_far_apart_are_packed_in_few_bytes():
    spikes = np.zeros((3000, 1000), dtype=bool)
    spikes[0, 0] = spikes[-1, -1] = True
    text = pack_spikes(spikes)
    assert len(base64.b64decode(text)) == 5  # 1, and a number of 22 bits
    assert (unpacked(text, spikes.shape) == spikes).all()


def test_levels_run_from_the_lowest_value_to_the_highest_and_no_further():
    packed = base64.b64decode(pack_levels(np.array([-3.0, -1.0, 0.0, 1.0, 9.0]), -1.0, 1.0))
    assert list(packed) == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("mode", [0, 1])
def test_words_stand_out_from_what_is_behind_them(mode):
    def luminance(name: str) -> float:
        parts = [int(PALETTE[name][mode][at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for words in ("ink", "quiet", "accent"):
        for behind in ("ground", "card"):
            dim, bright = sorted([luminance(words), luminance(behind)])
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (words, behind)
    assert len({light for light, _ in PALETTE.values()}) == len(PALETTE)


def test_many_channels_become_the_strongest_of_neighbours():
    values = np.zeros((2, 10))
    values[0, 3], values[1, 9] = 0.5, 0.7
    assert pooled(values, 5).tolist() == [[0, 0.5, 0, 0, 0], [0, 0, 0, 0, 0.7]]
    assert pooled(values, 10) is values


def test_of_many_neurons_every_so_many_are_shown_but_all_rates_counted():
    spikes = np.zeros((100, 1000), dtype=bool)
    spikes[::10, 600:] = True
    raster = Raster(spikes, {"regular": 600, "adaptive": 400}, dt=2.0)
    data = raster.data()
    assert (data["neurons"], data["of"]) == (400, 1000)
    assert dict(data["groups"]) == {"regular": 240, "adaptive": 160}
    assert unpacked(data["spikes"], (100, 400))[:, 240:].sum() == 10 * 160
    rates = raster.rates()
    assert len(rates["regular"]) == 600
    assert rates["regular"].max() == 0
    assert rates["adaptive"] == pytest.approx(50.0)  # one in ten steps of 2 ms


def test_a_change_says_which_connections_stayed_went_and_came():
    before = np.array([[0.5, 0.0, -1.0], [0.0, 0.0, 2.0]])
    after = np.array([[0.1, 0.3, 0.0], [0.0, 0.0, -2.0]])
    change = Change("core.network.input_synapses.weight", before, after)
    assert change.states.tolist() == [[1, 3, 2], [0, 0, 1]]
    assert change.counts == {"kept": 2, "gone": 1, "new": 1}
    assert change.connectivity == (0.5, 0.5)
    assert change.is_sparse
    assert change.title == "input synapses: 3 to 2"
    assert not Change("weight", before - 9, after - 9).is_sparse


def test_of_a_large_matrix_rows_and_columns_are_chosen_evenly():
    before = np.zeros((1000, 300))
    before[999], before[:, 299] = 1, 1
    shown = Change("weight", before, before).shown_states
    assert shown.shape == (128, 128)
    assert (shown[-1] == 1).all()
    assert (shown[:, -1] == 1).all()
    assert shown[:-1, :-1].max() == 0


def test_kernels_of_convolutions_are_matrices_too_single_rows_and_biases_are_not():
    convolution = torch.nn.Conv2d(2, 3, 5)
    module = torch.nn.ModuleDict({"conv": convolution, "single": torch.nn.Linear(4, 1)})
    found = matrices(module)
    assert {name: each.shape for name, each in found.items()} == {"conv.weight": (3, 50)}
    kept = found["conv.weight"].copy()
    with torch.no_grad():
        convolution.weight.add_(1)
    assert (found["conv.weight"] == kept).all()


def test_weights_before_are_those_that_the_training_began_with(maze_run: Path):
    experiment = experiment_of(RunFolder.open(maze_run))
    family = family_of(experiment)
    parts = gather(RunFolder(maze_run), experiment, family, 1, 0).parts
    begun = family.make_trainer(experiment).checkpoint().model
    trained = newest_weights(_agent(maze_run), RunFolder(maze_run)).state_dict()
    assert {"core.network.input_synapses.weight", "core.network.recurrent_synapses.weight"} <= set(
        parts.before
    )
    for name, before in parts.before.items():
        assert (before == begun[name].double().numpy()).all()
        assert (parts.after[name] == trained[name].double().numpy()).all()
    rewired = [each for each in changes(parts.before, parts.after) if each.counts["new"]]
    assert rewired
    assert all(each.is_sparse for each in rewired)


def _agent(maze_run: Path):
    experiment = experiment_of(RunFolder.open(maze_run))
    assert isinstance(experiment, ReinforcementExperiment)
    return make_agent(experiment, make_env(experiment.env, 1))


def test_episodes_are_those_that_render_films(maze_run: Path):
    folder = RunFolder.open(maze_run)
    experiment = experiment_of(folder)
    assert isinstance(experiment, ReinforcementExperiment)
    replays = gather(folder, experiment, family_of(experiment), 2, 5).parts.replays
    agent = newest_weights(_agent(maze_run), folder)
    for seed, replay in zip((5, 6), replays, strict=True):
        filmed = play_episode(agent, make_env(experiment.env, 1), seed, deterministic=True)
        arena, values, raster = replay.views
        assert isinstance(arena, Arena)
        assert isinstance(values, Lines)
        assert isinstance(raster, Raster)
        seen = filmed.observations[:, 0].numpy()
        assert (arena.path == seen[:, :2]).all()
        assert list(arena.starts) == np.flatnonzero(seen[:, 2]).tolist()
        assert list(arena.walls) == np.flatnonzero(seen[:, 3]).tolist()
        assert (values.lines["value"] == filmed.values[:, 0].numpy()).all()
        assert filmed.spikes is not None
        assert (raster.spikes == (filmed.spikes[:, 0].numpy() > 0)).all()
        assert replay.steps == len(seen) == 60


def small_maze(*changes: str) -> ReinforcementExperiment:
    overrides = tuple(each.removeprefix("--set=") for each in SMALL_MAZE)
    experiment = load_experiment("water-maze-quick", (*overrides, *changes))
    assert isinstance(experiment, ReinforcementExperiment)
    return experiment


@pytest.mark.parametrize("seen_from", [[0, 1], []])
def test_where_the_agent_says_that_the_goal_is(seen_from: list[int]):
    inferred = {"info": "goal", "size": 2, "seen_from": seen_from}
    experiment = small_maze(f"agent.task_inference={json.dumps(inferred)}")
    env = make_env(experiment.env, 1)
    agent = make_agent(experiment, env)
    arena = episode_replay(agent, env, 3, deterministic=True).views[0]
    assert isinstance(arena, Arena)
    told = play_episode(agent, env, 3, deterministic=True, info_keys=MAZE_INFOS).told
    assert told is not None
    expected = told[:, 0].numpy()
    assert arena.told is not None
    if seen_from:
        expected = arena.path + 0.35 * expected  # a share of the arena, whose radius is 1
    np.testing.assert_allclose(arena.told, expected, rtol=1e-5, atol=1e-6)


def test_without_inference_of_the_task_nothing_is_drawn_of_it():
    experiment = small_maze("agent.task_inference=null")
    env = make_env(experiment.env, 1)
    arena = episode_replay(make_agent(experiment, env), env, 3, deterministic=True).views[0]
    assert arena.data()["told"] is None


def test_the_page_has_the_runs_figures_settings_and_machine(maze_page: Path):
    text = html.unescape(
        re.sub(r"<script.*?</script>", "", maze_page.read_text(encoding="utf-8"), flags=re.DOTALL)
    )
    results = json.loads((maze_page.parent / "results.json").read_text())
    assert f"<td>{results['references']['oracle']['goals_per_episode']:.2f}</td>" in text
    assert f"<td>{results['goals_per_episode']:.2f}</td>" in text
    _, _, settings = (maze_page.parent / "config.yaml").read_text().partition("\n")  # below its checksum
    assert settings.strip() in text
    environment = json.loads((maze_page.parent / "environment.json").read_text())
    for name in ("torch", "python", "git_commit"):
        if environment[name] is not None:
            assert f"<dd>{environment[name]}</dd>" in text


def test_a_page_is_one_small_file_that_asks_for_nothing(maze_page: Path):
    text = maze_page.read_text(encoding="utf-8")
    assert len(text.encode()) < 1_000_000
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    assert "default-src 'none'" in text


def test_what_a_run_says_cannot_become_part_of_the_page(maze_run: Path):
    folder = RunFolder.open(maze_run)
    experiment = experiment_of(folder)
    report = gather(folder, experiment, family_of(experiment), 1, 0)
    attack = "</script><script>alert(1)</script><b id='x'>&"
    replay = report.parts.replays[0]
    hostile = report._replace(name=attack, machine={attack: attack}, config=attack)
    object.__setattr__(replay, "title", attack)
    text = page(hostile)
    assert "<script>alert" not in text
    assert "<b id=" not in text
    assert replays_of(text)[0]["title"] == attack


def test_a_run_that_was_never_judged_is_judged(maze_run: Path, tmp_path: Path):
    stopped = tmp_path / "stopped"
    shutil.copytree(maze_run, stopped)
    (stopped / "results.json").unlink()
    experiment = experiment_of(RunFolder(stopped))
    judged = gather(RunFolder(stopped), experiment, family_of(experiment), 1, 0).parts.table
    kept = gather(RunFolder(maze_run), experiment, family_of(experiment), 1, 0).parts.table
    assert judged == kept


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run("report", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_bad_input_is_one_line(maze_run: Path, tmp_path: Path, capsys, monkeypatch):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(maze_run / "config.yaml", bare)
    assert "no checkpoint yet" in refused(capsys, str(bare))
    assert not (bare / "report.html").exists()
    assert "no run folder" in refused(capsys, str(tmp_path / "nowhere"))
    assert "expected a name that ends in .html" in refused(capsys, str(maze_run), "--out=report.pdf")
    assert "cannot write" in refused(capsys, str(maze_run), f"--out={tmp_path}/no/folder.html")
    for package in ("bokeh", "jinja2"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            told = refused(capsys, str(maze_run))
        assert told == f'lsnn-gym: reports need {package}: pip install "lsnn-gym[report]"\n'


def test_the_maze_page_has_the_episodes_asked_for(maze_page: Path):
    replays = replays_of(maze_page.read_text(encoding="utf-8"))
    assert len(replays) == EPISODES
    assert replays[0]["title"].startswith("Episode of seed 5: ")
    assert [view["kind"] for view in replays[0]["views"]] == ["arena", "lines", "raster"]


@pytest.mark.parametrize(
    ("name", "kinds", "steps"),
    [
        ("task", ["channels", "lines", "raster"], 16),
        ("classes", ["channels", "lines", "raster"], 5),
        ("curves", ["belief", "lines", "lines", "raster"], 6),
        ("surfaces", ["belief", "lines", "lines", "raster"], 6),
        ("points", ["lines", "lines", "lines", "lines", "raster"], 50),
    ],
)
def test_every_kind_of_run_has_a_report(family_pages, name, kinds, steps):
    replays = replays_of(family_pages[name].read_text(encoding="utf-8"))
    assert len(replays) == 2
    assert [view["kind"] for view in replays[0]["views"]] == kinds
    assert {each["steps"] for each in replays} == {steps}


def _tiles(page: Path) -> dict[str, str]:
    text = page.read_text(encoding="utf-8")
    return dict(re.findall(r"<div><dt>([^<]+)</dt><dd>([^<]+)</dd></div>", text.partition("</header>")[0]))


def test_the_figures_at_the_top_are_those_of_the_trained_network(maze_run: Path, maze_page: Path):
    found = json.loads((maze_run / "results.json").read_text())
    tiles = _tiles(maze_page)
    assert tiles["goals"] == f"{found['goals_per_episode']:.2f}"
    assert tiles["rate"] == f"{found['firing_rate_hz']:.0f} Hz"
    assert tiles["iterations"] == "4"


def test_every_kind_of_run_has_figures_at_the_top(family_pages: dict[str, Path]):
    shown = {name: set(_tiles(page)) for name, page in family_pages.items()}
    assert {"loss", "accuracy", "rate"} <= shown["task"]
    assert {"epoch", "loss", "accuracy", "spikes"} <= shown["classes"]
    assert "error" in shown["curves"] & shown["surfaces"]
    assert "return" in shown["points"]
