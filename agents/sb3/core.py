"""A spiking core in the place of an LSTM: features in, filtered spikes out, its whole state in one tensor."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from lsnn_gym.cores import wired_matrices
from lsnn_gym.neurons import SpikingState, TimeConstant, decay, draw_in_range
from lsnn_gym.readouts import low_pass_at_ends
from lsnn_gym.recurrent import CellName, NetworkSettings, SpikingRNN
from lsnn_gym.synapses import Synapses
from lsnn_gym.tasks.scoring import firing_rates, rate_loss
from lsnn_gym.wiring import WiredMatrix


class CoreSettings(NetworkSettings):
    """The spiking network of a policy: what ``lsnn_kwargs`` holds. How many neurons there are, the policy says."""

    regular_neurons: int = Field(default=1, ge=0, description="follows from the policy's lstm_hidden_size")
    adaptive_neurons: int = Field(default=0, ge=0, description="follows from the policy's lstm_hidden_size")
    adaptive_share: float = Field(default=1.0, ge=0, le=1, description="share of neurons that adapt")
    steps_per_observation: int = Field(
        default=8, ge=1, description="simulation steps an environment step lasts"
    )
    tau_readout: TimeConstant = Field(
        default=(5.0, 40.0), description="time constant of the filtered spikes, or a range drawn from"
    )
    output_scale: float = Field(
        default=10.0, gt=0, description="what a neuron that fires all the time, at 1 kHz, puts out"
    )
    joint_critic: bool = Field(
        default=True,
        description="with shared_lstm: whether the value's gradient reaches the core, as the action's does",
    )
    tau_membrane: TimeConstant = Field(
        default=2.0, description="membrane time constant, or a range drawn from"
    )
    tau_adaptation: TimeConstant = Field(
        default=(20.0, 200.0), description="adaptation time constant, or a range drawn from"
    )
    threshold: float = Field(default=0.02, gt=0, description="baseline threshold, in units of voltage")
    input_scale: float = Field(
        default=0.1, gt=0, description="factor on the initial input weights N(0, 1)/sqrt(inputs)"
    )
    recurrent_scale: float = Field(default=0.06, ge=0, description="factor on the initial recurrent weights")
    refractory_period: float = Field(default=0.0, ge=0, description="time after a spike without another")
    cell: CellName = Field(default="lsnn-paper", description="which published neuron model")
    bias: bool = Field(
        default=True, description="whether each neuron has a constant current, which is trained"
    )
    rate_weight: float = Field(
        default=0.0, ge=0, description="weight of sum_j (rate_j - target_rate)^2 in the loss"
    )
    target_rate: float = Field(default=50.0, ge=0, description="firing rate that rate_weight aims at, in Hz")

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


class _AddLoss(torch.autograd.Function):
    """Pass values on, and let whatever loss they end in grow by another: for loops that take no further loss."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, loss: Tensor) -> Tensor:  # type: ignore[override]
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, by_values: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return by_values, by_values.new_ones(())


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
        kappa: Decay of the filters ``[N]``, per simulation step.
        rates_hz: Mean firing rates ``[L]`` of the networks when a gradient was last recorded.
    """

    def __init__(self, input_size: int, num_neurons: int, num_layers: int, settings: CoreSettings) -> None:
        super().__init__()
        # PyTorch's generator is the one that Stable-Baselines3 seeds.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        self.input_size = input_size
        self.settings: CoreSettings = settings.of_size(num_neurons)
        sizes = [input_size + settings.bias, *[num_neurons + settings.bias] * (num_layers - 1)]
        self.networks: nn.ModuleList = nn.ModuleList(
            SpikingRNN(self.settings, size, generator) for size in sizes
        )
        taus = draw_in_range(settings.tau_readout, num_neurons, generator)
        self.kappa: Tensor
        self.register_buffer("kappa", decay(taus, settings.dt).to(torch.get_default_dtype()))
        self.num_layers = 1
        self._sizes = [SpikingState.zeros(1, num_neurons, settings.delay[1]).pack().shape[1]] * num_layers
        self._sizes.append(num_neurons)
        self.hidden_size: int = sum(self._sizes)
        self.rates_hz: Tensor = torch.zeros(num_layers)

    def forward(
        self, features: Tensor, state: Tensor, episode_start: Tensor, counted: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run T environment steps of B episodes.

        Args:
            features: ``[T, B, F]``.
            state: Before the first step ``[B, S]``.
            episode_start: ``[T, B]``, non-zero where an episode starts: the state is put to rest before it.
            counted: ``[T, B]``, whether a step counts in firing rates and what they cost; None if all do.

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
        after, spikes = [], []
        for network, before in zip(self.networks, packed, strict=True):
            start = SpikingState.unpack(before, self._sizes[-1])
            currents = nn.functional.pad(signal, (0, 1), value=1.0) if self.settings.bias else signal
            signal, ended = network(currents, start, reset)
            spikes.append(signal)
            after.append(ended.pack())
        outputs = low_pass_at_ends(signal.unflatten(0, (-1, repeats)), self.kappa, filtered, episode_start)
        outputs = self._regulated(outputs, spikes, counted)
        scale = self.settings.output_scale * self.settings.dt
        return scale * outputs, torch.cat([*after, outputs[-1]], dim=1)

    def wired_matrices(self) -> list[WiredMatrix]:
        """Return the weight matrices whose connections or signs are managed."""
        parts = (part for part in self.modules() if isinstance(part, Synapses))
        return wired_matrices(parts, self.settings.wiring)

    def _regulated(self, outputs: Tensor, spikes: list[Tensor], counted: Tensor | None) -> Tensor:
        """Note the firing rates and let the loss, whichever it is, grow by what they cost."""
        if not torch.is_grad_enabled():
            return outputs
        settings = self.settings
        if counted is not None:
            # All steps that count, as if they were those of one sequence [T, 1, N].
            chosen = counted.repeat_interleave(settings.steps_per_observation, dim=0)
            spikes = [each[chosen][:, None] for each in spikes]
        with torch.no_grad():
            self.rates_hz = torch.stack([1000 * firing_rates(each, settings.dt).mean() for each in spikes])
        if settings.rate_weight:
            cost = sum(rate_loss(each, settings.target_rate, settings.dt) for each in spikes)
            outputs = _AddLoss.apply(outputs, settings.rate_weight * cost)  # type: ignore[assignment]
        return outputs
