"""From the folder of a run to a trained network that comes with the package."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lsnn_gym.atomic import cannot_write, write_atomically
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import Experiment, experiment_of, family_of
from lsnn_gym.families.family import newest_checkpoint
from lsnn_gym.pretrained import (
    CARD_FILE,
    CONFIG_FILE,
    REFERENCES,
    WEIGHTS_FILE,
    Card,
    CardFigure,
    folder_of_all,
)
from lsnn_gym.published.measures import figure_in
from lsnn_gym.published.repeating import command_of
from lsnn_gym.published.rows import Row
from lsnn_gym.published.summaries import Summary
from lsnn_gym.settings import to_yaml
from lsnn_gym.training.run_folder import RunFolder

LIMIT_BYTES = 5_000_000
"""Of all networks together."""

_LICENCE = "MIT"
_ALONE: Mapping[str, Any] = {"transfer": (), "references": False, "lstm": None, "maml": None}
"""Settings of ``evaluate`` that leave out what stands beside a network and takes long."""


def publish(
    run: RunFolder, name: str, row: Row, summary: Summary, sets: int, parent: Path | None = None
) -> Path:
    """Write a run's network into the package, instead of a former one of that name.

    Args:
        run: That is in the table, as ``summary``.
        name: Of the network.
        row: In the table.
        summary: Of the run.
        sets: Of episodes to judge it on, its own included, at least 2: the spread of the figures is over them.
        parent: Where the networks are; the package's own folder by default.

    Returns:
        The network's folder.

    Raises:
        UserError: The summary is of another run, the run's figures do not depend on episodes that are drawn, the
            networks would be too large, or nothing can be written.
    """
    experiment = experiment_of(run)
    _check_same(run, experiment, summary)
    checkpoint = newest_checkpoint(run)
    files = {
        CONFIG_FILE: to_yaml(experiment).encode(),
        WEIGHTS_FILE: safetensors.torch.save(
            {key: _narrow(each).contiguous() for key, each in checkpoint.model.items()}
        ),
    }
    for path in sorted((run.path / REFERENCES).glob("*.safetensors")):
        files[f"{REFERENCES}/{path.name}"] = path.read_bytes()
    folder = (parent or folder_of_all()) / name
    _check_size(folder, files)
    card = Card(
        name=name,
        summary=f"{row.system}: {row.what}",
        row=row.name,
        seed=summary.seed,
        iterations=checkpoint.iteration,
        command=command_of(row, summary),
        commit=summary.environment.get("git_commit"),
        licence=_LICENCE,
        sets=sets,
        episodes=summary.figures["episodes"],
        figures=_figures(run, experiment, row, summary, sets),
        sha256={file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
    )
    files[CARD_FILE] = (json.dumps(card.model_dump(mode="json"), indent=2) + "\n").encode()
    _write(folder, files)
    return folder


def _check_same(run: RunFolder, experiment: Experiment, summary: Summary) -> None:
    if experiment != summary.experiment() or newest_checkpoint(run).iteration != summary.iterations:
        raise UserError(
            f"{run.path}: row {summary.row} has another run as seed {summary.seed}: expected "
            f"`lsnn-gym results add {run.path} --row {summary.row}` first"
        )
    if "seed" not in type(experiment.evaluate).model_fields:
        raise UserError(
            f"{run.path}: its figures are of one test part, not of episodes that are drawn: expected a run of an "
            "agent or of regression"
        )


def _figures(
    run: RunFolder, experiment: Experiment, row: Row, summary: Summary, sets: int
) -> dict[str, CardFigure]:
    judged = [judge_alone(run, experiment, number) for number in range(1, sets)]
    found = {}
    for key in (*row.figures, *row.beside):
        value = figure_in(summary.figures, key)
        others = [figure_in(each, key) for each in judged]
        # What stands beside the network is as it is, and of no interest here.
        if "." in key or value is None or None in others:
            continue
        spread = 2 * statistics.stdev([value, *(each for each in others if each is not None)])
        found[key] = CardFigure(value=value, spread=float(f"{spread:.3g}"))
    return found


def judge_alone(run: RunFolder, experiment: Experiment, number: int) -> dict[str, Any]:
    """Judge a run's network without what takes long beside it.

    Args:
        run: With a checkpoint.
        experiment: Of an agent or of regression.
        number: Of the set of episodes; 0 is that of the experiment's settings.
    """
    evaluate: Any = experiment.evaluate
    changes = {key: value for key, value in _ALONE.items() if key in type(evaluate).model_fields}
    evaluate = evaluate.model_copy(update={**changes, "seed": evaluate.seed + number})
    return family_of(experiment).evaluate(run, experiment.model_copy(update={"evaluate": evaluate}))


def _narrow(tensor: Tensor) -> Tensor:
    """Return small whole numbers, as signs and delays are, as int8: loaded, they get back the type that they had."""
    if tensor.is_complex() or tensor.dtype is torch.bool:  # which cannot be clamped
        return tensor
    small = tensor.clamp(-128, 127).to(torch.int8)
    return small if torch.equal(small.to(tensor.dtype), tensor) else tensor


def _check_size(folder: Path, files: Mapping[str, bytes]) -> None:
    others = [
        path for path in folder.parent.glob("*/**/*") if path.is_file() and not path.is_relative_to(folder)
    ]
    size = sum(path.stat().st_size for path in others if path.suffix == ".safetensors")
    size += sum(len(content) for content in files.values())
    if size > LIMIT_BYTES:
        raise UserError(
            f"{folder}: with it the networks of the package would have {size / 1e6:.1f} MB: "
            f"expected at most {LIMIT_BYTES / 1e6:g}"
        )


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        for former in folder.rglob("*.safetensors"):
            former.unlink()
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    for file, content in files.items():
        write_atomically(folder / file, content)
