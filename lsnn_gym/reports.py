"""What a run shows of itself: the table of figures, the learning curve, an episode."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym

from lsnn_gym.agents.filming import film_episode, film_rendered_episode, show_episode
from lsnn_gym.envs.water_maze_vector import WaterMazeVectorEnv
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import Experiment, experiment_of, load_run_agent, make_env
from lsnn_gym.pictures import Panel, learning_curves
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.run_folder import RunFolder

_COLUMNS = {
    "goals_per_episode": "goals per episode",
    "first_latency": "first latency",
    "later_latency": "later latency",
    "found_share": "found share",
    "firing_rate_hz": "firing rate (Hz)",
}
_WIDTH = 20


def results_table(figures: dict[str, Any]) -> str:
    """Lay the figures of ``experiment.evaluate_run`` out as text: agent and reference policies, a row each.

    Latencies are in environment steps.
    """
    if "goals_per_episode" not in figures:
        return "\n".join(f"{key}: {value}" for key, value in figures.items() if key != "references")
    lines = [" " * _WIDTH + "".join(f"{label:>{_WIDTH}}" for label in _COLUMNS.values())]
    for name, row in {"agent": figures, **figures["references"]}.items():
        cells = ("-" if row.get(key) is None else f"{row[key]:.2f}" for key in _COLUMNS)
        lines.append(f"{name.replace('_', ' '):<{_WIDTH}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells))
    return "\n".join(lines)


def write_learning_curve(run: RunFolder, figures: dict[str, Any]) -> None:
    """Draw the course of a run's training into its ``learning_curve.png``.

    Args:
        run: With metrics.
        figures: Of ``experiment.evaluate_run``, for the reference policies.
    """
    metrics = read_metrics(run.metrics)
    if "goals_per_episode" in figures:
        references = figures["references"].items()
        panels = [
            Panel(
                {"agent": "goals_per_episode"},
                "goals per episode",
                {name.replace("_", " "): row["goals_per_episode"] for name, row in references},
            ),
            Panel({"first goal": "first_latency", "later goals": "later_latency"}, "latency (steps)"),
        ]
    else:
        panels = [Panel({"agent": "episode_return"}, "return")]
    if any(record.get("firing_rate_hz") is not None for record in metrics):
        panels.append(Panel({"all neurons": "firing_rate_hz"}, "firing rate (Hz)"))
    learning_curves(metrics, panels, run.learning_curve, title=run.path.name)


def film_run(run: RunFolder, path: Path, seed: int = 0) -> None:
    """Record an episode of a run's agent; of a water maze with the spikes, else as the environment draws itself.

    Raises:
        UserError: The environment cannot draw itself, or the file cannot be written.
    """
    experiment = experiment_of(run)
    env = make_env(experiment.env, 1)
    agent = load_run_agent(run, experiment, env)
    deterministic = experiment.evaluate.deterministic
    if isinstance(env.unwrapped, WaterMazeVectorEnv):
        film_episode(agent, env, path, seed=seed, deterministic=deterministic)
        return
    with closing(_drawing_env(experiment, "rgb_array")) as single:
        film_rendered_episode(agent, single, path, seed=seed, deterministic=deterministic)


def show_run(run: RunFolder, seed: int = 0) -> float:
    """Show an episode of a run's agent in a window; return its return."""
    experiment = experiment_of(run)
    agent = load_run_agent(run, experiment, make_env(experiment.env, 1))
    with closing(_drawing_env(experiment, "human")) as env:
        return show_episode(agent, env, seed=seed, deterministic=experiment.evaluate.deterministic)


def _drawing_env(experiment: Experiment, render_mode: str) -> gym.Env[Any, Any]:
    try:
        return gym.make(experiment.env.id, render_mode=render_mode, **experiment.env.options)
    except (gym.error.Error, TypeError, ValueError) as error:
        raise UserError(f"{experiment.env.id} cannot draw itself: {error}") from None
