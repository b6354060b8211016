"""Agents that act: an observation in, an action out, and everything kept that the episode's gradient needs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lsnn_gym.agents.actor_critic import ActorCritic, Draws
from lsnn_gym.cores import CoreOutput, LSNNCore, LSNNState
from lsnn_gym.lanes import Share
from lsnn_gym.neurons import decay
from lsnn_gym.readouts import LeakyReadout
from lsnn_gym.recurrent import ActingState

_DRAWN_AT_ONCE = 64
"""Environment steps for which random numbers are drawn together: drawing a few takes as long."""


class Acts(NamedTuple):
    """What an agent did in T steps of B episodes; the letters are those of ``ActorCritic.forward``.

    Attributes:
        observations: ``[T, B, O]``.
        inputs: Of the core ``[T, S, B, I]``.
        noise: Of the core ``[T * S, B, N]``, or None.
        actions: Of the policy ``[T, B, A]``.
        output: Of the core.
    """

    observations: Tensor
    inputs: Tensor
    noise: Tensor | None
    actions: Tensor
    output: CoreOutput


class Actor:
    """An agent that acts by its own modules.

    Args:
        agent: Of any core, on any device.
        share: Which B episodes of how many are played at once; all of them start.
        generator: Source of the agent's noise, input spikes and actions.
        deterministic: Whether the agent takes the mean of its policy.
    """

    def __init__(
        self, agent: ActorCritic, share: Share, generator: torch.Generator, *, deterministic: bool
    ) -> None:
        batch_size = share.size
        self.agent = agent
        self.share = share
        self.deterministic = deterministic
        self._generator = generator
        self._ahead = DrawnAhead(agent, share, generator)
        self._state = agent.acting_state(batch_size)
        self._going_on = torch.zeros(1, batch_size, device=generator.device)
        self._start = torch.ones_like(self._going_on)
        self._draws: list[tuple[Draws, Tensor]] = []
        self._acts: list[tuple[Tensor, Tensor, Tensor, CoreOutput]] = []

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Take a step; return what to hand to the environment, ``[B, A]``."""
        agent = self.agent
        place = len(self._acts) % _DRAWN_AT_ONCE
        if place == 0:
            self._draws.append(self._ahead.draw())
        uniform, noise, normal = self._drawn(slice(place, place + 1))
        seen = torch.tensor(observation, dtype=torch.float32, device=self._generator.device)[None]
        inputs = agent.encode(seen, uniform)
        output, self._state = agent.core(inputs, self._state, self._start, noise)
        self._start = self._going_on
        policy = agent.policy(output)
        actions = policy.mean if self.deterministic else policy.mean + policy.std * normal
        self._acts.append((seen, inputs, actions, output))
        return agent.environment_actions(actions[0])

    def _drawn(self, steps: slice) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Return uniform draws, noise and normal draws of steps of the latest part."""
        (uniform, noise), normal = self._draws[-1]
        each = self.agent.steps_per_observation
        simulated = slice(steps.start * each, steps.stop * each)
        return (
            None if uniform is None else uniform[steps],
            None if noise is None else noise[simulated],
            normal[steps],
        )

    def settled_state(self) -> Any:
        """Return the agent's state as it is now, a copy."""
        return self.agent.core.settled(self._state)

    def acts(self) -> Acts:
        """Return all that was done."""
        seen, inputs, actions, outputs = (list(each) for each in zip(*self._acts, strict=True))
        values, spikes, _ = zip(*outputs, strict=True)
        taken = len(self._acts) * self.agent.steps_per_observation
        noise = [draws.noise for draws, _ in self._draws if draws.noise is not None]
        return Acts(
            torch.cat(seen),
            torch.cat(inputs),
            torch.cat(noise)[:taken] if noise else None,
            torch.cat(actions),
            CoreOutput(torch.cat(values), None if spikes[0] is None else torch.cat(spikes)),
        )


class NumpyActor:
    """A spiking agent that acts in NumPy around the compiled kernels: the same numbers as ``Actor`` to rounding.

    An operation of PyTorch on a few numbers takes several times as long as one of NumPy, and acting is nothing but
    many of them. What learning starts from is exact all the same: the network's inputs are kept as they were, its
    spikes are those that it gives again, and ``acts`` reads them out as learning does.

    Arguments are those of ``Actor``.

    Raises:
        ValueError: If ``can_act`` says no.
    """

    def __init__(
        self, agent: ActorCritic, share: Share, generator: torch.Generator, *, deterministic: bool
    ) -> None:
        batch_size = share.size
        state = self._acting_state(agent, batch_size)
        if state is None or not isinstance(agent.core, LSNNCore):
            raise ValueError("expected an agent with an LSNN core that the native engine computes in float32")
        self.agent = agent
        self.share = share
        self.deterministic = deterministic
        self._core = agent.core
        self._ahead = DrawnAhead(agent, share, generator)
        self._network = state
        self._encoder = _NumpyEncoder(agent)
        self._policy = _NumpyPolicy(agent, agent.core.readout, batch_size)
        self._chunks: list[_Chunk] = []
        self._place = _DRAWN_AT_ONCE

    @classmethod
    def can_act(cls, agent: ActorCritic) -> bool:
        """Return whether an agent has what this needs: an LSNN core that the native engine computes, on the CPU."""
        return cls._acting_state(agent, 1) is not None

    @staticmethod
    def _acting_state(agent: ActorCritic, batch_size: int) -> ActingState | None:
        if not isinstance(agent.core, LSNNCore) or agent.core.readout.weight.dtype is not torch.float32:
            return None
        state = agent.core.network.acting_state(batch_size)
        return state if isinstance(state, ActingState) else None

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Take a step; return what to hand to the environment, ``[B, A]``."""
        if self._place == _DRAWN_AT_ONCE:
            self._chunks.append(_Chunk(self.agent, self._ahead))
            self._place = 0
        chunk, t = self._chunks[-1], self._place
        self._place += 1
        chunk.observations[t] = observation
        self._encoder.encode(chunk.observations[t], chunk.uniform, t, chunk.inputs[t])
        for step in range(t * chunk.steps, (t + 1) * chunk.steps):
            self._network.step(*chunk.addresses(step))
            self._policy.read(chunk.spikes[step])
        mean, std = self._policy.mean_and_std()
        actions = mean if self.deterministic else mean + std * chunk.normal[t]
        chunk.actions[t] = actions
        return self._policy.environment_actions(actions)

    def settled_state(self) -> LSNNState:
        """Return the agent's state as it is now, a copy."""
        return LSNNState(self._network.settled(), torch.from_numpy(self._policy.filtered.copy()))

    def acts(self) -> Acts:
        """Return all that was done."""
        steps = (len(self._chunks) - 1) * _DRAWN_AT_ONCE + self._place

        def joined(name: str) -> Tensor:
            whole = torch.cat([torch.from_numpy(getattr(chunk, name)) for chunk in self._chunks])
            return whole[: steps * len(whole) // (len(self._chunks) * _DRAWN_AT_ONCE)]

        output, _ = self._core.read_out(joined("spikes"), self._core.readout.initial_state(self.share.size))
        has_noise = self._chunks[0].noise is not None
        return Acts(
            joined("observations"),
            joined("inputs"),
            joined("noise") if has_noise else None,
            joined("actions"),
            output,
        )


class _Chunk:
    """Memory and random numbers for some steps."""

    def __init__(self, agent: ActorCritic, ahead: DrawnAhead) -> None:
        draws, normal = ahead.draw()
        batch_size = normal.shape[1]
        network = agent.spiking_network
        self.steps = agent.steps_per_observation
        simulated = _DRAWN_AT_ONCE * self.steps
        self.uniform = None if draws.inputs is None else draws.inputs.numpy()
        self.noise = None if draws.noise is None else draws.noise.numpy()
        self.normal = normal.numpy()
        current = network.noise_current(draws.noise)
        self._current = None if current is None else current.detach().numpy()
        self.observations = np.empty((_DRAWN_AT_ONCE, batch_size, agent.encoder.observation_size), np.float32)
        self.inputs = np.zeros(
            (_DRAWN_AT_ONCE, self.steps, batch_size, agent.encoder.output_size), np.float32
        )
        self.actions = np.empty((_DRAWN_AT_ONCE, batch_size, agent.action_size), np.float32)
        self.spikes = np.empty((simulated, batch_size, network.num_neurons), np.float32)
        self._starts = [
            None if each is None else each.ctypes.data for each in (self.inputs, self._current, self.spikes)
        ]
        self._strides = [
            each.nbytes // simulated if each is not None else 0
            for each in (self.inputs, self._current, self.spikes)
        ]

    def addresses(self, step: int) -> tuple[int | None, ...]:
        """Return where inputs, noise current, resets (none) and spikes of a simulation step are."""
        inputs, noise, spikes = (
            None if start is None else start + step * stride
            for start, stride in zip(self._starts, self._strides, strict=True)
        )
        return inputs, noise, None, spikes


class _NumpyEncoder:
    """``ObservationEncoder`` in NumPy."""

    def __init__(self, agent: ActorCritic) -> None:
        encoder = agent.encoder
        values, events = encoder.parts
        index = encoder.index.numpy()
        self._values, self._events = index[:values], index[values:]
        self._gain, self._shift = encoder.gain.numpy(), encoder.shift.numpy()
        self._preferred = encoder.population.preferred.numpy()
        self._exponent = np.float32(-0.5 / encoder.population.width**2)
        self._most = np.float32(encoder.population.max_rate * encoder.dt / 1000)
        self._spike = np.float32(1 / encoder.dt)
        self._split = values * len(self._preferred)
        self._has_events = events > 0

    def encode(self, seen: np.ndarray, uniform: np.ndarray | None, t: int, out: np.ndarray) -> None:
        """Write the code of observations ``[B, O]`` to ``out`` ``[S, B, I]``, which is 0."""
        distance = (seen[:, self._values] * self._gain + self._shift)[:, :, None] - self._preferred
        distance *= distance
        distance *= self._exponent
        chance = np.exp(distance, out=distance).reshape(len(seen), self._split)
        chance *= self._most
        if uniform is None:
            out[:, :, : self._split] = np.minimum(chance, 1) * self._spike
        else:
            np.multiply(uniform[t] < chance, self._spike, out=out[:, :, : self._split])
        if self._has_events:
            out[0, :, self._split :] = seen[:, self._events] * self._spike


class _NumpyPolicy:
    """``LeakyReadout`` and ``ActorCritic.policy`` in NumPy."""

    def __init__(self, agent: ActorCritic, readout: LeakyReadout, batch_size: int) -> None:
        self._actions = agent.action_size
        weight = np.ascontiguousarray(readout.weight.detach().numpy().T)
        kappa = np.asarray(readout.kappa, np.float32)
        # Either the spikes are filtered, each neuron's with a time constant of its own, or the products are.
        self._share = None if kappa.ndim == 0 else 1 - kappa
        self._weight = weight * np.float32(1 - readout.kappa) if self._share is None else weight
        self._kappa = kappa
        self._bias = readout.bias.detach().numpy()
        self._logit = agent.variance_logit.detach().numpy()
        self._reads_variance = agent.settings.action_variance == "state"
        self._scale, self._centre = agent.action_scale.numpy(), agent.action_centre.numpy()
        self.filtered = np.zeros((batch_size, readout.state_size), np.float32)

    def read(self, spikes: np.ndarray) -> None:
        """Filter the spikes ``[B, N]`` of a simulation step."""
        self.filtered *= self._kappa
        self.filtered += spikes @ self._weight if self._share is None else spikes * self._share

    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the actions, ``[B, A]`` each."""
        size = self._actions
        output = (self.filtered if self._share is None else self.filtered @ self._weight) + self._bias
        logit = output[:, size : 2 * size] + self._logit if self._reads_variance else self._logit
        return np.tanh(output[:, :size]), 1 / np.sqrt(1 + np.exp(-logit))

    def environment_actions(self, actions: np.ndarray) -> np.ndarray:
        """Return what ``ActorCritic.environment_actions`` does."""
        return actions * self._scale + self._centre


class DrawnAhead:
    """Random numbers of the steps to come: the agent's, and normal draws for its actions.

    Those of all lanes are drawn, so that a lane's do not depend on how lanes are shared among processes. With an
    exploration time constant the draws for actions follow a first-order autoregression, an Ornstein-Uhlenbeck process
    in steps of one; how probable an action was is still judged step by step.

    Arguments are those of ``Actor``.

    Source: Hollenstein et al., Colored noise in PPO, AAAI 2024 (there with noise of a power law).
    """

    def __init__(self, agent: ActorCritic, share: Share, generator: torch.Generator) -> None:
        self._agent = agent
        self._share = share
        self._generator = generator
        self._kept = float(decay(agent.settings.exploration_time_constant, 1.0))
        self._last: Tensor | None = None

    def draw(self) -> tuple[Draws, Tensor]:
        """Return those of the next steps; the normal draws ``[T, B, A]`` are standard normal in every step."""
        agent, share, generator = self._agent, self._share, self._generator
        draws = agent.draw(_DRAWN_AT_ONCE, share.total, generator).of_lanes(share)
        shape = (_DRAWN_AT_ONCE, share.total, agent.action_size)
        normal = share.of(torch.randn(shape, generator=generator, device=generator.device), 1)
        return draws, self._correlated(normal) if self._kept else normal

    def _correlated(self, normal: Tensor) -> Tensor:
        """Return draws each of which keeps some of the one before, at unchanged variance."""
        kept, fresh = self._kept, math.sqrt(1 - self._kept**2)
        steps = list(normal.unbind())
        for t, drawn in enumerate(steps):
            before = steps[t - 1] if t else self._last
            steps[t] = drawn if before is None else kept * before + fresh * drawn
        self._last = steps[-1]
        return torch.stack(steps)


def make_actor(
    agent: ActorCritic, share: Share, generator: torch.Generator, *, deterministic: bool = False
) -> Actor | NumpyActor:
    """Return the quickest actor for an agent; arguments are those of ``Actor``."""
    kind = NumpyActor if NumpyActor.can_act(agent) else Actor
    return kind(agent, share, generator, deterministic=deterministic)
