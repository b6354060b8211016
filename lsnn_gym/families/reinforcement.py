"""Agents that learn in an environment: from settings to a trainer, and how they are judged."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from pydantic import Field

from lsnn_gym.agents.actor_critic import ActorCritic, AgentSettings
from lsnn_gym.agents.meta_rl import MetaRLTrainer, Summary, TrainSettings, evaluate_agent
from lsnn_gym.agents.rollout import Trajectory
from lsnn_gym.agents.task_inference import check_task_inference
from lsnn_gym.envs.function_regression_vector import FunctionRegressionVectorEnv
from lsnn_gym.envs.maze_statistics import MazeStatistics, evaluate_policy
from lsnn_gym.envs.reference_policies import REFERENCE_POLICIES
from lsnn_gym.envs.water_maze_vector import WaterMazeVectorEnv
from lsnn_gym.errors import UserError, nearest, unknown
from lsnn_gym.families import reinforcement_reports as reports
from lsnn_gym.families.family import Family, RecurrentExperimentSettings, newest_weights, on_device
from lsnn_gym.families.regression_reports import errors_by_trial
from lsnn_gym.families.reinforcement_replays import episode_replay
from lsnn_gym.regression.episodes import RegressionSettings, draw_episodes
from lsnn_gym.regression.evaluation import JudgedTrials, figures_beside
from lsnn_gym.report_parts.parts import Parts
from lsnn_gym.report_parts.weights import matrices
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.training.distributed import share_of
from lsnn_gym.training.loop import Figures
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.run_folder import RunFolder


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
    regression: JudgedTrials = Field(
        default=JudgedTrials(), description="of function regression: which trials count"
    )


class ReinforcementExperiment(RecurrentExperimentSettings):
    """Everything that a result of reinforcement learning depends on."""

    env: EnvSettings
    agent: AgentSettings = AgentSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


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


def make_agent(experiment: ReinforcementExperiment, env: VectorEnv) -> ActorCritic:
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
        if experiment.train.auxiliary:
            # After the agent's own weights: without auxiliary tasks these are the same.
            agent.attach(experiment.train.auxiliary, generator, experiment.seed)
    except ValueError as error:
        raise UserError(f"agent: {error}") from None
    return on_device(agent, experiment.train.device)


class Reinforcement(Family[ReinforcementExperiment]):
    """Agents that learn in an environment, by PPO through whole episodes."""

    def make_trainer(self, experiment: ReinforcementExperiment) -> MetaRLTrainer:
        """Make the trainer of an experiment, at its start."""
        if experiment.train.threads is not None:
            torch.set_num_threads(experiment.train.threads)
        share = share_of(experiment.train.episodes_per_iteration, "train.episodes_per_iteration")
        env = make_env(experiment.env, share.size)
        if isinstance(env.unwrapped, FunctionRegressionVectorEnv):
            try:
                experiment.evaluate.regression.check(env.unwrapped.options.trials, "evaluate.regression")
            except ValueError as error:
                raise UserError(str(error)) from None
        summarise, info_keys = _summary(env)
        agent = make_agent(experiment, env)
        if experiment.agent.task_inference is not None:
            _, infos = env.reset(seed=0)
            size = agent.encoder.observation_size
            check_task_inference(experiment.agent.task_inference, infos, env.num_envs, size)
        if agent.auxiliary is not None:
            # Data that are missing are to be noticed before a folder is made.
            agent.auxiliary.look_for_data()
        return MetaRLTrainer(agent, env, experiment.train, experiment.seed, summarise, info_keys, share)

    def network(self, run: RunFolder, experiment: ReinforcementExperiment) -> ActorCritic:
        """Return the agent that a run has trained."""
        return newest_weights(make_agent(experiment, make_env(experiment.env, 1)), run)

    def evaluate(
        self, run: RunFolder, experiment: ReinforcementExperiment, number: int | None = None
    ) -> dict[str, Any]:
        """Judge a run's agent and the reference policies on episodes of the same seed.

        Returns:
            The agent's figures by name; under ``references``, the same figures of each reference policy or, of
            function regression, those of ``regression.evaluation.figures_beside``; under ``auxiliary``, those of
            each auxiliary task on its test part, if there are any.
        """
        num_episodes = number or experiment.evaluate.episodes
        env = make_env(experiment.env, num_episodes)
        agent = newest_weights(make_agent(experiment, env), run)
        summarise, info_keys = _summary(env)
        settings = experiment.evaluate
        if isinstance(env.unwrapped, FunctionRegressionVectorEnv):
            summarise = partial(_beside_references, env.unwrapped, settings, num_episodes)
        figures: dict[str, Any] = evaluate_agent(
            agent, env, settings.seed, summarise, info_keys, deterministic=settings.deterministic
        )
        figures.setdefault("firing_rate_hz", None)
        figures["episodes"] = num_episodes
        figures.setdefault("references", _references(experiment, env, num_episodes))
        if agent.auxiliary is not None:
            figures["auxiliary"] = agent.auxiliary.evaluate(agent.spiking_network)
        return figures

    def headline(self, figures: Mapping[str, Any]) -> dict[str, str]:
        """Return goals, latencies and firing rate, or the return."""
        return reports.headline(figures)

    def figure(self, experiment: ReinforcementExperiment) -> str:
        """Return the goals of an episode in the water maze, the error of function regression, else the return."""
        env = make_env(experiment.env, 1).unwrapped
        if isinstance(env, FunctionRegressionVectorEnv):
            return "error"
        return "goals_per_episode" if isinstance(env, WaterMazeVectorEnv) else "episode_return"

    def table(self, figures: dict[str, Any]) -> str:
        """Lay agent and reference policies out, a row each."""
        return reports.results_table(figures)

    def draw_learning_curve(self, run: RunFolder, figures: dict[str, Any]) -> None:
        """Draw goals, latencies and firing rate, with the reference policies."""
        reports.write_learning_curve(run, figures)

    def default_pictures(self, run: RunFolder) -> list[Path]:
        """Return the path of the film of an episode."""
        return [run.episode]

    def draw(self, run: RunFolder, experiment: ReinforcementExperiment, path: Path, seed: int = 0) -> None:
        """Record an episode; of our own environments with the spikes, else as the environment draws itself."""
        env = make_env(experiment.env, 1)
        agent = newest_weights(make_agent(experiment, env), run)
        settings = experiment.env
        deterministic = experiment.evaluate.deterministic
        reports.film_run(agent, env, settings.id, settings.options, path, seed, deterministic)

    def show(self, run: RunFolder, experiment: ReinforcementExperiment, seed: int = 0) -> None:
        """Show an episode in a window."""
        agent = self.network(run, experiment)
        settings = experiment.env
        reports.show_run(agent, settings.id, settings.options, seed, experiment.evaluate.deterministic)

    def report(
        self,
        run: RunFolder,
        experiment: ReinforcementExperiment,
        figures: dict[str, Any],
        episodes: int,
        seed: int,
    ) -> Parts:
        """Show episodes, figures beside the reference policies, the course of the training, connections."""
        env = make_env(experiment.env, 1)
        agent = newest_weights(make_agent(experiment, env), run)
        deterministic = experiment.evaluate.deterministic
        seeds = range(seed, seed + episodes)
        return Parts(
            reports.results_rows(figures),
            reports.course_panels(read_metrics(run.metrics), figures),
            [episode_replay(agent, env, each, deterministic=deterministic) for each in seeds],
            [errors_by_trial(figures)] if "error_by_trial" in figures else [],
            matrices(make_agent(experiment, env)),
            matrices(agent),
        )


def _references(experiment: ReinforcementExperiment, env: VectorEnv, num_episodes: int) -> dict[str, Figures]:
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
    if isinstance(env.unwrapped, FunctionRegressionVectorEnv):
        return _regression_figures, ()
    return (lambda trajectory: {}), ()


def _maze_figures(trajectory: Trajectory) -> Figures:
    return dict(MazeStatistics.from_goals(trajectory.infos["goal_latency"] > 0).as_dict())


def _regression_figures(trajectory: Trajectory) -> Figures:
    """Return the mean squared error of all trials and of the last, that of exploration included."""
    return {"error": -float(trajectory.rewards.mean()), "last_error": -float(trajectory.rewards[-1].mean())}


def _beside_references(
    env: FunctionRegressionVectorEnv, settings: EvaluateSettings, number: int, trajectory: Trajectory
) -> dict[str, Any]:
    """Return the errors of an agent in episodes of function regression, and those of references in the same ones."""
    options = env.options
    regression = RegressionSettings(
        family=options.family,
        input_distribution=options.input_distribution,
        noise_std=options.noise_std,
        trials=options.trials,
    )
    episodes = draw_episodes(regression, number, derived_seed(settings.seed, "environment"))
    squares = -trajectory.rewards.cpu().double().numpy()
    return figures_beside(squares, regression, episodes, settings.regression)
