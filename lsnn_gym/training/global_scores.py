"""How the answers of several ranks are judged together: losses and scores of a batch of which each has its lanes."""

from __future__ import annotations

from torch import Tensor

from lsnn_gym.tasks.task import IGNORED, Batch, Score, Scores, Task, score, total
from lsnn_gym.training.distributed import gather_json, weighted


def global_loss(task: Task, outputs: Tensor, batch: Batch) -> Tensor:
    """Return what has, as its mean over the ranks, the task's loss of the whole batch.

    Args:
        task: Whose loss is a mean over answers asked for.
        outputs: Readouts of this rank's lanes ``[T, B, K]``.
        batch: These lanes.
    """
    return weighted(task.loss(outputs, batch), int((batch.targets != IGNORED).sum()), outputs)


def global_score(outputs: Tensor, batch: Batch) -> dict[int | None, Score]:
    """Judge the readouts ``[T, B, K]`` of all ranks' lanes together, given those of this rank."""
    return global_scores(score(outputs, batch))


def global_scores(own: Scores) -> dict[int | None, Score]:
    """Add the scores of all ranks up."""
    told = [[group, each.right, each.asked] for group, each in own.items()]
    return total(
        {group: Score(right, asked) for group, right, asked in scores} for scores in gather_json(told)
    )
