"""Classifiers that learn by ST-RSBP: single samples and batches, boosts, rates a layer, penalty, what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.rules.st_rsbp.classifier import STRSBPClassifier
from lsnn_gym.rules.st_rsbp.losses import boosted
from lsnn_gym.rules.st_rsbp.network import reservoir_grid
from lsnn_gym.training.checkpoint import load_checkpoint, save_checkpoint
from tests.classification.test_trainer import trained, trainer

RULE = {"kind": "st-rsbp", "thresholds": [4.0], "desired_count": 8, "undesired_count": 1, "margin": 1}
SMALL: dict[str, Any] = {
    "data": {"name": "digits", "validation": 0, "train_examples": 300, "test_examples": 100},
    "coding": {"kind": "rate", "steps": 40, "largest": 0.4},
    "rule": RULE,
    "architecture": "R30",
    "train": {
        "epochs": 2,
        "parts_per_epoch": 2,
        "batch_size": 10,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "weight_decay": 0.0,
    },
}


def small(**changes: Any) -> dict[str, Any]:
    return {
        **SMALL,
        **changes,
        "rule": {**RULE, **changes.get("rule", {})},
        "train": {**SMALL["train"], **changes.get("train", {})},
    }


# A little less than what each reached with two seeds.
@pytest.mark.parametrize(
    ("reached", "changes"),
    [
        (0.6, {}),
        (0.6, {"rule": {"loss": "softmax", "boosted": False}}),
        (0.4, {"train": {"epochs": 1, "batch_size": 1, "learning_rate": 0.01}}),
        (
            0.4,
            {
                "architecture": "4C3-P2",
                "rule": {"thresholds": [2.0, 1.0, 3.0]},
                "train": {"learning_rate": 0.05, "epochs": 3},
            },
        ),
    ],
    ids=["reservoir", "softmax", "single", "convolution"],
)
def test_it_learns_the_digits(reached: float, changes: dict[str, Any]):
    _, lines = trained(None, **small(**changes))
    assert lines[-1]["test_accuracy"] > reached
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["test_synaptic_operations"] > lines[-1]["test_spikes"]


def test_a_resumed_training_goes_on_bit_for_bit_with_its_boosts(tmp_path: Path):
    changes = small(
        coding={"kind": "rate", "steps": 40, "redrawn": True},
        train={"layer_rates": [1.0, 0.5], "learning_rate_schedule": "inverse-root"},
    )
    undisturbed, lines = trained(4, **changes)
    stopped, begun = trained(3, **changes)
    saved = save_checkpoint(tmp_path, stopped.checkpoint())
    resumed = trainer(**changes)
    resumed.restore(load_checkpoint(saved))
    assert [*begun, dict(resumed.run_iteration())] == lines
    assert lines[1]["largest_sample_weight"] < lines[3]["largest_sample_weight"]
    left, expected = resumed.checkpoint(), undisturbed.checkpoint()
    assert left.scalars == expected.scalars
    for mine, its in ((left.model, expected.model), (left.training, expected.training)):
        assert set(mine) == set(its)
        assert all(torch.equal(mine[name], its[name]) for name in its)
    with pytest.raises(UserError, match="the checkpoint has nothing under 'boost:weights'"):
        trainer(**changes).restore(load_checkpoint(_without_boosts(saved, tmp_path / "other")))


def _without_boosts(saved: Path, folder: Path) -> Path:
    found = load_checkpoint(saved)
    kept = {name: each for name, each in found.training.items() if not name.startswith("boost")}
    return save_checkpoint(folder, type(found)(found.iteration, found.model, kept, found.scalars))


def test_what_was_decided_wrongly_weighs_more_in_the_next_epoch():
    made, _ = trained(2, **small())
    boost = made._boost
    assert boost is not None
    labels = made.data.train.labels
    assert torch.equal(boost.weights, boosted(torch.ones(300), labels, boost.decided))
    assert set(boost.decided[boost.weights > 1].eq(labels[boost.weights > 1]).tolist()) == {False}
    index = torch.arange(20)
    signals = made.network(made.data.train.inputs(index, 0))
    double = made.network.weighted_loss(signals, labels[index], torch.full((20,), 2.0))
    assert float(double.detach()) == pytest.approx(
        2 * float(made.network.loss(signals, labels[index]).detach())
    )


def test_a_batch_learns_the_sum_of_its_samples():
    made = trainer(**small(rule={"penalty": 10.0}))
    made.network.train()
    index = torch.arange(6)
    inputs, labels = made.data.train.inputs(index, 0), made.data.train.labels[index]
    found = []
    for size in (6, 1):
        made.network.zero_grad()
        for part in index.split(size):
            signals = made.network(inputs[:, part])
            made.network.weighted_loss(signals, labels[part], None).backward()
        found.append([each.grad.clone() for each in made.network.parameters() if each.grad is not None])
    for whole, summed in zip(*found, strict=True):
        torch.testing.assert_close(whole, summed, rtol=1e-4, atol=1e-4 * float(summed.abs().max()))


def test_the_penalty_is_learnt_by_but_not_reported():
    made = trainer(**small(rule={"penalty": 10.0}))
    assert isinstance(made.network, STRSBPClassifier)
    index = torch.arange(4)
    signals = made.network(made.data.train.inputs(index, 0))
    labels = made.data.train.labels[index]
    more = made.network.weighted_loss(signals, labels, None) - made.network.loss(signals, labels)
    assert float(more.detach()) == pytest.approx(
        4 * float(made.network.penalty(made.network.network.layers).detach()), rel=1e-4
    )


def test_layers_learn_at_their_own_rates():
    made, _ = trained(1, **small(train={"layer_rates": [1e-9, 1.0], "learning_rate": 0.01}))
    fresh = trainer(**small()).network.state_dict()
    moved = {
        name: float((each - fresh[name]).abs().max())
        for name, each in made.network.state_dict().items()
        if name.endswith("weight")
    }
    assert max(value for name, value in moved.items() if ".0." in name) < 1e-6
    assert min(value for name, value in moved.items() if ".1." in name) > 1e-3
    with pytest.raises(
        UserError, match="1 factors on the learning rate: expected 2, one a layer that learns"
    ):
        trainer(**small(train={"layer_rates": [1.0]}))


def test_reservoirs_get_the_published_grids():
    assert [reservoir_grid(each) for each in (400, 200, 100, 16, 7)] == [
        (5, 5, 16),
        (5, 5, 8),
        (5, 5, 4),
        (2, 2, 4),
        (1, 1, 7),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": {"desired_count": 14}}, "desired_count is 14 in 40 steps: expected at most 13"),
        ({"rule": {"thresholds": [4.0, 4.0, 4.0]}}, "thresholds is .*: expected 1 or 2 numbers above 0"),
        ({"rule": {"grid": [2, 2, 2]}}, r"grid is \[2, 2, 2\]: expected sides of 30 neurons"),
        ({"rule": {"loss": "latency"}}, "no loss of this rule: its errors are of spike counts"),
        ({"coding": {"kind": "repeat"}}, "rule 'st-rsbp' learns from spikes"),
    ],
    ids=lambda each: "" if isinstance(each, dict) else each[:14],
)
def test_what_does_not_fit_is_refused_with_the_reason(changes: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        trainer(**small(**changes))
