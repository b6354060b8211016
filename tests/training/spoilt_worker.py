"""The command line, but the batch of the third iteration has a NaN among the lanes of the last rank."""

from __future__ import annotations

from typing import Any

from lsnn_gym.cli import main
from lsnn_gym.training.supervised import SupervisedTrainer

improve = SupervisedTrainer._improve


def spoilt(self: SupervisedTrainer, whole: Any, iteration: int) -> Any:
    if iteration == 2:
        whole.inputs[0, -1, 0] = float("nan")
    return improve(self, whole, iteration)


if __name__ == "__main__":
    SupervisedTrainer._improve = spoilt  # type: ignore[method-assign]
    main()
