"""The network that regresses: inputs and targets as population rates in, predictions out."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from lsnn_gym.coding import GaussianPopulationEncoder, bernoulli_spikes, expected_spikes
from lsnn_gym.cores import CoreSettings, RecurrentCore, make_core
from lsnn_gym.lanes import Share
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.regression.episodes import Episodes, FloatArray, RegressionSettings
from lsnn_gym.settings import Settings
from lsnn_gym.tasks.scoring import block_means
from lsnn_gym.wiring import WiredMatrix


class CodingSettings(Settings):
    """How inputs and the target before become the activity of input neurons."""

    neurons_per_value: int = Field(default=100, ge=2, description="neurons that code one value")
    width: float = Field(
        default=math.sqrt(1 / 500), gt=0, description="tuning width, for a value that spans [-1, 1]"
    )
    max_rate: float = Field(default=200.0, gt=0, description="rate at the preferred value, in Hz")
    spikes: Literal["bernoulli", "expected"] = Field(
        default="bernoulli", description="random input spikes, or their mean as graded input"
    )


class ModelSettings(CoreSettings):
    """What regresses."""

    coding: CodingSettings = CodingSettings()
    steps_per_observation: int = Field(
        default=20, ge=1, description="simulation steps a trial lasts; always one of an lstm or gru"
    )


class Draws(NamedTuple):
    """Random numbers of a batch: with them the same parameters give the same predictions again.

    Attributes:
        inputs: Uniform draws ``[T * S, B, I]`` for random input spikes, or None.
        noise: The core's noise ``[T * S, B, N]``, or None.
    """

    inputs: Tensor | None
    noise: Tensor | None


class Predictions(NamedTuple):
    """What a network says of B episodes of T trials.

    Attributes:
        values: Predictions ``[T, B]`` in units of the scaled targets, which span [-1, 1].
        spikes: Of a spiking core ``[T * S, B, N]``, 0 or 1/dt; else None.
        state: The core's after whole episodes, packed ``[B, ...]``, without a gradient; None after parts of them.
        counts: Sums of the spikes ``[N]``, if they were taken.
    """

    values: Tensor
    spikes: Tensor | None
    state: Tensor | None = None
    counts: Tensor | None = None


class RegressionNetwork(nn.Module):
    """A recurrent core that sees each trial for S simulation steps; the mean of its readout is the prediction.

    Inputs and the target before are mapped from their ranges onto [-1, 1] and coded by Gaussian population rates,
    D + 1 populations in all. Targets, as they are learnt, are mapped onto [-1, 1] likewise.

    Args:
        model: Core and coding.
        network: Of a spiking core.
        regression: Says what is shown.
        generator: Source of the initial weights.

    Source: Bellec et al., NIPS 2018, section 4.
    """

    def __init__(
        self,
        model: ModelSettings,
        network: NetworkSettings,
        regression: RegressionSettings,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        family = regression.functions
        self.network_settings = network
        self.steps: int = model.steps_per_observation if model.core == "lsnn" else 1
        self._coding = model.coding
        self._input_range = (family.input_low, family.input_high)
        self._target_range = (family.target_low, family.target_high)
        self.encoder: GaussianPopulationEncoder = GaussianPopulationEncoder(
            family.input_size + 1,
            model.coding.neurons_per_value,
            width=model.coding.width,
            max_rate=model.coding.max_rate,
        )
        self.core: RecurrentCore = make_core(
            model,
            network,
            self.encoder.output_size,
            1,
            steps_per_observation=1,
            generator=generator,
        )

    def wired_matrices(self) -> list[WiredMatrix]:
        """Return all weight matrices whose connections or signs are managed."""
        return self.core.wired_matrices()

    def facing(self, regression: RegressionSettings) -> RegressionNetwork:
        """Return this network, its weights shared, before other functions, whose ranges are mapped onto [-1, 1].

        Raises:
            ValueError: If they have another number of inputs.
        """
        family = regression.functions
        known = self.encoder.output_size // self._coding.neurons_per_value - 1
        if family.input_size != known:
            raise ValueError(
                f"functions of family {regression.family!r} have {family.input_size} inputs: "
                f"expected {known}, as those the network was made for"
            )
        other = copy.copy(self)
        other._input_range = (family.input_low, family.input_high)
        other._target_range = (family.target_low, family.target_high)
        return other

    def shown(self, episodes: Episodes) -> Tensor:
        """Return what the network is shown of ``episodes``, scaled to [-1, 1], ``[T, B, D + 1]``."""
        inputs = self.scaled_inputs(episodes.inputs)
        before = _scaled(self._tensor(episodes.targets_before), self._target_range)
        return torch.cat([inputs, before[..., None]], dim=-1)

    def scaled_inputs(self, inputs: FloatArray) -> Tensor:
        """Return inputs in units of the family ``[..., D]``, scaled to [-1, 1]."""
        return _scaled(self._tensor(inputs), self._input_range)

    def scaled_targets(self, episodes: Episodes) -> Tensor:
        """Return the targets of ``episodes``, scaled to [-1, 1], ``[T, B]``."""
        return _scaled(self._tensor(episodes.targets), self._target_range)

    def in_targets_units(self, predictions: Tensor) -> Tensor:
        """Return ``predictions`` in units of the family's targets."""
        low, high = self._target_range
        return (low + high) / 2 + (high - low) / 2 * predictions

    @property
    def error_unit(self) -> float:
        """Return what a squared error of 1 in scaled targets is in units of the family's."""
        low, high = self._target_range
        return ((high - low) / 2) ** 2

    def draw(self, shown: Tensor, generator: torch.Generator, share: Share | None = None) -> Draws:
        """Draw the random numbers that ``forward`` takes for ``shown`` ``[T, B, D + 1]``.

        Given that these B are a ``share`` of more episodes, they are the same as if all of them were shown.
        """
        share = share or Share.all_of(shown.shape[1])
        steps, size = len(shown) * self.steps, share.total
        uniform = None
        if self._coding.spikes == "bernoulli":
            uniform = torch.rand(steps, size, self.encoder.output_size, generator=generator)
            uniform = share.of(uniform, 1).to(shown.device)
        noise = self.core.draw_noise(steps, size, generator)
        return Draws(uniform, None if noise is None else share.of(noise, 1).to(shown.device))

    def forward(self, shown: Tensor, draws: Draws) -> Predictions:
        """Predict the targets of B episodes, from rest.

        Args:
            shown: Scaled inputs and targets before ``[T, B, D + 1]``.
            draws: From ``draw``.
        """
        predictions, after = self.advance(shown, self.initial_state(shown.shape[1]), draws)
        return predictions._replace(state=self.core.pack(after).detach())

    def initial_state(self, batch_size: int) -> Any:
        """Return the rest state of ``batch_size`` networks."""
        return self.core.initial_state(batch_size)

    def advance(self, shown: Tensor, state: Any, draws: Draws) -> tuple[Predictions, Any]:
        """Predict the targets of T trials, going on from ``state``; return the state after them too.

        Args:
            shown: Scaled inputs and targets before ``[T, B, D + 1]``.
            state: Of B networks, before the first of the trials.
            draws: From ``draw``.
        """
        trials = len(shown)
        dt = self.network_settings.dt
        rates = self.encoder(shown)
        if draws.inputs is None:
            spikes = expected_spikes(rates, dt).repeat_interleave(self.steps, dim=0)
        else:
            spikes = bernoulli_spikes(rates.repeat_interleave(self.steps, dim=0), draws.inputs, dt)
        never = spikes.new_zeros(spikes.shape[:2])
        output, state = self.core(spikes[:, None], state, never, draws.noise)
        values = block_means(output.values, trials)[..., 0]
        return Predictions(values, output.spikes, counts=output.counts), state

    def _tensor(self, values: Any) -> Tensor:
        weight = self.encoder.preferred
        return torch.as_tensor(values, dtype=weight.dtype, device=weight.device)


def _scaled(values: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    return (2 * values - (low + high)) / (high - low)
