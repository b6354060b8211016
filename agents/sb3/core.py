"""A spiking core in the place of an LSTM: features in, filtered spikes out, its whole state in one tensor."""

from __future__ import annotations

import math

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from lsnn_gym.neurons import SpikingState
from lsnn_gym.readouts import low_pass
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN, TimeConstant


class CoreSettings(NetworkSettings):
    """The spiking network of a policy: what ``lsnn_kwargs`` holds. How many neurons there are, the policy says."""

    regular_neurons: int = Field(default=1, ge=0, description="follows from the policy's lstm_hidden_size")
    adaptive_neurons: int = Field(default=0, ge=0, description="follows from the policy's lstm_hidden_size")
    adaptive_share: float = Field(default=0.4, ge=0, le=1, description="share of neurons that adapt")
    steps_per_observation: int = Field(
        default=4, ge=1, description="simulation steps an environment step lasts"
    )
    tau_readout: float = Field(default=10.0, gt=0, description="time constant of the filtered spikes, in ms")
    joint_critic: bool = Field(
        default=True,
        description="with shared_lstm: whether the value's gradient reaches the core, as the action's does",
    )
    tau_membrane: TimeConstant = Field(
        default=(4.0, 20.0), description="membrane time constant, or a range drawn from"
    )
    tau_adaptation: TimeConstant = Field(
        default=(20.0, 200.0), description="adaptation time constant, or a range drawn from"
    )
    threshold: float = Field(default=0.1, gt=0, description="baseline threshold, in units of voltage")
    refractory_period: float = Field(default=1.0, ge=0, description="time after a spike without another")

    @model_validator(mode="after")
    def _check_noise(self) -> CoreSettings:
        if self.noise_std:
            raise ValueError(
                f"noise_std is {self.noise_std}: expected 0, as actions' probabilities must come out again in training"
            )
        return self

    def of_size(self, num_neurons: int) -> CoreSettings:
        """Return the same for a number of neurons."""
        adaptive = round(self.adaptive_share * num_neurons)
        sizes = {"regular_neurons": num_neurons - adaptive, "adaptive_neurons": adaptive}
        return self.model_copy(update=sizes)


class SpikingCore(nn.Module):
    """Spiking networks one above the other, run for some simulation steps an environment step.

    The features are the lowest network's input currents, held for as long as an environment step lasts. The outputs
    are the highest network's spikes, low-pass filtered, at its end.

    Args:
        input_size: F, features.
        num_neurons: N of each network, and outputs.
        num_layers: L, networks.
        settings: Of the networks.

    Attributes:
        num_layers: 1, and ``hidden_size``: S, numbers of a whole state. By these ``RecurrentPPO`` makes room for
            states ``[1, B, S]``. All zeros is the state of rest.
        scale: Of the outputs, so that they are about 1.
    """

    def __init__(self, input_size: int, num_neurons: int, num_layers: int, settings: CoreSettings) -> None:
        super().__init__()
        # PyTorch's generator is the one that Stable-Baselines3 seeds.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        self.input_size = input_size
        self.settings = settings.of_size(num_neurons)
        sizes = [input_size, *[num_neurons] * (num_layers - 1)]
        self.networks = nn.ModuleList(SpikingRNN(self.settings, size, generator) for size in sizes)
        self.kappa = math.exp(-settings.dt / settings.tau_readout)
        self.scale = 10.0 * settings.dt
        self.num_layers = 1
        self._sizes = [SpikingState.zeros(1, num_neurons, settings.delay[1]).pack().shape[1]] * num_layers
        self._sizes.append(num_neurons)
        self.hidden_size = sum(self._sizes)

    def forward(self, features: Tensor, state: Tensor, episode_start: Tensor) -> tuple[Tensor, Tensor]:
        """Run T environment steps of B episodes.

        Args:
            features: ``[T, B, F]``.
            state: Before the first step ``[B, S]``.
            episode_start: ``[T, B]``, non-zero where an episode starts: the state is put to rest before it.

        Returns:
            Outputs ``[T, B, N]`` and the state after the last step ``[B, S]``.
        """
        repeats = self.settings.steps_per_observation
        reset = None
        if episode_start.any():
            reset = episode_start.new_zeros(len(features), repeats, features.shape[1])
            reset[:, 0] = episode_start
            reset = reset.flatten(0, 1)
        *packed, filtered = state.split(self._sizes, dim=1)
        signal = features.repeat_interleave(repeats, dim=0)
        after = []
        for network, before in zip(self.networks, packed, strict=True):
            start = SpikingState.unpack(before, self._sizes[-1])
            signal, ended = network(signal, start, reset)
            after.append(ended.pack())
        outputs = low_pass(signal, self.kappa, filtered, reset)
        last = outputs[repeats - 1 :: repeats]
        return self.scale * last, torch.cat([*after, outputs[-1]], dim=1)
