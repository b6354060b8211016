"""Small supervised environments that several test files use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest
import torch

from lsnn_gym.tasks.environment import SupervisedEnv
from lsnn_gym.tasks.task import IGNORED, Batch, Task

ENV_ID = "lsnn_gym/Supervised-v0"
RECALL = {"length": 4, "duration": 5, "num_inputs": 8, "mean_delay": 2.0, "evaluation_sequences": 3}
EVIDENCE = {
    "group_size": 2,
    "num_cues": 3,
    "cue": 2,
    "interval": 3,
    "delay": 3,
    "recall": 4,
    "evaluation_sequences": 3,
}
ROWS = {"data": "digits", "coding": "rows", "repeats": 2}
CROSSINGS = {"data": "digits", "channels": 12}
TASKS = [
    pytest.param("store-recall", RECALL, id="store-recall"),
    pytest.param("evidence-accumulation", EVIDENCE, id="evidence"),
    pytest.param("sequential-images", ROWS, id="rows"),
    pytest.param("sequential-images", CROSSINGS, id="crossings"),
]


def made(task: str = "store-recall", options: dict[str, Any] | None = None, split: str = "train"):
    if task == "sequential-images":
        pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    env = gym.make(ENV_ID, task=task, options=RECALL if options is None else options, split=split)
    assert isinstance(env.unwrapped, SupervisedEnv)
    return env.unwrapped


class ByHand(Task):
    """Six steps of two inputs in three windows, the last two of which ask for 1 and for 0."""

    input_size, num_classes, input_range = 2, 3, (0.0, 12.0)

    def training_batch(self, size: int, number: int, seed: int) -> Batch:
        inputs = torch.arange(12.0).reshape(6, 1, 2)
        return Batch(inputs.expand(6, size, 2), torch.tensor([[IGNORED], [1], [0]]).expand(3, size))

    def batches(self, split: str, size: int) -> Iterator[Batch]:
        yield self.training_batch(size, 0, 0)
