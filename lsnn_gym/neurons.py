"""Leaky integrate-and-fire neurons with and without an adaptive threshold: parameters, state, populations.

Time is in milliseconds. All zeros is the rest state, so that masking a state resets it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import AfterValidator, Field
from torch import Tensor


def _in_order(value: float | tuple[float, float]) -> float | tuple[float, float]:
    if isinstance(value, tuple) and value[0] > value[1]:
        raise ValueError("expected the lower value first")
    return value


PositiveFloat = Annotated[float, Field(gt=0)]
TimeConstant = Annotated[PositiveFloat | tuple[PositiveFloat, PositiveFloat], AfterValidator(_in_order)]
"""In ms; or a range, lower value first, from which each neuron's is drawn uniformly."""


class NeuronParameters(NamedTuple):
    """Constants of a population of N neurons, each a tensor ``[N]`` in the dtype of the state.

    A neuron with ``beta`` 0 is a plain LIF neuron; with ``beta`` > 0 it is adaptive (ALIF).

    Attributes:
        membrane_decay: alpha = exp(-dt / tau_membrane).
        adaptation_decay: rho = exp(-dt / tau_adaptation).
        threshold: Baseline threshold, in units of voltage.
        beta: Adaptation strength: what one unit of adaptation adds to the threshold.
        refractory_period: How many simulation steps after a spike no other can follow (whole numbers).
    """

    membrane_decay: Tensor
    adaptation_decay: Tensor
    threshold: Tensor
    beta: Tensor
    refractory_period: Tensor


@dataclass(frozen=True)
class CellModel:
    """The choices in which published LIF/ALIF cells differ; ``engine.reference.step`` has the equations.

    ``CELL_MODELS`` holds them by name. Choices that none of them makes may be combined freely
    (``dataclasses.replace``).

    Attributes:
        fires_on_new_voltage: Whether a spike is caused by the voltage of its own step, else of the step before.
        normalised_by_baseline: Whether the distance from threshold is divided by the baseline threshold, else by
            the adapted one.
        reset_by: What a spike takes off the voltage in the step after it: the adapted threshold of that step,
            which already holds the spike's own adaptation ("current"), the adapted threshold that the spike
            crossed ("crossed"), or the baseline threshold ("baseline").
        scaled_current: Whether a current enters the voltage with the factor 1 - alpha.
        scaled_adaptation: Whether a spike enters the adaptation with the factor 1 - rho.
        spike_counts_as_refractory: Whether the refractory period counts the step of the spike itself, so that it
            silences one step fewer.
        adapts_while_refractory: Whether a neuron above threshold adapts though its spike is suppressed.
        stops_spike_gradient: Whether no gradient flows through a spike into recurrent currents and its reset;
            what is left of backpropagation through time is e-prop.
    """

    fires_on_new_voltage: bool = False
    normalised_by_baseline: bool = False
    reset_by: Literal["current", "crossed", "baseline"] = "current"
    scaled_current: bool = True
    scaled_adaptation: bool = True
    spike_counts_as_refractory: bool = False
    adapts_while_refractory: bool = False
    stops_spike_gradient: bool = False

    def __post_init__(self) -> None:
        if self.reset_by not in ("current", "crossed", "baseline"):
            raise ValueError(f"reset_by is {self.reset_by!r}: expected 'current', 'crossed' or 'baseline'")
        if self.adapts_while_refractory and not self.fires_on_new_voltage:
            # The suppressed spike is found again from the state, which no longer holds the older voltage.
            raise ValueError("adapts_while_refractory is for cells with fires_on_new_voltage only")


LSNN = CellModel()
EPROP_A = CellModel(
    fires_on_new_voltage=True,
    normalised_by_baseline=True,
    reset_by="baseline",
    scaled_current=False,
    scaled_adaptation=False,
    spike_counts_as_refractory=True,
)

CELL_MODELS: Mapping[str, CellModel] = MappingProxyType(
    {
        # The authors' code of Bellec et al., NIPS 2018.
        "lsnn": LSNN,
        # That paper's equations: spike and reset refer to the same voltage and threshold.
        "lsnn-paper": CellModel(fires_on_new_voltage=True, reset_by="crossed"),
        # The authors' code of Bellec, Scherr et al. 2020: evidence accumulation and, input resets apart, Atari;
        "eprop-a": EPROP_A,
        # pattern generation (which has no refractory period);
        "eprop-b": CellModel(fires_on_new_voltage=True, reset_by="baseline"),
        # TIMIT.
        "eprop-c": replace(EPROP_A, adapts_while_refractory=True),
    }
)


class SpikingState(NamedTuple):
    """State of B networks of N neurons after a simulation step; zeros are the rest state.

    Attributes:
        voltage: Membrane voltage ``[B, N]``.
        spikes: What the neurons emitted ``[B, N]``: 0 or 1/dt.
        adaptation: Low-pass filtered spikes ``[B, N]``, per millisecond.
        refractory: Steps for which each neuron is still blocked ``[B, N]``, whole numbers.
        currents: Synaptic currents under way ``[B, D, N]``: ``currents[:, k]`` arrives k steps from now.
    """

    voltage: Tensor
    spikes: Tensor
    adaptation: Tensor
    refractory: Tensor
    currents: Tensor

    @classmethod
    def zeros(
        cls,
        batch_size: int,
        num_neurons: int,
        max_delay: int,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> SpikingState:
        """Return the rest state of ``batch_size`` networks."""
        rest = torch.zeros(batch_size, num_neurons, dtype=dtype, device=device)
        currents = torch.zeros(batch_size, max_delay, num_neurons, dtype=dtype, device=device)
        return cls(rest, rest.clone(), rest.clone(), rest.clone(), currents)

    def keep(self, mask: Tensor) -> SpikingState:
        """Return the state with the networks at rest where the boolean ``mask`` ``[B]`` is False."""
        column = mask[:, None]
        return SpikingState(
            *(torch.where(column, each, 0.0) for each in self[:4]),
            currents=torch.where(column[:, :, None], self.currents, 0.0),
        )

    def pack(self) -> Tensor:
        """Return the whole state as one tensor ``[B, (4 + D) * N]``."""
        return torch.cat([*self[:4], self.currents.flatten(1)], dim=1)

    @classmethod
    def unpack(cls, packed: Tensor, num_neurons: int) -> SpikingState:
        """Turn ``pack``'s tensor ``[B, (4 + D) * N]`` back into a state.

        Raises:
            ValueError: If the width is no multiple of ``num_neurons`` or has no room for a state.
        """
        blocks, rest = divmod(packed.shape[1], num_neurons)
        if rest or blocks < 5:
            raise ValueError(
                f"packed state of width {packed.shape[1]} does not hold {num_neurons} neurons: "
                f"expected a multiple of {num_neurons} of at least {5 * num_neurons}"
            )
        voltage, spikes, adaptation, refractory, *currents = packed.split(num_neurons, dim=1)
        return cls(voltage, spikes, adaptation, refractory, torch.stack(currents, dim=1))


def decay(tau: float | Tensor, dt: float) -> Tensor:
    """Return exp(-dt / tau): what is left after one step of ``dt`` ms of a trace with time constant ``tau``."""
    return torch.exp(-dt / torch.as_tensor(tau, dtype=torch.float64))


def draw_in_range(value: float | tuple[float, float], size: int, generator: torch.Generator) -> Tensor:
    """Return ``[size]`` float64 values: ``value`` itself, or uniform draws where it is a (low, high) range."""
    if isinstance(value, tuple):
        low, high = value
        return low + (high - low) * torch.rand(size, generator=generator, dtype=torch.float64)
    return torch.full((size,), float(value), dtype=torch.float64)


def draw_population(
    *,
    num_regular: int,
    num_adaptive: int,
    tau_membrane: float | tuple[float, float],
    tau_adaptation: float | tuple[float, float],
    threshold: float,
    beta: float,
    refractory_period: float,
    dt: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> NeuronParameters:
    """Draw a population: ``num_regular`` LIF neurons followed by ``num_adaptive`` ALIF neurons.

    Args:
        num_regular: Neurons without adaptation.
        num_adaptive: Neurons with an adaptive threshold.
        tau_membrane: Membrane time constant in ms, or a range to draw each neuron's from, uniformly.
        tau_adaptation: Adaptation time constant in ms, or a range.
        threshold: Baseline threshold.
        beta: Adaptation strength of the adaptive neurons.
        refractory_period: In ms; rounded to simulation steps.
        dt: Simulation step in ms.
        generator: Source of the draws.
        dtype: Of the result; decays are computed in float64 first.
    """
    size = num_regular + num_adaptive
    steps = math.floor(refractory_period / dt + 0.5)
    adaptive = (torch.arange(size) >= num_regular).to(torch.float64)
    return NeuronParameters(
        membrane_decay=decay(draw_in_range(tau_membrane, size, generator), dt).to(dtype),
        adaptation_decay=decay(draw_in_range(tau_adaptation, size, generator), dt).to(dtype),
        threshold=torch.full((size,), threshold, dtype=dtype),
        beta=(beta * adaptive).to(dtype),
        refractory_period=torch.full((size,), steps, dtype=dtype),
    )
