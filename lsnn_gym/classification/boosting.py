"""Weights of examples that grow where the network errs, for rules that ask for it."""

from __future__ import annotations

from torch import Tensor

from lsnn_gym.errors import UserError
from lsnn_gym.rules.st_rsbp.losses import boosted
from lsnn_gym.training.checkpoint import Checkpoint

_WEIGHTS, _DECIDED = "boost:weights", "boost:decided"


class Boost:
    """Weights of the training examples, and what was decided of each in the epoch under way.

    Attributes:
        weights: Of all examples ``[N]``; 1 in the first epoch.
        decided: Classes ``[N]``.

    Args:
        labels: True classes ``[N]``.
    """

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels
        self.weights: Tensor = labels.new_ones(len(labels)).float()
        self.decided: Tensor = labels.clone()

    def end_epoch(self) -> float:
        """Let the weights grow by what was decided; return the largest."""
        self.weights = boosted(self.weights, self.labels, self.decided)
        return float(self.weights.max())

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint has to hold, by name."""
        return {_WEIGHTS: self.weights.clone(), _DECIDED: self.decided.clone()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``.

        Raises:
            UserError: It has no weights of examples, or those of others.
        """
        found = {name: checkpoint.training.get(name) for name in (_WEIGHTS, _DECIDED)}
        for name, each in found.items():
            if each is None or each.shape != self.labels.shape:
                what = "nothing" if each is None else f"{len(each)} examples"
                raise UserError(
                    f"the checkpoint has {what} under {name!r}: expected {len(self.labels)} examples"
                )
        self.weights, self.decided = (each.clone() for each in found.values() if each is not None)
