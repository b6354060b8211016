"""ANTLR as slowly and obviously as it can be written: one neuron, one synapse, one step at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.rules import obvious_synapses
from tests.rules.obvious_synapses import Connection, Shape

CONFIG: dict[str, Any] = {
    "alpha_exp": 0.9,
    "alpha_i": 0.9,
    "alpha_v": 0.95,
    "beta_auto": 1,
    "beta_bias": 1.0,
    "beta_i": 1.0,
    "beta_v": 1.0,
    "grad_clip": 1e30,
    "lambda_nospike": 0.1,
    "lrule": "ANTLR",
    "multi_model": False,
    "num_models": 1,
    "softmax_beta": 1 / 6,
    "surr_alpha": 1.0,
    "surr_beta": 3.0,
    "target_type": "train",
    "time_length": 30,
    "timing_penalty": 100.0,
}


def epsilon(config: dict[str, Any]) -> list[float]:
    """Return the voltage after one spike, without gains, by the sum that defines it."""
    a, b = config["alpha_i"], config["alpha_v"]
    return [sum(a**k * b ** (t - k) for k in range(t + 1)) for t in range(config["time_length"])]


def gains(config: dict[str, Any]) -> tuple[float, float, float]:
    """Return beta_i, beta_v and beta_bias."""
    if config["beta_auto"]:
        return 1.0, 1 / max(epsilon(config)), 1 / max(epsilon(config))
    return config["beta_i"], config["beta_v"], config["beta_bias"]


@dataclass
class Neuron:
    """One neuron, what it did at each step, and what went back through it."""

    config: dict[str, Any]
    i: list[float] = field(default_factory=list)
    v: list[float] = field(default_factory=list)
    d: list[float] = field(default_factory=list)
    s: list[int] = field(default_factory=list)

    def step(self, drive: float, bias: float) -> int:
        """Take one step; return whether it fires."""
        beta_i, beta_v, beta_bias = gains(self.config)
        i = beta_i * drive
        v = beta_bias * bias
        before = 0.0
        if self.s and not self.s[-1]:
            i += self.config["alpha_i"] * self.i[-1]
            v += self.config["alpha_v"] * self.v[-1]
            before = self.v[-1]
        v += beta_v * i
        self.i.append(i)
        self.v.append(v)
        self.d.append(max(v - before, 0.01))
        self.s.append(1 if v >= 1 else 0)
        return self.s[-1]

    def voltage_error(self, gs: list[float], gt: list[float]) -> list[float]:
        """Return gV by the rule that the configuration names."""
        found = []
        for t, v in enumerate(self.v):
            error = 0.0
            if self.config["lrule"] != "Timing":
                error += self.config["surr_alpha"] * math.exp(-self.config["surr_beta"] * abs(v - 1)) * gs[t]
            if self.config["lrule"] != "Activation" and self.s[t]:
                error -= gt[t] / self.d[t]
            found.append(error)
        return found

    def back(self, g: list[float]) -> tuple[list[float], list[float], list[float]]:
        """Return q, gI and C."""
        alpha_i, alpha_v = self.config["alpha_i"], self.config["alpha_v"]
        beta_v = gains(self.config)[1]
        n = len(g)
        q, gi, a, c = ([0.0] * (n + 1) for _ in range(4))
        for t in reversed(range(n)):
            u = 1 - self.s[t]
            q[t] = g[t] + alpha_v * u * q[t + 1]
            gi[t] = beta_v * q[t] + alpha_i * u * gi[t + 1]
            a[t] = -alpha_v * g[t] / 2
            if t < n - 1:
                a[t] += u * (g[t + 1] / 2 + alpha_v * a[t + 1])
            c[t] = beta_v * (-alpha_i * g[t] / 2 + a[t]) + alpha_i * u * c[t + 1]
        return q[:n], gi[:n], c[:n]


@dataclass
class Layer:
    """Neurons with synapses and a bias each or a channel, or a pool."""

    kind: str  # fc, conv, apool, mpool
    image: Shape
    connections: list[Connection] = field(default_factory=list)
    windows: list[list[int]] = field(default_factory=list)
    weight: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def size(self) -> int:
        """Return how many values it sends a step."""
        return math.prod(self.image)

    def bias_index(self, neuron: int) -> int:
        """Return which bias a neuron has."""
        return neuron // (self.size // len(self.bias))


def build(sizes: list[str], generator: np.random.Generator, scale: float) -> list[Layer]:
    """Return layers with random weights of two decimals, from names as ``network_size`` has them."""
    image = tuple(int(each) for each in sizes[0].split("x"))
    layers = []
    for name in sizes[1:]:
        if name == "flatten":
            continue
        if name.startswith("fc"):
            fan_in, outputs = math.prod(image), int(name[2:])
            layer = Layer("fc", (outputs,), connections=obvious_synapses.dense(outputs, fan_in))
            shape: Shape = (outputs, fan_in)
        elif name.startswith("conv"):
            outputs, size = (int(each) for each in name[4:].split("c"))
            connections, out = obvious_synapses.convolution(image, outputs, size, 1, size // 2, 1)  # type: ignore[arg-type]
            layer = Layer("conv", out, connections=connections)
            shape = (outputs, image[0], size, size)
        else:
            found, out = obvious_synapses.windows(image, int(name[5:]))
            layer = Layer(name[:5], out, windows=found)
            shape = ()
        if shape:
            layer.weight = np.round(
                generator.normal(0.5 * scale, scale, shape) / math.sqrt(math.prod(shape[1:])), 2
            )
            layer.bias = np.round(generator.normal(0, 0.02, shape[0]), 3)
        image = layer.image
        layers.append(layer)
    return layers


class Sample:
    """One sample on its way through one network."""

    def __init__(self, layers: list[Layer], config: dict[str, Any]) -> None:
        self.layers = layers
        self.config = config
        self.neurons = [
            [Neuron(config) for _ in range(each.size)] if each.connections else [] for each in layers
        ]
        self.values: list[list[np.ndarray]] = [[] for _ in range(len(layers) + 1)]  # from the input on
        self.back: dict[int, dict[str, np.ndarray]] = {}

    def step(self, x: np.ndarray) -> None:
        """Take one step."""
        self.values[0].append(x)
        for depth, layer in enumerate(self.layers):
            below = self.values[depth][-1]
            if layer.kind == "apool":
                sent = [sum(below[i] for i in window) / len(window) for window in layer.windows]
            elif layer.kind == "mpool":
                sent = [max(below[i] for i in window) for window in layer.windows]
            else:
                drive = obvious_synapses.drive(layer.connections, layer.weight, below, layer.size)
                sent = [
                    each.step(drive[o], layer.bias[layer.bias_index(o)])
                    for o, each in enumerate(self.neurons[depth])
                ]
            self.values[depth + 1].append(np.array(sent, dtype=float))

    def send_back(self, gs: np.ndarray, gt: np.ndarray) -> None:
        """Send errors of the output ``[n, K]`` back through all layers."""
        for depth in reversed(range(len(self.layers))):
            layer, below = self.layers[depth], np.array(self.values[depth])
            if layer.windows:
                gs, gt = (self.unpool(layer, below, each) for each in (gs, gt))
                continue
            results = []
            for o, neuron in enumerate(self.neurons[depth]):
                gv = neuron.voltage_error(gs[:, o].tolist(), gt[:, o].tolist())
                results.append([gv, *neuron.back(gv)])
            gv, q, gi, c = np.array(results).transpose(1, 2, 0)
            self.back[depth] = {"gs": gs, "gt": gt, "gv": gv, "gvdep": q, "gi": gi}
            beta_i, size = gains(self.config)[0], below.shape[1]
            back = obvious_synapses.back
            gs = np.array([beta_i * back(layer.connections, layer.weight, each, size) for each in gi])
            gt = below * np.array([beta_i * back(layer.connections, layer.weight, each, size) for each in c])

    @staticmethod
    def unpool(layer: Layer, below: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """Return what the errors of a pool's values are below it."""
        found = np.zeros_like(below)
        for t, values in enumerate(below):
            for o, window in enumerate(layer.windows):
                if layer.kind == "apool":
                    for i in window:
                        found[t, i] += errors[t, o] / len(window)
                else:
                    found[t, max(window, key=lambda i: values[i])] += errors[t, o]  # the first of the largest
        return found

    def of_neurons(self, depth: int, name: str) -> np.ndarray:
        """Return something of a layer's neurons, ``[n, size]``."""
        return np.array([getattr(each, name) for each in self.neurons[depth]]).T


def run(samples: list[Sample], inputs: list[np.ndarray], stops_early: bool) -> int:
    """Take all steps, or as many as it takes until every output of every sample has fired; return how many."""
    steps = len(inputs[0])
    for t in range(steps):
        for sample, x in zip(samples, inputs, strict=True):
            sample.step(x[t])
        if stops_early and all(np.array(each.values[-1]).any(0).all() for each in samples):
            return t + 1
    return steps


def train_loss(o: np.ndarray, y: np.ndarray, config: dict[str, Any]) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the spike-train loss and its errors, given spikes and targets ``[n, B, K]``."""
    steps, batch_size, size = o.shape
    kappa = [config["alpha_exp"] ** k for k in range(min(steps, 1000))]
    kappa = [each for each in kappa if each > 1e-6]

    def kernel(k: int) -> float:
        return kappa[k] if 0 <= k < len(kappa) else 0.0

    loss, by_spike, by_time = 0.0, np.zeros_like(o), np.zeros_like(o)
    for b, j in np.ndindex(batch_size, size):
        difference = o[:, b, j] - y[:, b, j]
        length = steps + len(kappa) - 1
        e = [sum(kernel(t - f) * difference[f] for f in range(steps)) for t in range(length)]

        def residual(t: int, e: Sequence[float] = e) -> float:
            return e[t] if 0 <= t < len(e) else 0.0

        loss += sum(each**2 for each in e) / (steps * batch_size)
        for t in range(steps):
            ahead = range(-1, len(kappa) + 1)
            by_spike[t, b, j] = 2 * sum(kernel(k) * residual(t + k) for k in ahead) / (steps * batch_size)
            slope = sum((kernel(k + 1) - kernel(k - 1)) / 2 * residual(t + k) for k in ahead)
            by_time[t, b, j] = -2 * o[t, b, j] * slope / (steps * batch_size)
    return loss, by_spike, by_time


def count_loss(o: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the count loss and its errors, given spikes and targets ``[n, B, K]``."""
    steps, batch_size, _ = o.shape
    c = o.sum(0) - y.sum(0)
    by_spike = np.array([2 * c / (steps * batch_size)] * steps)
    return float((c**2).sum() / (steps * batch_size)), by_spike, np.zeros_like(o)


def latency_loss(o: np.ndarray, labels: np.ndarray, config: dict[str, Any]) -> dict[str, Any]:
    """Return the latency loss in parts with its errors, given spikes ``[n, B, K]``."""
    n, batch_size, size = o.shape
    found: dict[str, Any] = {"loss_ce": 0.0, "loss_nospike": 0.0, "logits": np.zeros((batch_size, size))}
    by_spike, by_time = np.zeros_like(o), np.zeros_like(o)
    for b in range(batch_size):
        first = [next((t for t in range(n) if o[t, b, j]), None) for j in range(size)]
        z = [0.0 if f is None else config["softmax_beta"] * (n - f) for f in first]
        chance = np.exp(z) / np.exp(z).sum()
        found["logits"][b] = z
        found["loss_ce"] -= math.log(chance[labels[b]]) / batch_size
        for j, f in enumerate(first):
            if f is not None:
                surplus = chance[j] - (1 if j == labels[b] else 0)
                by_time[f, b, j] = -config["softmax_beta"] * surplus / batch_size
            elif j == labels[b]:
                found["loss_nospike"] += config["lambda_nospike"] / batch_size
                by_spike[:, b, j] = -config["lambda_nospike"] / batch_size
    return found | {"dLdS": by_spike, "dLdT": by_time, "loss": found["loss_ce"] + found["loss_nospike"]}


@dataclass
class Model:
    """One network with its batch."""

    layers: list[Layer]
    samples: list[Sample]
    x: np.ndarray  # [B, T, N]
    target: np.ndarray  # [B, T, K] or [B]

    def losses(self, config: dict[str, Any], n: int) -> dict[str, Any]:
        """Return the losses, and send their errors back."""
        o = np.array([sample.values[-1][:n] for sample in self.samples]).transpose(1, 0, 2)
        if config["target_type"] == "latency":
            found = latency_loss(o, self.target, config)
        else:
            y = self.target.transpose(1, 0, 2)
            parts = train_loss(o, y, config) if config["target_type"] == "train" else count_loss(o, y)
            loss, by_spike, by_time = parts
            found = {"loss": loss, "dLdS": by_spike, "dLdT": by_time}
        for b, sample in enumerate(self.samples):
            sample.send_back(found["dLdS"][:, b], found["dLdT"][:, b])
        return found

    def gradients(self, depth: int, config: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradients of a layer's weights and biases, before they are cut."""
        layer = self.layers[depth]
        beta_i, _, beta_bias = gains(config)
        by_weight, by_bias = np.zeros(layer.weight.shape), np.zeros(len(layer.bias))
        for sample in self.samples:
            for gi, below in zip(sample.back[depth]["gi"], sample.values[depth], strict=True):
                by_weight += obvious_synapses.by_weight(layer.connections, gi, below, layer.weight.shape)
            for q in sample.back[depth]["gvdep"]:
                for o in range(layer.size):
                    by_bias[layer.bias_index(o)] += beta_bias * q[o]
        if layer.kind == "fc":
            by_weight *= beta_i
            for j in range(layer.size):
                silent = [not any(sample.neurons[depth][j].s) for sample in self.samples]
                if config["lrule"] == "Timing":
                    push = config["timing_penalty"] / layer.weight.shape[1]
                    by_weight[j] -= push * sum(silent) / len(silent)
        return by_weight, by_bias


def random_model(
    sizes: list[str], config: dict[str, Any], generator: np.random.Generator, scale: float, density: float
) -> Model:
    """Return a network and a batch of three for it."""
    layers, steps = build(sizes, generator, scale), config["time_length"]
    fan_in, outputs = math.prod(int(each) for each in sizes[0].split("x")), layers[-1].size
    x = (generator.random((3, steps, fan_in)) < density).astype(float)
    target: np.ndarray = generator.integers(0, outputs, 3)
    if config["target_type"] == "train":
        target = (generator.random((3, steps, outputs)) < 0.1).astype(float)
    elif config["target_type"] == "count":
        counts = generator.integers(0, 3, (3, outputs)).astype(float)
        target = np.zeros((3, steps, outputs))
        target[:, 0] = counts
    return Model(layers, [Sample(layers, config) for _ in range(3)], x, target)


def layer_arrays(
    number: int, depth: int, models: list[Model], config: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Return what is recorded of a layer of neurons: models side by side, or first where there are several."""
    layer = models[0].layers[depth]
    samples = [sample for model in models for sample in model.samples]
    found = {"i": "i", "v": "v", "vprime": "d", "s": "s"}
    over_time = {name: [each.of_neurons(depth, own) for each in samples] for name, own in found.items()}
    for name in ("gs", "gt", "gv", "gvdep", "gi"):
        if (name, config["lrule"]) not in (("gs", "Timing"), ("gt", "Activation")):
            over_time[name] = [each.back[depth][name] for each in samples]
    arrays = {
        f"{name}{number}": np.stack(values, axis=1).reshape(len(values[0]), len(samples), *layer.image)
        for name, values in over_time.items()
    }
    raw = [model.gradients(depth, config) for model in models]
    clip = config["grad_clip"]
    parameters = {
        "W": [model.layers[depth].weight for model in models],
        "b": [model.layers[depth].bias for model in models],
        "dWraw": [each[0] for each in raw],
        "dbraw": [each[1] for each in raw],
        "dW": [np.clip(each[0], -clip, clip) for each in raw],
        "db": [np.clip(each[1], -clip, clip) for each in raw],
    }
    return arrays | {f"{name}{number}": side_by_side(each, config) for name, each in parameters.items()}


def side_by_side(values: list[np.ndarray], config: dict[str, Any]) -> np.ndarray:
    """Return one value a model with the models first, if there are several."""
    return np.stack(values) if config["multi_model"] else values[0]


def record(
    path: Path, sizes: list[str], *, seed: int = 0, scale: float = 4.0, density: float = 0.15, **changes: Any
) -> dict[str, Any]:
    """Write one pass forwards and backwards as the recorded cases hold theirs, and return its arrays."""
    config: dict[str, Any] = {**CONFIG, "network_size": sizes, **changes}
    generator = np.random.default_rng(seed)
    models = [random_model(sizes, config, generator, scale, density) for _ in range(config["num_models"])]
    samples = [sample for model in models for sample in model.samples]
    inputs = [each for model in models for each in model.x]
    n = run(samples, inputs, config["target_type"] == "latency")
    losses = [model.losses(config, n) for model in models]
    beta_i, beta_v, beta_bias = gains(config)
    image = tuple(int(each) for each in sizes[0].split("x"))
    arrays: dict[str, Any] = {
        "x": side_by_side([model.x.reshape(*model.x.shape[:2], *image) for model in models], config),
        "target": side_by_side([model.target for model in models], config),
        "output": np.array([sample.values[-1] for sample in samples]),
        "term_length": n,
        "epsilon_kernel": beta_i * beta_v * np.array(epsilon(config)),
        "beta_i": beta_i,
        "beta_v": beta_v,
        "beta_bias": beta_bias,
    }
    for name in losses[0]:
        values = [np.asarray(each[name]) for each in losses]
        if name in ("dLdS", "dLdT"):
            arrays[name] = np.concatenate(values, axis=1)
        else:
            arrays[name] = np.concatenate(values) if name == "logits" else side_by_side(values, config)
    if config["target_type"] == "train":
        kernel = config["alpha_exp"] ** np.arange(config["time_length"])
        arrays["alpha_kernel"] = kernel[kernel > 1e-6]
    spiking = [depth for depth, layer in enumerate(models[0].layers) if layer.connections]
    for number, depth in enumerate(spiking):
        arrays |= layer_arrays(number, depth, models, config)
    arrays["min_margin"] = min(np.abs(arrays[f"v{k}"] - 1).min() for k in range(len(spiking)))
    np.savez(path, meta=json.dumps({"config": config}), **arrays)
    return arrays
