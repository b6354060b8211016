"""Speed of a training iteration, beside Stable-Baselines3's recurrent PPO on the same environment and data."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import nn

from lsnn_gym.errors import UserError
from lsnn_gym.experiment import family_of, load_experiment
from lsnn_gym.families.reinforcement import ReinforcementExperiment
from lsnn_gym.training.allocator import keep_freed_memory


def benchmark_iteration(
    config: str = "water-maze-paper", repetitions: int = 3, overrides: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Measure iterations of an experiment: whole episodes collected, and all their gradient steps.

    Beside it, ``sb3_contrib.RecurrentPPO`` as it comes: its policy with an LSTM of as many units as the network has
    neurons, on as many copies of the same environment, for as many environment steps and gradient steps an
    iteration, all data of an iteration in each gradient step. One iteration of either goes first and does not
    count; then they take turns, and the medians count.

    Args:
        config: Name or path of a config of reinforcement learning.
        repetitions: Iterations of each that count.
        overrides: ``section.key=value`` assignments.

    Returns:
        ``seconds_per_iteration`` by library, ``ratio_to_recurrent_ppo`` (theirs over ours), and what was measured:
        ``config``, ``environment_steps``, ``gradient_steps``, ``neurons``, ``threads``.

    Raises:
        UserError: The config is not one of reinforcement learning, or Stable-Baselines3 is missing.
    """
    experiment = load_experiment(config, overrides)
    if not isinstance(experiment, ReinforcementExperiment):
        raise UserError(f"{config} has no env: expected a config of reinforcement learning")
    keep_freed_memory()  # as in training
    trainer = family_of(experiment).make_trainer(experiment)
    steps = int(trainer.run_iteration()["environment_steps"] or 0)
    peer = _RecurrentPPO(experiment, steps)
    peer.run_iteration()
    measured = [(_timed(trainer.run_iteration), _timed(peer.run_iteration)) for _ in range(repetitions)]
    ours, theirs = (statistics.median(each) for each in zip(*measured, strict=True))
    return {
        "config": config,
        "environment_steps": steps,
        "gradient_steps": _gradient_steps(experiment),
        "neurons": experiment.network.num_neurons,
        "threads": torch.get_num_threads(),
        "seconds_per_iteration": {"lsnn_gym": ours, "RecurrentPPO": theirs},
        "ratio_to_recurrent_ppo": theirs / ours,
    }


def _gradient_steps(experiment: ReinforcementExperiment) -> int:
    return experiment.train.ppo.epochs * experiment.train.ppo.minibatches


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class _RecurrentPPO:
    """``RecurrentPPO`` with the sizes of an experiment."""

    def __init__(self, experiment: ReinforcementExperiment, steps: int) -> None:
        try:
            from sb3_contrib import RecurrentPPO
            from stable_baselines3.common.env_util import make_vec_env
        except ImportError as error:
            raise UserError(f"{error}: pip install 'lsnn-gym[sb3]'") from None
        lanes, ppo = experiment.train.episodes_per_iteration, experiment.train.ppo
        self._steps = steps
        env = make_vec_env(experiment.env.id, lanes, env_kwargs=dict(experiment.env.options))
        self._model = RecurrentPPO(
            "MlpLstmPolicy",
            env,
            n_steps=steps // lanes,
            batch_size=steps // ppo.minibatches,
            n_epochs=ppo.epochs,
            learning_rate=ppo.learning_rate,
            policy_kwargs={
                "lstm_hidden_size": experiment.network.num_neurons,
                "net_arch": [],
                "shared_lstm": True,
                "enable_critic_lstm": False,
                "activation_fn": nn.Tanh,
            },
            device="cpu",
            seed=0,
        )

    def run_iteration(self) -> None:
        self._model.learn(self._steps, reset_num_timesteps=False)
