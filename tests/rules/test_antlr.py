"""ANTLR and its two halves: equal to the obvious form, to autograd where there is a derivative, and at the bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lsnn_gym.coding import latency_steps
from lsnn_gym.rules.antlr.layers import SpikingLayer, dense
from lsnn_gym.rules.antlr.losses import (
    clip_gradients_,
    count_loss,
    latency_loss,
    train_loss,
)
from lsnn_gym.rules.antlr.network import AntlrNetwork, run_together
from lsnn_gym.rules.antlr.neuron import ACTIVATION, COMBINED, TIMING, AntlrNeuron, AntlrRule, NeuronRecord
from lsnn_gym.rules.antlr.pooling import MaxPool
from lsnn_gym.rules.layers import Signal
from tests.rules import obvious_antlr
from tests.rules.antlr_networks import gradients, normal, random_network, random_spikes
from tests.vectors.antlr import check

EXPLICIT = {"beta_auto": 0, "beta_i": 0.7, "beta_v": 0.12, "beta_bias": 0.3}
DENSE, IMAGES = ["10", "fc8", "fc4"], ["2x7x6", "conv3c3", "mpool2", "conv3c2", "apool2", "flatten", "fc3"]
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "activation-train": (DENSE, {"lrule": "Activation", "surr_alpha": 0.7, "surr_beta": 2.0}),
    "activation-latency": (
        DENSE,
        {"lrule": "Activation", "target_type": "latency", "scale": 0.8, "seed": 3, **EXPLICIT},
    ),
    "timing-train-explicit-gains": (DENSE, {"lrule": "Timing", **EXPLICIT}),
    "timing-silent-neurons": (DENSE, {"lrule": "Timing", "target_type": "latency", "scale": 0.4, "seed": 3}),
    "timing-count": (DENSE, {"lrule": "Timing", "target_type": "count", "scale": 1.5, "seed": 2}),
    "kernel-cut": (DENSE, {"alpha_exp": 0.5, "grad_clip": 0.01}),
    "short-of-the-rise": (["10", "fc8", "fc4"], {"alpha_i": 0.99, "alpha_v": 0.99, "time_length": 20}),
    "early-stop": (
        ["8", "fc10", "fc2"],
        {"target_type": "latency", "scale": 10.0, "time_length": 50, "seed": 2},
    ),
    "three-layers": (["8", "fc7", "fc6", "fc5"], {"target_type": "latency"}),
    "several-models": (DENSE, {"multi_model": True, "num_models": 2, "target_type": "train"}),
    "several-models-stop-together": (
        ["8", "fc6", "fc2"],
        {
            "multi_model": True,
            "num_models": 3,
            "target_type": "latency",
            "scale": 8.0,
            "time_length": 50,
            "seed": 1,
        },
    ),
    "several-models-timing": (
        DENSE,
        {"multi_model": True, "num_models": 2, "target_type": "count", "lrule": "Timing", "scale": 2.0},
    ),
    "images-explicit-gains": (IMAGES, {"target_type": "count", "time_length": 12, **EXPLICIT}),
    "images-timing": (IMAGES, {"lrule": "Timing", "time_length": 12, "alpha_exp": 0.8}),
    "pool-first": (["1x5x4", "apool2", "conv2c3", "fc3"], {"time_length": 12, "density": 0.4}),
    "images-to-the-end": (["1x4x4", "mpool2", "conv2c3", "flatten", "fc2", "fc3"], {"lrule": "Activation"}),
}
Recorded = Callable[[str], tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Recorded:
    """Return a function from the name of a case to its file and its arrays, each made once."""

    @cache
    def made(name: str) -> tuple[Path, dict[str, Any]]:
        path = tmp_path_factory.mktemp(name) / "antlr_99.npz"
        sizes, changes = CASES[name]
        return path, obvious_antlr.record(path, sizes, **changes)

    return made


@pytest.mark.parametrize("name", CASES)
def test_pass_is_the_obvious_one(name: str, recorded: Recorded):
    path, arrays = recorded(name)
    spikes = [array for name, array in arrays.items() if name[0] == "s"]
    assert all(0 < each.sum() < each.size for each in spikes)
    assert arrays["min_margin"] > 1e-5
    assert all(arrays[name].any() for name in arrays if name.startswith("dW"))
    assert [result for result in check(path) if not result.ok] == []


def test_cases_are_what_their_names_say(recorded: Recorded):
    assert 1 < recorded("early-stop")[1]["term_length"] < 50
    assert 1 < recorded("several-models-stop-together")[1]["term_length"] < 50
    silent, cut = recorded("timing-silent-neurons")[1], recorded("kernel-cut")[1]
    assert (~silent["s0"].any(0)).any()
    assert silent["loss_nospike"] > 0
    assert len(cut["alpha_kernel"]) == 20 < 30
    assert abs(cut["dWraw0"]).max() > 0.01 == abs(cut["dW0"]).max()
    assert recorded("short-of-the-rise")[1]["epsilon_kernel"].argmax() == 19


def steps_of(*values: float) -> Tensor:
    """Return one neuron's values over time, ``[T, 1, 1]``."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


BIAS = torch.zeros(1, dtype=torch.float64)
PLAIN = AntlrNeuron(0.5, 0.25)


def test_reaching_the_threshold_is_a_spike_falling_short_is_none():
    assert PLAIN.run(steps_of(1.0), BIAS)[0].spikes.item() == 1
    assert PLAIN.run(steps_of(math.nextafter(1.0, 0.0)), BIAS)[0].spikes.item() == 0


def test_spike_wipes_current_and_voltage_and_may_be_followed_at_once():
    record, state = PLAIN.run(steps_of(0.5, 1.0, 0.25, 1.0, 1.0), BIAS)
    assert record.current.flatten().tolist() == [0.5, 1.25, 0.25, 1.125, 1.0]
    assert record.voltage.flatten().tolist() == [0.5, 1.375, 0.25, 1.1875, 1.0]
    assert record.spikes.flatten().tolist() == [0, 1, 0, 1, 1]
    assert record.slope.flatten().tolist() == [0.5, 0.875, 0.25, 0.9375, 1.0]
    assert [each.item() for each in state] == [1.0, 1.0, 1.0]


def test_bias_goes_into_the_voltage_at_every_step():
    neuron = replace(PLAIN, bias_gain=2.0)
    record, _ = neuron.run(steps_of(0, 0, 0), BIAS + 0.25)
    assert record.voltage.flatten().tolist() == [0.5, 0.625, 0.65625]
    assert not record.current.any()


def test_slope_has_a_floor():
    record, _ = AntlrNeuron(0, 1).run(steps_of(0.99, 0.0, -0.5, 0.0), BIAS)
    assert record.slope.flatten().tolist() == [0.99, 0.01, 0.01, 0.01]


def test_unit_weight_raises_the_voltage_to_one():
    neuron = AntlrNeuron.normalised(0.99, 0.99, 300)
    assert neuron.voltage_gain == pytest.approx(1 / 36.97, rel=1e-4)
    assert neuron.bias_gain == neuron.voltage_gain
    response = neuron.response(300)
    assert response[[98, 99]].tolist() == pytest.approx([1.0, 1.0], abs=1e-12)
    short = AntlrNeuron.normalised(0.99, 0.99, 20)
    assert short.response(20).argmax() == 19
    assert short.response(20)[-1].item() == pytest.approx(1.0)
    impulse = torch.zeros(20, 1, 1, dtype=torch.float64)
    impulse[0] = 0.99
    voltage = short.run(impulse, BIAS)[0].voltage
    torch.testing.assert_close(voltage.flatten(), 0.99 * short.response(20))


def test_simulation_goes_on_from_its_state():
    drive = 0.6 * normal(1, 30, 2, 3)
    bias = normal(2, 3) * 0.1
    whole, end = PLAIN.run(drive, bias)
    first, state = PLAIN.run(drive[:11], bias)
    second, last = PLAIN.run(drive[11:], bias, state)
    assert whole.spikes.any()
    assert all(torch.equal(torch.cat(parts), one) for *parts, one in zip(first, second, whole, strict=True))
    assert all(torch.equal(*each) for each in zip(end, last, strict=True))


def test_accumulated_errors_are_the_derivatives_of_the_voltages_with_spikes_held():
    neuron = AntlrNeuron(0.9, 0.8, 0.7, 0.6, 0.5)
    drive, bias = (2 * normal(1, 20, 2, 3)).requires_grad_(), normal(2, 3).requires_grad_()
    record, _ = neuron.run(drive.detach(), bias.detach())
    assert 0 < record.spikes.sum() < record.spikes.numel()
    error = normal(3, 20, 2, 3)
    current = voltage = torch.zeros(2, 3, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for t in range(20):
        kept = 1 - record.spikes[t - 1] if t else 0.0
        current = 0.7 * drive[t] + 0.9 * kept * current
        voltage = 0.6 * current + 0.5 * bias + 0.8 * kept * voltage
        torch.testing.assert_close(voltage, record.voltage[t])
        total = total + (error[t] * voltage).sum()
    by_drive, by_bias = torch.autograd.grad(total, [drive, bias])
    by_voltage, by_current = neuron.accumulate(error, record.spikes)
    torch.testing.assert_close(0.7 * by_current, by_drive, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(0.5 * by_voltage.sum((0, 1)), by_bias, rtol=1e-12, atol=1e-12)


def test_without_resets_the_error_of_a_delay_is_the_slope_of_the_response():
    neuron = AntlrNeuron(0.9, 0.8, 0.7, 0.6, 0.5)
    error = normal(1, 15, 1, 1)
    found = neuron.delay_error(error, torch.zeros_like(error)).flatten()
    response = [0.0, *(neuron.response(17) / 0.7).tolist()]  # from step -1 on
    for t in range(15):
        slopes = [(response[k + 2] - response[k]) / 2 for k in range(15 - t)]
        expected = -sum(error[t + k].item() * slope for k, slope in enumerate(slopes))
        assert found[t].item() == pytest.approx(expected, abs=1e-12)


class _Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, voltage: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(voltage)
        return (voltage >= 1).to(voltage.dtype)

    @staticmethod
    def backward(ctx, by_spike: Tensor) -> Tensor:  # type: ignore[override]
        (voltage,) = ctx.saved_tensors
        return by_spike * torch.exp(-3 * (voltage - 1).abs())


def by_autograd(network: AntlrNetwork, inputs: Tensor) -> Tensor:
    """Return the output spikes ``[T, B, K]`` with the gradient of an ordinary surrogate, resets held."""
    states: list[Any] = [(0.0, 0.0, 0.0)] * len(network.layers)
    output = []
    for values in inputs:
        for depth, layer in enumerate(network.layers):
            assert isinstance(layer, SpikingLayer)
            current, voltage, kept = states[depth]
            neuron = layer.neuron
            current = neuron.current_gain * values @ layer.weight.T + neuron.current_decay * kept * current
            voltage = (
                neuron.voltage_gain * current
                + neuron.bias_gain * layer.bias
                + neuron.voltage_decay * kept * voltage
            )
            values = _Surrogate.apply(voltage)
            states[depth] = (current, voltage, 1 - values.detach())  # type: ignore[union-attr]
        output.append(values)
    return torch.stack(output)


def test_activation_rule_is_backpropagation_with_a_surrogate_and_resets_held():
    network = random_network(ACTIVATION, neuron=AntlrNeuron(0.9, 0.95, 0.8, 0.05, 0.04))
    inputs, factors = random_spikes(40, 3, 10), normal(5, 40, 3, 4)
    output, expected = network(inputs)[-1].values, by_autograd(network, inputs)
    assert 0 < output.sum() < output.numel()
    assert torch.equal(output, expected)
    for one, other in zip(
        gradients(network, (factors * output).sum()),
        gradients(network, (factors * expected).sum()),
        strict=True,
    ):
        assert other.any()
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def errors_by(rule: AntlrRule) -> list[Tensor]:
    network = random_network(rule)
    output = network(random_spikes(40, 3, 10))[-1]
    return gradients(network, train_loss(output, random_spikes(40, 3, 4, seed=1, density=0.05)))


def test_halves_are_the_combined_rule_with_one_weight_zero_and_not_its_parts():
    combined, activation, timing = (
        errors_by(rule) for rule in (COMBINED, ACTIVATION, replace(TIMING, timing_penalty=0))
    )
    assert all(each.any() for each in (*combined, *activation, *timing))
    assert all(torch.equal(*each) for each in zip(activation, errors_by(AntlrRule(1, 0)), strict=True))
    # The last layer's voltage error is the sum of both; a hidden layer's is not.
    torch.testing.assert_close(combined[2], activation[2] + timing[2])
    assert not torch.allclose(combined[0], activation[0] + timing[0], rtol=1e-2)
    doubled = errors_by(AntlrRule(2, 2))
    torch.testing.assert_close(doubled[2], 2 * combined[2])
    torch.testing.assert_close(doubled[0], 4 * combined[0])


def test_timing_rule_learns_of_counts_only_the_push_on_silent_neurons():
    network = random_network(TIMING)
    with torch.no_grad():
        network.layers[0].weight[:5] = -1.0  # type: ignore[index]
    signals = network(random_spikes(40, 3, 10))
    by_weight, by_bias, *_ = gradients(network, count_loss(signals[-1], torch.ones(3, 4)))
    silent = (signals[0].values.sum(0) == 0).double().mean(0)
    assert set(silent[:5].tolist()) == {1.0}
    assert silent[5:].min() < 1
    torch.testing.assert_close(by_weight, (-100 / 10 * silent)[:, None].expand_as(by_weight))
    assert not by_bias.any()


@pytest.mark.parametrize("rule", [ACTIVATION, TIMING, COMBINED], ids=["activation", "timing", "combined"])
def test_latencies_are_learnt_by_any_optimiser(rule: AntlrRule):
    network, labels = random_network(rule, stops_early=True), torch.arange(12) % 4
    inputs = random_spikes(40, 12, 10, density=0.1)
    # The activation half learns latencies through silent neurons alone: it is given counts instead.
    losses = []
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    network.stops_early = rule is not ACTIVATION
    for _ in range(60):
        optimizer.zero_grad()
        output = network(inputs)[-1]
        wanted = 3.0 * torch.nn.functional.one_hot(labels, 4)
        loss = count_loss(output, wanted) if rule is ACTIVATION else latency_loss(output, labels)
        loss.backward()
        clip_gradients_(network.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_grey_values_are_coded_by_when_they_fire():
    grey = torch.tensor([0, 1, 85, 170, 254, 255])
    assert latency_steps(grey.float() / 255).tolist() == [-1, 23, 16, 8, 0, 0]
    assert latency_steps(torch.tensor([1e-9])).tolist() == [24]
    with pytest.raises(ValueError, match=r"^intensities go from 0 to 2: expected 0 to 1$"):
        latency_steps(torch.tensor([0.0, 2.0]))


def test_bad_input_is_named():
    neuron = AntlrNeuron()
    with pytest.raises(ValueError, match=r"^voltage_decay is 1.5: expected from 0 to 1$"):
        AntlrNeuron(0.9, 1.5)
    with pytest.raises(ValueError, match=r"^steps is 0: expected at least 1$"):
        AntlrNeuron.normalised(0.9, 0.9, 0)
    with pytest.raises(
        ValueError, match=r"^the last layer of a network has no neurons: expected a dense layer"
    ):
        AntlrNetwork([dense(2, 2, neuron, COMBINED), MaxPool(2)])
    network = AntlrNetwork([dense(2, 3, neuron, COMBINED)])
    with pytest.raises(ValueError, match=r"^inputs are \(0, 1, 2\): expected \[steps, samples, ...\]"):
        network(torch.zeros(0, 1, 2))
    with pytest.raises(ValueError, match=r"expected 2 as the weight is \(3, 2\)$"):
        network(torch.zeros(4, 1, 5))
    with pytest.raises(ValueError, match=r"^inputs of \[3, 4\] steps: expected as many for all networks$"):
        run_together([network, network], [torch.zeros(3, 1, 2), torch.zeros(4, 1, 2)])
    with pytest.raises(ValueError, match=r"^max pooling of values \(4, 1, 3\): expected \[T, B, channels, "):
        MaxPool(2)(Signal(torch.zeros(4, 1, 3)))
    output = network(torch.zeros(4, 1, 2))[-1]
    with pytest.raises(ValueError, match=r"^counts is \(3,\): expected \(1, 3\) as the output is$"):
        count_loss(output, torch.zeros(3))
    with pytest.raises(ValueError, match=r"^target is \(1, 4, 3\): expected \(4, 1, 3\) as the output is$"):
        train_loss(output, torch.zeros(1, 4, 3))
    with pytest.raises(ValueError, match=r"^labels go from 3 to 3: expected 0 to 2$"):
        latency_loss(output, torch.tensor([3]))


def test_rule_ignores_the_error_it_does_not_know():
    ones = torch.ones(2, 1, 1)
    record = NeuronRecord(ones, ones, 0.5 * ones, ones)
    assert ACTIVATION.voltage_error(record, 3 * ones, 5 * ones).flatten().tolist() == [3, 3]
    assert TIMING.voltage_error(record, 3 * ones, 5 * ones).flatten().tolist() == [-10, -10]
    assert COMBINED.voltage_error(record, 3 * ones, 5 * ones).flatten().tolist() == [-7, -7]
    assert COMBINED.voltage_error(record, None, None).flatten().tolist() == [0, 0]
