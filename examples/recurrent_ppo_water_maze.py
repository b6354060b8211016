"""A spiking agent learns to find a hidden platform in the water maze, and to return to it, with Stable-Baselines3.

* ``python examples/recurrent_ppo_water_maze.py --steps 2000000``
"""

import argparse

import gymnasium as gym
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecMonitor

import lsnn_gym.envs  # noqa: F401  registers the environments
from lsnn_gym.agents.sb3 import GymnasiumVecEnv, SpikingRecurrentPPO, export_policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=2_000_000, help="environment steps, of all mazes together"
    )
    parser.add_argument("--mazes", type=int, default=32, help="how many at a time")
    parser.add_argument("--out", default="runs/sb3-water-maze", help="folder of the trained policy")
    options = parser.parse_args()

    mazes = gym.make_vec(
        "lsnn_gym/WaterMazeQuick-v0", num_envs=options.mazes, autoreset_mode=AutoresetMode.SAME_STEP
    )
    env = VecMonitor(GymnasiumVecEnv(mazes))
    model = SpikingRecurrentPPO(
        "MlpLsnnPolicy",
        env,
        n_steps=200,  # a whole episode
        batch_size=None,  # all mazes' episodes, whole, in every gradient step
        n_epochs=4,
        learning_rate=1e-3,
        ent_coef=0.003,
        seed=1,
        verbose=1,
        policy_kwargs={
            "lstm_hidden_size": 128,
            "shared_lstm": True,
            "enable_critic_lstm": False,
            "net_arch": [],
            "lsnn_kwargs": {"steps_per_observation": 2, "tau_adaptation": (20.0, 1000.0)},
        },
    )
    model.learn(options.steps)
    returns = [episode["r"] for episode in model.ep_info_buffer or []]
    figures = {"mean return": sum(returns) / len(returns)}
    export_policy(model, options.out, figures=figures)
    print(f"{options.out}: return {figures['mean return']:.2f}")


if __name__ == "__main__":
    main()
