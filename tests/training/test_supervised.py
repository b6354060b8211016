"""The supervised trainer: it learns, repeats itself, goes on as if never stopped, and judges as it should."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lsnn_gym.cores import LSNNCore
from lsnn_gym.data import digits
from lsnn_gym.errors import UserError
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.rewiring import DeepR
from lsnn_gym.settings import validate
from lsnn_gym.tasks.registry import TASKS
from lsnn_gym.tasks.task import Task, answers
from lsnn_gym.training.checkpoint import load_checkpoint, save_checkpoint
from lsnn_gym.training.denormals import flushed_denormals
from lsnn_gym.training.supervised import (
    ModelSettings,
    SupervisedTrainer,
    SupervisedTrainSettings,
    TaskNetwork,
    evaluate_network,
)

ROWS = {"kind": "sequential-images", "data": "digits", "coding": "rows", "repeats": 2}
RECALL = {
    "kind": "store-recall",
    "num_inputs": 12,
    "length": 5,
    "mean_delay": 2.0,
    "duration": 6,
    "rate": 300.0,
    "evaluation_sequences": 10,
}
NETWORK = {
    "regular_neurons": 12,
    "adaptive_neurons": 8,
    "threshold": 0.03,
    "tau_adaptation": 50.0,
    "refractory_period": 1.0,
    "delay": [1, 2],
}


def make_task(section: dict[str, Any]) -> Task:
    return validate(TASKS[section["kind"]], section, "task").make()


def make_network(
    task: Task, core: Any = "lsnn", seed: int = 0, auxiliary: tuple[Any, ...] = (), **changes: Any
) -> TaskNetwork:
    return TaskNetwork(
        ModelSettings(core=core, tau_readout=5.0),
        validate(NetworkSettings, {**NETWORK, **changes}, "network"),
        task,
        torch.Generator().manual_seed(seed),
        auxiliary,
        seed,
    )


def make_trainer(
    task: dict[str, Any],
    train: dict[str, Any] | None = None,
    core: Any = "lsnn",
    seed: int = 0,
    **network: Any,
) -> SupervisedTrainer:
    given = {"iterations": 100, "batch_size": 8, "learning_rate": 0.02, **(train or {})}
    settings = validate(SupervisedTrainSettings, given, "train")
    made = make_task(task)
    return SupervisedTrainer(
        make_network(made, core, seed, settings.auxiliary, **network), made, settings, seed
    )


def spiking(network: TaskNetwork) -> LSNNCore:
    assert isinstance(network.core, LSNNCore)
    return network.core


def snapshot(tensors: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def equal(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Learning ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("core", ["lsnn", "lstm", "gru"])
def test_digits_are_learnt_row_by_row(core):
    train = {"iterations": 60, "batch_size": 32, "validate_every": 60}
    trainer = make_trainer(ROWS, train, core, regular_neurons=20, adaptive_neurons=10)
    figures: list[dict[str, Any]] = [trainer.run_iteration() for _ in range(60)]
    losses = [each["loss"] for each in figures]
    # Chance is a loss of ln 10 = 2.3 and one digit in ten.
    assert sum(losses[-10:]) / 10 < 0.8 * sum(losses[:10]) / 10
    assert figures[-1]["validation_accuracy"] > 0.35
    assert evaluate_network(trainer.network, trainer.task, "test", 100, 0)["accuracy"] > 0.3
    assert [each["iteration"] for each in figures] == list(range(1, 61))
    assert figures[0]["simulation_steps"] == 16 * 32
    assert ("firing_rate_hz" in figures[0]) == (core == "lsnn")


@pytest.mark.parametrize("core", ["lsnn", "lstm", "gru"])
def test_the_same_seed_gives_the_same_figures_and_another_seed_others(core):
    def course(seed: int) -> list[Any]:
        trainer = make_trainer(ROWS, {"validate_every": 2}, core, seed, noise_std=0.01)
        return [trainer.run_iteration() for _ in range(4)]

    first = course(3)
    assert course(3) == first
    assert course(4) != first


def test_validation_comes_as_often_as_asked_and_at_the_end():
    trainer = make_trainer(ROWS, {"iterations": 5, "validate_every": 2})
    validated = ["validation_accuracy" in trainer.run_iteration() for _ in range(5)]
    assert validated == [False, True, False, True, True]


def test_the_learning_rate_falls_in_steps():
    train = {"learning_rate": 0.01, "learning_rate_decay": 0.5, "learning_rate_decay_every": 2}
    trainer = make_trainer(ROWS, train)
    found = [trainer.run_iteration()["learning_rate"] for _ in range(5)]
    assert found == [0.01, 0.01, 0.005, 0.005, 0.0025]
    assert trainer.optimizer.param_groups[0]["lr"] == 0.0025


@pytest.mark.parametrize("given", [{"tau_readout": [2.0, 8.0]}, {"tau_readout": 4.0}])
def test_readouts_filter_with_the_time_constants_of_the_settings(given):
    settings = validate(ModelSettings, given, "model")
    network = TaskNetwork(
        settings,
        validate(NetworkSettings, NETWORK, "network"),
        make_task(ROWS),
        torch.Generator().manual_seed(0),
    )
    taus = -1 / torch.as_tensor(spiking(network).readout.kappa).log()
    if isinstance(given["tau_readout"], list):
        assert taus.shape == (20,)
        assert 2 <= taus.min() < 3 < 7 < taus.max() <= 8
    else:
        assert taus.item() == pytest.approx(4.0)


def test_the_rate_loss_acts_on_the_weights():
    # The same network and batch: the same figures, but another gradient.
    plain, regulated = (make_trainer(ROWS, {"rate_weight": weight}) for weight in (0.0, 1e6))
    figures: list[dict[str, Any]] = [trainer.run_iteration() for trainer in (plain, regulated)]
    assert figures[0]["loss"] == figures[1]["loss"]
    assert figures[0]["rate_loss"] == figures[1]["rate_loss"]
    assert figures[1]["gradient_norm"] > 100 * figures[0]["gradient_norm"]


# Stopped and resumed -----------------------------------------------------------------------------

AUXILIARY = {"task": ROWS, "weight": 0.5, "batch_size": 4}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "plain": (ROWS, {}, {}, "lsnn"),
    "carried-state": (RECALL, {"carry_state": True}, {}, "lsnn"),
    "carried-state-lstm": (RECALL, {"carry_state": True}, {}, "lstm"),
    "rewired": (
        ROWS,
        {"readout_decay": 0.01},
        {"wiring": {"kind": "deep_r", "connectivity": 0.3, "dale": True, "temperature": 1e-4}},
        "lsnn",
    ),
    "noise": (ROWS, {}, {"noise_std": 0.02}, "lsnn"),
    "epsilon-hat-adam": (ROWS, {"optimizer": "epsilon-hat-adam"}, {}, "lsnn"),
    "eprop": (ROWS, {"readout_decay": 0.01}, {"rule": "eprop", "feedback": "adaptive"}, "lsnn"),
    "auxiliary": (RECALL, {"carry_state": True, "auxiliary": [AUXILIARY]}, {"noise_std": 0.02}, "lsnn"),
}


@pytest.mark.parametrize(("task", "train", "network", "core"), CASES.values(), ids=CASES)
def test_a_resumed_training_is_the_undisturbed_one_bit_for_bit(task, train, network, core, tmp_path):
    train = {**train, "validate_every": 3, "learning_rate_decay": 0.5, "learning_rate_decay_every": 4}
    undisturbed = make_trainer(task, train, core, **network)
    figures = [undisturbed.run_iteration() for _ in range(7)]
    stopped = make_trainer(task, train, core, **network)
    assert [stopped.run_iteration() for _ in range(4)] == figures[:4]
    path = save_checkpoint(tmp_path, stopped.checkpoint())
    # A step of its own first, so that nothing which the checkpoint lacks is right by chance.
    resumed = make_trainer(task, train, core, **network)
    resumed.run_iteration()
    resumed.restore(load_checkpoint(path))
    assert resumed.finished_iterations == 4
    assert equal(resumed.network.state_dict(), stopped.network.state_dict())
    assert [resumed.run_iteration() for _ in range(3)] == figures[4:]
    one, other = undisturbed.checkpoint(), resumed.checkpoint()
    assert equal(one.model, other.model)
    assert equal(one.training, other.training)
    assert one.scalars == other.scalars
    assert not equal(one.model, stopped.checkpoint().model)


def test_without_the_carried_state_the_course_would_be_another():
    stopped = make_trainer(RECALL, {"carry_state": True})
    for _ in range(3):
        stopped.run_iteration()
    checkpoint = stopped.checkpoint()
    lacking = {name: tensor for name, tensor in checkpoint.training.items() if name != "state"}
    assert len(lacking) == len(checkpoint.training) - 1
    resumed = make_trainer(RECALL, {"carry_state": True})
    resumed.restore(replace(checkpoint, training=lacking))
    assert resumed.run_iteration() != stopped.run_iteration()


@pytest.mark.parametrize(
    ("core", "network", "message"),
    [
        (
            "lsnn",
            {"regular_neurons": 13},
            r"^checkpoint of another network: 'core\.network\.membrane_decay' is \[21\], expected \[20\]$",
        ),
        ("lstm", {}, r"^checkpoint of another network: unknown tensor 'core\.cell\.weight_ih': "),
        (
            "lsnn",
            {"feedback": "random"},
            r"^checkpoint of another network: unknown tensor 'core\.readout\.feedback_weight': did you mean",
        ),
    ],
)
def test_a_checkpoint_of_another_network_is_refused_and_nothing_changes(core, network, message):
    foreign = make_trainer(ROWS, core=core, **network)
    foreign.run_iteration()
    trainer = make_trainer(ROWS)
    before = snapshot(trainer.network.state_dict())
    with pytest.raises(UserError, match=message):
        trainer.restore(foreign.checkpoint())
    assert equal(trainer.network.state_dict(), before)
    assert trainer.finished_iterations == 0


# Carried state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("core", ["lsnn", "gru"])
def test_a_batch_goes_on_from_the_state_in_which_the_one_before_left_the_network(core):
    trainer = make_trainer(RECALL, {"carry_state": True}, core, noise_std=0.02)
    network, task = trainer.network, trainer.task
    first, second = (task.training_batch(8, number, 0) for number in range(2))

    @torch.no_grad()
    def outputs(batch: Any, state: Any, number: int) -> tuple[Tensor, Any]:
        # As in training, where denormal numbers count as 0.
        with flushed_denormals():
            noise = network.draw_noise(batch.inputs, 0, "noise", number)
            output, after = network(batch.inputs, state, noise)
        return output.values, after

    _, after_first = outputs(first, network.core.initial_state(8), 0)
    trainer.run_iteration()
    assert torch.equal(trainer.checkpoint().training["state"], network.core.pack(after_first))
    went_on, after_second = outputs(second, after_first, 1)
    anew, _ = outputs(second, network.core.initial_state(8), 1)
    assert not torch.allclose(went_on, anew, atol=1e-4)
    assert trainer.run_iteration()["loss"] == task.loss(went_on, second).item()
    assert task.loss(went_on, second) != task.loss(anew, second)
    assert torch.equal(trainer.checkpoint().training["state"], network.core.pack(after_second))


def test_without_carry_state_every_batch_starts_at_rest():
    trainer = make_trainer(RECALL)
    trainer.run_iteration()
    assert "state" not in trainer.checkpoint().training
    batch = trainer.task.training_batch(8, 1, 0)
    with torch.no_grad(), flushed_denormals():
        output, _ = trainer.network(batch.inputs, trainer.network.core.initial_state(8), None)
    assert trainer.run_iteration()["loss"] == trainer.task.loss(output.values, batch).item()


# Judging -----------------------------------------------------------------------------------------


@torch.no_grad()
def step_by_step(network: TaskNetwork, inputs: Tensor, state: Any, noise: Tensor | None) -> Any:
    """Run a batch one step after the other; return all outputs, all spikes and the state."""
    values, spikes = [], []
    for t in range(len(inputs)):
        output, state = network(inputs[t : t + 1], state, None if noise is None else noise[t : t + 1])
        values.append(output.values)
        spikes += [] if output.spikes is None else [output.spikes]
    return torch.cat(values), torch.cat(spikes) if spikes else None, state


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize(("core", "noise_std"), [("lsnn", 0.0), ("lsnn", 0.05), ("lstm", 0.0)])
def test_evaluation_equals_a_slow_one_of_all_images(split, core, noise_std):
    task = make_task(ROWS)
    network = make_network(task, core, noise_std=noise_std)
    before = snapshot(network.state_dict())
    found = evaluate_network(network, task, split, 100, 7)
    assert equal(network.state_dict(), before)

    images, labels = digits("test" if split == "test" else "train")
    images, labels = (images[:287], labels[:287]) if split == "validation" else (images, labels)
    right, loss, fired = 0, 0.0, []
    for number, start in enumerate(range(0, len(images), 100)):
        shown = torch.tensor(images[start : start + 100] / 16, dtype=torch.float32)
        inputs = torch.stack([shown[:, row // 2] for row in range(16)])
        noise = network.draw_noise(inputs, 7, f"{split} noise", number)
        values, spikes, _ = step_by_step(network, inputs, network.core.initial_state(len(shown)), noise)
        fired += [] if spikes is None else [spikes]
        logits = values[14:].double().mean(dim=0)
        for each, label in zip(logits, labels[start : start + 100].tolist(), strict=True):
            right += int(each.argmax()) == label
            loss += float(each.exp().sum().log() - each[label])
    assert len(images) % 100 != 0, "the last batch is a smaller one"
    expected = {"loss": loss / len(images), "accuracy": right / len(images)}
    if core == "lsnn":
        expected["firing_rate_hz"] = 1000 * float(torch.cat([each.flatten() for each in fired]).mean())
    assert found == pytest.approx(expected, rel=1e-5)
    assert found["accuracy"] == right / len(images)


def test_evaluation_carries_the_state_from_batch_to_batch_of_one_size():
    task = make_task(RECALL)
    network = make_network(task, noise_std=0.05)
    found = evaluate_network(network, task, "test", 4, 7, carry_state=True)
    state, wrong, asked, loss = network.core.initial_state(4), 0, 0, 0.0
    sizes = []
    for number, batch in enumerate(task.batches("test", 4)):
        size = batch.inputs.shape[1]
        sizes.append(size)
        if size < 4:  # whose state cannot be that of four
            state = network.core.initial_state(size)
        noise = network.draw_noise(batch.inputs, 7, "test noise", number)
        values, _, state = step_by_step(network, batch.inputs, state, noise)
        logits, targets = answers(values, batch)
        wrong += int((logits.argmax(dim=1) != targets).sum())
        asked += len(targets)
        loss += size * float(task.loss(values, batch))
    assert sizes == [4, 4, 2]
    assert found["recall_error"] == pytest.approx(wrong / asked)
    assert found["loss"] == pytest.approx(loss / 10, rel=1e-6)
    assert evaluate_network(network, task, "test", 4, 7)["loss"] != found["loss"]


# Readouts that shrink ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"feedback": "adaptive", "rule": "eprop"},
        {"feedback": "random"},
        {"wiring": {"kind": "deep_r", "connectivity": 0.3}},
        {"wiring": {"kind": "fixed_sparse", "connectivity": 0.3}},
        {"wiring": {"dale": True}},
    ],
    ids=["symmetric", "adaptive", "random", "rewired", "sparse", "dale"],
)
def test_readout_and_adaptive_feedback_shrink_by_the_factor_after_the_step(network):
    plain, shrinking = (
        make_trainer(ROWS, {"readout_decay": decay, "auxiliary": [AUXILIARY]}, **network)
        for decay in (0.0, 0.25)
    )
    for trainer in (plain, shrinking):
        trainer.run_iteration()
    expected = snapshot(plain.network.state_dict())
    for readout in ("core.readout", "auxiliary.heads.sequential-images.readout"):
        expected[f"{readout}.weight"] *= 0.75
        if network.get("feedback") == "adaptive":
            expected[f"{readout}.feedback_weight"] *= 0.75
    assert equal(shrinking.network.state_dict(), expected)
    assert not torch.equal(spiking(plain.network).readout.weight, spiking(shrinking.network).readout.weight)
    # It goes on from there, the connections still counted.
    shrinking.run_iteration()
    if isinstance(shrinking.optimizer, DeepR):
        assert sum(shrinking.optimizer.connections()) == shrinking.optimizer.budget


def test_auxiliary_tasks_need_a_spiking_network():
    with pytest.raises(ValueError, match=r"^core is 'gru': auxiliary tasks need 'lsnn', a spiking network"):
        make_trainer(RECALL, {"auxiliary": [AUXILIARY]}, "gru")
