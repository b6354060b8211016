"""What a run of reinforcement learning shows of itself: the table of figures, the learning curve, an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from lsnn_gym.agents.actor_critic import ActorCritic
from lsnn_gym.agents.filming import film_episode, film_rendered_episode, show_episode
from lsnn_gym.agents.probing import probe_agent
from lsnn_gym.envs.function_regression_vector import FunctionRegressionVectorEnv
from lsnn_gym.envs.water_maze_vector import WaterMazeVectorEnv
from lsnn_gym.errors import UserError
from lsnn_gym.families.regression_reports import course_panels as regression_panels
from lsnn_gym.families.regression_reports import (
    draw_errors_by_trial,
    draw_probed,
    error_headline,
    regression_rows,
    regression_table,
)
from lsnn_gym.pictures import Panel, learning_curves
from lsnn_gym.report_parts.parts import Table, plain_rows
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
    """Lay the figures of ``Reinforcement.evaluate`` out as text: agent and reference policies, a row each.

    Latencies are in environment steps. Of function regression it is that of ``regression_table``.
    """
    if "error_share" in figures:
        return regression_table(figures)
    if "goals_per_episode" not in figures:
        return "\n".join(f"{key}: {value}" for key, value in figures.items() if key != "references")
    table = results_rows(figures)
    lines = [" " * _WIDTH + "".join(f"{label:>{_WIDTH}}" for label in table.columns)]
    for name, cells in table.rows.items():
        lines.append(f"{name:<{_WIDTH}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells))
    for name, row in figures.get("auxiliary", {}).items():
        lines.append(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in row.items()))
    return "\n".join(lines)


def results_rows(figures: Mapping[str, Any]) -> Table:
    """Return agent and reference policies, a row each; figures of other environments a row each."""
    if "error_share" in figures:
        return regression_rows(figures)
    if "goals_per_episode" not in figures:
        return plain_rows(figures)
    rows = {
        name.replace("_", " "): ["-" if row.get(key) is None else f"{row[key]:.2f}" for key in _COLUMNS]
        for name, row in {"agent": figures, **figures["references"]}.items()
    }
    return Table(list(_COLUMNS.values()), rows, "Latencies are in steps.")


def write_learning_curve(run: RunFolder, figures: dict[str, Any]) -> None:
    """Draw the course of a run's training into its ``learning_curve.png``, of regression also the errors by trial.

    Args:
        run: With metrics.
        figures: Of ``Reinforcement.evaluate``, for the reference policies.
    """
    metrics = read_metrics(run.metrics)
    if "error_share" in figures:
        draw_errors_by_trial(run, figures)
    panels = course_panels(metrics, figures)
    learning_curves(metrics, panels, run.learning_curve, title=run.path.name)


def course_panels(metrics: Sequence[Mapping[str, Any]], figures: Mapping[str, Any]) -> list[Panel]:
    """Return what is drawn of the course of a training, with the reference policies in ``figures``."""
    if "error_share" in figures:
        return regression_panels(metrics)
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
    return panels


def film_run(
    agent: ActorCritic,
    env: VectorEnv,
    env_id: str,
    options: Mapping[str, Any],
    path: Path,
    seed: int,
    deterministic: bool,
) -> None:
    """Record an episode of an agent; of our own environments with the spikes, else as the environment draws itself.

    Args:
        agent: That acts.
        env: One lane of its environment.
        env_id: Name of that environment.
        options: With which it was made.
        path: The film or picture.
        seed: Of the episode.
        deterministic: Whether the agent takes the mean of its policy.

    Raises:
        UserError: The environment cannot draw itself, or the file cannot be written.
    """
    if isinstance(env.unwrapped, WaterMazeVectorEnv):
        film_episode(agent, env, path, seed=seed, deterministic=deterministic)
        return
    functions = env.unwrapped
    if isinstance(functions, FunctionRegressionVectorEnv):
        network = agent.network_settings
        draw_probed(
            lambda seen: probe_agent(agent, functions, seen, seed, deterministic=deterministic),
            functions.options.functions,
            path,
            {"regular": network.regular_neurons, "adaptive": network.adaptive_neurons},
            network.dt,
            title=f"{env_id}, episode {seed}",
        )
        return
    with closing(_drawing_env(env_id, options, "rgb_array")) as single:
        film_rendered_episode(agent, single, path, seed=seed, deterministic=deterministic)


def show_run(
    agent: ActorCritic, env_id: str, options: Mapping[str, Any], seed: int, deterministic: bool
) -> None:
    """Show an episode of an agent in a window (arguments as in ``film_run``)."""
    with closing(_drawing_env(env_id, options, "human")) as env:
        show_episode(agent, env, seed=seed, deterministic=deterministic)


def _drawing_env(env_id: str, options: Mapping[str, Any], render_mode: str) -> gym.Env[Any, Any]:
    try:
        return gym.make(env_id, render_mode=render_mode, **options)
    except (gym.error.Error, TypeError, ValueError) as error:
        raise UserError(f"{env_id} cannot draw itself: {error}") from None


HEADLINES = {
    "goals_per_episode": ("goals", "{:.2f}"),
    "first_latency": ("first", "{:.1f}"),
    "later_latency": ("later", "{:.1f}"),
    "firing_rate_hz": ("rate", "{:.0f} Hz"),
}
"""The figures for the progress bar, their short names and formats."""


def headline(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures that matter, short, for the progress bar."""
    if "error" in figures:
        return error_headline(figures)
    if "goals_per_episode" not in figures:
        return {"return": f"{figures.get('episode_return') or 0:.2f}"}
    shown = {}
    for key, (label, form) in HEADLINES.items():
        value = figures.get(key)
        if value is not None:
            shown[label] = form.format(value)
    return shown
