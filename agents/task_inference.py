"""Inferring the task: agents that say, while they are trained, what only the environment knows.

Each episode of meta-reinforcement learning is a new task, e.g. a goal in another place. Rewards teach slowly that it is
worth remembering what has told it apart; a loss that asks for it at every step teaches it directly. What is asked for
is needed for training alone: a trained agent acts on what it observes.

Source: Humplik and others: Meta reinforcement learning as task inference, arXiv:1905.06424, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsnn_gym.errors import UserError, unknown
from lsnn_gym.settings import Settings


class TaskInferenceSettings(Settings):
    """What of the task an agent learns to tell."""

    info: str = Field(description="the environment's info that tells the task apart, e.g. goal")
    size: int = Field(ge=1, description="how many numbers that is")
    seen_from: tuple[int, ...] = Field(
        default=(),
        description="indices of the observation: then the direction from there to the info, of length 1, is told",
    )
    weight: float = Field(default=1.0, ge=0, description="of the squared error, summed over the numbers")


def check_task_inference(
    settings: TaskInferenceSettings, infos: Mapping[str, Any], num_envs: int, observation_size: int
) -> None:
    """Look whether an environment reports what is to be inferred.

    Args:
        settings: What it is.
        infos: Of a reset of a vectorised environment.
        num_envs: Of that.
        observation_size: Numbers of an observation.

    Raises:
        UserError: There is no such info, it has other numbers, or an index is none of the observation's.
    """
    # Names that begin so say only which of the environments have the info.
    names = [name for name in infos if not name.startswith("_")]
    if settings.info not in names:
        raise UserError(f"agent.task_inference: {unknown('info', settings.info, names)}")
    found = np.asarray(infos[settings.info])
    if found.dtype.kind not in "fiub" or found.size != num_envs * settings.size:
        raise UserError(
            f"agent.task_inference.size is {settings.size}: info {settings.info!r} is {found.dtype} "
            f"{found.shape[1:]} of each environment"
        )
    if settings.seen_from and len(settings.seen_from) != settings.size:
        raise UserError(
            f"agent.task_inference.seen_from has {len(settings.seen_from)} indices: expected {settings.size}, "
            "as many as size"
        )
    for index in settings.seen_from:
        if not 0 <= index < observation_size:
            raise UserError(
                f"agent.task_inference.seen_from has {index}: expected indices from 0 to {observation_size - 1}"
            )


def inference_targets(
    settings: TaskInferenceSettings, observations: Tensor, infos: Mapping[str, np.ndarray]
) -> Tensor:
    """Return what an agent ought to tell at each step ``[T, B, K]``.

    Args:
        settings: What it is.
        observations: ``[T, B, O]``.
        infos: What the environment reported after each step, by key ``[T, B, ...]``; an episode does not change it.
    """
    task = torch.as_tensor(infos[settings.info], dtype=observations.dtype).to(observations.device)
    task = task.reshape(*observations.shape[:2], settings.size)
    if not settings.seen_from:
        return task
    return torch.nn.functional.normalize(task - observations[..., list(settings.seen_from)], dim=-1)
