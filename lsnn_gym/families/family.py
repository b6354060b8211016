"""What a family of experiments offers to the command line; what every experiment's settings begin with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import Field
from torch import nn

from lsnn_gym.errors import UserError
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.report_parts.parts import Parts
from lsnn_gym.settings import Settings
from lsnn_gym.training.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint
from lsnn_gym.training.loop import Trainer
from lsnn_gym.training.optimization import load_model
from lsnn_gym.training.run_folder import RunFolder


class ExperimentSettings(Settings):
    """What every experiment has."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$", description="begins the run folder's name")
    seed: int = Field(default=0, ge=0, description="of everything random in training")


class RecurrentExperimentSettings(ExperimentSettings):
    """What every experiment with a recurrent network has."""

    network: NetworkSettings = NetworkSettings()


E = TypeVar("E", bound=ExperimentSettings)
M = TypeVar("M", bound=nn.Module)


class Family(ABC, Generic[E]):
    """Turns the settings of one kind of experiment into a trainer, figures and pictures."""

    @abstractmethod
    def make_trainer(self, experiment: E) -> Trainer:
        """Make the trainer of an experiment, at its start."""

    @abstractmethod
    def network(self, run: RunFolder, experiment: E) -> nn.Module:
        """Return what a run has trained, as its newest checkpoint has it (errors as of ``newest_weights``)."""

    @abstractmethod
    def evaluate(self, run: RunFolder, experiment: E, number: int | None = None) -> dict[str, Any]:
        """Judge what a run has trained.

        Args:
            run: With a checkpoint.
            experiment: That the run was started with.
            number: Of episodes or sequences; by default as many as the settings say.

        Returns:
            Figures by name, as JSON can hold them.
        """

    @abstractmethod
    def headline(self, figures: Mapping[str, Any]) -> dict[str, str]:
        """Return the figures that matter, short, of an iteration (for the progress bar) or of ``evaluate``."""

    @abstractmethod
    def figure(self, experiment: E) -> str:
        """Return the name of the figure that experiments of this kind are compared by."""

    @abstractmethod
    def table(self, figures: dict[str, Any]) -> str:
        """Lay figures of ``evaluate`` out as text."""

    @abstractmethod
    def draw_learning_curve(self, run: RunFolder, figures: dict[str, Any]) -> None:
        """Draw the course of a run's training into its ``learning_curve.png``."""

    @abstractmethod
    def default_pictures(self, run: RunFolder) -> list[Path]:
        """Return what ``draw`` is to make of a run unless told otherwise."""

    @abstractmethod
    def draw(self, run: RunFolder, experiment: E, path: Path, seed: int = 0) -> None:
        """Show in a film or picture what a run's network does.

        Raises:
            UserError: It cannot be drawn, or the file cannot be written.
        """

    @abstractmethod
    def show(self, run: RunFolder, experiment: E, seed: int = 0) -> None:
        """Show it in a window.

        Raises:
            UserError: There is nothing to be shown in a window.
        """

    @abstractmethod
    def report(
        self, run: RunFolder, experiment: E, figures: dict[str, Any], episodes: int, seed: int
    ) -> Parts:
        """Say what a report of a run shows.

        Args:
            run: With a checkpoint and metrics.
            experiment: That the run was started with.
            figures: Of ``evaluate``.
            episodes: How many to replay, or sequences.
            seed: Of the first; those of the others follow.

        Raises:
            UserError: There are not so many sequences.
        """


def newest_weights(module: M, run: RunFolder) -> M:
    """Give ``module`` the weights of a run's newest checkpoint, and return it.

    Raises:
        UserError: There is no checkpoint, or none that can be used.
    """
    load_model(module, newest_checkpoint(run))
    return module


def finished_iterations(run: RunFolder) -> int:
    """Return how many iterations a run's newest checkpoint comes after (errors as of ``newest_weights``)."""
    return newest_checkpoint(run).iteration


def newest_checkpoint(run: RunFolder) -> Checkpoint:
    """Return a run's newest checkpoint (errors as of ``newest_weights``)."""
    newest = latest_checkpoint(run.checkpoints)
    if newest is None:
        raise UserError(
            f"{run.path}: no checkpoint yet; lsnn-gym train --resume {run.path} goes on with training"
        )
    return load_checkpoint(newest)


def on_device(module: M, device: str) -> M:
    """Move ``module`` to the device that ``train.device`` names.

    Raises:
        UserError: There is no such device.
    """
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"train.device: {device!r} cannot be used: {reason}; cpu always can") from None
