"""TSSL-BP as slowly and obviously as it can be written: one neuron, one synapse, one step at a time."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.rules import obvious_synapses
from tests.rules.obvious_synapses import Connection, Shape


@dataclass
class Neuron:
    """One neuron: its constants and, after :meth:`run`, what it did at each step."""

    tau_m: float
    tau_s: float
    threshold: float
    du: list[float] = field(default_factory=list)
    u: list[float] = field(default_factory=list)
    s: list[int] = field(default_factory=list)
    r: list[float] = field(default_factory=list)

    def kernel(self, k: int) -> float:
        """Return what a spike adds to the trace k steps later."""
        return (1 / self.tau_s) * (1 - 1 / self.tau_s) ** k

    def run(self, drive: list[float]) -> None:
        """Fire as the drive makes it."""
        rest = 0.0
        for t, current in enumerate(drive):
            self.du.append(current - rest / self.tau_m)
            self.u.append(rest + self.du[t])
            self.s.append(1 if self.u[t] > self.threshold else 0)
            rest = 0.0 if self.s[t] else self.u[t]
            self.r.append(sum(self.kernel(k) * self.s[t - k] for k in range(t + 1)))

    def drive_error(self, by_trace: list[float]) -> list[float]:
        """Return what the rule takes for the derivative by the drive."""
        steps = len(by_trace)
        errors, carry = [0.0] * steps, 0.0
        for t in reversed(range(steps)):
            future = sum(self.kernel(k) * by_trace[t + k] for k in range(steps - t))
            if self.s[t]:
                slope = min(1 / self.du[t], 8)
                errors[t] = slope * future + carry * self.u[t] * slope / self.tau_m
                carry = errors[t]
                continue
            carry *= 1 - 1 / self.tau_m
            errors[t] = carry
            # A hair's breadth: the sum above is rounded otherwise than the trace that is exact at the bound.
            if self.r[t] < 1 / (4 * self.tau_s) - 1e-12:
                z = math.exp(min(max((self.threshold - self.u[t]) / 0.2, -8), 8))
                errors[t] = z / (0.2 * (1 + z) ** 2) * future
        return errors


@dataclass
class Layer:
    """Either neurons and their weights, or pooling, whose synapses all have one weight."""

    connections: list[Connection]
    weight: np.ndarray
    size: int
    image: Shape
    threshold: float | None  # None: pooling


def build(
    layers: list[dict[str, Any]], image: Shape, generator: np.random.Generator, scale: float
) -> list[Layer]:
    """Return layers as a recorded ``meta.layers`` describes them, with random weights of two decimals."""
    built = []
    for each in layers:
        if each["type"] == "pooling":
            found, image = obvious_synapses.windows(image, each["kernel_size"])
            pool = [Connection(post, pre, (0,)) for post, pres in enumerate(found) for pre in pres]
            built.append(Layer(pool, np.array([each.get("theta", 1.1)]), len(found), image, None))
            continue
        if each["type"] == "linear":
            connections = obvious_synapses.dense(each["n_outputs"], each["n_inputs"])
            shape, image = (each["n_outputs"], each["n_inputs"]), (each["n_outputs"], 1, 1)
        else:
            size = each["kernel_size"]
            connections, image = obvious_synapses.convolution(
                image,
                each["out_channels"],
                size,
                each.get("stride", 1),
                each.get("padding", 0),
                each.get("dilation", 1),
            )
            shape = (each["out_channels"], each["in_channels"], size, size)
        fan_in = math.prod(shape[1:])
        weight = np.round(generator.normal(0.1, scale / math.sqrt(fan_in), shape), 2)
        built.append(Layer(connections, weight, math.prod(image), image, each["threshold"]))
    return built


@dataclass
class Run:
    """What one sample made of one layer: arrays ``[T, size]``."""

    below: np.ndarray
    cur: np.ndarray
    neurons: list[Neuron]
    psp: np.ndarray

    def of_neurons(self, name: str) -> np.ndarray:
        """Return something of all neurons, ``[T, size]``."""
        return np.array([getattr(each, name) for each in self.neurons]).T


def filtered(values: np.ndarray, tau_s: float) -> np.ndarray:
    """Return ``[T, ...]`` as the synapses see it, by the sum that defines it."""
    eps = [(1 / tau_s) * (1 - 1 / tau_s) ** k for k in range(len(values))]
    return np.array([sum(eps[k] * values[t - k] for k in range(t + 1)) for t in range(len(values))])


def forward(layers: list[Layer], values: np.ndarray, tau_m: float, tau_s: float) -> list[Run]:
    """Return what each layer does with one sample's traces ``[T, N]``."""
    runs = []
    for layer in layers:
        cur = np.array(
            [obvious_synapses.drive(layer.connections, layer.weight, x, layer.size) for x in values]
        )
        if layer.threshold is None:
            runs.append(Run(values, cur, [], cur))
        else:
            neurons = [Neuron(tau_m, tau_s, layer.threshold) for _ in range(layer.size)]
            for each, drive in zip(neurons, cur.T, strict=True):
                each.run(drive.tolist())
            runs.append(Run(values, cur, neurons, np.array([each.r for each in neurons]).T))
        values = runs[-1].psp
    return runs


@dataclass
class Back:
    """What went back through one layer of one sample: errors ``[T, size]``, and the derivative by its weights."""

    by_trace: np.ndarray
    by_drive: np.ndarray
    by_weight: np.ndarray


def backward(layers: list[Layer], runs: list[Run], by_trace: np.ndarray) -> list[Back]:
    """Return what goes back through each layer."""
    found = []
    for layer, run in zip(reversed(layers), reversed(runs), strict=True):
        errors = by_trace
        if run.neurons:
            each_error = [n.drive_error(g.tolist()) for n, g in zip(run.neurons, by_trace.T, strict=True)]
            errors = np.array(each_error).T
        gradient = np.zeros(layer.weight.shape)
        for error, value in zip(errors, run.below, strict=True):
            gradient += obvious_synapses.by_weight(layer.connections, error, value, layer.weight.shape)
        found.append(Back(by_trace, errors, gradient))
        by_trace = np.array(
            [obvious_synapses.back(layer.connections, layer.weight, e, run.below.shape[1]) for e in errors]
        )
    return found[::-1]


def loss_and_error(
    kind: str, traces: np.ndarray, target: np.ndarray, config: dict[str, Any]
) -> tuple[float, np.ndarray]:
    """Return the loss of traces ``[B, T, C]`` and its derivative by them.

    ``target`` is ``[B, T, C]`` (kernel), wanted counts ``[B, C]`` (count) or labels ``[B]`` (softmax).
    """
    batch_size, steps, _ = traces.shape
    loss, errors = 0.0, np.zeros_like(traces)
    for b in range(batch_size):
        if kind == "kernel":
            errors[b] = traces[b] - filtered(target[b], config["tau_s"])
            loss += 0.5 * float((errors[b] ** 2).sum())
            continue
        scores = traces[b].sum(0)
        if kind == "count":
            for c, wanted in enumerate(target[b]):
                delta = (scores[c] - wanted) / steps
                is_label = wanted == config["desired_count"]
                if (is_label and scores[c] >= wanted) or (not is_label and scores[c] <= wanted):
                    delta = 0.0
                errors[b, :, c] = delta
                loss += 0.5 * steps * delta**2
            continue
        chance = np.exp(scores) / np.exp(scores).sum()
        loss -= math.log(chance[target[b]]) / batch_size
        chance[target[b]] -= 1
        errors[b] = chance / batch_size
    return loss, errors


def in_layout(samples: list[np.ndarray], image: Shape) -> np.ndarray:
    """Return ``[T, size]`` a sample as ``[B, C, H, W, T]``."""
    return np.stack([each.T.reshape(*image, len(each)) for each in samples])


def layer_arrays(number: int, layer: Layer, runs: list[Run], back: list[Back]) -> dict[str, np.ndarray]:
    """Return what is recorded of a layer of neurons, of all samples."""
    found = {name: [each.of_neurons(name) for each in runs] for name in ("du", "u")}
    found |= {
        "cur": [each.cur for each in runs],
        "spk": [each.of_neurons("s") for each in runs],
        "psp": [each.psp for each in runs],
        "trace": [each.psp for each in runs],
        "gpsp": [each.by_trace for each in back],
        "gcur": [each.by_drive for each in back],
    }
    arrays = {f"{name}{number}": in_layout(samples, layer.image) for name, samples in found.items()}
    weights = {"W": layer.weight, "dW": np.sum([each.by_weight for each in back], axis=0)}
    for name, weight in weights.items():
        arrays[f"{name}{number}"] = weight[..., None] if weight.ndim == 4 else weight
    return arrays


def random_target(
    kind: str, generator: np.random.Generator, batch_size: int, steps: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a target as :func:`loss_and_error` takes it, and as it is recorded."""
    labels = generator.integers(0, classes, batch_size)
    if kind == "softmax":
        return labels, labels
    if kind == "count":
        wanted = np.where(np.eye(classes)[labels] == 1, 4.0, 1.0)
        return wanted, wanted[:, :, None, None]
    spikes = (generator.random((batch_size, steps, classes)) < 0.4).astype(float)
    return spikes, in_layout(list(spikes), (classes, 1, 1))


def record(
    path: Path,
    layers: list[dict[str, Any]],
    image: Shape,
    *,
    loss: str,
    steps: int = 6,
    tau_m: float = 5.0,
    tau_s: float = 3.0,
    scale: float = 1.5,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Write one pass forwards and backwards as the recorded cases hold theirs, and return its arrays."""
    generator = np.random.default_rng(seed)
    stack = build(layers, image, generator, scale)
    x = np.round(generator.uniform(-0.3, 1.0, (2, math.prod(image), steps)), 2)
    config = {"n_steps": steps, "tau_m": tau_m, "tau_s": tau_s, "rule": "TSSLBP", "loss": loss}
    config |= {"desired_count": 4, "undesired_count": 1}
    runs = [forward(stack, filtered(each.T, tau_s), tau_m, tau_s) for each in x]
    traces = np.stack([each[-1].psp for each in runs])
    target, recorded = random_target(loss, generator, 2, steps, stack[-1].size)
    value, errors = loss_and_error(loss, traces, target, config)
    back = [backward(stack, each, error) for each, error in zip(runs, errors, strict=True)]
    arrays: dict[str, Any] = {
        "x": x.reshape(2, *image, steps),
        "target": recorded,
        "loss": value,
        "out_psp": in_layout(list(traces), stack[-1].image),
        "out_grad": in_layout(list(errors), stack[-1].image),
        "summed_psp": traces.sum(1),
    }
    spiking = [depth for depth, layer in enumerate(stack) if layer.threshold is not None]
    for number, depth in enumerate(spiking):
        of_samples = [each[depth] for each in runs], [each[depth] for each in back]
        arrays |= layer_arrays(number, stack[depth], *of_samples)
    meta = {"config": config, "loss": loss, "layers": {f"layer_{n}": each for n, each in enumerate(layers)}}
    np.savez(path, meta=json.dumps(meta), **arrays)
    return arrays
