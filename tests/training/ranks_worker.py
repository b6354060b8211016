"""What each rank does in test_distributed: train small experiments of every family, and leave what came of them.

Started by torchrun with the path of a JSON file to write, or called in a single process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from lsnn_gym.errors import UserError
from lsnn_gym.experiment import experiment_from, family_of
from lsnn_gym.settings import assign
from lsnn_gym.training import distributed
from lsnn_gym.training.checkpoint import Checkpoint


class Uneven(gym.Env[Any, Any]):
    """Episodes of 3 to 9 steps, some terminated and some cut off: ranks have some of unequal length."""

    observation_space = gym.spaces.Box(-1, 1, (2,))
    action_space = gym.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._left = int(self.np_random.integers(3, 10))
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._left -= 1
        ended, even = self._left == 0, self.np_random.random() < 0.5
        return self._seen(), float(action[0]), ended and even, ended and not even, {}

    def _seen(self) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


gym.register("tests/Uneven-v0", lambda **_: Uneven())

SPARSE = {"kind": "deep_r", "connectivity": 0.5, "l1": 0.5, "temperature": 1e-4}
NETWORK = {
    "regular_neurons": 6,
    "adaptive_neurons": 4,
    "threshold": 0.02,
    "noise_std": 0.01,
    "wiring": SPARSE,
}
RECALL = {
    "kind": "store-recall",
    "num_inputs": 8,
    "length": 4,
    "duration": 5,
    "rate": 300.0,
    "evaluation_sequences": 24,
}
ENCODING = {"events": [2, 3], "neurons_per_value": 5, "neurons_per_event": 2}
PPO = {"epochs": 2, "minibatches": 3, "normalize_advantage": True, "bootstrap": True, "learning_rate": 0.005}

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "ppo": {
        "name": "ppo",
        "seed": 3,
        "network": NETWORK,
        "env": {"id": "lsnn_gym/WaterMazeQuick-v0", "options": {"max_steps": 12}},
        "agent": {
            "encoding": ENCODING,
            "task_inference": {"info": "goal", "size": 2, "seen_from": [0, 1]},
        },
        "train": {
            "iterations": 4,
            "episodes_per_iteration": 8,
            "ppo": PPO,
            "auxiliary": [{"task": RECALL, "weight": 0.1, "batch_size": 4}],
        },
    },
    "uneven": {
        "name": "uneven",
        "seed": 4,
        "network": NETWORK,
        "env": {"id": "tests/Uneven-v0"},
        "agent": {"core": "gru", "hidden_size": 4, "encoding": {"neurons_per_value": 4}},
        "train": {"iterations": 2, "episodes_per_iteration": 4, "ppo": PPO},
    },
    "supervised": {
        "name": "supervised",
        "seed": 5,
        "network": NETWORK,
        "task": RECALL,
        "train": {
            "iterations": 5,
            "batch_size": 8,
            "carry_state": True,
            "validate_every": 3,
            "rate_weight": 1.0,
        },
    },
    "uncarried": {
        "name": "uncarried",
        "seed": 5,
        "network": NETWORK,
        "task": RECALL,
        "train": {"iterations": 2, "batch_size": 8, "validate_every": 2},
    },
    "regression": {
        "name": "regression",
        "seed": 6,
        "network": NETWORK,
        "regression": {"family": "sinusoid", "trials": 6},
        "model": {
            "steps_per_observation": 3,
            "coding": {"neurons_per_value": 5, "width": 0.3, "spikes": "bernoulli"},
        },
        "train": {"iterations": 5, "batch_size": 8, "rate_weight": 1.0},
        "evaluate": {"first_trial": 2, "trials": 6},
    },
    # 44 examples: the last batch of 4 can be shared by 2 ranks and by 4; that of 1 in the next one by none.
    "classification": {
        "name": "classification",
        "seed": 7,
        "data": {"name": "digits", "validation": 30, "train_examples": 44, "test_examples": 30, "shift": 1},
        "coding": {"kind": "repeat", "steps": 4, "mean": 0.3, "std": 0.4},
        "rule": {"kind": "tssl-bp", "loss": "kernel", "dropout": 0.2},
        "architecture": "4C3-P2-20",
        "train": {"epochs": 2, "batch_size": 8, "parts_per_epoch": 2},
        "evaluate": {"batch_size": 7},
    },
    "boosted": {
        "name": "boosted",
        "seed": 8,
        "data": {"name": "digits", "validation": 0, "train_examples": 41, "test_examples": 20},
        "coding": {"kind": "rate", "steps": 30, "redrawn": True},
        "rule": {"kind": "st-rsbp", "thresholds": [3.0], "boosted": True, "penalty": 0.1, "desired_count": 6},
        "architecture": "20",
        "train": {
            "epochs": 2,
            "batch_size": 8,
            "parts_per_epoch": 1,
            "optimizer": "adam",
            "weight_decay": 0.0,
        },
    },
}


def train(name: str) -> dict[str, Any]:
    """Return the figures of each iteration, and which connections there are in the end."""
    experiment = experiment_from(EXPERIMENTS[name], name)
    trainer: Any = family_of(experiment).make_trainer(experiment)
    figures = [trainer.run_iteration() for _ in range(experiment.train.iterations)]
    checkpoint = trainer.checkpoint()  # which compares the ranks' weights, bit for bit
    carried = checkpoint.training.get("state")
    return {
        "figures": figures,
        "connected": _connected(checkpoint),
        "carried": None if carried is None else carried.tolist(),
    }


def connected_at_start(name: str) -> dict[str, Any]:
    """Return which connections an experiment begins with."""
    experiment = experiment_from(EXPERIMENTS[name], name)
    return _connected(family_of(experiment).make_trainer(experiment).checkpoint())


def _connected(checkpoint: Checkpoint) -> dict[str, Any]:
    thetas = {key: each for key, each in checkpoint.training.items() if key.endswith("/theta")}
    return {key: (theta > 0).int().tolist() for key, theta in thetas.items()}


def refusal(name: str, key: str) -> str | None:
    """Return how a batch of 7 is refused, where it is."""
    try:
        family = experiment_from(assign(EXPERIMENTS[name], {key: 7}, "test"), "test")
        family_of(family).make_trainer(family)
    except UserError as error:
        return str(error)
    return None


def parts() -> dict[str, Any]:
    """Return what the shared forms of means make of 8 lanes of which the first ranks have all that counts."""
    share = distributed.share_of(8, "lanes")
    whole = torch.linspace(-1, 2, 8).square()
    scale = torch.ones((), requires_grad=True)
    own = scale * share.of(whole, 0)
    few = own[share.of(torch.arange(8), 0) < 2]
    count = len(few)
    results: dict[str, Tensor] = {
        "mean_of": distributed.mean_of(few),
        "weighted": distributed.weighted(few.mean(), count, own),
        "square of the mean": distributed.global_mean(own.mean()) ** 2,
        "none": distributed.mean_of(own[:0], empty=0.0),
    }
    found: dict[str, Any] = {}
    for key, value in results.items():
        gradient = (
            torch.autograd.grad(value, scale, retain_graph=True)[0]
            if value.requires_grad
            else torch.zeros(())
        )
        found[key] = [float(distributed.global_mean(each.detach())) for each in (value, gradient)]
    lanes = share.of(torch.arange(8), 0)
    spikes = (lanes[lanes < 3][:, None] % 2).float().expand(2, -1, 3)
    found["firing rate"] = [
        distributed.global_firing_rate(spikes),
        distributed.global_firing_rate(spikes, spikes.sum(dim=(0, 1))),
        float(distributed.global_rate_loss(spikes, 20.0)),
    ]
    standard = distributed.standardised(own.detach(), share.of(torch.arange(8), 0) % 3 > 0)
    found["standardised"] = distributed.gather_lanes(standard, 0).tolist()
    found["lanes"] = [
        lane for lanes in distributed.gather_json(share.of(whole, 0).tolist()) for lane in lanes
    ]
    return found


def work() -> dict[str, Any]:
    """Return all of it."""
    torch.set_num_threads(1)
    return {
        "ranks": distributed.world_size(),
        "parts": parts(),
        "refused": {
            "ppo": refusal("ppo", "train.episodes_per_iteration"),
            "supervised": refusal("supervised", "train.batch_size"),
            "regression": refusal("regression", "train.batch_size"),
            "classification": refusal("classification", "train.batch_size"),
        },
        **{name: train(name) for name in EXPERIMENTS},
    }


if __name__ == "__main__":
    with distributed.process_group("cpu"):
        found = work()
        if distributed.writes():
            Path(sys.argv[1]).write_text(json.dumps(found))
    distributed.leave()
