"""Off-policy algorithms with spiking features: DQN balances a pole, SAC swings a pendulum up.

* ``python examples/dqn_and_sac.py --steps 10000``
"""

import argparse

from stable_baselines3 import DQN, SAC
from stable_baselines3.common.evaluation import evaluate_policy

from lsnn_gym.agents.sb3 import SpikingFeaturesExtractor

FEATURES = {"features_extractor_class": SpikingFeaturesExtractor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="environment steps each")
    parser.add_argument("--episodes", type=int, default=20, help="of the evaluation")
    options = parser.parse_args()

    models = [
        DQN(
            "MlpPolicy",
            "CartPole-v1",
            learning_starts=min(1000, options.steps // 2),
            learning_rate=1e-3,
            train_freq=4,
            gradient_steps=4,
            target_update_interval=200,
            exploration_fraction=0.3,
            seed=1,
            device="cpu",
            policy_kwargs={**FEATURES, "features_extractor_kwargs": {"features_dim": 128}, "net_arch": []},
        ),
        SAC(
            "MlpPolicy",
            "Pendulum-v1",
            learning_starts=min(100, options.steps // 2),
            learning_rate=1e-3,
            seed=1,
            device="cpu",
            policy_kwargs={
                **FEATURES,
                "features_extractor_kwargs": {"features_dim": 64},
                # The critic's features are of the observation alone: the action joins behind them.
                "net_arch": {"pi": [], "qf": [64, 64]},
            },
        ),
    ]
    for model in models:
        model.learn(options.steps)
        mean, deviation = evaluate_policy(model, model.get_env(), n_eval_episodes=options.episodes)
        print(f"{type(model).__name__}: return {mean:.1f} ± {deviation:.1f}")


if __name__ == "__main__":
    main()
