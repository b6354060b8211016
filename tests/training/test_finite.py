"""NaN and infinity: every trainer stops with the tensor's name, and leaves the state just before to look at."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from lsnn_gym.errors import NotFiniteError
from lsnn_gym.experiment import experiment_from, family_of
from lsnn_gym.regression import trainer as regression
from lsnn_gym.settings import assign
from lsnn_gym.training import optimization, supervised
from lsnn_gym.training.checkpoint import latest_checkpoint, load_checkpoint
from lsnn_gym.training.finite import Watched
from lsnn_gym.training.loop import resume, train
from lsnn_gym.training.run_folder import RunFolder
from tests.classification.test_trainer import DIGITS
from tests.command_line import only_run, run
from tests.training.ranks_worker import EXPERIMENTS
from tests.training.test_distributed import torchrun

FAMILIES: dict[str, dict[str, Any]] = {
    **{name: EXPERIMENTS[name] for name in ("ppo", "supervised", "regression")},
    "classification": {
        **DIGITS,
        "architecture": "8",
        "train": {"epochs": 1, "parts_per_epoch": 4, "batch_size": 64},
    },
}
STEPS = {"ppo": 6, "supervised": 1, "regression": 1, "classification": 5}
"""Of the optimiser, an iteration."""


def trainer_of(name: str) -> Any:
    experiment = experiment_from(FAMILIES[name], name)
    return family_of(experiment).make_trainer(experiment)


def spoil(tensor: Tensor, value: float = float("nan")) -> Tensor:
    """Return a copy with one value changed."""
    changed = tensor.detach().clone()
    changed.view(-1)[changed.numel() // 2] = value
    return changed


def config_of(name: str, folder: Path) -> str:
    path = folder / f"{name}.yaml"
    more = {} if name == "classification" else {"iterations": 4}
    train = {**FAMILIES[name]["train"], **more, "checkpoint_every": 1}
    path.write_text(yaml.safe_dump({**FAMILIES[name], "train": train}))
    return str(path)


@contextmanager
def spoilt_gradient(monkeypatch: pytest.MonkeyPatch, call: int, value: float) -> Iterator[None]:
    """The gradient of the first parameter has ``value`` in it at the ``call``-th step."""
    calls = 0
    average = optimization.average_gradients

    def changed(parameters: Any, trace: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == call:
            parameters[0].grad = spoil(parameters[0].grad, value)
        return average(parameters, trace)

    with monkeypatch.context() as patch:
        patch.setattr(optimization, "average_gradients", changed)
        yield


def trained(name: str, folder: Path) -> RunFolder:
    """Train, or go on with, what may be in a folder."""
    run = RunFolder(folder)
    run.path.mkdir(exist_ok=True)
    trainer = trainer_of(name)
    resume(trainer, run)
    train(
        trainer,
        run,
        iterations=4,
        checkpoint_every=1,
        checkpoints_kept=3,
        describe=lambda _: {},
        show_progress=False,
    )
    return run


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_gradient_stops_the_training_and_leaves_the_state(name, value, tmp_path, monkeypatch):
    before_it = 2 * STEPS[name]
    folder = tmp_path / "run"
    with spoilt_gradient(monkeypatch, before_it + 1, value), pytest.raises(NotFiniteError) as caught:
        trained(name, folder)
    found = re.fullmatch(
        r"iteration 3: 1 of ([0-9,]+) values of the (gradient of \S+) are NaN or infinite; "
        rf"the state just before is in {folder}/not_finite",
        str(caught.value),
    )
    assert found
    report = json.loads((folder / "not_finite" / "report.json").read_text())
    assert report["tensor"] == found[2]
    assert (report["iteration"], report["batch"], report["seed"]) == (3, before_it, FAMILIES[name]["seed"])
    tensor = load_file(folder / "not_finite" / "tensor.safetensors")["tensor"]
    assert int((~torch.isfinite(tensor)).sum()) == report["values"] == 1
    assert tensor.numel() == report["of"]
    state = load_checkpoint(folder / "not_finite" / "00000002")
    newest = latest_checkpoint(folder / "checkpoints")
    assert newest is not None
    before = load_checkpoint(newest)
    assert before.iteration == 2
    assert all(torch.equal(state.model[each], before.model[each]) for each in before.model)
    # Without the fault the run goes on, and ends as an undisturbed one.
    assert (
        trained(name, folder).metrics.read_bytes() == trained(name, tmp_path / "other").metrics.read_bytes()
    )


def test_the_command_line_says_it_in_one_line_and_exits_with_1(tmp_path, monkeypatch, capsys):
    with spoilt_gradient(monkeypatch, 2, float("nan")):
        assert run("train", config_of("supervised", tmp_path), f"--out={tmp_path / 'runs'}", "--quiet") == 1
    error = capsys.readouterr().err
    assert error.startswith("lsnn-gym: iteration 2: 1 of ")
    assert error.endswith(f"; the state just before is in {only_run(tmp_path / 'runs')}/not_finite\n")
    assert error.count("\n") == 1


@contextmanager
def spoilt(owner: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """What a function returns is changed."""
    whole = getattr(owner, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, lambda *given, **named: change(whole(*given, **named)))
        yield


def nan_in_inputs(batch: Any) -> Any:
    return batch._replace(inputs=spoil(batch.inputs))


def nan_shown(episodes: Any) -> Any:
    return episodes._replace(inputs=spoil(torch.from_numpy(episodes.inputs)).numpy())


def nan_seen(stepped: Any) -> Any:
    return (spoil(torch.from_numpy(stepped[0])).numpy(), *stepped[1:])


def endless_reward(stepped: Any) -> Any:
    return (stepped[0], np.full_like(stepped[1], np.inf), *stepped[2:])


def nan_state(ran: Any) -> Any:
    output, state = ran
    fields = list(state)
    place = next(
        index for index, each in enumerate(fields) if torch.is_tensor(each) and each.is_floating_point()
    )
    fields[place] = spoil(fields[place])
    return output, type(state)(*fields)


@pytest.mark.parametrize(
    ("family", "owner", "function", "change", "named"),
    [
        ("ppo", lambda trainer: trainer.env, "step", nan_seen, "observations"),
        ("ppo", lambda trainer: trainer.env, "step", endless_reward, "rewards"),
        ("ppo", lambda trainer: trainer.agent.core, "forward", nan_state, "network's state"),
        ("supervised", lambda trainer: trainer.task, "training_batch", nan_in_inputs, "inputs"),
        ("supervised", lambda trainer: trainer.network.core, "forward", nan_state, "network's state"),
        ("supervised", lambda _: supervised, "global_loss", lambda loss: loss * float("nan"), "loss"),
        ("regression", lambda _: regression, "draw_episodes", nan_shown, "observations"),
        ("regression", lambda trainer: trainer.network.core, "forward", nan_state, "network's state"),
        ("classification", lambda trainer: trainer.data.train, "inputs", spoil, "inputs"),
        ("classification", lambda trainer: trainer.network, "weighted_loss", lambda loss: loss / 0, "loss"),
    ],
)
def test_the_first_tensor_that_is_not_finite_is_named(family, owner, function, change, named):
    trainer = trainer_of(family)
    before = {name: each.clone() for name, each in trainer.checkpoint().model.items()}
    with spoilt(owner(trainer), function, change), pytest.raises(NotFiniteError) as caught:
        trainer.run_iteration()
    assert caught.value.name == named
    assert caught.value.batch == 0
    assert int((~torch.isfinite(caught.value.tensor)).sum()) == caught.value.count > 0
    after = trainer.checkpoint().model
    assert all(torch.equal(after[name], each) for name, each in before.items()), "no step was taken"


@pytest.mark.parametrize("engine", ["native", "reference", "unrolled"])
def test_no_engine_hides_what_is_put_into_it(engine):
    """A neuron whose voltage is NaN is silent, and its readout stays finite: its state tells."""
    mapping = assign(FAMILIES["supervised"], {"network.engine": engine}, "test")
    experiment = experiment_from(mapping, "test")
    trainer: Any = family_of(experiment).make_trainer(experiment)
    with spoilt(trainer.network, "draw_noise", spoil), pytest.raises(NotFiniteError) as caught:
        trainer.run_iteration()
    assert caught.value.name == "network's state"


def test_large_but_finite_gradients_are_told_apart():
    net = torch.nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = net(torch.full((1, 2), 1e25)).sum()
    with pytest.raises(NotFiniteError, match="1 of 1 values of the norm of the gradient"):
        optimization.step(optimizer, loss, 1.0, Watched(net, 0))
    # A sum that overflows is no fault by itself.
    loss = net(torch.ones(1, 2)).sum()
    optimization.step(optimizer, loss, 1.0, Watched(net, 0, {"inputs": torch.full((4,), 3e38)}))


def test_weights_that_are_not_finite_are_not_saved_over_good_ones(tmp_path, monkeypatch, capsys):
    taken = 0
    step = torch.optim.Adam.step

    def overflowing(self: Any, *given: Any) -> Any:
        nonlocal taken
        taken += 1
        result = step(self, *given)
        if taken == 3:
            with torch.no_grad():
                self.param_groups[0]["params"][-1].view(-1)[0] = float("inf")
        return result

    monkeypatch.setattr(torch.optim.Adam, "step", overflowing)
    assert run("train", config_of("regression", tmp_path), f"--out={tmp_path / 'runs'}", "--quiet") == 1
    folder = only_run(tmp_path / "runs")
    assert re.fullmatch(
        rf"lsnn-gym: iteration 3: 1 of [0-9,]+ values of the parameter \S+ are NaN or infinite; the state is in "
        rf"{folder}/not_finite\n",
        capsys.readouterr().err,
    )
    newest = latest_checkpoint(folder / "checkpoints")
    assert newest is not None
    assert newest.name == "00000002"


@pytest.mark.slow
def test_a_rank_that_alone_meets_it_stops_all_and_hangs_none(tmp_path: Path):
    config = config_of("supervised", tmp_path)
    done = torchrun(
        2, "tests.training.spoilt_worker", "train", config, f"--out={tmp_path / 'runs'}", "--quiet"
    )
    assert done.returncode == 1
    folder = only_run(tmp_path / "runs")
    line = "lsnn-gym: iteration 3: 1 of [0-9,]+ values of the inputs are NaN or infinite; the state just before is in "
    assert len(re.findall(line + re.escape(str(folder)), done.stderr)) == 1, done.stderr
    assert (
        int((~torch.isfinite(load_file(folder / "not_finite" / "tensor.safetensors")["tensor"])).sum()) == 1
    )
    assert load_checkpoint(folder / "not_finite" / "00000002").iteration == 2
