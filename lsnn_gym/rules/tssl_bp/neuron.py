"""TSSL-BP's neuron: its dynamics and what backward means for it, side by side.

A neuron sends the trace r of its spikes s, which is what the next layer's weights meet. From rest, with J the
drive, u the membrane, m the membrane after reset and eps[k] = (1 - 1/tau_s)^k / tau_s::

    du[t] = J[t] - m[t-1] / tau_m           u[t] = m[t-1] + du[t]
    s[t]  = 1 if u[t] > threshold else 0    m[t] = (1 - s[t]) u[t]
    r[t]  = r[t-1] + (s[t] - r[t-1]) / tau_s = sum_k eps[k] s[t-k]

Backward, given G[t] = dL/dr[t]: a spike's time moves by 1/du for a change of the membrane, cut at 8, and
whatever moves a spike moves its trace (inter-neuron) and, by the reset, the next spike (intra-neuron)::

    H[t]   = sum_k eps[k] G[t+k]
    phi[t] = s[t] min(1/du[t], 8)
    e[t]   = phi[t] (H[t] + e[t+1] u[t] / tau_m) + (1 - s[t]) (1 - 1/tau_m) e[t+1]
    D[t]   = e[t], or h(u[t]) H[t] where r[t] < 1 / (4 tau_s)

D is taken for dL/dJ, h is the slope of a sigmoid of width 0.2 around the threshold: a neuron that has long been
quiet has no spike to move. It is no derivative of the forward pass, and none is claimed.

Source: Zhang, Li, NeurIPS 2020, sections 2 and 3, and the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lsnn_gym.rules import compiled
from lsnn_gym.rules.tssl_bp import compiled as kernels

STEEPEST = 8.0
"""Largest sensitivity of a spike's time, steps per unit of membrane."""
WIDTH = 0.2
"""Of the sigmoid that stands for the spike of a quiet neuron, in units of the membrane."""
FARTHEST = 8.0
"""Where that sigmoid's argument is cut off, on either side."""


def filter_spikes(spikes: Tensor, tau_synapse: float) -> Tensor:
    """Return ``eps * spikes``, the trace of anything that has steps first: ``[T, ...]``.

    Args:
        spikes: Spikes, or an image repeated on all steps, of any sign.
        tau_synapse: In steps.
    """
    trace, filtered = torch.zeros_like(spikes[0]), []
    for each in spikes:
        trace = (1 - 1 / tau_synapse) * trace + each
        filtered.append(trace / tau_synapse)
    return torch.stack(filtered)


class NeuronRecord(NamedTuple):
    """What the neurons did, ``[T, B, ...]`` each.

    Attributes:
        increment: Change du of the membrane in the step.
        membrane: u, before reset.
        spikes: s, zeros and ones.
        trace: r, of this step's spike too.
    """

    increment: Tensor
    membrane: Tensor
    spikes: Tensor
    trace: Tensor


@dataclass(frozen=True)
class TSSLNeuron:
    """Constants of a layer's neurons.

    Attributes:
        tau_membrane: tau_m, in steps, at least 1.
        tau_synapse: tau_s, in steps, at least 1.
        threshold: In units of the membrane; a spike is what passes it, not what reaches it.
    """

    tau_membrane: float = 5.0
    tau_synapse: float = 3.0
    threshold: float = 1.0

    def __post_init__(self) -> None:
        for name in ("tau_membrane", "tau_synapse"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 1 step")

    def run(self, drive: Tensor) -> NeuronRecord:
        """Return what neurons at rest do, given J ``[T, B, ...]``: the definition of correct, in plain PyTorch."""
        record = NeuronRecord(*(torch.empty_like(drive) for _ in NeuronRecord._fields))
        after = trace = torch.zeros_like(drive[0])
        leak, rise = (
            1 / self.tau_membrane,
            1 / self.tau_synapse,
        )  # processors multiply faster than they divide
        for t, current in enumerate(drive):
            increment = current - after * leak
            membrane = after + increment
            spikes = (membrane > self.threshold).to(drive.dtype)
            after = membrane * (1 - spikes)
            trace = trace + (spikes - trace) * rise
            for kept, value in zip(record, (increment, membrane, spikes, trace), strict=True):
                kept[t] = value
        return record

    def drive_error(self, record: NeuronRecord, by_trace: Tensor) -> Tensor:
        """Return D ``[T, B, ...]``, given G, the derivative of the loss by the trace: the definition of correct."""
        increment, membrane, spikes, trace = record
        sensitivity = spikes * (1 / increment).clamp_(0, STEEPEST)
        by_reset = sensitivity * membrane / self.tau_membrane
        by_leak = (1 - spikes) * (1 - 1 / self.tau_membrane)
        future = later = torch.zeros_like(by_trace[0])
        error, filtered = torch.empty_like(by_trace), torch.empty_like(by_trace)
        for t in reversed(range(len(by_trace))):
            future = by_trace[t] / self.tau_synapse + (1 - 1 / self.tau_synapse) * future
            later = sensitivity[t] * future + later * (by_reset[t] + by_leak[t])
            error[t], filtered[t] = later, future
        quiet = trace < 1 / (4 * self.tau_synapse)
        return torch.where(quiet, self.slope(membrane) * filtered, error)

    def slope(self, membrane: Tensor, width: float = WIDTH) -> Tensor:
        """Return h: the slope of the sigmoid of that width that stands for a spike."""
        odds = ((self.threshold - membrane) / width).clamp_(-FARTHEST, FARTHEST).exp_()
        return odds / (width * (1 + odds) ** 2)

    def compiled_constants(self) -> kernels.Constants | None:
        """Return what the compiled kernels need, or None where they know no such neuron."""
        if is_changed(self, TSSLNeuron):
            return None
        return kernels.Constants(
            self.tau_membrane, self.tau_synapse, self.threshold, WIDTH, FARTHEST, STEEPEST
        )

    def fire(self, drive: Tensor, gains: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return traces, whose gradient goes on to ``drive`` as ``drive_error`` says, and spikes, which have none.

        Args:
            drive: J ``[T, B, ...]``; or of one step, ``[1, B, ...]``.
            gains: Factors ``[T]`` of that one step; they get no gradient. Else None.
        """
        constants = self.compiled_constants()
        if constants is not None and compiled.fits(drive, *(() if gains is None else (gains,))):
            return _FireFast.apply(drive, gains, constants)  # type: ignore[return-value]
        if gains is not None:
            drive = gains.view(-1, *[1] * (drive.ndim - 1)) * drive
        return _Fire.apply(drive, self)  # type: ignore[return-value]


def is_changed(neuron: TSSLNeuron, known: type[TSSLNeuron]) -> bool:
    """Return whether a neuron has dynamics or errors other than those of ``known``, so that no kernel knows them."""
    names = ("run", "drive_error", "slope")
    return any(getattr(type(neuron), name) is not getattr(known, name) for name in names)


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, drive: Tensor, neuron: TSSLNeuron) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        record = neuron.run(drive)
        ctx.save_for_backward(*record)
        ctx.neuron = neuron
        ctx.mark_non_differentiable(record.spikes)
        ctx.set_materialize_grads(False)
        return record.trace, record.spikes

    @staticmethod
    def backward(ctx: Any, by_trace: Tensor | None, _by_spikes: Tensor | None):  # type: ignore[override]
        if by_trace is None:
            return None, None
        return ctx.neuron.drive_error(NeuronRecord(*ctx.saved_tensors), by_trace), None


class _FireFast(torch.autograd.Function):
    """The same by the compiled kernels, which keep the drive alone."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, drive: Tensor, gains: Tensor | None, constants: kernels.Constants
    ) -> tuple[Tensor, Tensor]:
        drive = drive.contiguous()
        ctx.save_for_backward(drive, gains)
        ctx.constants = constants
        trace, spikes = kernels.run(constants, kernels.Drive(drive, gains))
        ctx.mark_non_differentiable(spikes)
        ctx.set_materialize_grads(False)
        return trace, spikes

    @staticmethod
    def backward(ctx: Any, by_trace: Tensor | None, _by_spikes: Tensor | None):  # type: ignore[override]
        if by_trace is None:
            return None, None, None
        return kernels.errors(ctx.constants, kernels.Drive(*ctx.saved_tensors), by_trace), None, None
