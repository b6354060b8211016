"""From a config to the objects of a run; the only place that knows all families by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from pydantic import Field

from lsnn_gym.agents.actor_critic import ActorCritic, AgentSettings
from lsnn_gym.agents.meta_rl import MetaRLTrainer, Summary, TrainSettings, evaluate_agent, load_agent
from lsnn_gym.agents.rollout import Trajectory
from lsnn_gym.envs.maze_statistics import MazeStatistics, evaluate_policy
from lsnn_gym.envs.reference_policies import REFERENCE_POLICIES
from lsnn_gym.envs.water_maze_vector import WaterMazeVectorEnv
from lsnn_gym.errors import UserError, nearest, unknown
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.settings import Settings, apply_overrides, read_yaml, validate
from lsnn_gym.training.checkpoint import latest_checkpoint, load_checkpoint
from lsnn_gym.training.loop import Figures
from lsnn_gym.training.run_folder import RunFolder
from lsnn_gym.training.seeding import derived_seed


class EnvSettings(Settings):
    """The environment."""

    id: str = Field(description="as registered with Gymnasium, e.g. lsnn_gym/WaterMazeQuick-v0")
    options: dict[str, Any] = Field(
        default={}, description="keyword arguments that are to differ from those registered"
    )


class EvaluateSettings(Settings):
    """How a trained agent is judged."""

    episodes: int = Field(default=256, ge=1, description="episodes, none of them seen in training")
    deterministic: bool = Field(
        default=False, description="take the mean of the policy instead of drawing from it"
    )
    seed: int = Field(default=0, ge=0, description="of the episodes; the reference policies get the same")


class Experiment(Settings):
    """Everything that a result depends on."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._-]+$", description="begins the run folder's name")
    seed: int = Field(default=0, ge=0, description="of everything random in training")
    env: EnvSettings
    network: NetworkSettings = NetworkSettings()
    agent: AgentSettings = AgentSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


def config_names() -> dict[str, Path]:
    """Return the configs that come with the package, by name."""
    folder = Path(str(resources.files("lsnn_gym.configs")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_experiment(config: str, overrides: tuple[str, ...] = ()) -> Experiment:
    """Read a config and apply ``section.key=value`` overrides.

    Args:
        config: Name of a config of the package, or path of a YAML file.
        overrides: Assignments, applied in order.

    Raises:
        UserError: There is no such config, or it does not describe an experiment.
    """
    known = config_names()
    path = Path(config)
    if config in known:
        path = known[config]
    elif path.suffix not in {".yaml", ".yml"} and not path.exists():
        raise UserError(unknown("config", config, known))
    return validate(Experiment, apply_overrides(read_yaml(path), overrides), config)


def experiment_of(run: RunFolder) -> Experiment:
    """Return the experiment that ``run`` was started with."""
    return validate(Experiment, read_yaml(run.config), str(run.config))


def make_env(settings: EnvSettings, num_envs: int) -> VectorEnv:
    """Make the vectorised environment, natively vectorised where it can be.

    Raises:
        UserError: Unknown id or option, or an option's value that the environment refuses.
    """
    spec = _env_spec(settings.id)
    native = _parameters(spec.vector_entry_point)
    # Natively vectorised forms that cannot say when they reset would be of no use for whole episodes.
    as_whole = native is not None and "autoreset_mode" in native
    _check_options(settings.options, native if as_whole else _parameters(spec.entry_point))
    mode: dict[str, Any] = (
        {"autoreset_mode": AutoresetMode.NEXT_STEP} if as_whole else {"vectorization_mode": "sync"}
    )
    try:
        return gym.make_vec(settings.id, num_envs=num_envs, **mode, **settings.options)
    except (ValueError, TypeError, gym.error.Error) as error:
        raise UserError(f"env.options of {settings.id}: {error}") from None


def _env_spec(env_id: str) -> EnvSpec:
    if env_id not in gym.registry:
        near = nearest(env_id, gym.registry)
        hint = f": did you mean {near!r}?" if near else ""
        raise UserError(
            f"env.id: unknown environment {env_id!r}{hint}; lsnn-gym list envs shows this package's"
        )
    return gym.spec(env_id)


def _parameters(entry_point: Any) -> Mapping[str, inspect.Parameter] | None:
    if entry_point is None:
        return None
    creator = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    return inspect.signature(creator).parameters


def _check_options(options: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter] | None) -> None:
    if parameters is None or any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return
    names = set(parameters) - {"num_envs", "render_mode", "autoreset_mode", "max_episode_steps"}
    for name in options:
        if name not in names:
            raise UserError(f"env.options: {unknown('option', name, names)}")


def make_agent(experiment: Experiment, env: VectorEnv) -> ActorCritic:
    """Make the agent with its initial weights, on the device that ``train.device`` names.

    Raises:
        UserError: The environment's spaces do not fit, or there is no such device.
    """
    generator = torch.Generator().manual_seed(derived_seed(experiment.seed, "weights"))
    try:
        agent = ActorCritic(
            experiment.agent,
            experiment.network,
            env.single_observation_space,
            env.single_action_space,
            generator,
        )
    except ValueError as error:
        raise UserError(f"agent: {error}") from None
    try:
        return agent.to(experiment.train.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"train.device: {experiment.train.device!r} cannot be used: {reason}; cpu always can"
        ) from None


def make_trainer(experiment: Experiment) -> MetaRLTrainer:
    """Make the trainer of an experiment, at its start."""
    if experiment.train.threads is not None:
        torch.set_num_threads(experiment.train.threads)
    env = make_env(experiment.env, experiment.train.episodes_per_iteration)
    summarise, info_keys = _summary(env)
    agent = make_agent(experiment, env)
    return MetaRLTrainer(agent, env, experiment.train, experiment.seed, summarise, info_keys)


def load_run_agent(run: RunFolder, experiment: Experiment, env: VectorEnv) -> ActorCritic:
    """Return the agent of a run's newest checkpoint.

    Raises:
        UserError: There is no checkpoint, or none that can be used.
    """
    newest = latest_checkpoint(run.checkpoints)
    if newest is None:
        raise UserError(
            f"{run.path}: no checkpoint yet; lsnn-gym train --resume {run.path} goes on with training"
        )
    agent = make_agent(experiment, env)
    load_agent(agent, load_checkpoint(newest))
    return agent


def evaluate_run(run: RunFolder, episodes: int | None = None) -> dict[str, Any]:
    """Judge a run's agent and the reference policies on episodes of the same seed.

    Args:
        run: With a checkpoint.
        episodes: By default as many as the config says.

    Returns:
        The agent's figures by name and, under ``references``, the same figures of each reference policy.
    """
    experiment = experiment_of(run)
    num_episodes = episodes or experiment.evaluate.episodes
    env = make_env(experiment.env, num_episodes)
    agent = load_run_agent(run, experiment, env)
    summarise, info_keys = _summary(env)
    figures: dict[str, Any] = evaluate_agent(
        agent,
        env,
        experiment.evaluate.seed,
        summarise,
        info_keys,
        deterministic=experiment.evaluate.deterministic,
    )
    figures.setdefault("firing_rate_hz", None)
    figures["episodes"] = num_episodes
    figures["references"] = _references(experiment, env, num_episodes)
    return figures


def _references(experiment: Experiment, env: VectorEnv, num_episodes: int) -> dict[str, Figures]:
    if not isinstance(env.unwrapped, WaterMazeVectorEnv):
        return {}
    seed = derived_seed(experiment.evaluate.seed, "environment")
    options = experiment.env.options
    return {
        name: evaluate_policy(name, experiment.env.id, num_episodes, seed, **options).as_dict()
        | {"firing_rate_hz": None}
        for name in REFERENCE_POLICIES
    }


def _summary(env: VectorEnv) -> tuple[Summary, tuple[str, ...]]:
    """Return the figures of merit of an environment's family, and the infos that they need."""
    if isinstance(env.unwrapped, WaterMazeVectorEnv):
        return _maze_figures, ("goal_latency",)
    return (lambda trajectory: {}), ()


def _maze_figures(trajectory: Trajectory) -> Figures:
    return dict(MazeStatistics.from_goals(trajectory.infos["goal_latency"] > 0).as_dict())


HEADLINES = {
    "goals_per_episode": ("goals", "{:.2f}"),
    "first_latency": ("first", "{:.1f}"),
    "later_latency": ("later", "{:.1f}"),
    "firing_rate_hz": ("rate", "{:.0f} Hz"),
}
"""The figures for the progress bar, their short names and formats."""


def describe(figures: Mapping[str, float | int | None]) -> dict[str, str]:
    """Return the figures that matter, short, for the progress bar."""
    if "goals_per_episode" not in figures:
        return {"return": f"{figures.get('episode_return') or 0:.2f}"}
    shown = {}
    for key, (label, form) in HEADLINES.items():
        value = figures.get(key)
        if value is not None:
            shown[label] = form.format(value)
    return shown
