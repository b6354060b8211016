"""Sweeps: trials of an experiment with settings that Optuna proposes, each an ordinary run with its folder.

Source: Akiba, Sano, Yanase, Ohta, Koyama: Optuna, a next-generation hyperparameter optimization framework, KDD 2019.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from lsnn_gym.atomic import cannot_write
from lsnn_gym.errors import UserError, last_line
from lsnn_gym.experiment import Experiment, config_path, experiment_from, family_of
from lsnn_gym.plain_yaml import read_yaml
from lsnn_gym.settings import Settings, apply_overrides, assign, to_yaml, validate
from lsnn_gym.training.results import read_results
from lsnn_gym.training.run_folder import RunFolder

if TYPE_CHECKING:
    import optuna

_ATTEMPTS = 6
_HEARTBEAT = 30
"""Seconds between signs of life of a trial; one without for twice as long is taken for dead, and gone on with."""

_REASON, _PLAN = "reason", "plan"


class FloatRange(Settings):
    """A number between two bounds, both included."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool = Field(default=False, description="draw the logarithm evenly")

    @model_validator(mode="after")
    def _check(self) -> FloatRange:
        _check_range(self.low, self.high, self.log)
        return self

    def suggest(self, trial: optuna.Trial, key: str) -> float:
        """Return the value that a trial is to try."""
        return trial.suggest_float(key, self.low, self.high, log=self.log)


class IntRange(Settings):
    """A whole number between two bounds, both included."""

    kind: Literal["int"]
    low: int
    high: int
    log: bool = Field(default=False, description="draw the logarithm evenly")

    @model_validator(mode="after")
    def _check(self) -> IntRange:
        _check_range(self.low, self.high, self.log)
        return self

    def suggest(self, trial: optuna.Trial, key: str) -> int:
        """Return the value that a trial is to try."""
        return trial.suggest_int(key, self.low, self.high, log=self.log)


class Choices(Settings):
    """One of some values."""

    kind: Literal["categorical"]
    choices: tuple[str | bool | int | float | None, ...] = Field(min_length=1)

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """Return the value that a trial is to try."""
        return trial.suggest_categorical(key, self.choices)


def _check_range(low: float, high: float, log: bool) -> None:
    if low > high:
        raise ValueError(f"low is {low} and high {high}: expected low to be at most high")
    if log and low <= 0:
        raise ValueError(f"low is {low}: expected more than 0, as its logarithm is drawn")


class Space(Settings):
    """What a sweep tries, and what it goes by."""

    parameters: dict[str, Annotated[FloatRange | IntRange | Choices, Field(discriminator="kind")]] = Field(
        min_length=1, description="by the experiment's dotted keys"
    )
    figure: str | None = Field(
        default=None, description="of results.json; by default the one that such experiments are compared by"
    )
    direction: Literal["minimize", "maximize"] | None = Field(
        default=None, description="by default an error or a loss is minimised, all else maximised"
    )


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        base: The experiment as plain data.
        space: What is tried.
        folder: Of the trials' runs.
        storage: Optuna's, as a URL.
    """

    base: dict[str, Any]
    space: Space
    folder: Path
    storage: str

    def experiment(self, changes: dict[str, Any]) -> Experiment:
        """Return the experiment with a trial's values.

        Raises:
            UserError: They do not describe one.
        """
        return experiment_from(assign(self.base, changes, "sweep"), "sweep")

    @property
    def figure(self) -> str:
        """Return the name of the figure that the sweep goes by."""
        experiment = self.experiment({})
        return self.space.figure or family_of(experiment).figure(experiment)

    @property
    def direction(self) -> str:
        """Return whether that figure is to fall or to rise."""
        falls = self.figure.endswith(("error", "loss"))
        return self.space.direction or ("minimize" if falls else "maximize")

    @property
    def text(self) -> str:
        """Return everything by which trials can be compared, to tell whether two sweeps are the same."""
        return json.dumps(
            {"base": self.base, "space": self.space.model_dump(mode="json"), "figure": self.figure},
            sort_keys=True,
        )


def make_plan(config: str, space: str, overrides: tuple[str, ...], folder: Path, storage: str | None) -> Plan:
    """Read what a sweep consists of, and check it at the ends of all ranges.

    Args:
        config: Name of a config of the package, or path of a YAML file.
        space: Path of a YAML file.
        overrides: ``section.key=value`` for all trials.
        folder: Of the trials' runs.
        storage: Optuna's URL; by default ``study.db``, an SQLite file, in ``folder``.

    Raises:
        UserError: Something cannot be read or used.
    """
    base = apply_overrides(read_yaml(config_path(config)), overrides)
    read = validate(Space, read_yaml(space), space)
    plan = Plan(base, read, folder, storage or f"sqlite:///{folder / 'study.db'}")
    for end in (0, -1):
        plan.experiment({key: _ends(each)[end] for key, each in read.parameters.items()})
    return plan


def _ends(parameter: FloatRange | IntRange | Choices) -> tuple[Any, ...]:
    return parameter.choices if isinstance(parameter, Choices) else (parameter.low, parameter.high)


def run_sweep(
    plan: Plan, trials: int, seed: int | None, done: Callable[[int, float | None], None]
) -> RunFolder:
    """Train trials until the study has as many, in all and by all processes that work on it; return the best's run.

    A trial whose process died is gone on with, from its last checkpoint.

    Args:
        plan: Of which part may be done already.
        trials: How many, those of before included.
        seed: Of the proposals; processes side by side need different ones. None for a random one.
        done: Called after each trial with its number and figure (None if its training failed).

    Raises:
        UserError: Optuna is not installed, the storage has another sweep, or no trial came to an end.
    """
    study = _study(plan, seed)
    while _count(study) < trials:
        study.optimize(
            lambda trial: _objective(plan, trial),
            n_trials=1,
            catch=(_FailedTrainingError,),
            callbacks=[lambda _, trial: done(trial.number, trial.value)],
        )
    finished = [each for each in study.trials if each.value is not None]
    if not finished:
        reason = next(
            (each.user_attrs[_REASON] for each in study.trials if _REASON in each.user_attrs), "none ran"
        )
        raise UserError(f"{plan.folder}: no trial came to an end: {reason}")
    return _run_of(plan, _original(study.best_trial))


class _FailedTrainingError(Exception):
    """A trial's training did not come to an end, or to no figure."""


def _study(plan: Plan, seed: int | None) -> optuna.Study:
    try:
        import optuna
    except ImportError:
        raise UserError("sweeps need optuna, which is not installed: pip install 'lsnn-gym[sweep]'") from None
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # What makes a killed trial go on is declared experimental since version 2.9, of 2021.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        study = _opened(plan, seed)
    except OSError as error:
        raise cannot_write(plan.folder, error) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, ValueError) as error:
        raise UserError(f"storage {plan.storage}: {str(error).splitlines()[0]}") from None
    if study.user_attrs.setdefault(_PLAN, plan.text) != plan.text:
        raise UserError(
            f"{plan.storage} has a sweep of {study.study_name} with other settings: give another --out"
        )
    study.set_user_attr(_PLAN, plan.text)
    return study


def _opened(plan: Plan, seed: int | None) -> optuna.Study:
    """Return the study, which another process may be making at this moment."""
    import optuna
    from sqlalchemy.exc import DBAPIError

    for attempt in range(_ATTEMPTS):
        try:
            storage = optuna.storages.RDBStorage(
                plan.storage,
                heartbeat_interval=_HEARTBEAT,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
            )
            return optuna.create_study(
                storage=storage,
                sampler=optuna.samplers.TPESampler(seed=seed),
                study_name=str(plan.base["name"]),
                direction=plan.direction,  # type: ignore[arg-type]
                load_if_exists=True,
            )
        except (DBAPIError, optuna.exceptions.StorageInternalError):
            # Both found no table and made the same one: the next time it is there.
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.3)
    raise AssertionError("unreachable")


def _count(study: optuna.Study) -> int:
    return sum(each.value is not None or _REASON in each.user_attrs for each in study.trials)


def _original(trial: optuna.trial.FrozenTrial) -> int:
    """Return the number of the trial that ``trial`` goes on with; its own if it is none's."""
    import optuna

    number = optuna.storages.RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if number is None else number


def _run_of(plan: Plan, number: int) -> RunFolder:
    return RunFolder(plan.folder / f"trial-{number:04d}")


def _objective(plan: Plan, trial: optuna.Trial) -> float:
    changes = {key: each.suggest(trial, key) for key, each in plan.space.parameters.items()}
    stored = next(each for each in trial.study.get_trials(deepcopy=False) if each.number == trial.number)
    run = _run_of(plan, _original(stored))
    try:
        if not run.config.is_file():
            run.path.mkdir(parents=True, exist_ok=True)
            run.write_config(to_yaml(plan.experiment(changes)))
        command = [sys.executable, "-m", "lsnn_gym", "train", "--resume", str(run.path), "--quiet"]
        # In a process of its own: its memory, threads and faults are its own too.
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            reason = last_line(ended.stderr)
            raise UserError(f"{run.path}: training ended with status {ended.returncode}: {reason}")
        figure = read_results(run).get(plan.figure)
        if not isinstance(figure, int | float) or not math.isfinite(figure):
            raise UserError(f"{run.path}: {plan.figure} is {figure}, expected a finite number")
    except (UserError, OSError) as error:
        trial.set_user_attr(_REASON, str(error))
        raise _FailedTrainingError(str(error)) from error
    return float(figure)
