"""Proximal policy optimisation through whole episodes: the gradient runs from the last step to the first."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsnn_gym.agents.actor_critic import ActorCritic, PolicyOutput
from lsnn_gym.agents.rollout import Trajectory
from lsnn_gym.agents.task_inference import TaskInferenceSettings, inference_targets
from lsnn_gym.lanes import Share
from lsnn_gym.settings import Settings
from lsnn_gym.training.distributed import global_mean, global_rate_loss, mean_figures, standardised
from lsnn_gym.training.finite import Watched
from lsnn_gym.training.optimization import decayed, make_optimizer, set_learning_rate, step


class PPOSettings(Settings):
    """Loss and optimisation of one iteration."""

    learning_rate: float = Field(default=0.01, gt=0, description="of Adam, at the start")
    learning_rate_decay: float = Field(default=0.5, gt=0, le=1, description="factor on the learning rate ...")
    learning_rate_decay_every: int = Field(default=5000, ge=1, description="... every so many iterations")
    adam_epsilon: float = Field(default=1e-5, gt=0, description="Adam's epsilon")
    epochs: int = Field(default=1, ge=1, description="passes over the episodes of an iteration")
    minibatches: int = Field(default=1, ge=1, description="groups of whole episodes a pass is divided into")
    clip_range: float = Field(default=0.2, gt=0, description="epsilon of the clipped surrogate")
    discount: float = Field(default=0.99, ge=0, le=1, description="gamma, per environment step")
    gae_lambda: float = Field(default=1.0, ge=0, le=1, description="1: discounted returns, as in the paper")
    bootstrap: bool = Field(
        default=False, description="add the predicted return where the time limit cut an episode off"
    )
    normalize_advantage: bool = Field(
        default=False, description="to mean 0 and standard deviation 1, over a minibatch"
    )
    value_weight: float = Field(default=1.0, ge=0, description="of the squared error of the value")
    entropy_weight: float = Field(default=0.001, ge=0, description="of the policy's entropy")
    rate_weight: float = Field(
        default=100.0, ge=0, description="of (rate - target)^2, summed over neurons, per ms^2"
    )
    target_rate: float = Field(default=10.0, ge=0, description="firing rate aimed at, in Hz")
    max_gradient_norm: float | None = Field(
        default=None, gt=0, description="gradients are scaled down to this norm"
    )


def discounted_advantages(
    rewards: Tensor, values: Tensor, valid: Tensor, last_value: Tensor, discount: float, gae_lambda: float
) -> Tensor:
    """Return generalised advantage estimates ``[T, B]``; 0 where a step is not valid.

    ``A[t] = delta[t] + discount * gae_lambda * A[t+1]`` with
    ``delta[t] = r[t] + discount * V[t+1] - V[t]``; after an episode's last step V is ``last_value`` and A is 0.
    With ``gae_lambda`` 1 this is the discounted return less the value.

    Args:
        rewards: ``[T, B]``.
        values: Predicted returns ``[T, B]``.
        valid: 1 where the step belongs to the episode ``[T, B]``, then 0.
        last_value: Predicted return after the last valid step ``[B]``.
        discount: gamma.
        gae_lambda: lambda.

    Source: Schulman et al., High-dimensional continuous control using generalized advantage estimation, 2016.
    """
    # NumPy, for which such short rows are quicker than for PyTorch.
    reward, value, belongs = (each.detach().cpu().numpy() for each in (rewards, values, valid > 0))
    next_value = np.concatenate([value[1:], np.zeros_like(value[:1])])
    ends = belongs & ~np.concatenate([belongs[1:], np.zeros_like(belongs[:1])])
    next_value = np.where(ends, last_value.detach().cpu().numpy(), next_value)
    advantages = np.where(belongs, reward + discount * next_value - value, 0).astype(reward.dtype)
    factor = np.asarray(discount * gae_lambda, dtype=reward.dtype)
    for earlier, later in zip(advantages[-2::-1], advantages[:0:-1], strict=True):
        earlier += factor * later
    return torch.from_numpy(np.where(belongs, advantages, 0)).to(rewards.device)


def ppo_loss(
    policy: PolicyOutput,
    batch: Trajectory,
    advantages: Tensor,
    returns: Tensor,
    settings: PPOSettings,
    dt: float = 1.0,
    task_inference: TaskInferenceSettings | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch of whole episodes, and its parts.

    ``-min(r A, clip(r) A) + value_weight (R - V)^2 - entropy_weight H + rate_weight sum_j (rate_j - target)^2``,
    averaged over the valid steps of all ranks, r being the ratio of new to old probability; ``dt`` is the network's
    simulation step in ms. Of an agent that is to infer the task, the squared error of what it tells is added.

    Source: Schulman et al., Proximal policy optimization algorithms, 2017, equations 7 and 9; the rate term and
    the weights as in Bellec et al., NIPS 2018.
    """
    num_valid = global_mean(batch.valid.sum())

    def mean(per_step: Tensor) -> Tensor:
        return (per_step * batch.valid).sum() / num_valid

    log_ratio = policy.log_prob(batch.actions) - batch.log_probs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - settings.clip_range, 1 + settings.clip_range)
    parts = {
        "policy_loss": -mean(torch.minimum(ratio * advantages, clipped * advantages)),
        "value_loss": mean((returns - policy.value).square()),
        "entropy": mean(policy.entropy()),
    }
    loss = parts["policy_loss"] + settings.value_weight * parts["value_loss"]
    loss = loss - settings.entropy_weight * parts["entropy"]
    if policy.spikes is not None:
        parts["rate_loss"] = global_rate_loss(policy.spikes, settings.target_rate, dt, policy.counts)
        loss = loss + settings.rate_weight * parts["rate_loss"]
    if task_inference is not None and policy.told is not None:
        targets = inference_targets(task_inference, batch.observations, batch.infos)
        parts["inference_loss"] = mean((policy.told - targets).square().sum(-1))
        loss = loss + task_inference.weight * parts["inference_loss"]
    with torch.no_grad():
        parts["approximate_kl"] = mean(ratio - 1 - log_ratio)
        parts["clip_share"] = mean(((ratio - 1).abs() > settings.clip_range).float())
    return loss, parts


class PPO:
    """Improves an actor-critic on collected episodes.

    Args:
        agent: Whose parameters are trained.
        settings: Of loss and optimisation.
        rewiring_seed: Of the random connections, where the agent's network is rewired.
    """

    def __init__(self, agent: ActorCritic, settings: PPOSettings, rewiring_seed: int = 0) -> None:
        self.agent = agent
        self.settings = settings
        self.optimizer: torch.optim.Optimizer = make_optimizer(
            agent,
            agent.wired_matrices(),
            learning_rate=settings.learning_rate,
            epsilon=settings.adam_epsilon,
            wiring=agent.network_settings.wiring.kind,
            seed=rewiring_seed,
        )

    def learning_rate(self, iteration: int) -> float:
        """Return the learning rate of ``iteration``, counted from 0."""
        return decayed(self.settings, iteration)

    def update(
        self,
        trajectory: Trajectory,
        iteration: int,
        generator: torch.Generator,
        share: Share | None = None,
    ) -> dict[str, float]:
        """Take all optimiser steps of one iteration.

        Args:
            trajectory: Episodes collected with the parameters as they are.
            iteration: Counted from 0; sets the learning rate.
            generator: Source of the division into minibatches.
            share: Which lanes the trajectory is of; all by default.

        Returns:
            The loss' parts and the gradient norm, averaged over ranks and optimiser steps.
        """
        set_learning_rate(self.optimizer, self.learning_rate(iteration))
        settings = self.settings
        last_value = trajectory.last_value if settings.bootstrap else torch.zeros_like(trajectory.last_value)
        advantages = discounted_advantages(
            trajectory.rewards,
            trajectory.values,
            trajectory.valid,
            last_value,
            settings.discount,
            settings.gae_lambda,
        )
        returns = advantages + trajectory.values
        share = share or Share.all_of(trajectory.rewards.shape[1])
        sums: dict[str, float] = {}
        steps = 0
        before = iteration * settings.epochs * settings.minibatches
        for _ in range(settings.epochs):
            for index in self._groups(share.total, generator):
                # The whole batch is not copied, and keeps the order in which it was collected.
                whole = len(index) == share.total
                own = share.within(index)
                batch = trajectory if whole else trajectory.episodes(own)
                chosen = (advantages, returns) if whole else (advantages[:, own], returns[:, own])
                figures = self._step(batch, *chosen, number=before + steps, all_of=trajectory)
                steps += 1
                for name, value in figures.items():
                    sums[name] = sums.get(name, 0.0) + value
        return mean_figures({name: value / steps for name, value in sums.items()})

    def _groups(self, num_episodes: int, generator: torch.Generator) -> list[Tensor]:
        order = torch.randperm(num_episodes, generator=generator, device=generator.device)
        return list(order.chunk(self.settings.minibatches))

    def _step(
        self, batch: Trajectory, advantages: Tensor, returns: Tensor, number: int, all_of: Trajectory
    ) -> dict[str, float]:
        settings, agent = self.settings, self.agent
        if settings.normalize_advantage:
            advantages = standardised(advantages, batch.valid > 0)
        state = agent.initial_state(batch.rewards.shape[1])
        policy, after = agent.replay(batch.inputs, state, batch.episode_start, batch.noise)
        loss, parts = ppo_loss(
            policy,
            batch,
            advantages,
            returns,
            settings,
            agent.network_settings.dt,
            agent.settings.task_inference,
        )
        auxiliary_figures: dict[str, float] = {}
        if agent.auxiliary is not None:
            auxiliary_loss, auxiliary_figures = agent.auxiliary.loss(agent.spiking_network, number)
            loss = loss + auxiliary_loss
        watched = Watched(
            agent,
            number,
            {
                # Of all minibatches, so that none is learnt from if there is a fault in one.
                "observations": all_of.observations,
                "rewards": all_of.rewards,
                "network's state": agent.core.pack(after).detach(),
            },
            lambda: {"advantages": advantages, "returns": returns, "values": policy.value, **parts},
        )
        parts["gradient_norm"] = step(self.optimizer, loss, settings.max_gradient_norm, watched)
        return {name: value.item() for name, value in parts.items()} | auxiliary_figures
