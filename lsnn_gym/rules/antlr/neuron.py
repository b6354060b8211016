"""ANTLR's neuron: its dynamics and what backward means for it, side by side.

From rest, with J the drive (the weights' sum of what came in the same step), u = 1 - s[t-1] and b the bias::

    i[t] = beta_i J[t] + alpha_i u i[t-1]
    v[t] = beta_v i[t] + beta_bias b + alpha_v u v[t-1]
    s[t] = 1 if v[t] >= 1 else 0
    d[t] = max(v[t] - u v[t-1], 0.01)

Backward, an error of a spike's existence, gS = dL/ds, moves the voltage by a surrogate's slope, an error of a
spike's time, gT = dL/dt, by 1/d; both make one voltage error, which goes back through the neuron's filters
where no reset cuts them. The reset itself passes no error on::

    gV[t] = activation height exp(-sharpness |v[t] - 1|) gS[t] - timing s[t] gT[t] / d[t]
    q[t]  = gV[t] + alpha_v (1 - s[t]) q[t+1]                    error of the bias, over beta_bias
    gI[t] = beta_v q[t] + alpha_i (1 - s[t]) gI[t+1]             error of the drive, over beta_i
    A[t]  = -alpha_v gV[t]/2 + (1 - s[t]) (gV[t+1]/2 + alpha_v A[t+1])
    C[t]  = beta_v (A[t] - alpha_i gV[t]/2) + alpha_i (1 - s[t]) C[t+1]

C is what a later arrival costs: without a reset the sum of ``-gV[t+k] (eps[k+1] - eps[k-1]) / 2``, eps the voltage
that follows a spike, its slope taken by central difference.

Source: Kim, Kim, Kim, NeurIPS 2020, sections 3.1 to 3.3, and the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lsnn_gym.rules import compiled
from lsnn_gym.rules.antlr import compiled as kernels

THRESHOLD = 1.0
FLATTEST = 0.01
"""Smallest slope of the voltage at a spike, per step."""
_CACHED = 1 << 14
"""Values that are taken up at once."""


class NeuronState(NamedTuple):
    """What is carried from step to step, ``[B, ...]`` each; zeros at rest."""

    current: Tensor
    voltage: Tensor
    spikes: Tensor


class NeuronRecord(NamedTuple):
    """What the neurons did, ``[T, B, ...]`` each.

    Attributes:
        current: i.
        voltage: v, before reset.
        slope: d, voltage per step.
        spikes: s, zeros and ones.
    """

    current: Tensor
    voltage: Tensor
    slope: Tensor
    spikes: Tensor


class NeuronErrors(NamedTuple):
    """Errors of what came in.

    Attributes:
        by_current: gI ``[T, B, ...]``.
        by_bias: q summed over steps, ``[B, ...]``.
        delayed: C ``[T, B, ...]``, if it was asked for.
    """

    by_current: Tensor
    by_bias: Tensor
    delayed: Tensor | None


@dataclass(frozen=True)
class AntlrNeuron:
    """Constants of neurons.

    Attributes:
        current_decay: alpha_i, per step.
        voltage_decay: alpha_v, per step.
        current_gain: beta_i.
        voltage_gain: beta_v.
        bias_gain: beta_bias.
    """

    current_decay: float = 0.99
    voltage_decay: float = 0.99
    current_gain: float = 1.0
    voltage_gain: float = 1.0
    bias_gain: float = 1.0

    def __post_init__(self) -> None:
        for name in ("current_decay", "voltage_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected from 0 to 1")

    @classmethod
    def normalised(cls, current_decay: float, voltage_decay: float, steps: int) -> AntlrNeuron:
        """Return neurons in whom one spike over a weight of 1 raises the voltage to just 1, within T steps.

        Args:
            current_decay: alpha_i, per step.
            voltage_decay: alpha_v, per step.
            steps: T, the longest that is simulated. It counts where the voltage would rise for longer.
        """
        if steps < 1:
            raise ValueError(f"steps is {steps}: expected at least 1")
        gain = 1 / cls(current_decay, voltage_decay).response(steps).max().item()
        return cls(current_decay, voltage_decay, 1.0, gain, gain)

    def response(self, steps: int) -> Tensor:
        """Return the voltage ``[steps]`` that follows one spike over a weight of 1, never reset, in float64.

        It is ``beta_i beta_v sum_k alpha_i^k alpha_v^(t-k)``, k from 0 to t.
        """
        current, voltage, found = 1.0, 0.0, []
        for _ in range(steps):
            voltage = current + self.voltage_decay * voltage
            current *= self.current_decay
            found.append(voltage)
        return self.current_gain * self.voltage_gain * torch.tensor(found, dtype=torch.float64)

    def run(
        self, drive: Tensor, bias: Tensor, state: NeuronState | None = None
    ) -> tuple[NeuronRecord, NeuronState]:
        """Return what the neurons do and their state after it; compiled where that can be.

        Args:
            drive: J ``[T, B, ...]``.
            bias: b, of a shape that fits ``[B, ...]``.
            state: Before the first step; None for rest.
        """
        state = state or NeuronState(*(torch.zeros_like(drive[0]) for _ in NeuronState._fields))
        if compiled.fits(drive, bias, *state):
            record, after = kernels.run(self.compiled_constants(), drive, bias, state)
            return NeuronRecord(*record), NeuronState(*after)
        return self.run_plainly(drive, bias, state)

    def run_plainly(
        self, drive: Tensor, bias: Tensor, state: NeuronState
    ) -> tuple[NeuronRecord, NeuronState]:
        """Do what ``run`` does in PyTorch: the definition of correct."""
        record = NeuronRecord(*(torch.empty_like(drive) for _ in NeuronRecord._fields))
        current, voltage, spikes = state
        goes_on, kept, decayed = 1 - spikes, torch.empty_like(voltage), torch.empty_like(voltage)
        arriving = (self.bias_gain * bias).expand_as(voltage)
        # Into memory that is there already: small steps otherwise spend their time on getting some.
        for arrived, *after in zip(drive, *record, strict=True):
            next_current, next_voltage, slope, spikes = after
            torch.mul(goes_on, voltage, out=kept)
            torch.mul(goes_on, current, out=decayed).mul_(self.current_decay)
            torch.mul(arrived, self.current_gain, out=next_current).add_(decayed)
            torch.mul(next_current, self.voltage_gain, out=next_voltage).add_(arriving)
            next_voltage.add_(torch.mul(kept, self.voltage_decay, out=decayed))
            torch.sub(next_voltage, kept, out=slope).clamp_(min=FLATTEST)
            torch.ge(next_voltage, THRESHOLD, out=spikes)
            torch.sub(1, spikes, out=goes_on)
            current, voltage = next_current, next_voltage
        return record, NeuronState(current, voltage, spikes)

    def compiled_constants(self, rule: AntlrRule | None = None) -> kernels.Constants:
        """Return what kernels have to know of the neurons and, if errors are asked for, of the rule."""
        weights = (rule.activation * rule.height, rule.timing, rule.sharpness) if rule else (0.0, 0.0, 0.0)
        return kernels.Constants(
            self.current_decay,
            self.voltage_decay,
            self.current_gain,
            self.voltage_gain,
            self.bias_gain,
            FLATTEST,
            *weights,
        )

    def errors(
        self,
        rule: AntlrRule,
        record: NeuronRecord,
        by_spike: Tensor | None,
        by_time: Tensor | None,
        delays: bool,
    ) -> NeuronErrors:
        """Return the errors of what comes in; compiled where that can be.

        Args:
            rule: How errors of spikes become errors of voltages.
            record: Of the neurons.
            by_spike: gS; None for zeros.
            by_time: gT; None for zeros.
            delays: Whether C is asked for.
        """
        given = [each for each in (by_spike, by_time) if each is not None]
        if compiled.fits(*record, *given):
            used = (by_spike if rule.activation else None, by_time if rule.timing else None)
            return NeuronErrors(*kernels.errors(self.compiled_constants(rule), record, *used, delays))
        error = rule.voltage_error(record, by_spike, by_time)
        by_voltage, by_current = self.accumulate(error, record.spikes)
        delayed = self.delay_error(error, record.spikes) if delays else None
        return NeuronErrors(by_current, by_voltage.sum(0), delayed)

    def accumulate(self, voltage_error: Tensor, spikes: Tensor) -> tuple[Tensor, Tensor]:
        """Return q and gI ``[T, B, ...]``: voltage and current errors, later ones included."""
        by_voltage, by_current = torch.empty_like(voltage_error), torch.empty_like(voltage_error)
        later_voltage = later_current = torch.zeros_like(voltage_error[0])
        goes_on, carried = torch.empty_like(later_voltage), torch.empty_like(later_voltage)
        over_time = (each.unbind() for each in (voltage_error, spikes, by_voltage, by_current))
        for error, fired, at_voltage, at_current in reversed(list(zip(*over_time, strict=True))):
            torch.sub(1, fired, out=goes_on)
            torch.mul(goes_on, later_voltage, out=carried)
            torch.add(error, carried, alpha=self.voltage_decay, out=at_voltage)
            torch.mul(goes_on, later_current, out=carried).mul_(self.current_decay)
            torch.add(carried, at_voltage, alpha=self.voltage_gain, out=at_current)
            later_voltage, later_current = at_voltage, at_current
        return by_voltage, by_current

    def delay_error(self, voltage_error: Tensor, spikes: Tensor) -> Tensor:
        """Return C ``[T, B, ...]``: the error of the time at which a unit of drive arrives, over beta_i."""
        found = torch.empty_like(voltage_error)
        shifted = delayed = error_after = torch.zeros_like(voltage_error[0])
        for t in reversed(range(len(spikes))):
            goes_on, half = 1 - spikes[t], voltage_error[t] / 2
            shifted = goes_on * (error_after + self.voltage_decay * shifted) - self.voltage_decay * half
            delayed = self.voltage_gain * (shifted - self.current_decay * half) + self.current_decay * (
                goes_on * delayed
            )
            found[t], error_after = delayed, half
        return found


@dataclass(frozen=True)
class AntlrRule:
    """How errors of spikes become errors of voltages: :data:`ACTIVATION`, :data:`TIMING`, :data:`COMBINED`, others.

    Attributes:
        activation: Weight of errors by whether there is a spike (lambda_act).
        timing: Weight of errors by when there is one (lambda_tim).
        timing_penalty: Push on the mean weight of a neuron of a dense layer, times the share of samples in
            which it stayed silent. Part of every backward pass, whatever the loss is scaled by.
        height: Of the surrogate's slope, per unit of voltage.
        sharpness: Of the surrogate, per unit of voltage.
    """

    activation: float = 1.0
    timing: float = 1.0
    timing_penalty: float = 0.0
    height: float = 1.0
    sharpness: float = 3.0

    def voltage_error(self, record: NeuronRecord, by_spike: Tensor | None, by_time: Tensor | None) -> Tensor:
        """Return gV ``[T, B, ...]``.

        Args:
            record: Of the neurons.
            by_spike: gS; None for zeros.
            by_time: gT; None for zeros.
        """
        error = torch.zeros_like(record.voltage)
        activation = None if by_spike is None or not self.activation else by_spike
        timing = None if by_time is None or not self.timing else by_time
        # A few steps at a time, so that what is between stays in the cache.
        at_once = max(1, _CACHED // max(1, error[0].numel()))
        for start in range(0, len(error), at_once):
            part = slice(start, start + at_once)
            if activation is not None:
                surrogate = (record.voltage[part] - THRESHOLD).abs_().mul_(-self.sharpness).exp_()
                error[part] += surrogate.mul_(self.activation * self.height).mul_(activation[part])
            if timing is not None:
                by_voltage = (self.timing * timing[part]).div_(record.slope[part])
                error[part] -= by_voltage.mul_(record.spikes[part])
        return error


ACTIVATION = AntlrRule(timing=0.0)
"""Activation-based errors alone: backpropagation through time with a surrogate."""
TIMING = AntlrRule(activation=0.0, timing_penalty=100.0)
"""Timing-based errors alone, with the published push on silent neurons."""
COMBINED = AntlrRule()
"""ANTLR proper. It is not the sum of the other two: both errors of a layer come from the same voltage error."""
