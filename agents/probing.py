"""What an agent in function regression believes of a whole function, asked in copies of its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lsnn_gym.agents.actor_critic import ActorCritic
from lsnn_gym.envs.function_regression_vector import FunctionRegressionVectorEnv
from lsnn_gym.regression.episodes import Episodes, FloatArray
from lsnn_gym.regression.probing import ProbedEpisode, input_grid
from lsnn_gym.seeding import derived_seed


@torch.no_grad()
def probe_agent(
    agent: ActorCritic,
    env: FunctionRegressionVectorEnv,
    seen: Sequence[int] | None,
    seed: int,
    *,
    deterministic: bool,
) -> ProbedEpisode:
    """Let an agent act through one episode and ask it on the way what it would predict everywhere.

    It is asked as ``regression.probing.probe_episode`` asks a network; its belief is the mean of its policy.

    Args:
        agent: Not changed.
        env: With one lane.
        seen: Numbers of examples after which to ask, as in ``probe_episode``.
        seed: Of episode, agent and input spikes.
        deterministic: Whether the agent takes the mean of its policy.
    """
    family, trials = env.options.functions, env.options.trials
    grid = input_grid(family)
    device = next(agent.parameters()).device
    acting, asking = (
        torch.Generator(device=device).manual_seed(derived_seed(seed, purpose))
        for purpose in ("film", "asking")
    )
    numbers = (
        [k for k in (range(trials) if seen is None else seen) if k <= trials] if grid is not None else []
    )
    observation, info = env.reset(seed=seed)
    parameters = {name: each for name, each in info["function"].items() if not name.startswith("_")}
    state, start = agent.initial_state(1), torch.ones(1, 1, device=device)
    inputs, targets, predictions, spikes, believed = [], [], [], [], []
    for trial in range(trials + 1):
        if grid is not None and trial in numbers:
            believed.append(family.target_scale * _believed(agent, grid, state, observation, asking))
        if trial == trials:
            break
        shown = torch.as_tensor(observation, dtype=torch.float32, device=device)[None]
        policy, state = agent(shown, state, start, agent.draw(1, 1, acting))
        actions = agent.environment_actions((policy.mean if deterministic else policy.sample(acting))[0])
        inputs.append(observation[0, : family.input_size])
        targets.append(info["target"][0])
        predictions.append(family.target_scale * float(actions[0, 0]))
        if policy.spikes is not None:
            spikes.append(policy.spikes[:, 0].cpu().numpy() > 0)
        observation, _, _, _, info = env.step(actions)
        start = torch.zeros_like(start)
    places = np.zeros((0, family.input_size)) if grid is None else grid
    return ProbedEpisode(
        parameters,
        Episodes(np.array(inputs, np.float64)[:, None], np.array(targets)[:, None]),
        grid=places,
        values=family.values(parameters, places[None])[0].clip(family.target_low, family.target_high),
        seen=tuple(numbers),
        believed=np.array(believed).reshape(len(numbers), len(places)),
        predictions=np.array(predictions),
        spikes=np.concatenate(spikes) if spikes else None,
    )


def _believed(
    agent: ActorCritic, grid: FloatArray, state: Any, observation: np.ndarray, generator: torch.Generator
) -> FloatArray:
    """Return the actions that copies of an agent in ``state`` would take at inputs ``[M, D]``, ``[M]``.

    Args:
        agent: That is asked.
        grid: The inputs.
        state: Of one agent.
        observation: Next one ``[1, O]``, of which all but the inputs is kept.
        generator: Of input spikes and noise.
    """
    size, number = grid.shape[1], len(grid)
    shown = np.repeat(observation, number, axis=0).astype(np.float32)
    shown[:, :size] = grid
    copies = agent.core.unpack(agent.core.pack(state).repeat(number, 1))
    seen = torch.as_tensor(shown, device=generator.device)[None]
    never = torch.zeros(1, number, device=generator.device)
    policy, _ = agent(seen, copies, never, agent.draw(1, number, generator))
    return agent.environment_actions(policy.mean[0])[:, 0].astype(np.float64)
