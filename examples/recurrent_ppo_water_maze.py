"""With Stable-Baselines3, a spiking agent or an LSTM learns to find a water maze's hidden platform and to return to it.

* ``python examples/recurrent_ppo_water_maze.py --steps 2000000``
* ``python examples/recurrent_ppo_water_maze.py --cells lstm --mazes 128 --steps 6400000``: as many steps as the
  first 2,000 iterations of ``lsnn-gym train water-maze-quick`` take.
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.vec_env import VecMonitor

from lsnn_gym.agents.sb3 import GymnasiumVecEnv, SpikingRecurrentPPO, export_policy
from lsnn_gym.envs import WaterMazeVectorEnv
from lsnn_gym.envs.maze_statistics import MazeStatistics

STEPS = 200
"""Of a whole episode."""


def make_mazes(number: int) -> WaterMazeVectorEnv:
    mazes = gym.make_vec(
        "lsnn_gym/WaterMazeQuick-v0", num_envs=number, autoreset_mode=AutoresetMode.SAME_STEP
    )
    assert isinstance(mazes, WaterMazeVectorEnv)
    return mazes


def make_model(cells: str, mazes: int) -> RecurrentPPO:
    env = VecMonitor(GymnasiumVecEnv(make_mazes(mazes)))
    policy: dict[str, Any] = {
        "lstm_hidden_size": 128,
        "shared_lstm": True,
        "enable_critic_lstm": False,
        "net_arch": [],
    }
    common: dict[str, Any] = {"n_steps": STEPS, "seed": 1, "verbose": 1}
    if cells == "lstm":
        return RecurrentPPO(
            "MlpLstmPolicy",
            env,
            batch_size=mazes * STEPS // 4,
            n_epochs=3,
            learning_rate=lambda left: 0.002 * left,
            gamma=0.97,
            ent_coef=0.0005,
            policy_kwargs=policy,
            **common,
        )
    cell = {"steps_per_observation": 2, "tau_adaptation": (20.0, 1000.0)}
    return SpikingRecurrentPPO(
        "MlpLsnnPolicy",
        env,
        batch_size=None,  # all mazes' episodes, whole, in every gradient step
        n_epochs=4,
        learning_rate=1e-3,
        ent_coef=0.003,
        policy_kwargs={**policy, "lsnn_kwargs": cell},
        **common,
    )


def judge(model: RecurrentPPO, episodes: int) -> MazeStatistics:
    """Return how well the means of a policy do in mazes that it was not trained in."""
    mazes = make_mazes(episodes)
    seen, _ = mazes.reset(seed=1_000_000)
    state, starts = None, np.ones(episodes, dtype=bool)
    reached = []
    for _ in range(STEPS):
        actions, state = model.predict(seen, state, starts, deterministic=True)
        seen, rewards, *_ = mazes.step(actions)
        reached.append(rewards > 0.5)  # 1 at the goal, a little less if the wall was in the way too
        starts = np.zeros(episodes, dtype=bool)
    return MazeStatistics.from_goals(np.stack(reached))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", choices=("lsnn", "lstm"), default="lsnn")
    parser.add_argument(
        "--steps", type=int, default=2_000_000, help="environment steps, of all mazes together"
    )
    parser.add_argument("--mazes", type=int, default=32, help="how many at a time")
    parser.add_argument("--judged", type=int, default=256, help="episodes to judge the policy by")
    parser.add_argument("--out", default="runs/sb3-water-maze", help="folder of a trained spiking policy")
    options = parser.parse_args()

    model = make_model(options.cells, options.mazes)
    model.learn(options.steps)
    figures = {
        name: value for name, value in judge(model, options.judged).as_dict().items() if value is not None
    }
    if options.cells == "lsnn":
        export_policy(model, options.out, figures=figures)
        print(options.out)
    print(", ".join(f"{name} {value:.2f}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
