"""Load an exported policy, without unpickling anything, and film an episode in the water maze.

* ``python examples/recurrent_ppo_water_maze.py --out runs/sb3-water-maze``
* ``python examples/load_and_film.py runs/sb3-water-maze --film episode.mp4``
"""

import argparse

import gymnasium as gym

import lsnn_gym.envs  # noqa: F401  registers the environments
from lsnn_gym.agents.sb3 import load_policy
from lsnn_gym.film import FilmWriter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", help="folder that export_policy wrote")
    parser.add_argument("--film", default="episode.mp4")
    parser.add_argument("--seed", type=int, default=0, help="of the maze")
    options = parser.parse_args()

    policy = load_policy(options.policy)
    maze = gym.make("lsnn_gym/WaterMazeQuick-v0", render_mode="rgb_array")
    observation, _ = maze.reset(seed=options.seed)
    state, done, total = None, False, 0.0
    with FilmWriter(options.film, fps=20) as film:
        while not done:
            film.add(maze.render())  # type: ignore[arg-type]
            action, state = policy.predict(observation, state)
            observation, reward, terminated, truncated, _ = maze.step(action)
            total, done = total + float(reward), terminated or truncated
    maze.close()
    print(f"{options.film}: return {total:.2f}")


if __name__ == "__main__":
    main()
