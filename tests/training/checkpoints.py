"""Checkpoints to save, damage and compare, which several test files use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.training.checkpoint import Checkpoint, load_checkpoint


def small(iteration: int = 3, fill: float = 1.5) -> Checkpoint:
    return Checkpoint(
        iteration,
        {"w": torch.full((3, 2), fill), "b": torch.arange(2)},
        {"adam/w": torch.full((3, 2), fill / 3), "generator": torch.arange(9, dtype=torch.uint8)},
        {"best": 0.1 + 0.2, "nested": {"list": [1, "two", None, True]}},
    )


def same(left: Checkpoint, right: Checkpoint) -> bool:
    return (
        left.iteration == right.iteration
        and left.scalars == right.scalars
        and all(
            a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)
            for a, b in ((left.model, right.model), (left.training, right.training))
        )
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refusal(path: Path) -> str:
    before = contents(path.parent)
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    assert contents(path.parent) == before, "loading must change nothing"
    assert "\n" not in str(caught.value)
    return str(caught.value)
