"""Collecting whole episodes from a vectorised environment, with everything needed to repeat them exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from lsnn_gym.agents.actor_critic import ActorCritic, Draws
from lsnn_gym.cores import CoreOutput


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
        draws: Random numbers used by encoder and network.
        spikes: Of a spiking core ``[T * S, B, N]``, else None.
        infos: What the environment reported at each step, by key ``[T, B, ...]``.
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    valid: Tensor
    episode_start: Tensor
    last_value: Tensor
    draws: Draws
    spikes: Tensor | None
    infos: dict[str, np.ndarray]

    def episodes(self, index: Tensor) -> Trajectory:
        """Return the episodes with the given indices ``[M]``."""

        def take(tensor: Tensor | None, axis: int) -> Any:
            return None if tensor is None else tensor.index_select(axis, index)

        draws = Draws(take(self.draws.inputs, 2), take(self.draws.noise, 1))
        steps = {name: take(getattr(self, name), 1) for name in self._fields[:7]}
        infos = {key: values[:, index.cpu().numpy()] for key, values in self.infos.items()}
        return Trajectory(
            **steps,
            last_value=self.last_value[index],
            draws=draws,
            spikes=take(self.spikes, 1),
            infos=infos,
        )


_DRAWN_AT_ONCE = 64
"""Environment steps for which random numbers are drawn together."""


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
    """
    device = generator.device
    observation, _ = env.reset(seed=seed, options=options)
    state = agent.acting_state(env.num_envs)
    running = np.ones(env.num_envs, dtype=bool)
    record = _Record(info_keys)
    draws = _DrawnAhead(agent, env.num_envs, generator)
    start, going_on = torch.ones(1, env.num_envs, device=device), torch.zeros(1, env.num_envs, device=device)
    last_value = torch.zeros(env.num_envs, device=device)
    while running.any():
        seen = torch.as_tensor(observation, dtype=torch.float32, device=device)[None]
        output, state = agent.advance(seen, state, start, draws.next())
        policy = agent.policy(output)
        actions = policy.mean if deterministic else policy.sample(generator)
        observation, reward, terminated, truncated, info = env.step(agent.environment_actions(actions[0]))
        record.add(seen, actions, output, reward, running, info)
        start = going_on
        ended = running & (terminated | truncated)
        if ended.any():
            cut_off = ended & truncated & ~terminated
            if cut_off.any():
                value = _value_after(agent, observation, agent.core.settled(state), start, generator)
                last_value = torch.where(torch.as_tensor(cut_off, device=device), value, last_value)
            running = running & ~ended
    return record.trajectory(agent, draws.used(), last_value)


def _value_after(
    agent: ActorCritic, observation: np.ndarray, state: Any, start: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the predicted returns ``[B]`` at the observation that a time limit left behind."""
    seen = torch.as_tensor(observation, dtype=torch.float32, device=generator.device)[None]
    policy, _ = agent(seen, state, start, agent.draw(1, seen.shape[1], generator))
    return policy.value[0]


class _DrawnAhead:
    """Random numbers of an agent that acts, drawn for many steps at once: drawing a few takes as long."""

    def __init__(self, agent: ActorCritic, batch_size: int, generator: torch.Generator) -> None:
        self._draw = lambda: agent.draw(_DRAWN_AT_ONCE, batch_size, generator)
        self._per_step = agent.steps_per_observation
        self._chunks: list[Draws] = []
        self._taken = _DRAWN_AT_ONCE

    def next(self) -> Draws:
        """Return those of the next step."""
        if self._taken == _DRAWN_AT_ONCE:
            self._chunks.append(self._draw())
            self._taken = 0
        self._taken += 1
        return self._part(self._chunks[-1], slice(self._taken - 1, self._taken))

    def used(self) -> Draws:
        """Return all that ``next`` returned, one after another."""
        parts = [*self._chunks[:-1], self._part(self._chunks[-1], slice(self._taken))]
        return Draws(*(None if each[0] is None else torch.cat(each) for each in zip(*parts, strict=True)))

    def _part(self, draws: Draws, steps: slice) -> Draws:
        simulated = slice((steps.start or 0) * self._per_step, steps.stop * self._per_step)
        return Draws(
            None if draws.inputs is None else draws.inputs[steps],
            None if draws.noise is None else draws.noise[simulated],
        )


class _Record:
    """What happens at each step."""

    def __init__(self, info_keys: Sequence[str]) -> None:
        self._seen: list[Tensor] = []
        self._actions: list[Tensor] = []
        self._outputs: list[CoreOutput] = []
        self._rewards: list[np.ndarray] = []
        self._running: list[np.ndarray] = []
        self._infos: dict[str, list[np.ndarray]] = {key: [] for key in info_keys}

    def add(
        self,
        seen: Tensor,
        actions: Tensor,
        output: CoreOutput,
        reward: np.ndarray,
        running: np.ndarray,
        info: dict[str, Any],
    ) -> None:
        """Note a step; what the environment may use again is copied."""
        self._seen.append(seen)
        self._actions.append(actions)
        self._outputs.append(output)
        self._rewards.append(np.array(reward, dtype=np.float32))
        self._running.append(running)
        for key, values in self._infos.items():
            values.append(np.array(info[key]))

    def trajectory(self, agent: ActorCritic, draws: Draws, last_value: Tensor) -> Trajectory:
        """Return all steps."""
        values, spikes = zip(*self._outputs, strict=True)
        actions = torch.cat(self._actions)
        device = actions.device
        all_spikes = None if spikes[0] is None else torch.cat(spikes)
        # Of all steps at once, as in the update: elementwise functions may round by the size of their tensor.
        policy = agent.policy(CoreOutput(torch.cat(values), all_spikes))
        valid = torch.from_numpy(np.stack(self._running).astype(np.float32)).to(device)
        episode_start = torch.zeros_like(valid)
        episode_start[0] = 1
        return Trajectory(
            observations=torch.cat(self._seen),
            actions=actions,
            log_probs=policy.log_prob(actions),
            values=policy.value,
            rewards=torch.from_numpy(np.stack(self._rewards)).to(device),
            valid=valid,
            episode_start=episode_start,
            last_value=last_value,
            draws=draws,
            spikes=all_spikes,
            infos={key: np.stack(values) for key, values in self._infos.items()},
        )
