"""Rules side by side: what is counted and drawn of each, and which pairs are refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

from lsnn_gym.comparison import load_comparison, plan
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import experiment_of
from lsnn_gym.families.classification import ClassificationExperiment
from lsnn_gym.rules.antlr.classifier import AntlrSettings
from lsnn_gym.rules.architecture import parse_architecture, place_layers
from lsnn_gym.rules.lstm import LSTMClassifier
from lsnn_gym.rules.operations import fan_outs
from tests.classification.test_st_rsbp import small
from tests.classification.test_trainer import experiment, trained, trainer
from tests.command_line import run

SPIKES: dict[str, Any] = {"coding": {"kind": "rate", "steps": 12, "largest": 0.5}}


# Operations --------------------------------------------------------------------------------------


def operations(**changes: Any) -> tuple[Any, torch.Tensor, tuple[Any, ...], torch.Tensor]:
    made = trainer(**changes)
    inputs = made.data.test.inputs(torch.arange(5), 0)
    with torch.no_grad():
        signals = made.network.eval()(inputs)
    found = made.network.operations(inputs, signals)
    assert found is not None
    return made.network, inputs, signals, found


@pytest.mark.parametrize("kind", ["tssl-bp", "bptt", "antlr"])
def test_spikes_are_counted_by_the_synapses_behind_them(kind: str):
    rule = {"kind": kind} if kind != "antlr" else {"kind": kind, "loss": "count", "decision": "most"}
    _, inputs, signals, found = operations(**SPIKES, rule=rule, architecture="30-20")
    first, second, _ = (each.spikes.sum((0, 2)) for each in signals if each.spikes is not None)
    expected = 30 * inputs.sum((0, 2, 3, 4)) + 20 * first + 10 * second
    torch.testing.assert_close(found, expected.double())


def test_synapses_within_a_layer_count_too():
    network, inputs, signals, found = operations(**small())
    reservoir, output = network.network.layers
    hidden, last = (each.spikes.sum(0) for each in signals)
    expected = 30 * inputs.sum((0, 2, 3, 4)) + hidden @ (reservoir.mask.sum(0) + 10.0) + 9 * last.sum(1)
    assert int(reservoir.mask.sum()) > 0
    assert output.inhibition > 0
    torch.testing.assert_close(found, expected.double())


def test_operations_of_convolutions_are_those_of_their_matrix():
    layers = parse_architecture("3C3p1-P2-4C2-5")
    sent, after, last = fan_outs(place_layers(layers, (2, 6, 6), 7), pools_fire=False)[:3]
    for fan_out, shape, weight, pool in (
        (sent, (2, 6, 6), torch.ones(3, 2, 3, 3), False),
        (after, (3, 6, 6), torch.ones(4, 3, 2, 2), True),
    ):
        each = torch.eye(fan_out.numel()).view(-1, *shape)
        if pool:
            each = F.avg_pool2d(each, 2, divisor_override=1)
        reached = F.conv2d(each, weight, padding=0 if pool else 1)
        assert torch.equal(fan_out.flatten(), reached.flatten(1).sum(1))
    assert last.shape == (4, 2, 2)
    assert set(last.flatten().tolist()) == {5}


def test_without_spikes_every_weight_counts():
    images: dict[str, Any] = {"coding": {"kind": "repeat", "steps": 1}}
    _, _, _, of_mlp = operations(**images, rule={"kind": "mlp"}, architecture="30-20")
    assert set(of_mlp.tolist()) == {64 * 30 + 30 * 20 + 20 * 10}
    network, _, _, of_lstm = operations(**images, rule={"kind": "lstm"}, architecture="12-7")
    assert sum(each.numel() for each in network.parameters()) > 0
    assert set(of_lstm.tolist()) == {8 * 4 * (12 * (8 + 12) + 7 * (12 + 7)) + 7 * 10}


# LSTM --------------------------------------------------------------------------------------------


def test_an_lstm_reads_images_row_by_row():
    made = trainer(rule={"kind": "lstm"}, architecture="12", coding={"kind": "repeat", "steps": 3})
    assert isinstance(made.network, LSTMClassifier)
    inputs = made.data.test.inputs(torch.arange(4), 0)
    with torch.no_grad():
        (signal,) = made.network(inputs)
        state, out, layer = None, inputs, made.network.layers[0]
        for row in range(8):
            out, state = layer(inputs[0, None, :, 0, row], state)
        torch.testing.assert_close(signal.values, made.network.readout(out))


def test_an_lstm_of_recordings_can_be_read_out_at_all_steps():
    last, mean = (LSTMClassifier(5, [7], 3, by_rows=False, averages=averages) for averages in (False, True))
    mean.load_state_dict(last.state_dict())
    inputs = torch.rand(9, 4, 5)
    states, _ = last.layers[0](inputs)
    assert torch.allclose(last(inputs)[0].values[0], last.readout(states[-1]))
    assert torch.allclose(mean(inputs)[0].values[0], last.readout(states).mean(0), atol=1e-6)
    assert trainer(rule={"kind": "lstm", "readout": "mean"}, architecture="12").network.averages


def test_an_lstm_may_begin_with_open_forget_gates():
    plain, opened = (
        dict(
            trainer(rule={"kind": "lstm", "forget_bias": bias}, architecture="7-5").network.named_parameters()
        )
        for bias in (0.0, 3.0)
    )
    for name, values in opened.items():
        expected = plain[name].clone()
        if ".bias_hh_" in name:
            expected[len(expected) // 4 : len(expected) // 2] += 3
        assert torch.equal(values, expected), name


def test_an_lstm_learns_the_digits():
    longer = {"epochs": 6, "parts_per_epoch": 1, "learning_rate": 0.005}
    _, lines = trained(None, rule={"kind": "lstm"}, architecture="40", train=longer)
    assert lines[-1]["test_accuracy"] > 0.75


# What does not fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rule": {"kind": "tssl-bp", "loss": "latency"}},
            "loss is 'latency': no loss of this rule: first spikes",
        ),
        ({"rule": {"kind": "bptt", "loss": "train"}}, "is called 'kernel' here"),
        ({**SPIKES, "rule": {"kind": "antlr", "loss": "softmax"}}, "cross-entropy is of first spikes"),
        ({**SPIKES, "rule": {"kind": "antlr", "activation": 0, "timing": 0}}, "both 0: expected one above 0"),
        ({"rule": {"kind": "lstm", "loss": "count"}}, "without spikes there is cross-entropy only"),
        ({"architecture": "R40"}, "with this rule, 'tssl-bp': its neurons send traces upwards only"),
        ({**SPIKES, "architecture": "R40", "rule": {"kind": "antlr"}}, "'antlr': its errors of spike times"),
        ({"architecture": "R40", "rule": {"kind": "mlp"}}, "'mlp': it has no time; 'lstm' has"),
        (
            {"architecture": "4C3-20", "rule": {"kind": "lstm"}},
            "layer 4C3: expected dense layers with this rule",
        ),
        ({"architecture": "P2-20", "rule": {"kind": "lstm"}}, "layer P2: expected dense layers"),
        ({"rule": {"kind": "antlr"}}, "rule 'antlr' learns from spikes"),
    ],
    ids=lambda each: "" if isinstance(each, dict) else each[-24:],
)
def test_pairs_that_do_not_fit_are_refused_with_the_reason(changes: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        experiment(**changes)


def test_one_dense_layer_may_be_written_as_a_number():
    assert experiment(architecture=40).architecture == "40"
    for other in (40.0, True, None):
        with pytest.raises(UserError, match=r"architecture is .*, expected text"):
            experiment(architecture=other)


def test_an_lstm_needs_a_layer():
    with pytest.raises(UserError, match="there is no hidden layer: expected at least one LSTM layer"):
        trainer(rule={"kind": "lstm"}, architecture="")


# Comparisons ------------------------------------------------------------------------------------


def test_rules_of_fashion_mnist_share_data_spikes_and_epochs(tmp_path: Path):
    _, runs = plan(load_comparison(["rules-fashion-mnist"], (), (1,)), tmp_path)
    found: dict[str, ClassificationExperiment] = {}
    for each in runs:
        made = experiment_of(each.run)
        assert isinstance(made, ClassificationExperiment)
        found[each.variant] = made
    assert {"bptt", "tssl-bp", "st-rsbp", "antlr", "mlp", "lstm"} <= set(found)
    for name in ("data", "coding", "evaluate"):
        assert len({repr(getattr(each, name)) for each in found.values()}) == 1
    assert {each.architecture for name, each in found.items() if name != "lstm"} == {"400-400"}
    losses = {getattr(each.rule, "loss", None) for name, each in found.items() if name not in ("mlp", "lstm")}
    assert losses == {"count"}


def test_halves_of_antlr_share_loss_and_decision(tmp_path: Path):
    _, runs = plan(load_comparison(["antlr-halves-mnist"], (), (1,)), tmp_path)
    rules: dict[str, AntlrSettings] = {}
    for each in runs:
        made = experiment_of(each.run)
        assert isinstance(made, ClassificationExperiment)
        assert isinstance(made.rule, AntlrSettings)
        rules[each.variant] = made.rule
    assert {(each.loss, each.decision) for each in rules.values()} == {("latency", "first")}
    assert {(rules[name].activation, rules[name].timing) for name in ("activation", "timing", "antlr")} == {
        (1, 0),
        (0, 1),
        (1, 1),
    }


def test_a_comparison_reports_accuracy_spikes_operations_and_cost(tmp_path: Path, capsys):
    tiny = experiment(
        **small(data={"name": "digits", "validation": 0, "train_examples": 60, "test_examples": 40})
    )
    base = {**json.loads(tiny.model_dump_json()), "name": "tiny"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(base))
    variants = {"st-rsbp": {}, "lstm": {"rule": {"kind": "lstm"}}}
    comparison = {"name": "c", "base": str(tmp_path / "tiny.yaml"), "seeds": [1], "variants": variants}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**comparison, "set": {"train.epochs": 1}}))
    assert run("compare", str(tmp_path / "c.yaml"), f"--out={tmp_path / 'out'}", "--json") == 0
    found = json.loads(capsys.readouterr().out)["variants"]
    (folder,) = (tmp_path / "out").iterdir()
    assert (folder / "by_spikes.png").read_bytes().startswith(b"\x89PNG")
    for name, row in found.items():
        mean = row["mean"]
        assert {"accuracy", "synaptic_operations", "train_seconds", "peak_memory_bytes"} <= set(mean)
        assert 0 < 60 * mean["seconds_per_sample"] <= mean["train_seconds"]
        assert ("spikes_until_decision" in mean) == (name == "st-rsbp")
    table = (folder / "results.md").read_text()
    for heading in (
        "spikes a neuron and sample",
        "synaptic operations (thousands)",
        "learning (ms a sample)",
    ):
        assert heading in table
