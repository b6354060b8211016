"""PPO balances a pole with spiking features; the same with a perceptron, for comparison.

* ``python examples/ppo_spiking_features.py --steps 100000``
"""

import argparse
import time
from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from lsnn_gym.agents.sb3 import SpikingFeaturesExtractor

POLICIES: dict[str, dict[str, Any]] = {
    "spiking": {
        "features_extractor_class": SpikingFeaturesExtractor,
        "features_extractor_kwargs": {"features_dim": 64},
        "net_arch": [],
    },
    "perceptron": {"net_arch": [64]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps each")
    parser.add_argument("--episodes", type=int, default=100, help="of the evaluation")
    options = parser.parse_args()

    for name, policy_kwargs in POLICIES.items():
        model = PPO(
            "MlpPolicy",
            make_vec_env("CartPole-v1", n_envs=8),
            n_steps=32,
            batch_size=256,
            n_epochs=20,
            learning_rate=1e-3,
            gamma=0.98,
            gae_lambda=0.8,
            seed=1,
            device="cpu",
            policy_kwargs=policy_kwargs,
        )
        start = time.perf_counter()
        model.learn(options.steps)
        seconds = time.perf_counter() - start
        mean, deviation = evaluate_policy(
            model, make_vec_env("CartPole-v1", seed=123), n_eval_episodes=options.episodes
        )
        print(f"{name}: return {mean:.1f} ± {deviation:.1f} after {options.steps:,} steps, {seconds:.0f} s")


if __name__ == "__main__":
    main()
