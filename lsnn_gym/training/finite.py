"""NaN and infinity stop a training at the step that met them, named, with what was there before."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from lsnn_gym.atomic import cannot_write, write_atomically
from lsnn_gym.errors import NotFiniteError
from lsnn_gym.training.checkpoint import Checkpoint, save_checkpoint
from lsnn_gym.training.distributed import gather_json, rank

REPORT_FILE = "report.json"
TENSOR_FILE = "tensor.safetensors"


@dataclass(frozen=True)
class Watched:
    """What a step of the optimiser rests on, to find NaN and infinity in it.

    Attributes:
        module: Whose parameters are trained.
        number: Of the batch, from 0; with the run's seed all that is random in it follows.
        tensors: Looked at in each step, by name, in the order in which one follows from the other: observations or
            inputs, states. Those that are no floats are left out.
        more: Looked at only to name what was wrong, once something was: what the loss is made of.
    """

    module: nn.Module
    number: int
    tensors: Mapping[str, Tensor | None] = field(default_factory=dict)
    more: Callable[[], Mapping[str, Tensor | None]] = dict

    def trace(self, loss: Tensor) -> Tensor:
        """Return a number that is NaN or infinite if the loss or a watched tensor is; only in extremes else, too.

        A sum is the quickest look: NaN and infinity stay in it.
        """
        trace = loss.detach()
        for tensor in self.tensors.values():
            if tensor is not None and tensor.is_floating_point():
                trace = trace + tensor.detach().sum().to(trace)
        return trace


def check_finite(trace: Tensor, watched: Watched, loss: Tensor) -> None:
    """Look for NaN and infinity in what a step rests on, unless ``trace`` says that there are none.

    Args:
        trace: Of ``Watched.trace``, the mean over the ranks: all or none of them look.
        watched: Of this rank.
        loss: Of this rank.

    Raises:
        NotFiniteError: On all ranks, naming the first tensor on any.
    """
    if not math.isfinite(trace.item()) and (error := _first_of_all(watched, loss)) is not None:
        raise error


def not_finite(watched: Watched, loss: Tensor) -> NotFiniteError:
    """Return what is wrong where the norm of the gradient, the same on all ranks, is not finite."""
    # Each element may be finite, and only the sum of their squares not.
    norm = NotFiniteError("norm of the gradient", 1, 1, watched.number, None)
    return _first_of_all(watched, loss) or norm


def _first_of_all(watched: Watched, loss: Tensor) -> NotFiniteError | None:
    own = next(iter(_found(watched, loss)), None)
    told = gather_json(None if own is None else list(own[:4]))
    owners = [each for each, one in enumerate(told) if one is not None]
    if not owners:
        return None
    owner = min(owners, key=lambda each: told[each][0])
    _, name, count, size = told[owner]
    tensor = own[4].detach().cpu() if own is not None and owner == rank() else None
    return NotFiniteError(name, count, size, watched.number, tensor)


def check_finite_checkpoint(checkpoint: Checkpoint) -> None:
    """Look for NaN and infinity in trained weights, which a step may have left where all before it was finite.

    Raises:
        NotFiniteError: Naming the first such tensor.
    """
    trained = checkpoint.scalars.get("optimizer", {}).get("shapes", {})
    for name in trained:
        tensor = checkpoint.model.get(name)
        if tensor is not None and (count := _count(tensor)):
            raise NotFiniteError(f"parameter {name}", count, tensor.numel(), None, tensor.detach().cpu())


def save_not_finite(
    folder: Path, error: NotFiniteError, checkpoint: Checkpoint | None, about: Mapping[str, Any]
) -> None:
    """Leave in ``folder`` what there is to look at; what it had from an earlier time is replaced.

    ``<iteration>/`` is a checkpoint of just before the step, ``report.json`` says what was found and where, and
    ``tensor.safetensors`` has the tensor, under ``tensor``.

    Args:
        folder: Made if need be.
        error: What was found; the rank that has the tensor writes it.
        checkpoint: On rank 0 alone.
        about: Further entries of the report.

    Raises:
        UserError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise cannot_write(folder, reason) from reason
    if error.tensor is not None:
        content = safetensors.torch.save({"tensor": error.tensor.contiguous()})
        write_atomically(folder / TENSOR_FILE, content)
    if checkpoint is not None:
        save_checkpoint(folder, checkpoint, keep=1)
        report = {
            "tensor": error.name,
            "values": error.count,
            "of": error.size,
            "batch": error.batch,
            **about,
        }
        write_atomically(folder / REPORT_FILE, json.dumps(report, indent=2) + "\n")


def _found(watched: Watched, loss: Tensor) -> Iterable[tuple[int, str, int, int, Tensor]]:
    """Yield place in the order of things, name, number of values and size of each tensor that is not finite."""
    parameters = dict(watched.module.named_parameters())
    stages: Sequence[Mapping[str, Tensor | None]] = (
        {f"parameter {name}": each for name, each in parameters.items()},
        watched.tensors,
        watched.more(),
        {"loss": loss},
        {f"gradient of {name}": each.grad for name, each in parameters.items()},
    )
    place = 0
    for stage in stages:
        for name, tensor in stage.items():
            place += 1
            if tensor is not None and (count := _count(tensor)):
                yield place, name, count, tensor.numel(), tensor


def _count(tensor: Tensor) -> int:
    """Return how many values are NaN or infinite."""
    return int(tensor.numel() - torch.isfinite(tensor.detach()).sum())
