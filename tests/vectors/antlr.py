"""Checks recorded runs of ANTLR and its two halves: ``antlr_*.npz``, each in float64 and float32.

A file holds one pass forwards and backwards through one network, or through several side by side; or the
times of spikes that code grey values. Files are ``[B, T, ...]`` where the data are meant, the library and what
is recorded of layers ``[T, B, ...]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsnn_gym.coding import latency_steps
from lsnn_gym.rules.antlr.layers import AntlrLayer, SpikingLayer
from lsnn_gym.rules.antlr.losses import (
    clip_gradients_,
    count_errors,
    count_loss,
    exponential_kernel,
    latency_errors,
    latency_loss,
    train_errors,
    train_loss,
)
from lsnn_gym.rules.antlr.network import AntlrNetwork, run_together
from lsnn_gym.rules.antlr.neuron import ACTIVATION, COMBINED, THRESHOLD, TIMING, AntlrNeuron, AntlrRule
from lsnn_gym.rules.antlr.pooling import AveragePool, MaxPool
from lsnn_gym.rules.layers import ConvolutionSynapses, DenseSynapses, Signal
from tests.vectors.results import BadRecordingError, Recording, Result, compare, identical

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
RULES = {"Activation": ACTIVATION, "Timing": TIMING, "ANTLR": COMBINED}
LAYER = re.compile(r"(?P<kind>fc|mpool|apool|conv|flatten)(?P<size>\d*)(?:c(?P<kernel>\d+))?")


def check(path: Path) -> list[Result]:
    """Check one file, in float64 and float32.

    Raises:
        BadRecordingError: If it lacks something, or is for a rule, target or layer that is not known.
    """
    recording = Recording(path)
    results = [recording.all_finite()]
    if "grey" in recording:
        return results + check_input_code(recording)
    for dtype in TOLERANCES:
        results += Case(recording, dtype).check()
    return results


def check_input_code(recording: Recording) -> list[Result]:
    """Check the times of spikes that code grey values, in each precision and in fractions."""
    grey = torch.as_tensor(recording.array("grey").astype(np.int64))
    exact = torch.where(grey > 0, (24 * 255 - 24 * grey) // 255, -1)
    results = [identical("exact", exact, recording.array("exact"))] if "exact" in recording else []
    for name, dtype in (("spike_time_f32", torch.float32), ("spike_time_f64", torch.float64)):
        if name in recording:
            results.append(identical(name, latency_steps(grey.to(dtype) / 255), recording.array(name)))
    if not results:
        raise BadRecordingError(
            f"{recording.path}: grey values without exact, spike_time_f32 or spike_time_f64"
        )
    return results


class Case:
    """A recorded run as the library's own objects, M networks side by side, and that run repeated."""

    def __init__(self, recording: Recording, dtype: torch.dtype) -> None:
        self.recording = recording
        self.dtype = dtype
        self.config: Mapping[str, Any] = recording.setting("config")
        self.num_models = int(self.config.get("num_models", 1)) if self.config.get("multi_model") else None
        self.models = range(self.num_models or 1)
        self.steps = int(self.setting("time_length"))
        self.target_type = str(self.setting("target_type"))
        self.neuron, self.rule = self._neuron(), self._rule()

    # ---- reading

    def setting(self, name: str) -> Any:
        """Return a recorded setting."""
        if name not in self.config:
            raise BadRecordingError(f"{self.recording.path}: meta.config holds no {name}")
        return self.config[name]

    def each_model(self, name: str) -> list[Tensor]:
        """Return a recorded array of every model."""
        value = torch.as_tensor(self.recording.array(name).copy())
        value = value.to(self.dtype) if value.is_floating_point() else value
        if self.num_models is None:
            return [value]
        if value.shape[:1] != (self.num_models,):
            raise BadRecordingError(
                f"{self.recording.path}: array {name!r} is {tuple(value.shape)}, expected {self.num_models} models"
            )
        return list(value)

    def _neuron(self) -> AntlrNeuron:
        decays = float(self.setting("alpha_i")), float(self.setting("alpha_v"))
        if self.setting("beta_auto"):
            return AntlrNeuron.normalised(*decays, self.steps)
        return AntlrNeuron(*decays, *(float(self.setting(f"beta_{name}")) for name in ("i", "v", "bias")))

    def _rule(self) -> AntlrRule:
        name = self.setting("lrule")
        if name not in RULES:
            raise BadRecordingError(
                f"{self.recording.path}: lrule {name!r}, expected one of {', '.join(RULES)}"
            )
        rule = RULES[name]
        return AntlrRule(
            rule.activation,
            rule.timing,
            float(self.setting("timing_penalty")) if name == "Timing" else 0.0,
            float(self.setting("surr_alpha")),
            float(self.setting("surr_beta")),
        )

    @cached_property
    def networks(self) -> list[AntlrNetwork]:
        """Return the recorded networks with their weights."""
        weights = [self.each_model(name) for name in self.names("W")]
        biases = [self.each_model(name) for name in self.names("b")]
        found = []
        for model in self.models:
            parameters = [(w[model], b[model]) for w, b in zip(weights, biases, strict=True)]
            found.append(AntlrNetwork(self.layers(parameters), stops_early=self.target_type == "latency"))
        return found

    def names(self, prefix: str) -> list[str]:
        """Return the names of an array that every layer with neurons has."""
        sizes = self.setting("network_size")[1:]
        return [
            f"{prefix}{number}" for number in range(sum(each.startswith(("fc", "conv")) for each in sizes))
        ]

    def layers(self, parameters: Sequence[tuple[Tensor, Tensor]]) -> list[AntlrLayer]:
        """Return layers as ``network_size`` names them; dense layers need no ``flatten``."""
        remaining, layers = list(parameters), []
        for text in self.setting("network_size")[1:]:
            match = LAYER.fullmatch(text)
            if match is None:
                raise BadRecordingError(
                    f"{self.recording.path}: layer {text!r}, expected fcN, convNcK, mpoolK, apoolK or flatten"
                )
            kind = match["kind"]
            if kind in ("fc", "conv"):
                weight, bias = remaining.pop(0)
                synapses = (
                    DenseSynapses() if kind == "fc" else ConvolutionSynapses(padding=weight.shape[-1] // 2)
                )
                layer = SpikingLayer(synapses, weight.clone(), self.neuron, self.rule)
                layer.bias.data = bias.clone()
                layers.append(layer)
            elif kind != "flatten":
                layers.append((MaxPool if kind == "mpool" else AveragePool)(int(match["size"])))
        return layers

    # ---- comparing

    def compare(self, name: str, value: Tensor | np.ndarray) -> Result:
        """Compare with the recorded array of this name."""
        return compare(self.label(name), value, self.recording.array(name), TOLERANCES[self.dtype])

    def label(self, name: str) -> str:
        """Return the name of a quantity with the precision."""
        return f"{str(self.dtype).removeprefix('torch.')}: {name}"

    def stacked(self, values: Sequence[Tensor]) -> Tensor:
        """Return one value a model with the models first, if there are several."""
        return values[0] if self.num_models is None else torch.stack(list(values))

    # ---- checks

    def check(self) -> list[Result]:
        """One pass forwards and backwards: every recorded quantity."""
        inputs = [each.transpose(0, 1) for each in self.each_model("x")]
        all_signals = run_together(self.networks, inputs)
        for signals in all_signals:
            for signal in signals:
                _retain(signal.values)
                _retain(signal.timing)
        inputs = [each[: len(signals[-1].values)] for each, signals in zip(inputs, all_signals, strict=True)]
        outputs = [signals[-1] for signals in all_signals]
        results = [*self.check_constants(), *self.check_loss(outputs)]
        number = 0
        for depth, layer in enumerate(self.networks[0].layers):
            if isinstance(layer, SpikingLayer):
                below = [
                    signals[depth - 1].values if depth else each
                    for signals, each in zip(all_signals, inputs, strict=True)
                ]
                results += self.check_layer(number, depth, below, [signals[depth] for signals in all_signals])
                number += 1
        return results + self.check_margin() + self.check_clipped()

    def check_constants(self) -> list[Result]:
        """Compare what follows from the settings alone."""
        found = {
            "epsilon_kernel": lambda: self.neuron.response(self.steps),
            "beta_i": lambda: torch.tensor(self.neuron.current_gain, dtype=torch.float64),
            "beta_v": lambda: torch.tensor(self.neuron.voltage_gain, dtype=torch.float64),
            "beta_bias": lambda: torch.tensor(self.neuron.bias_gain, dtype=torch.float64),
            "alpha_kernel": self._loss_kernel,
        }
        return [self.compare(name, value()) for name, value in found.items() if name in self.recording]

    def _loss_kernel(self) -> Tensor:
        if self.target_type == "count":
            return torch.ones(self.steps)
        return exponential_kernel(float(self.setting("alpha_exp")), self.steps)

    def check_loss(self, outputs: Sequence[Signal]) -> list[Result]:
        """Compare outputs, losses and their errors, and send the errors back."""
        targets = self.each_model("target")
        losses: list[Tensor] = []
        parts: list[dict[str, Tensor]] = []
        for output, target in zip(outputs, targets, strict=True):
            loss, found = self.loss(output, target)
            loss.backward()
            losses.append(loss.detach())
            parts.append(found)
        spikes = torch.cat([output.values.detach() for output in outputs], dim=1)
        results = [
            identical(self.label("output"), spikes.transpose(0, 1), self.recording.array("output")),
            identical(
                self.label("term_length"), np.asarray(len(spikes)), self.recording.array("term_length")
            ),
            self.compare("loss", self.stacked(losses)),
        ]
        results += [
            self.compare(name, torch.cat([part[name] for part in parts], dim=1)) for name in ("dLdS", "dLdT")
        ]
        if self.target_type == "latency":
            results.append(self.compare("logits", torch.cat([part["logits"] for part in parts])))
            results += [
                self.compare(name, self.stacked([part[name] for part in parts]))
                for name in ("loss_ce", "loss_nospike")
            ]
        return results

    def loss(self, output: Signal, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of one model, and what is recorded of it."""
        spikes = output.values.detach()
        if self.target_type == "latency":
            options = float(self.setting("softmax_beta")), float(self.setting("lambda_nospike"))
            parts = latency_errors(spikes, target.long(), *options)
            found = {"logits": parts.logits, "loss_ce": parts.cross_entropy, "loss_nospike": parts.no_spike}
            found |= {"dLdS": parts.by_spike, "dLdT": parts.by_time}
            return latency_loss(output, target.long(), *options), found
        wanted = target.transpose(0, 1)
        if self.target_type == "train":
            decay = float(self.setting("alpha_exp"))
            errors, loss = train_errors(spikes, wanted, decay), train_loss(output, wanted, decay)
        elif self.target_type == "count":
            errors, loss = count_errors(spikes, wanted.sum(0)), count_loss(output, wanted.sum(0))
        else:
            raise BadRecordingError(
                f"{self.recording.path}: target_type {self.target_type!r}, expected train, count or latency"
            )
        return loss, {"dLdS": errors.by_spike, "dLdT": errors.by_time}

    def check_layer(
        self, number: int, depth: int, below: Sequence[Tensor], signals: Sequence[Signal]
    ) -> list[Result]:
        """Compare what was recorded of one layer, of all models side by side."""
        found: dict[str, list[Tensor]] = {}
        for network, values, signal in zip(self.networks, below, signals, strict=True):
            for name, value in self.quantities(network.layers[depth], values, signal).items():  # type: ignore[arg-type]
                found.setdefault(name, []).append(value)
        over_batch = {name: torch.cat(values, dim=1) for name, values in found.items()}
        expected = self.recording.array(f"s{number}")
        results = [identical(self.label(f"s{number}"), over_batch.pop("s"), expected)]
        results += [
            self.compare(f"{name}{number}", value)
            for name, value in over_batch.items()
            if name not in ("gs", "gt") or f"{name}{number}" in self.recording
        ]
        layers = [network.layers[depth] for network in self.networks]
        raw = {"dWraw": [each.weight.grad for each in layers], "dbraw": [each.bias.grad for each in layers]}
        return results + [
            self.compare(f"{name}{number}", self.stacked(values))  # type: ignore[arg-type]
            for name, values in raw.items()
        ]

    def quantities(self, layer: SpikingLayer, values: Tensor, signal: Signal) -> dict[str, Tensor]:
        """Return what one model's layer did and which errors came to it."""
        record = layer.simulate(values.detach()).record
        assert record is not None
        assert signal.spikes is not None
        by_spike, by_time = signal.values.grad, None if signal.timing is None else signal.timing.grad
        error = self.rule.voltage_error(record, by_spike, by_time)
        by_voltage, by_current = self.neuron.accumulate(error, record.spikes)
        zeros = torch.zeros_like(error)
        return {
            "s": signal.spikes,
            "i": record.current,
            "v": record.voltage,
            "vprime": record.slope,
            "gv": error,
            "gvdep": by_voltage,
            "gi": by_current,
            "gs": zeros if by_spike is None else by_spike,
            "gt": zeros if by_time is None else by_time,
        }

    def check_margin(self) -> list[Result]:
        """Compare the smallest distance of a voltage from the threshold."""
        if "min_margin" not in self.recording or self.dtype != torch.float64:
            return []
        voltages = (self.recording.array(name) for name in self.names("v"))
        margin = min(float(np.abs(each - THRESHOLD).min()) for each in voltages)
        error = abs(margin - float(self.recording.array("min_margin")))
        return [Result(self.label("min_margin (absolute)"), error, TOLERANCES[self.dtype])]

    def check_clipped(self) -> list[Result]:
        """Compare the gradients after they are cut."""
        for network in self.networks:
            clip_gradients_(network.parameters(), float(self.setting("grad_clip")))
        layers = [
            [each for each in network.layers if isinstance(each, SpikingLayer)] for network in self.networks
        ]
        choices: dict[str, Callable[[SpikingLayer], Any]] = {
            "dW": lambda layer: layer.weight.grad,
            "db": lambda layer: layer.bias.grad,
        }
        return [
            self.compare(name, self.stacked([choose(each[number]) for each in layers]))
            for prefix, choose in choices.items()
            for number, name in enumerate(self.names(prefix))
        ]


def _retain(value: Tensor | None) -> None:
    if value is not None and value.requires_grad:
        value.retain_grad()
