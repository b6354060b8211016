"""Films of regression: how many frames, of which size, with and without spikes and beliefs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsnn_gym.envs.functions import FUNCTION_FAMILIES, Linear
from lsnn_gym.regression import filming
from lsnn_gym.regression.episodes import RegressionSettings, draw_functions
from lsnn_gym.regression.filming import film_regression
from lsnn_gym.regression.probing import ProbedEpisode, input_grid

imageio = pytest.importorskip("imageio.v3")
GROUPS = {"regular": 3, "adaptive": 2}


class Deep(Linear):
    """Planes over three inputs."""

    input_size = 3
    parameter_shapes = {"slopes": (3,), "offset": ()}  # noqa: RUF012

    def draw(self, generators):
        drawn = np.stack([each.uniform(-1.0, 1.0, 4) for each in generators])
        return {"slopes": drawn[:, :3], "offset": drawn[:, 3]}


def probed(family: str, trials: int, *, spiking: bool = True) -> ProbedEpisode:
    parameters, episodes = draw_functions(RegressionSettings(family=family, trials=trials), 1, 0)
    grid = input_grid(FUNCTION_FAMILIES[family])
    seen = () if grid is None else tuple(range(trials))
    places = np.zeros((0, 3)) if grid is None else grid
    rng = np.random.default_rng(0)
    return ProbedEpisode(
        parameters,
        episodes,
        grid=places,
        values=np.zeros(len(places)),
        seen=seen,
        believed=rng.uniform(-1.0, 1.0, (len(seen), len(places))),
        predictions=np.zeros(trials),
        spikes=rng.random((2 * trials, 5)) < 0.3 if spiking else None,
    )


@pytest.mark.parametrize(("family", "width"), [("sinusoid", 512), ("linear", 1024), ("deep", 512)])
def test_a_frame_a_trial_with_a_panel_for_what_there_is(family, width, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(FUNCTION_FAMILIES, "deep", Deep())
    film_regression(probed(family, 3), FUNCTION_FAMILIES[family], tmp_path / "film.gif", GROUPS, 1.0)
    frames = imageio.imread(tmp_path / "film.gif")
    assert frames.shape == (3, 512 + 192, width, 3)
    assert (frames[0] != frames[1]).any()


def test_long_episodes_lose_frames_and_networks_without_spikes_the_raster(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(filming, "_MOST_FRAMES", 3)
    episode = probed("sinusoid", 8, spiking=False)
    film_regression(episode, FUNCTION_FAMILIES["sinusoid"], tmp_path / "film.gif", GROUPS, 1.0)
    assert imageio.imread(tmp_path / "film.gif").shape == (3, 512, 512, 3)
