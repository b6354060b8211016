"""Training with an encoder of pictures before the core: gradients, resuming, the loss of its own, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lsnn_gym.data import Characters
from lsnn_gym.families.supervised import Supervised, SupervisedExperiment
from lsnn_gym.settings import validate
from lsnn_gym.tasks import few_shot
from lsnn_gym.training.checkpoint import load_checkpoint, save_checkpoint
from lsnn_gym.training.supervised import SupervisedTrainer, evaluate_network
from tests.command_line import only_run, run

EPISODES: dict[str, Any] = {
    "name": "characters",
    "task": {
        "kind": "few-shot",
        "ways": 2,
        "shots": 3,
        "showing": 4,
        "answer": 2,
        "feedback": 2,
        "feedback_with_drawing": True,
        "pooling": 4,
        "validation_characters": 4,
        "evaluation_episodes": 6,
    },
    "network": {"regular_neurons": 12, "adaptive_neurons": 8, "threshold": 0.05, "refractory_period": 0.0},
    "model": {"tau_readout": 3.0, "encoder": "convolution", "encoder_channels": 3, "encoder_features": 6},
    "train": {
        "iterations": 9,
        "batch_size": 4,
        "validate_every": 3,
        "matching_weight": 0.5,
        "checkpoint_every": 3,
    },
    "evaluate": {"batch_size": 4},
}


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace Omniglot by ten noisy patterns a set."""

    def load(split: str, side: int) -> Characters:
        generator = np.random.default_rng(len(split))
        patterns = np.kron(generator.integers(180, size=(10, 1, 7, 7)), np.ones((4, 4)))
        images = patterns + generator.integers(60, size=(10, 5, side, side))
        return Characters(images.astype(np.uint8), ("Alphabet",) * 10)

    monkeypatch.setattr(few_shot, "omniglot", load)


def experiment(**changes: Any) -> dict[str, Any]:
    """Return the experiment with values changed: ``model={...}`` and so on."""
    return {**EPISODES, **{part: {**EPISODES[part], **values} for part, values in changes.items()}}


def make_trainer(**changes: Any) -> SupervisedTrainer:
    return Supervised().make_trainer(validate(SupervisedExperiment, experiment(**changes), ""))


def config(folder: Path, **changes: Any) -> str:
    path = folder / "characters.yaml"
    path.write_text(yaml.safe_dump(experiment(**changes)))
    return str(path)


@pytest.mark.parametrize("core", ["lsnn", "lstm", "gru"])
def test_the_core_reads_features_and_its_gradient_reaches_all_of_the_encoder(core):
    trainer = make_trainer(model={"core": core}, train={"matching_weight": 0.0})
    encoder = trainer.network.encoder
    assert encoder is not None
    batch = trainer.task.training_batch(4, 0, 0)
    encoded = trainer.network.encode(batch.inputs)
    assert encoded.shape == (24, 4, 6 + 2)
    output, _ = trainer.network(batch.inputs, trainer.network.core.initial_state(4), None)
    trainer.task.loss(output.values, batch).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("core", ["lsnn", "lstm"])
def test_a_resumed_training_is_the_undisturbed_one_bit_for_bit(core, tmp_path):
    undisturbed = make_trainer(model={"core": core})
    figures = [undisturbed.run_iteration() for _ in range(6)]
    stopped = make_trainer(model={"core": core})
    assert [stopped.run_iteration() for _ in range(4)] == figures[:4]
    path = save_checkpoint(tmp_path, stopped.checkpoint())
    resumed = make_trainer(model={"core": core})
    resumed.run_iteration()
    resumed.restore(load_checkpoint(path))
    assert [resumed.run_iteration() for _ in range(2)] == figures[4:]
    one, other = undisturbed.checkpoint(), resumed.checkpoint()
    assert any(name.startswith("encoder.") for name in one.model)
    for part in ("model", "training"):
        before, after = getattr(one, part), getattr(other, part)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_matching_loss_is_added_with_its_weight():
    def gradient(weight: float) -> tuple[dict[str, Any], torch.Tensor]:
        trainer = make_trainer(train={"matching_weight": weight})
        figures = trainer.run_iteration()
        encoder = trainer.network.encoder
        assert encoder is not None
        found = encoder.layers[0].weight.grad
        assert isinstance(found, torch.Tensor)
        return figures, found

    (none, without), (one, once), (two, twice) = (gradient(weight) for weight in (0.0, 1.0, 2.0))
    assert none["loss"] == one["loss"] == two["loss"]
    assert "matching_loss" not in none
    assert one["matching_loss"] == two["matching_loss"] > 0
    torch.testing.assert_close(twice - without, 2 * (once - without), rtol=1e-3, atol=1e-6)
    assert (once - without).abs().sum() > 0


def test_features_come_to_tell_characters_apart():
    trainer = make_trainer(train={"iterations": 40, "learning_rate": 0.01, "batch_size": 16})
    figures: list[dict[str, Any]] = [trainer.run_iteration() for _ in range(40)]
    losses = [each["matching_loss"] for each in figures]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_without_an_encoder_the_core_reads_the_pictures():
    trainer = make_trainer(model={"encoder": "none"}, train={"matching_weight": 0.0})
    assert trainer.network.encoder is None
    batch = trainer.task.training_batch(4, 0, 0)
    assert trainer.network.encode(batch.inputs) is batch.inputs
    assert "matching_loss" not in trainer.run_iteration()


@pytest.mark.parametrize("core", ["lsnn", "lstm"])
def test_judging_in_batches_of_one_gives_the_same_answers(core):
    trainer = make_trainer(model={"core": core})
    one, four = (evaluate_network(trainer.network, trainer.task, "test", size, 0) for size in (1, 4))
    assert one == pytest.approx(four, abs=1e-5)


def test_a_run_is_trained_judged_and_drawn(tmp_path, capsys):
    assert run("train", config(tmp_path), f"--out={tmp_path / 'runs'}", "--quiet") == 0
    made = only_run(tmp_path / "runs")
    assert (made / "sequence.png").is_file()
    capsys.readouterr()
    assert run("evaluate", str(made)) == 0
    assert "accuracy presentation 3" in capsys.readouterr().out
    assert run("render", str(made), f"--out={tmp_path / 'one.png'}") == 0
    assert (tmp_path / "one.png").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"encoder": "none"}},
            "train.matching_weight is 0.5: expected 0 without a model.encoder",
        ),
        (
            {"model": {"encoder": "convolutions"}},
            "unknown model.encoder 'convolutions': did you mean 'convolution'? there is convolution, none",
        ),
        (
            {"model": {"encoder_features": 1}},
            "model.encoder_features is 1, expected greater than or equal to 2",
        ),
        (
            {"train": {"matching_weight": -1}},
            "train.matching_weight is -1, expected greater than or equal to 0",
        ),
        (
            {"task": {"kind": "evidence-accumulation"}},
            "model: encoder is 'convolution': expected 'none', as the task shows no pictures",
        ),
    ],
)
def test_settings_of_no_use_are_refused_in_one_line(changes, message, tmp_path, capsys):
    path = config(tmp_path, **changes)
    if "task" in changes:
        document = {**experiment(), "task": changes["task"]}
        Path(path).write_text(yaml.safe_dump(document))
    assert run("train", path, f"--out={tmp_path / 'runs'}", "--quiet") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "runs").exists()
