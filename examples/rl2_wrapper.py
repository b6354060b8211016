"""RL²: a spiking agent that learns within a trial, by its dynamics alone, where the goal of this trial is.

Any Gymnasium environment becomes such a task by ``MetaRL``: previous action, reward and the end of an inner episode
join the observation, and a trial is several inner episodes of one task.

$ python examples/rl2_wrapper.py --steps 500000
"""

import argparse

import gymnasium as gym
from stable_baselines3.common.env_util import make_vec_env

from lsnn_gym.agents.sb3 import SpikingRecurrentPPO
from lsnn_gym.envs import MetaRL

INNER_EPISODES, INNER_STEPS = 4, 20


def make_trials() -> gym.Env:
    """Return trials of four inner episodes that share their goal: ``lsnn_gym/GoalReachingRL2-v0`` by hand."""
    env = gym.make("lsnn_gym/GoalReaching-v0", max_steps=INNER_STEPS, step_size=0.2)
    return MetaRL(env, inner_episodes=INNER_EPISODES, task_keys=["goal"], reward_range=(-3.0, 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=500_000, help="environment steps, of all trials together"
    )
    parser.add_argument("--trials", type=int, default=16, help="how many at a time")
    options = parser.parse_args()

    model = SpikingRecurrentPPO(
        "MlpLsnnPolicy",
        make_vec_env(make_trials, n_envs=options.trials),
        n_steps=INNER_EPISODES * INNER_STEPS,
        batch_size=None,
        n_epochs=8,
        learning_rate=1e-3,
        gamma=0.95,
        seed=1,
        verbose=1,
        policy_kwargs={
            "lstm_hidden_size": 64,
            "shared_lstm": True,
            "enable_critic_lstm": False,
            "net_arch": [],
            "lsnn_kwargs": {"steps_per_observation": 4},
        },
    )
    model.learn(options.steps)

    trial = make_trials()
    observation, _ = trial.reset(seed=123)
    state, done = None, False
    while not done:
        action, state = model.predict(observation, state, deterministic=True)
        observation, _, terminated, truncated, info = trial.step(action)
        done = terminated or truncated
        if "inner_episode" in info:
            print(
                f"inner episode {info['trial']['inner_episode']}: return {info['inner_episode']['return']:.2f}"
            )


if __name__ == "__main__":
    main()
