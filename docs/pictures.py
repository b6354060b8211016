"""Make the pictures of environments and tasks that the pages show: ``python docs/pictures.py [FOLDER]``.

By default into ``docs/images``; those of tasks only where their data are to be had.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from PIL import Image

from lsnn_gym.envs import REFERENCE_POLICIES, MetaRL
from lsnn_gym.envs.water_maze import WaterMazeEnv
from lsnn_gym.errors import UserError
from lsnn_gym.pictures import SequencePicture, draw_sequence
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.tasks.registry import make_task
from lsnn_gym.tasks.task import IGNORED
from lsnn_gym.training.supervised import ModelSettings, TaskNetwork

SIZE = 400
"""Pixels along each side of a frame."""
COLORS = 48
WIDEST = 960


def main(folder: Path) -> None:
    """Make all pictures, and say which cannot be made here."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PICTURES.items():
        try:
            save(make(), folder / f"{name}.png")
        except UserError as error:
            print(f"{name}: {error}", file=sys.stderr)


def save(frame: np.ndarray, path: Path) -> None:
    """Write a frame ``[H, W, 3]`` as a small PNG."""
    image = Image.fromarray(frame)
    image.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    image.quantize(COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def played(env_id: str, act: Callable[[gym.Env, Any], Any], steps: int, **options: Any) -> np.ndarray:
    """Return what an environment looks like after some steps of ``act(env, observation)``."""
    env = gym.make(env_id, render_mode="rgb_array", render_size=SIZE, **options)
    observation, _ = env.reset(seed=3)
    for _ in range(steps):
        observation = env.step(act(env, observation))[0]
    frame = np.asarray(env.render())
    env.close()
    return frame


def sweep(steps: int) -> Callable[[gym.Env, Any], Any]:
    """Return a policy that sweeps the maze until it meets the goal, and then remembers it."""
    policy = REFERENCE_POLICIES["sweep_then_exploit"]()
    begun = []

    def act(env: gym.Env, observation: Any) -> Any:
        maze = env.unwrapped
        assert isinstance(maze, WaterMazeEnv)
        if not begun:
            policy.reset(1, maze.options, np.random.default_rng(0))
            begun.append(steps)
        return policy.act(observation[None], np.zeros((1, 2)))[0]

    return act


def water_maze() -> np.ndarray:
    """Return a maze in which the goal was found and come back to."""
    return played("lsnn_gym/WaterMazeQuick-v0", sweep(70), 70)


def function_regression() -> np.ndarray:
    """Return a sine wave and predictions that say the last target again."""
    return played(
        "lsnn_gym/FunctionRegressionQuick-v0",
        lambda env, observation: [observation[-1] / 5.0],
        20,
        family="sinusoid",
    )


def bandits() -> np.ndarray:
    """Return a bandit whose arms were pulled one after the other."""
    counter = iter(range(100))
    return played("lsnn_gym/BernoulliBandits-v0", lambda env, observation: next(counter) * 7 // 3 % 5, 40)


def goal_reaching() -> np.ndarray:
    """Return a point that went about at random."""
    rng = np.random.default_rng(5)
    return played("lsnn_gym/GoalReaching-v0", lambda env, observation: rng.uniform(-1, 1, 2), 40)


def meta_rl() -> np.ndarray:
    """Return the ends of a trial's four inner episodes, side by side, of a policy that remembers the goal."""
    maze = gym.make("lsnn_gym/WaterMazeQuick-v0", max_steps=40, render_mode="rgb_array", render_size=SIZE)
    trials = MetaRL(maze, inner_episodes=4, task_keys=("goal",))
    observation, _ = trials.reset(seed=3)
    act, frames, done = sweep(160), [], False
    while not done:
        before = np.asarray(trials.render())
        observation, _, terminated, truncated, info = trials.step(act(maze, observation[:4]))
        if "inner_episode" in info:
            frames.append(before)
        done = terminated or truncated
    trials.close()
    return np.concatenate([frame[::2, ::2] for frame in frames], axis=1)


def task_picture(name: str, **options: Any) -> np.ndarray:
    """Return a sequence of a task, and what a network does that has not been trained."""
    task = make_task(name, **options)
    generator = torch.Generator().manual_seed(0)
    neurons = NetworkSettings(regular_neurons=30, adaptive_neurons=30, threshold=0.02)
    network = TaskNetwork(ModelSettings(), neurons, task, generator, (), 0)
    batch = next(iter(task.batches("validation", 1)))
    with torch.no_grad():
        output, _ = network(batch.inputs, network.core.initial_state(1), None)
    picture = SequencePicture(
        inputs=batch.inputs[:, 0].numpy(),
        spikes=output.spikes[:, 0].numpy() > 0,
        groups={"regular": 30, "adaptive": 30},
        probabilities=torch.softmax(output.values[:, 0], dim=-1).numpy(),
        targets=[None if target == IGNORED else int(target) for target in batch.targets[:, 0]],
    )
    with tempfile.TemporaryDirectory() as folder:
        draw_sequence(picture, Path(folder, "picture.png"))
        return np.asarray(Image.open(Path(folder, "picture.png")).convert("RGB"))


def tasks() -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Return what makes the picture of each task that needs no licence."""
    settings: dict[str, dict[str, Any]] = {
        "store-recall": {},
        "evidence-accumulation": {},
        "sequential-images": {"data": "digits", "channels": 40},
        "few-shot": {},
        "spoken-digits": {},
    }
    for name, options in settings.items():
        yield f"task-{name}", lambda name=name, options=options: task_picture(name, **options)


PICTURES: dict[str, Callable[[], np.ndarray]] = {
    "water-maze": water_maze,
    "function-regression": function_regression,
    "bandits": bandits,
    "goal-reaching": goal_reaching,
    "meta-rl": meta_rl,
    **dict(tasks()),
}
"""Name to what makes the picture, a frame ``[H, W, 3]``."""


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images")
