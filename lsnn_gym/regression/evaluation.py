"""How a regressing network is judged: its error in each trial, beside that of the references."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field

from lsnn_gym.regression.episodes import Episodes, FloatArray, RegressionSettings, draw_episodes
from lsnn_gym.regression.network import RegressionNetwork
from lsnn_gym.regression.references import REFERENCES, judged_trials
from lsnn_gym.regression.trainer import squared_errors
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.tasks.task import slices
from lsnn_gym.training.denormals import flushed_denormals

_EPISODES_AT_ONCE = 64


class EvaluateRegressionSettings(Settings):
    """How a trained network is judged."""

    episodes: int = Field(default=256, ge=1, description="episodes, with functions not seen in training")
    seed: int = Field(default=0, ge=0, description="of the episodes, the same for the references")
    first_trial: int = Field(
        default=10, ge=1, description="the figure of merit is the mean error from here ..."
    )
    last_trial: int = Field(default=20, ge=1, description="... to here, both counted from 1 and included")
    reference_trials: int = Field(
        default=60, ge=2, description="trials, the later the fewer, at which costly references are fitted"
    )


class Judged(NamedTuple):
    """What a network did in B episodes of T trials.

    Attributes:
        squares: Squared errors ``[T, B]`` in units of the family's targets.
        firing_rate_hz: Of a spiking core, else None.
    """

    squares: FloatArray
    firing_rate_hz: float | None


@torch.no_grad()
@flushed_denormals()
def judge(network: RegressionNetwork, episodes: Episodes, seed: int) -> Judged:
    """Run ``network``, which is not changed, through ``episodes``; ``seed`` is that of its noise."""
    squares, rates = [], []
    for number, part in enumerate(slices(episodes.targets.shape[1], _EPISODES_AT_ONCE)):
        some = Episodes(episodes.inputs[:, part], episodes.targets[:, part])
        predictions, errors = squared_errors(network, some, derived_seed(seed, "draws", number))
        squares.append(network.error_unit * errors.cpu().double().numpy())
        if predictions.spikes is not None:
            rates += [1000 * float(predictions.spikes.mean())] * errors.shape[1]
    return Judged(np.concatenate(squares, axis=1), float(np.mean(rates)) if rates else None)


def evaluate_regression(
    network: RegressionNetwork,
    regression: RegressionSettings,
    settings: EvaluateRegressionSettings,
    number: int,
) -> dict[str, Any]:
    """Judge a network and the references on ``number`` episodes.

    Returns:
        ``error``, the mean squared error over the trials that ``settings`` name; ``error_share``, the same over the
        variance of all targets, ``target_variance``; ``error_by_trial``, a list; ``firing_rate_hz``; ``episodes``;
        and under ``references`` the three error figures of each, None in trials at which it was not asked.
    """
    episodes = draw_episodes(regression, number, derived_seed(settings.seed, "functions"))
    judged = judge(network, episodes, settings.seed)
    variance = float(episodes.targets.var())
    trials = range(settings.first_trial - 1, min(settings.last_trial, regression.trials))
    asked = sorted({*judged_trials(regression.trials, settings.reference_trials), *trials})
    return {
        **_figures(judged.squares, trials, variance),
        "target_variance": variance,
        "firing_rate_hz": judged.firing_rate_hz,
        "episodes": number,
        "trials": [trials.start + 1, trials.stop],
        "references": {
            name: _figures(reference(regression, episodes, asked), trials, variance)
            for name, reference in REFERENCES.items()
        },
    }


def _figures(squares: FloatArray, trials: range, variance: float) -> dict[str, Any]:
    by_trial = squares.mean(axis=1)
    error = float(by_trial[trials.start : trials.stop].mean())
    return {
        "error": error,
        "error_share": error / variance,
        "error_by_trial": [None if np.isnan(each) else float(each) for each in by_trial],
    }
