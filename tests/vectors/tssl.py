"""Checks recorded runs of TSSL-BP: ``tssl_*.npz``, each in float64 and float32.

What a file holds tells which of three checks it gets: one layer's function alone, one pass forwards and backwards
through a network, or whole updates. Files are ``[B, C, H, W, T]``, the library is ``[T, B, ...]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lsnn_gym.rules.layers import ConvolutionSynapses, DenseSynapses, LayeredNetwork, Signal
from lsnn_gym.rules.tssl_bp.layers import InputTraces, LineDropout, SpikingLayer, SumPool, clip_weights_
from lsnn_gym.rules.tssl_bp.losses import class_scores, count_loss, kernel_loss, softmax_loss
from lsnn_gym.rules.tssl_bp.neuron import NeuronRecord, TSSLNeuron, filter_spikes
from tests.vectors.results import BadRecordingError, Recording, Result, compare, identical

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
LARGEST_NORM = 1.0


def check(path: Path) -> list[Result]:
    """Check one file, in float64 and float32.

    Raises:
        BadRecordingError: If it lacks something, or is for a rule, loss or layer that is not known.
    """
    recording = Recording(path)
    results = [recording.all_finite()]
    for dtype in TOLERANCES:
        case = Case(recording, dtype)
        if "g_out" in recording:
            results += case.check_function()
        elif "step0_loss" in recording:
            results += case.check_updates()
        else:
            results += case.check_pass()
    return results


class Case:
    """A recorded run as the library's own objects."""

    def __init__(self, recording: Recording, dtype: torch.dtype) -> None:
        self.recording = recording
        self.dtype = dtype
        self.config: Mapping[str, Any] = recording.setting("config")
        if str(self.config.get("rule", "TSSLBP")).upper().replace("-", "") != "TSSLBP":
            raise BadRecordingError(f"{recording.path}: rule {self.config['rule']!r}, expected TSSLBP")

    # ---- reading

    def number(self, name: str) -> float:
        """Return a number of the recorded configuration."""
        if name not in self.config:
            raise BadRecordingError(f"{self.recording.path}: meta.config holds no {name}")
        return float(self.config[name])

    def tensor(self, name: str) -> Tensor:
        """Return a recorded array in the dtype of the case, ``[T, B, ...]`` if it has steps."""
        return self.time_first(torch.as_tensor(self.recording.array(name).copy(), dtype=self.dtype))

    @staticmethod
    def time_first(values: Tensor) -> Tensor:
        """Return ``[B, C, H, W, T]`` as ``[T, B, C, H, W]``."""
        return values.permute(4, 0, 1, 2, 3) if values.ndim == 5 else values

    def neuron(self, layer: Mapping[str, Any]) -> TSSLNeuron:
        """Return the constants of a layer."""
        return TSSLNeuron(self.number("tau_m"), self.number("tau_s"), float(layer["threshold"]))

    def network(self) -> LayeredNetwork:
        """Return the recorded network with its first weights."""
        layers: list[nn.Module] = [InputTraces(self.number("tau_s"))]
        number = 0
        for settings in self.recording.setting("layers").values():
            kind = settings["type"]
            if kind in ("linear", "conv"):
                layers.append(self.spiking_layer(settings, number))
                number += 1
            elif kind == "pooling":
                layers.append(SumPool(side(settings["kernel_size"]), float(settings.get("theta", 1.1))))
            elif kind == "dropout":  # recorded without training: nothing is dropped
                layers.append(LineDropout(0.0))
            else:
                raise BadRecordingError(
                    f"{self.recording.path}: layer type {kind!r}, expected linear, conv, pooling or dropout"
                )
        return LayeredNetwork(layers)

    def spiking_layer(self, settings: Mapping[str, Any], number: int) -> SpikingLayer:
        """Return the layer with the weights of this number."""
        weight = torch.as_tensor(self.recording.array(f"W{number}").copy(), dtype=self.dtype)
        if settings["type"] == "linear":
            return SpikingLayer(DenseSynapses(), weight, self.neuron(settings))
        synapses = ConvolutionSynapses(
            pair(settings.get("stride", 1)),
            pair(settings.get("padding", 0)),
            pair(settings.get("dilation", 1)),
        )
        return SpikingLayer(synapses, weight.squeeze(-1), self.neuron(settings))

    def loss(self, traces: Tensor) -> Tensor:
        """Return the recorded kind of loss."""
        kind = self.recording.setting("loss", default=self.config.get("loss"))
        target = self.tensor("target")
        if kind == "kernel":
            return kernel_loss(traces, target.flatten(2), self.number("tau_s"))
        if kind == "softmax":
            return softmax_loss(traces, target.long().flatten())
        if kind == "count":
            return self.count_loss(traces, target.flatten(1))
        raise BadRecordingError(f"{self.recording.path}: loss {kind!r}, expected kernel, count or softmax")

    def count_loss(self, traces: Tensor, wanted: Tensor) -> Tensor:
        """Return the count loss, whose labels are told by the wanted counts ``[B, C]``."""
        desired, undesired = self.number("desired_count"), self.number("undesired_count")
        is_label = wanted == desired
        if not (is_label.sum(1) == 1).all() or not (wanted[~is_label] == undesired).all():
            raise BadRecordingError(
                f"{self.recording.path}: target is not once {desired:g} and else {undesired:g} a sample"
            )
        return count_loss(traces, is_label.long().argmax(1), desired, undesired)

    # ---- comparing

    def compare(self, name: str, value: Tensor, suffix: str = "") -> Result:
        """Compare with a recorded array, its steps first if it has any."""
        expected = self.recording.array(name)
        return compare(
            f"{self.label(name)}{suffix}", self.as_recorded(value, expected), expected, TOLERANCES[self.dtype]
        )

    def identical(self, name: str, spikes: Tensor) -> Result:
        """Compare spikes with recorded ones; none may differ."""
        expected = self.recording.array(name)
        return identical(self.label(name), self.as_recorded(spikes, expected), expected)

    def label(self, name: str) -> str:
        """Return the name of a quantity with the precision."""
        return f"{str(self.dtype).removeprefix('torch.')}: {name}"

    @staticmethod
    def as_recorded(value: Tensor, expected: np.ndarray) -> Tensor:
        """Return ``[T, B, ...]`` as ``[B, C, H, W, T]`` if such is expected, and kernels with their depth of 1."""
        if expected.ndim != 5:
            return value
        if value.ndim == 4:
            return value[..., None]
        while value.ndim < 5:
            value = value[..., None]
        return value.permute(1, 2, 3, 4, 0)

    # ---- checks

    def check_function(self) -> list[Result]:
        """One spiking layer alone."""
        neuron = self.neuron(self.recording.setting("layer"))
        drive = self.tensor("cur").requires_grad_()
        trace, spikes = neuron.fire(drive)
        trace.backward(self.tensor("g_out"))
        record = neuron.run(drive.detach())
        assert drive.grad is not None
        impulse = torch.zeros(len(drive), dtype=self.dtype)
        impulse[0] = 1
        return [
            self.identical("spk", spikes),
            self.compare("psp", trace),
            self.compare("du", record.increment),
            self.compare("u", record.membrane),
            self.compare("gcur", drive.grad),
            self.compare("kernel", filter_spikes(impulse[:, None], neuron.tau_synapse)[:, 0]),
        ]

    def check_pass(self) -> list[Result]:
        """One pass forwards and backwards: every recorded quantity of every layer."""
        network = self.network()
        inputs = self.tensor("x")
        signals = network(inputs)
        for signal in signals:
            if signal.values.requires_grad:
                signal.values.retain_grad()
        output = signals[-1].values
        loss = self.loss(output)
        loss.backward()
        assert output.grad is not None
        results = [
            self.compare("loss", loss),
            self.compare("out_psp", output),
            self.compare("out_grad", output.grad),
            self.compare("summed_psp", class_scores(output)),
        ]
        below, number, margins = Signal(inputs), 0, []
        for layer, signal in zip(network.layers, signals, strict=True):
            if isinstance(layer, SpikingLayer):
                record = layer.neuron.run(layer.synapses.drive(below.values, layer.weight).detach())
                results += self.check_layer(number, layer, below, signal, record)
                margins.append((record.membrane - layer.neuron.threshold).abs().min())
                number += 1
            below = signal
        if "min_margin" in self.recording and self.dtype == torch.float64:
            error = float((torch.stack(margins).min() - self.tensor("min_margin")).abs())
            results.append(Result(self.label("min_margin (absolute)"), error, TOLERANCES[self.dtype]))
        return results

    def check_layer(
        self, number: int, layer: SpikingLayer, below: Signal, signal: Signal, record: NeuronRecord
    ) -> list[Result]:
        """Compare what was recorded of one layer."""
        by_trace, by_weight = signal.values.grad, layer.weight.grad
        assert by_trace is not None
        assert by_weight is not None
        assert signal.spikes is not None
        results = [self.identical(f"spk{number}", signal.spikes)]
        found = {
            "cur": layer.synapses.drive(below.values, layer.weight),
            "du": record.increment,
            "u": record.membrane,
            "psp": signal.values,
            "trace": signal.values,
            "gpsp": by_trace,
            "gcur": layer.neuron.drive_error(record, by_trace),
            "dW": by_weight,
        }
        return results + [self.compare(f"{name}{number}", value) for name, value in found.items()]

    def check_updates(self) -> list[Result]:
        """Whole updates: gradients, their norm, clipped and taken by AdamW, weights cut."""
        settings = {**self.recording.setting("optimizer")}
        network = self.network()
        weights = list(network.parameters())
        optimizer = torch.optim.AdamW(weights, **settings)
        inputs, results = self.tensor("x"), []
        for step in range(int(self.recording.setting("steps"))):
            optimizer.zero_grad()
            signals = network(inputs)
            loss = self.loss(signals[-1].values)
            loss.backward()
            results.append(self.compare(f"step{step}_loss", loss))
            spikes = [signal.spikes for signal in signals if signal.spikes is not None]
            for number, (weight, fired) in enumerate(zip(weights, spikes, strict=True)):
                assert weight.grad is not None
                results.append(self.identical(f"step{step}_spk{number}", fired))
                results.append(self.compare(f"step{step}_dW{number}", weight.grad))
            norm = nn.utils.clip_grad_norm_(weights, LARGEST_NORM)
            results.append(self.compare(f"step{step}_grad_norm", norm))
            optimizer.step()
            clip_weights_(weights)
            for number, weight in enumerate(weights):
                results.append(self.compare(f"step{step}_Wafter{number}", weight))
        return results


def pair(value: int | list[int]) -> tuple[int, int]:
    """Return a recorded size as height and width."""
    first, second = (value, value) if isinstance(value, int) else value[:2]
    return int(first), int(second)


def side(value: int | list[int]) -> int:
    """Return a recorded size that is as high as wide."""
    height, width = pair(value)
    if height != width:
        raise BadRecordingError(f"pooling window {value}: expected as high as wide")
    return height
