"""Trained networks that come with the package, each in a folder beside this file.

::

    water-maze/config.yaml           the experiment, as in a run's folder
               weights.safetensors   of the network
               references/           weights of references that had to be trained, where there are any
               card.json             what it is, what it reaches, checksums (``Card``)

``load`` gives the network; ``lsnn-gym evaluate --pretrained NAME`` and ``render --pretrained NAME`` judge and film it.
No file holds a pickle, and nothing that is read can run code. Importing this module loads no PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from lsnn_gym.errors import UserError, unknown
from lsnn_gym.settings import Settings, validate

if TYPE_CHECKING:
    from torch import nn

    from lsnn_gym.training.run_folder import RunFolder

__all__ = ["Card", "CardFigure", "card", "load", "names", "opened", "run_folder"]

CARD_FILE = "card.json"
CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "weights.safetensors"
REFERENCES = "references"


class CardFigure(Settings):
    """What a network reaches."""

    value: float = Field(description="as `lsnn-gym evaluate` gives it")
    spread: float = Field(ge=0, description="twice the standard deviation over sets of other episodes")


class Card(Settings):
    """What a trained network is and reaches."""

    name: str = Field(description="of the folder")
    summary: str = Field(description="one line for people")
    row: str = Field(description="of docs/results.md, where its figures stand")
    seed: int = Field(description="of the run that trained it")
    iterations: int = Field(description="of that run")
    command: str = Field(description="that trains one like it")
    commit: str | None = Field(description="of lsnn_gym when it was trained")
    licence: str = Field(description="of the weights")
    sets: int = Field(description="of episodes that the spreads are of")
    episodes: int = Field(description="of each set")
    figures: dict[str, CardFigure] = Field(description="by name, as `lsnn-gym evaluate --json` names them")
    sha256: dict[str, str] = Field(description="of the other files, by path within the folder")


def folder_of_all() -> Path:
    """Return the folder that has a folder a network."""
    return Path(str(resources.files("lsnn_gym.pretrained")))


def names() -> list[str]:
    """Return the names of the networks there are."""
    return sorted(path.parent.name for path in folder_of_all().glob(f"*/{CARD_FILE}"))


def card(name: str) -> Card:
    """Return what is known of the network ``name``.

    Raises:
        UserError: There is none of that name, or its card cannot be used.
    """
    if name not in names():
        raise UserError(unknown("pretrained network", name, names()))
    path = folder_of_all() / name / CARD_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: expected JSON: {error}") from None
    return validate(Card, plain, str(path))


def load(name: str) -> nn.Module:
    """Return the network ``name`` with its weights, on the CPU.

    Returns:
        Of ``water-maze`` an ``lsnn_gym.agents.actor_critic.ActorCritic``, of regression a
        ``lsnn_gym.regression.network.RegressionNetwork``.

    Raises:
        UserError: There is none of that name, or its files are damaged.
    """
    from lsnn_gym.experiment import experiment_of, family_of

    with run_folder(name) as run:
        experiment = experiment_of(run)
        return family_of(experiment).network(run, experiment)


@contextmanager
def run_folder(name: str) -> Iterator[RunFolder]:
    """Give a run's folder with the network ``name`` in it, which is gone afterwards.

    So whatever is done with a run can be done with it, where the package cannot be written to as well.

    Raises:
        UserError: There is none of that name, or its files are damaged.
    """
    import safetensors.torch

    from lsnn_gym.training.checkpoint import Checkpoint, save_checkpoint
    from lsnn_gym.training.run_folder import RunFolder

    described = card(name)
    source = folder_of_all() / name
    for file, expected in described.sha256.items():
        _check(source / file, expected)
    with tempfile.TemporaryDirectory() as parent:
        run = RunFolder(Path(parent) / name)
        run.path.mkdir()
        shutil.copy(source / CONFIG_FILE, run.config)
        if (source / REFERENCES).is_dir():
            shutil.copytree(source / REFERENCES, run.path / REFERENCES)
        weights = safetensors.torch.load_file(source / WEIGHTS_FILE)
        save_checkpoint(run.checkpoints, Checkpoint(described.iterations, weights))
        yield run


def _check(path: Path, expected: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; installing lsnn_gym anew mends it") from None
    if found != expected:
        raise UserError(
            f"{path} is damaged: found checksum {found[:12]}, expected {expected[:12]}; "
            "installing lsnn_gym anew mends it"
        )


@contextmanager
def opened(run: Path | None, name: str | None) -> Iterator[RunFolder]:
    """Give the run in the folder ``run``, or the pretrained network ``name`` as one.

    Raises:
        UserError: Both or neither are given, or there is no such run or network.
    """
    from lsnn_gym.training.run_folder import RunFolder

    if (run is None) == (name is None):
        raise UserError(f"expected a RUN, or --pretrained with one of {', '.join(names())}")
    if run is not None:
        yield RunFolder.open(run)
    elif name is not None:
        with run_folder(name) as copied:
            yield copied
