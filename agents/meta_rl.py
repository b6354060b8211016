"""The meta-reinforcement-learning trainer: whole episodes in, better weights out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from gymnasium.vector import VectorEnv
from pydantic import Field

from lsnn_gym.agents.actor_critic import ActorCritic
from lsnn_gym.agents.ppo import PPO, PPOSettings
from lsnn_gym.agents.rollout import Trajectory, collect_episodes, of_all_ranks
from lsnn_gym.lanes import Share
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.training.auxiliary import AuxiliarySettings
from lsnn_gym.training.checkpoint import Checkpoint
from lsnn_gym.training.denormals import flushed_denormals
from lsnn_gym.training.distributed import broadcast_weights, global_firing_rate
from lsnn_gym.training.loop import Figures
from lsnn_gym.training.optimization import connections, make_checkpoint, restore_checkpoint

Summary = Callable[[Trajectory], Figures]
"""A summary turns collected episodes into figures of merit; NaN and None stand for no figure."""


class TrainSettings(Settings):
    """A training run."""

    iterations: int = Field(
        default=1000, ge=1, description="each collects episodes and improves the agent on them"
    )
    episodes_per_iteration: int = Field(default=64, ge=1, description="whole episodes, all at once")
    checkpoint_every: int = Field(default=20, ge=1, description="iterations between checkpoints")
    checkpoints_kept: int = Field(default=3, ge=1, description="older ones are removed")
    threads: int | None = Field(
        default=None, ge=1, description="of PyTorch; by default as many as there are cores"
    )
    device: str = Field(default="cpu", description="cpu, cuda or cuda:N")
    ppo: PPOSettings = PPOSettings()
    auxiliary: tuple[AuxiliarySettings, ...] = Field(
        default=(), description="supervised tasks trained beside, on the same spiking network"
    )


class MetaRLTrainer:
    """Trains a recurrent agent over many episodes, each a new problem, so that it learns within an episode.

    Every random number of an iteration follows from the run's seed and the iteration's number.

    Args:
        agent: Trained in place.
        env: Vectorised, autoreset mode NEXT_STEP; an iteration is one episode of each lane.
        settings: Of the training.
        seed: Of the run.
        summarise: Figures of merit of collected episodes.
        info_keys: Infos of the environment that ``summarise`` needs; what the agent infers of the task is kept too.
        share: Which lanes ``env`` has of an iteration's, the others being other ranks'; by default they are all.

    Source: Duan et al., RL^2, 2016; Wang et al., Learning to reinforcement learn, 2016; with spiking networks
    Bellec et al., NIPS 2018, section 5.
    """

    def __init__(
        self,
        agent: ActorCritic,
        env: VectorEnv,
        settings: TrainSettings,
        seed: int,
        summarise: Summary,
        info_keys: tuple[str, ...] = (),
        share: Share | None = None,
    ) -> None:
        self.agent = agent
        self.env = env
        self.settings = settings
        self.seed = seed
        self.share: Share = share or Share.all_of(env.num_envs)
        broadcast_weights(agent)
        self.ppo: PPO = PPO(agent, settings.ppo, derived_seed(seed, "rewiring"))
        self.finished_iterations: int = 0
        self._summarise = summarise
        inferred = agent.settings.task_inference
        also = () if inferred is None or inferred.info in info_keys else (inferred.info,)
        self._info_keys = (*info_keys, *also)
        self._generator = torch.Generator(device=next(agent.parameters()).device)

    @flushed_denormals()
    def run_iteration(self) -> Figures:
        """Collect episodes, improve the agent on them, and return the iteration's figures."""
        iteration = self.finished_iterations
        self._generator.manual_seed(derived_seed(self.seed, "agent", iteration))
        trajectory = collect_episodes(
            self.agent,
            self.env,
            self._generator,
            derived_seed(self.seed, "environment", iteration),
            info_keys=self._info_keys,
            share=self.share,
        )
        figures: Figures = {"iteration": iteration + 1}
        everywhere = of_all_ranks(trajectory)
        figures |= self._summarise(everywhere)
        figures |= general_figures(everywhere)
        figures |= self.ppo.update(trajectory, iteration, self._generator, self.share)
        figures |= connections(self.ppo.optimizer)
        figures["learning_rate"] = self.ppo.learning_rate(iteration)
        self.finished_iterations += 1
        return figures

    def checkpoint(self) -> Checkpoint:
        """Return everything needed to go on from here."""
        return make_checkpoint(self.finished_iterations, self.agent, self.ppo.optimizer)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``.

        Raises:
            UserError: If it belongs to another agent or optimiser.
        """
        restore_checkpoint(checkpoint, self.agent, self.ppo.optimizer)
        self.finished_iterations = checkpoint.iteration


def general_figures(trajectory: Trajectory) -> Figures:
    """Return what can be said of any episodes: mean return, steps and, of a spiking agent, firing rate in Hz."""
    figures: Figures = {
        "episode_return": float((trajectory.rewards * trajectory.valid).sum(0).mean()),
        "environment_steps": int(trajectory.valid.sum()),
    }
    if trajectory.spikes is not None:
        figures["firing_rate_hz"] = global_firing_rate(trajectory.spikes)
    return figures


def evaluate_agent(
    agent: ActorCritic,
    env: VectorEnv,
    seed: int,
    summarise: Summary,
    info_keys: tuple[str, ...] = (),
    *,
    deterministic: bool = False,
) -> Figures:
    """Return the figures of one episode in each of the environments, the weights fixed.

    Args:
        agent: Not changed.
        env: Vectorised, autoreset mode NEXT_STEP.
        seed: Of environments and agent.
        summarise: Figures of merit.
        info_keys: Infos that ``summarise`` needs.
        deterministic: Whether the agent takes the mean of its policy instead of drawing from it.
    """
    generator = torch.Generator(device=next(agent.parameters()).device)
    generator.manual_seed(derived_seed(seed, "agent"))
    trajectory = collect_episodes(
        agent,
        env,
        generator,
        derived_seed(seed, "environment"),
        deterministic=deterministic,
        info_keys=info_keys,
    )
    return summarise(trajectory) | general_figures(trajectory)
