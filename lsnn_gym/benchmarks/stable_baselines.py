"""Speed of spiking recurrent policies in Stable-Baselines3, beside its LSTM."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from lsnn_gym.errors import UserError

NUM_ENVS, STEPS, BATCH_SIZE, EPOCHS = 8, 128, 256, 10


def benchmark_stable_baselines(
    env: str = "CartPole-v1", neurons: int = 128, repetitions: int = 3, iterations: int = 2, threads: int = 1
) -> dict[str, Any]:
    """Measure ``SpikingRecurrentPPO`` beside ``RecurrentPPO``, with spiking networks and with LSTMs.

    All have networks of equal width for actor and critic, no layers behind them, the same environment (8 copies,
    128 steps an iteration), minibatches of 256 steps and 10 epochs: rollouts and gradient steps count alike. Some
    iterations go first and do not count; then they take turns, and the medians count.

    Args:
        env: Id of an environment.
        neurons: Of a spiking network, and units of an LSTM.
        repetitions: Measurements of each.
        iterations: Rollouts, with their gradient steps, of a measurement.
        threads: PyTorch's. One is fastest for all of them at such sizes.

    Returns:
        ``steps_per_second`` by name, ``ratio_to_recurrent_ppo``: those of ``SpikingRecurrentPPO`` over those of the
        LSTM, and what was measured: ``env``, ``neurons``, ``simulation_steps``, ``threads``.

    Raises:
        UserError: Stable-Baselines3 is missing.
    """
    try:
        from lsnn_gym.agents.sb3 import CoreSettings
    except ImportError as error:
        raise UserError(f"{error}: pip install 'lsnn-gym[sb3]'") from None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        by_name = _steps_per_second(_models(env, neurons), repetitions, iterations)
    finally:
        torch.set_num_threads(before)
    return {
        "env": env,
        "neurons": neurons,
        "simulation_steps": CoreSettings().steps_per_observation,
        "threads": threads,
        "steps_per_second": by_name,
        "ratio_to_recurrent_ppo": by_name["SpikingRecurrentPPO"] / by_name["RecurrentPPO, LSTM"],
    }


def _models(env: str, neurons: int) -> dict[str, Any]:
    from sb3_contrib import RecurrentPPO

    from lsnn_gym.agents.sb3 import SpikingRecurrentPPO

    return {
        "SpikingRecurrentPPO": _model(SpikingRecurrentPPO, "MlpLsnnPolicy", env, neurons),
        "RecurrentPPO, spiking": _model(RecurrentPPO, "MlpLsnnPolicy", env, neurons),
        "RecurrentPPO, LSTM": _model(RecurrentPPO, "MlpLstmPolicy", env, neurons),
    }


def _steps_per_second(models: dict[str, Any], repetitions: int, iterations: int) -> dict[str, float]:
    steps = iterations * NUM_ENVS * STEPS
    measured: dict[str, list[float]] = {name: [] for name in models}
    for repetition in range(repetitions + 1):
        for name, model in models.items():
            start = time.perf_counter()
            model.learn(steps, reset_num_timesteps=False)
            if repetition:
                measured[name].append(steps / (time.perf_counter() - start))
    return {name: statistics.median(each) for name, each in measured.items()}


def _model(algorithm: Any, policy: str, env: str, neurons: int) -> Any:
    from stable_baselines3.common.env_util import make_vec_env

    return algorithm(
        policy,
        make_vec_env(env, NUM_ENVS, seed=0),
        n_steps=STEPS,
        batch_size=BATCH_SIZE,
        n_epochs=EPOCHS,
        policy_kwargs={"lstm_hidden_size": neurons, "net_arch": []},
        device="cpu",
        seed=0,
    )
