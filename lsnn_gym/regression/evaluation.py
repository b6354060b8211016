"""How a regressing network is judged: its error in each trial, beside that of the references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from lsnn_gym.envs.functions import FUNCTION_FAMILIES, function_family
from lsnn_gym.regression.episodes import Episodes, FloatArray, RegressionSettings, draw_episodes
from lsnn_gym.regression.judging import judge
from lsnn_gym.regression.learned import LearnedSettings
from lsnn_gym.regression.network import RegressionNetwork
from lsnn_gym.regression.references import REFERENCES, Reference, judged_trials
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings

_SHOTS = (1, 5, 10, 20)


class JudgedTrials(Settings):
    """Which trials of an episode count."""

    first_trial: int = Field(
        default=10, ge=1, description="the figure of merit is the mean error from here ..."
    )
    last_trial: int = Field(default=20, ge=1, description="... to here, both counted from 1 and included")
    reference_trials: int = Field(
        default=60, ge=2, description="trials, the later the fewer, at which costly references are fitted"
    )

    def check(self, trials: int, section: str) -> None:
        """Refuse what episodes of so many trials do not have.

        Raises:
            ValueError: Of which ``section`` begins the message.
        """
        if not self.first_trial <= self.last_trial or self.first_trial > trials:
            raise ValueError(
                f"{section}.first_trial is {self.first_trial} and last_trial {self.last_trial}: "
                f"expected them in order, the first of them at most {trials}"
            )

    def window(self, trials: int) -> range:
        """Return the trials of the figure of merit, counted from 0, of episodes of ``trials``."""
        return range(self.first_trial - 1, min(self.last_trial, trials))


class EvaluateRegressionSettings(JudgedTrials, LearnedSettings):
    """How a trained network is judged, and beside what."""

    episodes: int = Field(default=256, ge=1, description="episodes, with functions not seen in training")
    seed: int = Field(default=0, ge=0, description="of the episodes, the same for the references")
    trials: int | None = Field(
        default=None, ge=2, description="of these episodes; by default as many as in training"
    )
    references: bool = Field(
        default=True, description="whether references are fitted to the same examples, which takes minutes"
    )
    transfer: tuple[str, ...] | None = Field(
        default=None,
        description="families of functions it was not trained on; by default all with as many inputs",
    )

    def other_families(self, family: str) -> list[str]:
        """Return the families to judge on besides ``family``, that of the training.

        Raises:
            ValueError: There is no such family, or it has another number of inputs.
        """
        size = function_family(family).input_size
        if self.transfer is None:
            return [
                name for name, each in FUNCTION_FAMILIES.items() if name != family and each.input_size == size
            ]
        for name in self.transfer:
            found = function_family(name).input_size
            if found != size:
                raise ValueError(
                    f"{name} has {found} input{'s' * (found > 1)}: expected families of {size}, as {family} has"
                )
        return list(self.transfer)


def evaluate_regression(
    network: RegressionNetwork,
    regression: RegressionSettings,
    settings: EvaluateRegressionSettings,
    number: int,
    learned: Mapping[str, Reference] | None = None,
) -> dict[str, Any]:
    """Judge a network and the references on ``number`` episodes.

    Args:
        network: Not changed.
        regression: What it was trained on.
        settings: How it is judged.
        number: Of episodes.
        learned: References that were trained, besides those that need no training.

    Returns:
        ``error``, the mean squared error over the trials that ``settings`` name; ``error_standard_error``, that of
        this mean over functions; ``error_share``, the error over the variance of all targets, ``target_variance``;
        ``error_by_trial``, a list, whose k-th entry, counted from 0, comes after k examples; and of the same length
        ``quartiles_by_trial``, over functions; ``firing_rate_hz``; ``episodes``; under ``references`` the error
        figures of each, None in trials at which it was not asked; beside MAML ``error_over_maml``, the network's
        error over MAML's by number of examples; and under ``transfer`` the same figures on other families, by name.
    """
    regression = regression.model_copy(update={"trials": settings.trials or regression.trials})
    references = {**(REFERENCES if settings.references else {}), **(learned or {})}
    figures = _on_family(network, regression, settings, number, references)
    if "maml" in references:
        figures["error_over_maml"] = _error_over(figures, figures["references"]["maml"])
    figures["transfer"] = {
        name: _on_family(
            network.facing(other := regression.model_copy(update={"family": name})),
            other,
            settings,
            number,
            references,
        )
        for name in settings.other_families(regression.family)
    }
    return figures


def _on_family(
    network: RegressionNetwork,
    regression: RegressionSettings,
    settings: EvaluateRegressionSettings,
    number: int,
    references: Mapping[str, Reference],
) -> dict[str, Any]:
    episodes = draw_episodes(regression, number, derived_seed(settings.seed, "functions"))
    judged = judge(network, episodes, settings.seed)
    return {
        **figures_beside(judged.squares, regression, episodes, settings, references),
        "firing_rate_hz": judged.firing_rate_hz,
        "episodes": number,
    }


def figures_beside(
    squares: FloatArray,
    regression: RegressionSettings,
    episodes: Episodes,
    settings: JudgedTrials,
    references: Mapping[str, Reference] = REFERENCES,
) -> dict[str, Any]:
    """Return the error figures of somebody's squared errors ``[T, B]``, and of references on the same episodes.

    They are those of ``evaluate_regression``, from ``error`` to ``quartiles_by_trial``, and ``references``.
    """
    trials = settings.window(regression.trials)
    asked = sorted({*judged_trials(regression.trials, settings.reference_trials), *trials})
    variance = float(episodes.targets.var())
    return {
        **_figures(squares, trials, variance),
        "target_variance": variance,
        "trials": [trials.start + 1, trials.stop],
        "references": {
            name: _figures(reference(regression, episodes, asked), trials, variance)
            for name, reference in references.items()
        },
    }


def _error_over(figures: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """Return the ratio of errors after some numbers of examples, as far as the episodes go."""
    ours, theirs = figures["error_by_trial"], reference["error_by_trial"]
    return {
        str(shots): ours[shots] / theirs[shots] for shots in _SHOTS if shots < len(ours) and theirs[shots]
    }


def _figures(squares: FloatArray, trials: range, variance: float) -> dict[str, Any]:
    by_function = squares[trials.start : trials.stop].mean(axis=0)
    error = float(by_function.mean())
    quartiles = np.quantile(squares, (0.25, 0.5, 0.75), axis=1).T
    return {
        "error": error,
        "error_standard_error": float(by_function.std() / len(by_function) ** 0.5),
        "error_share": error / variance,
        "error_by_trial": [None if np.isnan(each) else float(each) for each in squares.mean(axis=1)],
        "quartiles_by_trial": [None if np.isnan(each).any() else each.tolist() for each in quartiles],
    }
