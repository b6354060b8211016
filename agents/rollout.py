"""Collecting whole episodes from a vectorised environment, with everything needed to repeat them exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from lsnn_gym.agents.acting import Acts, make_actor
from lsnn_gym.agents.actor_critic import ActorCritic
from lsnn_gym.lanes import Share
from lsnn_gym.seeding import derived_seed
from lsnn_gym.training.distributed import gather_lanes, global_max


class Trajectory(NamedTuple):
    """One episode of each of B environments, T steps long; shorter ones are padded.

    Attributes:
        observations: ``[T, B, O]``.
        actions: ``[T, B, A]``.
        log_probs: Log-probability densities of the actions ``[T, B]``.
        values: Predicted returns ``[T, B]``.
        rewards: ``[T, B]``.
        valid: 1 where the step belongs to the episode, 0 after its end ``[T, B]``.
        episode_start: 1 at the first step, else 0 ``[T, B]``.
        last_value: Predicted return after an episode that was cut off by its time limit, else 0 ``[B]``.
        inputs: Of the core ``[T, S, B, I]``: the encoded observations.
        noise: Of the core ``[T * S, B, N]``, or None.
        spikes: Of a spiking core ``[T * S, B, N]``, else None.
        infos: What the environment reported at each step, by key ``[T, B, ...]``.
        told: What the agent inferred of the task ``[T, B, K]``, or None.
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    valid: Tensor
    episode_start: Tensor
    last_value: Tensor
    inputs: Tensor
    noise: Tensor | None
    spikes: Tensor | None
    infos: dict[str, np.ndarray]
    told: Tensor | None = None

    def episodes(self, index: Tensor) -> Trajectory:
        """Return the episodes with the given indices ``[M]``."""

        def take(tensor: Tensor | None, axis: int) -> Any:
            return None if tensor is None else tensor.index_select(axis, index)

        steps = {name: take(getattr(self, name), 1) for name in self._fields[:7]}
        infos = {key: values[:, index.cpu().numpy()] for key, values in self.infos.items()}
        return Trajectory(
            **steps,
            last_value=self.last_value[index],
            inputs=take(self.inputs, 2),
            noise=take(self.noise, 1),
            spikes=take(self.spikes, 1),
            infos=infos,
            told=take(self.told, 1),
        )


@torch.no_grad()
def collect_episodes(
    agent: ActorCritic,
    env: VectorEnv,
    generator: torch.Generator,
    seed: int,
    *,
    deterministic: bool = False,
    info_keys: Sequence[str] = (),
    options: dict[str, Any] | None = None,
    share: Share | None = None,
) -> Trajectory:
    """Let ``agent`` act through one episode of each environment.

    Args:
        agent: In evaluation or training mode alike.
        env: With autoreset mode NEXT_STEP; it is reset first, and left at the end of the longest episode.
        generator: Source of the agent's noise, input spikes and actions.
        seed: For the environments.
        deterministic: Whether the agent takes the mean of its policy.
        info_keys: Infos to keep; ones that the environment does not report at a step raise KeyError.
        options: For the environment's reset.
        share: Which lanes ``env`` has of all that are played, by all ranks together; by default they are all.
    """
    share = share or Share.all_of(env.num_envs)
    # Lane i is seeded with the seed plus i.
    observation, _ = env.reset(seed=seed + share.first, options=options)
    actor = make_actor(agent, share, generator, deterministic=deterministic)
    running = np.ones(env.num_envs, dtype=bool)
    last_value = torch.zeros(env.num_envs, device=generator.device)
    rewards: list[np.ndarray] = []
    valid: list[np.ndarray] = []
    infos: dict[str, list[np.ndarray]] = {key: [] for key in info_keys}

    def take_step() -> None:
        nonlocal observation, running, last_value
        observation, reward, terminated, truncated, info = env.step(actor.act(observation))
        rewards.append(np.array(reward, dtype=np.float32))
        valid.append(running)
        for key, values in infos.items():
            values.append(np.array(info[key]))
        ended = running & (terminated | truncated)
        if ended.any():
            cut_off = ended & truncated & ~terminated
            if cut_off.any():
                # A generator of its own: ranks whose episodes end at other times must not draw other numbers after.
                own = torch.Generator(generator.device)
                own.manual_seed(derived_seed(seed, "value after", len(rewards)))
                value = _value_after(agent, observation, actor.settled_state(), own, share)
                last_value = torch.where(torch.as_tensor(cut_off, device=value.device), value, last_value)
            running = running & ~ended

    while running.any():
        take_step()
    if share.size < share.total:
        # Longer episodes of other ranks: the whole batch is of one length.
        for _ in range(global_max(len(rewards)) - len(rewards)):
            take_step()
    return _trajectory(agent, actor.acts(), np.stack(rewards), np.stack(valid), last_value, infos)


def _value_after(
    agent: ActorCritic, observation: np.ndarray, state: Any, generator: torch.Generator, share: Share
) -> Tensor:
    """Return the predicted returns ``[B]`` at the observation that a time limit left behind."""
    seen = torch.as_tensor(observation, dtype=torch.float32, device=generator.device)[None]
    start = torch.zeros(seen.shape[:2], device=generator.device)
    policy, _ = agent(seen, state, start, agent.draw(1, share.total, generator).of_lanes(share))
    return policy.value[0]


def _trajectory(
    agent: ActorCritic,
    acts: Acts,
    rewards: np.ndarray,
    valid: np.ndarray,
    last_value: Tensor,
    infos: dict[str, list[np.ndarray]],
) -> Trajectory:
    device = acts.actions.device
    # Of all steps at once, as in the update: elementwise functions may round by the size of their tensor.
    policy = agent.policy(acts.output)
    episode_start = torch.zeros(rewards.shape, device=device)
    episode_start[0] = 1
    return Trajectory(
        observations=acts.observations,
        actions=acts.actions,
        log_probs=policy.log_prob(acts.actions),
        values=policy.value,
        rewards=torch.from_numpy(rewards).to(device),
        valid=torch.from_numpy(valid.astype(np.float32)).to(device),
        episode_start=episode_start,
        last_value=last_value,
        inputs=acts.inputs,
        noise=acts.noise,
        spikes=acts.output.spikes,
        infos={key: np.stack(values) for key, values in infos.items()},
        told=policy.told,
    )


def of_all_ranks(trajectory: Trajectory) -> Trajectory:
    """Return the rewards, ``valid`` and infos of the lanes of all ranks; what else there is stays this rank's."""
    infos = {
        key: gather_lanes(torch.from_numpy(values), 1).numpy() for key, values in trajectory.infos.items()
    }
    return trajectory._replace(
        rewards=gather_lanes(trajectory.rewards, 1), valid=gather_lanes(trajectory.valid, 1), infos=infos
    )
