"""Actor-critics: an observation encoder, a recurrent core, a Gaussian policy and a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor, nn

from lsnn_gym.agents.task_inference import TaskInferenceSettings
from lsnn_gym.coding import GaussianPopulationEncoder, bernoulli_spikes, expected_spikes
from lsnn_gym.cores import CoreOutput, CoreSettings, LSNNCore, RecurrentCore, make_core
from lsnn_gym.lanes import Share
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN
from lsnn_gym.settings import Settings
from lsnn_gym.training.auxiliary import AuxiliarySettings, AuxiliaryTasks
from lsnn_gym.wiring import WiredMatrix


class EncodingSettings(Settings):
    """How an observation becomes the activity of input neurons."""

    events: tuple[int, ...] = Field(default=(), description="indices of the observation that are 0/1 events")
    neurons_per_value: int = Field(default=40, ge=2, description="neurons that code one analogue value")
    neurons_per_event: int = Field(default=40, ge=1, description="neurons that fire together at an event")
    width: float = Field(
        default=math.sqrt(1 / 200), gt=0, description="tuning width, for a value that spans [-1, 1]"
    )
    max_rate: float = Field(default=500.0, gt=0, description="rate at the preferred value, in Hz")
    spikes: Literal["bernoulli", "expected"] = Field(
        default="bernoulli", description="random input spikes, or their mean as graded input"
    )


class AgentSettings(CoreSettings):
    """A recurrent actor-critic."""

    encoding: EncodingSettings = EncodingSettings()
    steps_per_observation: int = Field(
        default=1, ge=1, description="simulation steps an environment step lasts"
    )
    action_variance: Literal["state", "shared"] = Field(
        default="state",
        description="variance of the actions: read out from the network, or one parameter an action",
    )
    initial_variance: float = Field(
        default=0.5, gt=0, lt=1, description="variance of the actions at the start"
    )
    exploration_time_constant: float = Field(
        default=0.0,
        ge=0,
        description="environment steps for which the noise of actions stays alike; 0: drawn anew in every step",
    )
    task_inference: TaskInferenceSettings | None = Field(
        default=None, description="what of the task the agent learns to tell beside acting"
    )


class Draws(NamedTuple):
    """Random numbers of an agent: with them the same parameters give the same spikes again.

    Attributes:
        inputs: Uniform draws ``[T, S, B, V]`` for random input spikes that code values, or None.
        noise: The core's noise ``[T * S, B, N]``, or None.
    """

    inputs: Tensor | None
    noise: Tensor | None

    def of_lanes(self, share: Share) -> Draws:
        """Return those of a share of the B episodes."""
        return Draws(
            None if self.inputs is None else share.of(self.inputs, 2),
            None if self.noise is None else share.of(self.noise, 1),
        )


class PolicyOutput(NamedTuple):
    """What an actor-critic says about T steps of B episodes.

    Attributes:
        mean: Of the actions ``[T, B, A]``.
        std: Of the actions ``[T, B, A]``.
        value: Predicted return ``[T, B]``.
        spikes: Of a spiking core ``[T * S, B, N]``, else None.
        told: What it infers of the task ``[T, B, K]``, or None.
        counts: Sums of the spikes ``[N]``, if they were taken.
    """

    mean: Tensor
    std: Tensor
    value: Tensor
    spikes: Tensor | None
    told: Tensor | None = None
    counts: Tensor | None = None

    def sample(self, generator: torch.Generator) -> Tensor:
        """Return actions ``[T, B, A]`` drawn from the policy."""
        draws = torch.randn(
            self.mean.shape, generator=generator, dtype=self.mean.dtype, device=generator.device
        )
        return self.mean + self.std * draws

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log-probability densities ``[T, B]`` of ``actions`` ``[T, B, A]``."""
        return torch.distributions.Normal(self.mean, self.std, validate_args=False).log_prob(actions).sum(-1)

    def entropy(self) -> Tensor:
        """Return the policy's differential entropy ``[T, B]``."""
        return torch.distributions.Normal(self.mean, self.std, validate_args=False).entropy().sum(-1)


class ObservationEncoder(nn.Module):
    """Codes analogue values by Gaussian population rates and 0/1 events by groups that fire together.

    Values are first mapped from the bounds of the observation space onto [-1, 1].

    Args:
        space: Of the observations, one-dimensional and bounded where it holds analogue values.
        settings: Sizes and rates.
        dt: Simulation step in ms.

    Raises:
        ValueError: If the space does not fit, naming it.
    """

    low: Tensor
    high: Tensor
    gain: Tensor
    shift: Tensor
    index: Tensor

    def __init__(self, space: spaces.Space[Any], settings: EncodingSettings, dt: float) -> None:
        super().__init__()
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"observation space is {space}: expected a one-dimensional Box")
        size = space.shape[0]
        wrong = [index for index in settings.events if not 0 <= index < size]
        if wrong:
            raise ValueError(
                f"encoding.events has {wrong[0]}: expected indices from 0 to {size - 1} of {space}"
            )
        values = [index for index in range(size) if index not in settings.events]
        low, high = torch.from_numpy(space.low[values]), torch.from_numpy(space.high[values])
        if not torch.isfinite(low).all() or not torch.isfinite(high).all():
            raise ValueError(
                f"observation space is {space}: expected finite bounds of the values to be coded"
            )
        self.register_buffer("low", low.float())
        self.register_buffer("high", high.float())
        events = [index for index in settings.events for _ in range(settings.neurons_per_event)]
        self._keep("index", torch.tensor([*values, *events], dtype=torch.int64))
        self._keep("gain", 2 / (self.high - self.low))
        self._keep("shift", -1 - self.gain * self.low)
        self.dt = dt
        self.random: bool = settings.spikes == "bernoulli"
        self.population: GaussianPopulationEncoder = GaussianPopulationEncoder(
            len(values), settings.neurons_per_value, width=settings.width, max_rate=settings.max_rate
        )
        self.observation_size = size
        self.parts: list[int] = [len(values), len(events)]
        self.output_size: int = self.population.output_size + len(events)

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor | None:
        """Return uniform draws ``[*shape, values * neurons_per_value]``, or None if the code is not random."""
        if not self.random:
            return None
        return torch.rand((*shape, self.population.output_size), generator=generator, device=generator.device)

    def forward(self, observations: Tensor, steps: int, draws: Tensor | None) -> Tensor:
        """Encode ``observations`` ``[T, B, O]`` for ``steps`` simulation steps each.

        Returns:
            ``[T, steps, B, output_size]``; an event's group fires in the first simulation step only.
        """
        values, groups = observations.index_select(-1, self.index).split(self.parts, dim=-1)
        rates = self.population(torch.addcmul(self.shift, values, self.gain))[:, None]
        if steps > 1:
            rates = rates.expand(-1, steps, -1, -1)
        spikes = expected_spikes(rates, self.dt) if draws is None else bernoulli_spikes(rates, draws, self.dt)
        groups = groups[:, None] if self.dt == 1 else groups[:, None] / self.dt
        if steps > 1:
            silence = groups.new_zeros(len(groups), steps - 1, *groups.shape[2:])
            groups = torch.cat([groups, silence], dim=1)
        return torch.cat([spikes, groups], dim=-1)


class ActorCritic(nn.Module):
    """A recurrent actor-critic for continuous actions.

    Its actions are in units of half the action space's range around its centre (an unbounded space is taken as
    it is); being drawn from a normal distribution they may exceed it, and the environment clips.

    The core has A outputs for the mean (through tanh), A for the variance (through the logistic function,
    unless one parameter is shared by all states), one for the value, and K for what is inferred of the task.

    Args:
        settings: Of the agent.
        network: Of its spiking network.
        observation_space: One-dimensional Box.
        action_space: One-dimensional Box.
        generator: Source of the initial weights.

    Raises:
        ValueError: If a space does not fit, naming it.

    Source: Bellec et al., NIPS 2018, section 5.
    """

    action_centre: Tensor
    action_scale: Tensor

    def __init__(
        self,
        settings: AgentSettings,
        network: NetworkSettings,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if not isinstance(action_space, spaces.Box) or len(action_space.shape) != 1:
            raise ValueError(f"action space is {action_space}: expected a one-dimensional Box")
        self.settings = settings
        self.network_settings = network
        self.action_size: int = action_space.shape[0]
        self.told_size: int = settings.task_inference.size if settings.task_inference else 0
        bounded = action_space.is_bounded()
        low = torch.from_numpy(action_space.low if bounded else -np.ones(self.action_size)).float()
        high = torch.from_numpy(action_space.high if bounded else np.ones(self.action_size)).float()
        self.register_buffer("action_centre", (low + high) / 2, persistent=False)
        self.register_buffer("action_scale", (high - low) / 2, persistent=False)
        self.encoder: ObservationEncoder = ObservationEncoder(
            observation_space, settings.encoding, network.dt
        )
        # An lstm or gru takes an observation in one step: spiking cores alone need simulation steps.
        self.steps_per_observation: int = settings.steps_per_observation if settings.core == "lsnn" else 1
        self.core: RecurrentCore = make_core(
            settings,
            network,
            self.encoder.output_size,
            2 * self.action_size + 1 + self.told_size,
            steps_per_observation=self.steps_per_observation,
            generator=generator,
        )
        self.auxiliary: AuxiliaryTasks | None = None
        logit = math.log(settings.initial_variance / (1 - settings.initial_variance))
        self.variance_logit: nn.Parameter = nn.Parameter(
            torch.full((self.action_size,), logit), requires_grad=settings.action_variance == "shared"
        )

    @property
    def spiking_network(self) -> SpikingRNN:
        """Return the spiking network.

        Raises:
            ValueError: If the core is none that spikes.
        """
        if not isinstance(self.core, LSNNCore):
            raise ValueError(f"core is {self.settings.core!r}: expected 'lsnn', which has a spiking network")
        return self.core.network

    def attach(self, auxiliary: Sequence[AuxiliarySettings], generator: torch.Generator, seed: int) -> None:
        """Give the agent auxiliary tasks that share its spiking network.

        Args:
            auxiliary: Their settings.
            generator: Source of the initial weights of encoders and readouts.
            seed: Of the tasks' batches.

        Raises:
            ValueError: If the core is none that spikes.
        """
        self.auxiliary = AuxiliaryTasks(auxiliary, self.spiking_network, generator, seed)

    def wired_matrices(self) -> list[WiredMatrix]:
        """Return all weight matrices whose connections or signs are managed."""
        of_tasks = [] if self.auxiliary is None else self.auxiliary.wired_matrices(self.spiking_network)
        return [*self.core.wired_matrices(), *of_tasks]

    def environment_actions(self, actions: Tensor) -> np.ndarray:
        """Return what to hand to the environment, ``[..., A]``, for ``actions`` of the policy."""
        return (actions * self.action_scale + self.action_centre).cpu().numpy()

    def initial_state(self, batch_size: int) -> Any:
        """Return the rest state of ``batch_size`` agents."""
        return self.core.initial_state(batch_size)

    def acting_state(self, batch_size: int) -> Any:
        """Return the rest state of agents that act: quicker to step through, without gradients, changed in place."""
        return self.core.acting_state(batch_size)

    def draw(self, steps: int, batch_size: int, generator: torch.Generator) -> Draws:
        """Return the random numbers that ``forward`` needs for ``steps`` environment steps."""
        shape = (steps, self.steps_per_observation, batch_size)
        return Draws(self.encoder.draw(shape, generator), self.core.draw_noise(steps, batch_size, generator))

    def forward(
        self, observations: Tensor, state: Any, episode_start: Tensor, draws: Draws
    ) -> tuple[PolicyOutput, Any]:
        """Run T environment steps of B episodes.

        Args:
            observations: ``[T, B, O]``.
            state: Before the first step.
            episode_start: ``[T, B]``, non-zero where an episode starts.
            draws: From ``draw``.
        """
        return self.replay(self.encode(observations, draws.inputs), state, episode_start, draws.noise)

    def replay(
        self, inputs: Tensor, state: Any, episode_start: Tensor, noise: Tensor | None
    ) -> tuple[PolicyOutput, Any]:
        """Do what ``forward`` does with observations that are encoded already, as those of a trajectory are.

        Args:
            inputs: ``[T, S, B, I]``.
            state: Before the first step.
            episode_start: ``[T, B]``, non-zero where an episode starts.
            noise: Of the core ``[T * S, B, N]``, or None.
        """
        output, state = self.core(inputs, state, episode_start, noise)
        return self.policy(output), state

    def encode(self, observations: Tensor, draws: Tensor | None) -> Tensor:
        """Do the first part of ``forward``: turn observations into the core's inputs ``[T, S, B, I]``."""
        return self.encoder(observations, self.steps_per_observation, draws)

    def policy(self, output: CoreOutput) -> PolicyOutput:
        """Do the last part of ``forward``: turn the core's outputs into policy and value."""
        sizes = [self.action_size, self.action_size, 1, self.told_size]
        mean, variance, value, told = output.values.split(sizes, dim=-1)
        if self.settings.action_variance == "state":
            logit = variance + self.variance_logit
        else:
            logit = self.variance_logit.expand_as(mean)
        return PolicyOutput(
            torch.tanh(mean),
            torch.sigmoid(logit).sqrt(),
            value[..., 0],
            output.spikes,
            told if self.told_size else None,
            output.counts,
        )
