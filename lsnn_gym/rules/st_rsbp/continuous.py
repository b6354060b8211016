"""The S-PSP in continuous time, which the authors' convolutions and pools use, and HM2-BP everywhere.

With f the spikes of the post neuron, f' the one before, r the refractory period, ``s = f - (f' + r)`` (of the first
spike ``f - 1``) and ``t = f - (t_pre + r)``, it sums over pairs of spikes with ``t >= 0``::

    exp(-max(t - s, 0) / tau_s) (exp(-min(s, t) / tau_m) - exp(-min(s, t) / tau_s)) / (1 - tau_s / tau_m)

Spikes of the pre neuron that are older than 4 tau_m are left out.

Source: Jin, Zhang, Li: Hybrid Macro/Micro Level Backpropagation, NeurIPS 2018, and the authors' code of ST-RSBP.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron

SILENT_PSP = 0.1
"""What is taken for the S-PSP of an active neuron onto a silent one, so that the latter's weights can learn."""
OLDEST = 4.0
"""Of pre spikes, in units of tau_m."""


def furthest_step(neuron: RSBPNeuron, steps: int) -> int:
    """Return how many steps before a spike of the post neuron, of T = ``steps``, pre spikes still count.

    Raises:
        ValueError: If both time constants are the same.
    """
    tau_m = neuron.tau_membrane
    if tau_m == neuron.tau_synapse:
        raise ValueError(f"tau_membrane and tau_synapse are both {tau_m}: expected two that differ")
    return min(steps - 1, int(OLDEST * tau_m))


def continuous_responses(neuron: RSBPNeuron, spikes: Tensor) -> Tensor:
    """Return what a pre spike at each step adds to the S-PSP of neurons that fired ``spikes``: ``[T, B, ...]``.

    Raises:
        ValueError: If both time constants are the same.
    """
    tau_m, tau_s = neuron.tau_membrane, neuron.tau_synapse
    furthest = furthest_step(neuron, len(spikes))
    flat = spikes.flatten(1)
    which, when = flat.T.nonzero(as_tuple=True)  # neuron by neuron, each in the order of time
    since = when - 1
    later = which[1:] == which[:-1]
    since[1:][later] = (when[1:] - when[:-1])[later] - neuron.refractory_period
    found = torch.zeros_like(flat)
    for age in range(neuron.refractory_period, furthest + 1):
        there = when >= age
        t = age - neuron.refractory_period
        s = since[there].to(spikes.dtype)
        nearer = s.clamp(max=t)
        shape = torch.exp(-nearer / tau_m) - torch.exp(-nearer / tau_s)
        part = torch.exp(-(t - s).clamp(min=0) / tau_s) * shape / (1 - tau_s / tau_m)
        # Spikes of one neuron are at different steps: no entry comes twice.
        found[when[there] - age, which[there]] += part
    return found.view_as(spikes)
