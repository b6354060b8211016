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
    state = agent.initial_state(env.num_envs)
    running = np.ones(env.num_envs, dtype=bool)
    steps: list[dict[str, Any]] = []
    start = torch.ones(1, env.num_envs, device=device)
    last_value = torch.zeros(env.num_envs, device=device)
    while running.any():
        seen = torch.as_tensor(observation, dtype=torch.float32, device=device)[None]
        draws = agent.draw(1, env.num_envs, generator)
        output, state = agent.advance(seen, state, start, draws)
        policy = agent.policy(output)
        actions = policy.mean if deterministic else policy.sample(generator)
        observation, reward, terminated, truncated, info = env.step(agent.environment_actions(actions[0]))
        steps.append(
            {
                "observations": seen,
                "actions": actions,
                "outputs": output.values,
                "rewards": torch.as_tensor(reward, dtype=torch.float32, device=device)[None],
                "valid": torch.as_tensor(running, dtype=torch.float32, device=device)[None],
                "episode_start": start,
                "input_draws": draws.inputs,
                "noise": draws.noise,
                "spikes": output.spikes,
                "infos": {key: np.array(info[key]) for key in info_keys},
            }
        )
        start = torch.zeros_like(start)
        ended = running & (terminated | truncated)
        cut_off = ended & truncated & ~terminated
        if cut_off.any():
            value = _value_after(agent, observation, state, start, generator)
            last_value = torch.where(torch.as_tensor(cut_off, device=device), value, last_value)
        running &= ~ended
    return _stack(agent, steps, last_value)


def _value_after(
    agent: ActorCritic, observation: np.ndarray, state: Any, start: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the predicted returns ``[B]`` at the observation that a time limit left behind."""
    seen = torch.as_tensor(observation, dtype=torch.float32, device=generator.device)[None]
    policy, _ = agent(seen, state, start, agent.draw(1, seen.shape[1], generator))
    return policy.value[0]


def _stack(agent: ActorCritic, steps: list[dict[str, Any]], last_value: Tensor) -> Trajectory:
    def joined(name: str) -> Any:
        return None if steps[0][name] is None else torch.cat([step[name] for step in steps])

    spikes, actions = joined("spikes"), joined("actions")
    # Of all steps at once, as in the update: elementwise functions may round by the size of their tensor.
    policy = agent.policy(CoreOutput(joined("outputs"), spikes))
    return Trajectory(
        observations=joined("observations"),
        actions=actions,
        log_probs=policy.log_prob(actions),
        values=policy.value,
        rewards=joined("rewards"),
        valid=joined("valid"),
        episode_start=joined("episode_start"),
        last_value=last_value,
        draws=Draws(joined("input_draws"), joined("noise")),
        spikes=spikes,
        infos={key: np.stack([step["infos"][key] for step in steps]) for key in steps[0]["infos"]},
    )
