"""ST-RSBP's neuron: its dynamics, and what each input spike adds to a neuron's potential at its own spikes.

From rest, with W x the drive, L the synapses within the layer, a the synaptic trace, v the membrane, a step::

    a[t] = (1 - 1/tau_s) a[t-1] + W x[t-1] + L s[t-1]
    v[t] = (1 - 1/tau_m) v[t-1] + a[t] / tau_s, but 0 in the refractory period
    s[t] = 1 if v[t] > threshold - slack, and v[t] = 0 then

Every synapse takes a step; nothing arrives in step 0. The trace knows of neither spike nor refractory period.

The S-PSP e[o|i] is the potential that the train of i alone, by a weight of 1, would have given to o just before
each spike of o, summed over those spikes, with o's own resets and refractory periods. It is linear in the train
of i: ``e[o|i] = sum_t H[t, o] x[t, i]``, and H follows from o's train alone, backwards in time::

    q[t] = 0 in the refractory period, else 1 at a spike of o, else (1 - 1/tau_m) q[t+1]
    p[t] = (1 - 1/tau_s) p[t+1] + q[t] / tau_s        H[t] = p[t+1]

Source: Zhang, Li, NeurIPS 2019, and the authors' code (of the discrete S-PSP).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class NeuronRecord(NamedTuple):
    """What the neurons did, ``[T, B, ...]`` each.

    Attributes:
        spikes: s, zeros and ones.
        membrane: v as it was compared with the threshold.
    """

    spikes: Tensor
    membrane: Tensor


@dataclass(frozen=True)
class RSBPNeuron:
    """Constants of a layer's neurons.

    Attributes:
        threshold: In units of the membrane, above 0.
        tau_membrane: tau_m, in steps, at least 1.
        tau_synapse: tau_s, in steps, at least 1.
        refractory_period: r, steps after a spike in which the membrane stays at 0.
        slack: By how much the membrane may fall short of the threshold and yet fire.
    """

    threshold: float
    tau_membrane: float = 64.0
    tau_synapse: float = 8.0
    refractory_period: int = 2
    slack: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("tau_membrane", "tau_synapse"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 1 step")
        if not self.threshold > 0:
            raise ValueError(f"threshold is {self.threshold}: expected above 0")
        period = self.refractory_period
        if not (isinstance(period, int) and period >= 0):
            raise ValueError(f"refractory_period is {period}: expected a whole number of steps, at least 0")

    @property
    def membrane_decay(self) -> float:
        """Return what is left of the membrane after a step."""
        return 1 - 1 / self.tau_membrane

    @property
    def synapse_decay(self) -> float:
        """Return what is left of the trace after a step."""
        return 1 - 1 / self.tau_synapse

    @property
    def bound(self) -> float:
        """Return what the membrane must pass."""
        return self.threshold - self.slack

    def run(self, drive: Tensor, same_layer: Tensor | None = None) -> NeuronRecord:
        """Return what neurons at rest do.

        Args:
            drive: W x ``[T, B, ...]``, at the step of x; it arrives a step later.
            same_layer: L ``[post, pre]``; None where there is no synapse within the layer.
        """
        spikes, membrane = torch.zeros_like(drive), torch.zeros_like(drive)
        trace = voltage = torch.zeros_like(drive[0])
        wait = torch.zeros_like(voltage, dtype=torch.int32)
        for t in range(1, len(drive)):
            arriving = drive[t - 1]
            if same_layer is not None:
                arriving = arriving + F.linear(spikes[t - 1], same_layer)
            trace = self.synapse_decay * trace + arriving
            voltage = self.membrane_decay * voltage + trace / self.tau_synapse
            voltage = voltage.masked_fill(wait > 0, 0)
            fired = voltage > self.bound
            membrane[t], spikes[t] = voltage, fired
            voltage = voltage.masked_fill(fired, 0)
            wait = (wait - 1).clamp_(0).masked_fill_(fired, self.refractory_period)
        return NeuronRecord(spikes, membrane)

    def is_refractory(self, spikes: Tensor) -> Tensor:
        """Return at which steps ``[T, ...]`` there was a spike in the r steps before."""
        fired = spikes.bool()
        found = torch.zeros_like(fired)
        for lag in range(1, min(self.refractory_period, len(spikes) - 1) + 1):
            found[lag:] |= fired[:-lag]
        return found

    def responses(self, spikes: Tensor) -> Tensor:
        """Return H, what a spike at each step adds to the S-PSP of neurons that fired ``spikes``: ``[T, B, ...]``.

        Spikes within a refractory period, which only forced trains have, count for nothing but start another one.
        """
        fired, refractory = spikes.bool(), self.is_refractory(spikes)
        at_membrane = by_trace = torch.zeros_like(spikes[0])
        found = torch.empty_like(spikes)
        for t in reversed(range(len(spikes))):
            found[t] = by_trace
            at_membrane = (self.membrane_decay * at_membrane).masked_fill(fired[t], 1)
            at_membrane = at_membrane.masked_fill(refractory[t], 0)
            by_trace = self.synapse_decay * by_trace + at_membrane / self.tau_synapse
        return found


def spike_psp(responses: Tensor, values: Tensor) -> Tensor:
    """Return the S-PSPs e ``[B, post, pre]`` of every pair.

    Args:
        responses: H of the post neurons ``[T, B, post]``.
        values: Spikes of the pre neurons ``[T, B, pre]``.
    """
    return torch.einsum("tbo,tbi->boi", responses, values)
