"""Backpropagation through time with a surrogate slope, for the neurons that TSSL-BP has.

Forwards nothing differs from :mod:`lsnn_gym.rules.tssl_bp.neuron`, so that only the backward pass does: the exact
gradient, but for the spike, whose derivative is taken to be h, the slope of a sigmoid around the threshold. Given
G[t] = dL/dr[t]::

    H[t] = sum_k eps[k] G[t+k]
    D[t] = h(u[t]) (H[t] - (1 - 1/tau_m) u[t] D[t+1]) + (1 - 1/tau_m) (1 - s[t]) D[t+1]

D is dL/dJ; the second term in the first bracket is what a spike's reset takes from later steps.

Source: Neftci, Mostafa, Zenke: Surrogate gradient learning in spiking neural networks, IEEE Signal Processing
Magazine 36, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lsnn_gym.rules.tssl_bp.classifier import TraceClassifierSettings
from lsnn_gym.rules.tssl_bp.compiled import Constants
from lsnn_gym.rules.tssl_bp.neuron import FARTHEST, NeuronRecord, TSSLNeuron, is_changed


@dataclass(frozen=True)
class SurrogateNeuron(TSSLNeuron):
    """TSSL-BP's neuron with the gradient of backpropagation through time.

    Attributes:
        width: Of the sigmoid that stands for the spike, in units of the membrane.
        resets: Whether errors go through the reset too.
    """

    width: float = 0.2
    resets: bool = True

    def drive_error(self, record: NeuronRecord, by_trace: Tensor) -> Tensor:
        """Return D ``[T, B, ...]``, given G, the derivative of the loss by the trace."""
        leak = 1 - 1 / self.tau_membrane
        slope = self.slope(record.membrane, self.width)
        goes_on = leak * (1 - record.spikes)
        if self.resets:
            goes_on = goes_on - leak * slope * record.membrane
        future = later = torch.zeros_like(by_trace[0])
        error = torch.empty_like(by_trace)
        for t in reversed(range(len(by_trace))):
            future = by_trace[t] / self.tau_synapse + (1 - 1 / self.tau_synapse) * future
            later = slope[t] * future + goes_on[t] * later
            error[t] = later
        return error

    def compiled_constants(self) -> Constants | None:
        """Return what the compiled kernels need, or None where they know no such neuron."""
        if is_changed(self, SurrogateNeuron):
            return None
        return Constants(
            self.tau_membrane,
            self.tau_synapse,
            self.threshold,
            self.width,
            FARTHEST,
            surrogate=True,
            through_reset=self.resets,
        )


class BPTTSettings(TraceClassifierSettings):
    """Backpropagation through time with a surrogate slope, for the same neurons and losses as TSSL-BP's."""

    kind: Literal["bptt"] = "bptt"
    surrogate_width: float = Field(default=0.2, gt=0, description="of the sigmoid that stands for a spike")
    through_reset: bool = Field(default=True, description="whether errors go through the reset too")

    def neuron(self) -> SurrogateNeuron:
        """Return neurons that learn by backpropagation through time."""
        return SurrogateNeuron(
            self.tau_membrane, self.tau_synapse, self.threshold, self.surrogate_width, self.through_reset
        )
