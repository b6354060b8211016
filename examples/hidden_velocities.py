"""RecurrentPPO balances a pole whose velocities are hidden: a spiking policy beside the stock LSTM.

* ``python examples/hidden_velocities.py --steps 50000``
"""

import argparse
import time
from typing import Any

import gymnasium as gym
from gymnasium.spaces import Box
from gymnasium.wrappers import TransformObservation
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

import lsnn_gym.agents.sb3  # noqa: F401  RecurrentPPO knows the spiking policies


def make_env() -> gym.Env:
    """Return a pole of which position and angle are observed, their velocities not."""
    env = gym.make("CartPole-v1")
    assert isinstance(env.observation_space, Box)
    bounds = env.observation_space.low[[0, 2]], env.observation_space.high[[0, 2]]
    return TransformObservation(env, lambda observation: observation[[0, 2]], Box(*bounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000, help="environment steps each")
    parser.add_argument("--episodes", type=int, default=100, help="of the evaluation")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    for policy in ("MlpLsnnPolicy", "MlpLstmPolicy"):
        env = VecNormalize(make_vec_env(make_env, n_envs=8))
        kwargs: dict[str, Any] = {
            "lstm_hidden_size": 64,
            "net_arch": {"vf": [64], "pi": []},
            "ortho_init": False,
        }
        model = RecurrentPPO(
            policy,
            env,
            n_steps=128,
            batch_size=256,
            n_epochs=10,
            learning_rate=7e-4,
            max_grad_norm=1,
            gae_lambda=0.98,
            seed=options.seed,
            device="cpu",
            policy_kwargs=kwargs,
        )
        start = time.perf_counter()
        model.learn(options.steps)
        seconds = time.perf_counter() - start
        env.training = False
        mean, deviation = evaluate_policy(model, env, n_eval_episodes=options.episodes)
        print(f"{policy}: return {mean:.1f} ± {deviation:.1f} after {options.steps:,} steps, {seconds:.0f} s")


if __name__ == "__main__":
    main()
