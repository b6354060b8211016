"""Weights before and after a training: which connections stayed, went and came."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from torch import nn

from lsnn_gym.report_parts.parts import Floats

_SPARSE = 0.9  # share of connections below which they are the thing to look at
_MOST_SHOWN = 128  # rows and columns
_KEPT, _GONE, _NEW = 1, 2, 3


class Change:
    """One matrix ``[post, pre]`` at the start of a training and at its end.

    Attributes:
        name: Its parameter's name.
        before: At the start.
        after: At the end.
    """

    def __init__(self, name: str, before: Floats, after: Floats) -> None:
        self.name = name
        self.before = before
        self.after = after

    @property
    def connectivity(self) -> tuple[float, float]:
        """Return the share of weights that are not 0, before and after."""
        return float((self.before != 0).mean()), float((self.after != 0).mean())

    @property
    def is_sparse(self) -> bool:
        """Return whether a good part of the connections is not there."""
        return min(self.connectivity) < _SPARSE

    @property
    def states(self) -> npt.NDArray[np.uint8]:
        """Return of each connection whether it was kept (1), is gone (2), is new (3), or never was (0)."""
        was, stands = self.before != 0, self.after != 0
        return (_KEPT * (was & stands) + _GONE * (was & ~stands) + _NEW * (~was & stands)).astype(np.uint8)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many connections were kept, are gone and are new."""
        numbers = np.bincount(self.states.ravel(), minlength=4)
        return {"kept": int(numbers[_KEPT]), "gone": int(numbers[_GONE]), "new": int(numbers[_NEW])}

    @property
    def shown_states(self) -> npt.NDArray[np.uint8]:
        """Return ``states`` of evenly chosen rows and columns, of a large matrix."""
        states = self.states
        for axis in (0, 1):
            size = states.shape[axis]
            states = states.take(
                np.unique(np.linspace(0, size - 1, min(size, _MOST_SHOWN)).astype(int)), axis
            )
        return states

    @property
    def title(self) -> str:
        """Return what it is, and how large."""
        post, pre = self.before.shape
        parts = [part for part in self.name.split(".") if part not in ("core", "network", "weight")]
        words = " ".join(parts or [self.name]).replace("_", " ")
        sampled = ", a sample" if self.is_sparse and max(post, pre) > _MOST_SHOWN else ""
        return f"{words}: {pre} to {post}{sampled}"


def matrices(module: nn.Module) -> dict[str, Floats]:
    """Return the weight matrices of a network by name, ``[post, pre]``.

    Kernels of convolutions count as matrices too: a row a channel. Those of one row or column are left out.
    """
    found = {
        name: parameter.detach().cpu().double().flatten(1).numpy().copy()
        for name, parameter in module.named_parameters()
        if parameter.ndim >= 2
    }
    return {name: each for name, each in found.items() if min(each.shape) > 1}


def changes(before: Mapping[str, Floats], after: Mapping[str, Floats]) -> list[Change]:
    """Pair matrices of the same name."""
    return [Change(name, each, after[name]) for name, each in before.items()]
