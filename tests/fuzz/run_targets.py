"""Parsers of what runs leave and of what users write: checkpoints, exported policies, networks, configs."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import random
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lsnn_gym.comparison import load_comparison, planned
from lsnn_gym.experiment import load_experiment
from lsnn_gym.nir_export import from_nir, to_nir
from lsnn_gym.plain_yaml import read_yaml
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN
from lsnn_gym.settings import validate
from lsnn_gym.sweep import Space
from lsnn_gym.tensor_files import read_tensors
from lsnn_gym.training.checkpoint import (
    MODEL_FILE,
    PROGRESS_FILE,
    TRAINING_FILE,
    load_checkpoint,
    save_checkpoint,
)
from lsnn_gym.training.metrics import read_metrics
from lsnn_gym.training.optimization import make_checkpoint, restore_checkpoint
from tests.fuzz.made_choices import Choices
from tests.fuzz.mutations import VALUES, choices_mutated, json_mutated, safetensors_mutated, text_mutated
from tests.fuzz.target import Target, written

_CHECKPOINT_FILES = (PROGRESS_FILE, MODEL_FILE, TRAINING_FILE)


def _joined(parts: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def _split(content: bytes, count: int) -> list[bytes]:
    """Return what ``_joined`` joined, as far as it is there."""
    parts = []
    for _ in range(count):
        size = int.from_bytes(content[:4], "little")
        parts.append(content[4 : 4 + size])
        content = content[4 + size :]
    return parts


def _parts_mutated(content: bytes, chance: random.Random, count: int) -> bytes:
    """Damage one of the parts: the first, which is JSON, or the others, which are safetensors."""
    parts = _split(content, count)
    at = chance.choice((0, chance.randrange(count)))
    parts[at] = json_mutated(parts[at], chance) if at == 0 else safetensors_mutated(parts[at], chance)
    return _joined(parts)


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    module = nn.Linear(2, 3)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return module, optimizer


@functools.cache
def checkpoint_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = save_checkpoint(folder, make_checkpoint(3, *trained()))
        return [_joined([(path / name).read_bytes() for name in _CHECKPOINT_FILES])]


def parse_checkpoint(content: bytes, folder: Path) -> None:
    """Three of four inputs get checksums that are right: an attacker can compute them."""
    progress, model, training = _split(content, 3)
    if zlib.crc32(content) % 4:
        progress = _signed(progress, {MODEL_FILE: model, TRAINING_FILE: training})
    path = folder / "00000003"
    path.mkdir(exist_ok=True)
    for name, part in zip(_CHECKPOINT_FILES, (progress, model, training), strict=True):
        written(part, path, name)
    loaded = load_checkpoint(path)
    assert type(loaded.iteration) is int
    assert loaded.iteration >= 0
    module, optimizer = trained()
    restore_checkpoint(loaded, module, optimizer)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()


def _signed(progress: bytes, files: dict[str, bytes]) -> bytes:
    try:
        found = json.loads(progress)
        if isinstance(found.get("files"), dict):
            for name, part in files.items():
                if isinstance(found["files"].get(name), dict):
                    found["files"][name] |= {"bytes": len(part), "sha256": hashlib.sha256(part).hexdigest()}
        covered = {key: value for key, value in found.items() if key != "sha256"}
        text = json.dumps(covered, sort_keys=True, separators=(",", ":"))
        return json.dumps({**covered, "sha256": hashlib.sha256(text.encode()).hexdigest()}).encode()
    except (ValueError, RecursionError, AttributeError):
        return progress


def safetensors_seeds() -> list[bytes]:
    import safetensors.torch

    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.zeros(0, 2),
        "c": torch.tensor(1, dtype=torch.uint8),
    }
    return [safetensors.torch.save(tensors, {"made_with": '[1, {"x": 2}]', "format": "pt"})]


@functools.cache
def policy_seeds() -> list[bytes]:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import PPO

    from lsnn_gym.agents.sb3 import export_policy

    lsnn = {"lstm_hidden_size": 5, "lsnn_kwargs": {"delay": (1, 2)}, "net_arch": []}
    models: list[Any] = [
        PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [4]}, device="cpu"),
        RecurrentPPO("MlpLsnnPolicy", "CartPole-v1", policy_kwargs=lsnn, device="cpu"),
    ]
    seeds = []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            export_policy(model, folder)
            seeds.append(
                _joined(
                    [(Path(folder) / name).read_bytes() for name in ("config.json", "policy.safetensors")]
                )
            )
    return [*seeds, _with_normalization(seeds[0])]


def _with_normalization(seed: bytes) -> bytes:
    import safetensors.torch

    config, weights = _split(seed, 2)
    found = json.loads(config) | {"normalization": {"clip": 10.0, "epsilon": 1e-8, "keys": [None]}}
    tensors = {
        "0.mean": torch.zeros(4, dtype=torch.float64),
        "0.variance": torch.ones(4, dtype=torch.float64),
    }
    return _joined([json.dumps(found).encode(), weights, safetensors.torch.save(tensors)])


def parse_policy(content: bytes, folder: Path) -> None:
    from lsnn_gym.agents.sb3 import load_policy

    for name, part in zip(
        ("config.json", "policy.safetensors", "normalization.safetensors"), _split(content, 3), strict=True
    ):
        written(part, folder, name)
    load_policy(folder)


_TINY = NetworkSettings(
    regular_neurons=2, adaptive_neurons=2, cell="eprop-b", delay=(1, 2), engine="reference"
)


@functools.cache
def _graph(form: str) -> Any:
    plain = {"adaptive_neurons": 0, "delay": (1, 1), "refractory_period": 0.0} if form == "lif" else {}
    network = SpikingRNN(_TINY.model_copy(update=plain), 3, torch.Generator().manual_seed(0))
    return to_nir(network, form)  # type: ignore[arg-type]


_ARRAYS = (
    None,
    np.zeros(0),
    np.zeros((2, 2)),
    np.array(3.0),
    np.array(["x"]),
    np.full((4, 3), -1),
    np.full((4, 3), 1 << 40),
    np.array([None]),
    "x",
    np.zeros((1 << 16, 1)),
)


def parse_nir(content: bytes, folder: Path) -> None:
    """Change the graph of a network as ``content`` chooses, and make the network of it."""
    choices = Choices(content)
    graph = copy.deepcopy(_graph(choices.pick(("exact", "exact", "lif"))))
    _change_metadata(graph.metadata["lsnn"], choices, random.Random(content))
    for name in sorted(graph.nodes):
        what = choices.pick(("keep", "remove", "odd", "other"))
        if what == "remove":
            del graph.nodes[name]
        elif what == "odd" and hasattr(graph.nodes[name], "weight"):
            graph.nodes[name].weight = choices.pick(_ARRAYS)
        elif what == "other":
            graph.nodes[name] = choices.pick((None, "x", {}))
    graph.metadata = choices.pick((graph.metadata, {}, {"lsnn": 3}, {"lsnn": {}}, {"lsnn": []}, None))
    from_nir(graph)


def _change_metadata(told: dict[str, Any], choices: Choices, chance: random.Random) -> None:
    if choices.pick((False, True)):
        told["settings"] = json_mutated(told["settings"].encode(), chance).decode("utf-8", "replace")
    for key in ("version", "form", "dtype", "settings", "state"):
        what = choices.pick(("keep", "remove", "odd"))
        if what == "remove":
            del told[key]
        elif what == "odd":
            told[key] = copy.deepcopy(choices.pick((None, *VALUES)))  # for what is in it is changed next
    state = told.get("state")
    if not isinstance(state, dict):
        return
    for name in sorted(state):
        if choices.pick((False, True)):
            state[name] = choices.pick(_ARRAYS)


CONFIG = b"""name: tiny
seed: 1
task: {kind: sequential-images, data: digits, coding: rows}
network: {regular_neurons: 6, adaptive_neurons: 4, tau_membrane: [5.0, 20.0]}
train:
  iterations: 4
  batch_size: 8
  threads: 1
"""
MAZE = b"""name: maze
env:
  id: lsnn_gym/WaterMazeQuick-v0
  options: {max_steps: 15}
agent:
  core: lsnn
  encoding: {events: [2, 3], width: 1e-1}
train: {iterations: 5, ppo: {learning_rate: 0.006}}
"""
COMPARISON = b"""name: some
base: digits-rows
seeds: [1, 2]
set: {train.iterations: 3}
axes:
  core: {lsnn: {}, lif: {network.adaptive_neurons: 0}}
  size: {small: {network.regular_neurons: 5}}
variants:
  lstm: {network.core: lstm}
"""
SPACE = b"""parameters:
  train.learning_rate: {kind: float, low: 1e-4, high: 1e-1, log: true}
  train.batch_size: {kind: int, low: 1, high: 8}
  network.core: {kind: categorical, choices: [lsnn, lstm, null, 3]}
figure: accuracy
direction: maximize
"""


def parse_comparison(content: bytes, folder: Path) -> None:
    path = written(content, folder, "comparison.yaml")
    load_comparison([str(path)], (), ())
    planned(folder)


def parse_metrics(content: bytes, folder: Path) -> None:
    for record in read_metrics(written(content, folder)):
        assert isinstance(record, dict)


def metrics_seeds() -> list[bytes]:
    return [b'{"iteration": 1, "loss": 0.5}\n{"iteration": 2, "loss": null}\n{"iter', b""]


RUN_TARGETS = (
    Target(
        "safetensors",
        safetensors_seeds,
        lambda content, folder: read_tensors(written(content, folder)),
        safetensors_mutated,
    ),
    Target(
        "checkpoint",
        checkpoint_seeds,
        parse_checkpoint,
        lambda content, chance: _parts_mutated(content, chance, 3),
        names_file=False,
    ),
    Target(
        "policy",
        policy_seeds,
        parse_policy,
        lambda content, chance: _parts_mutated(content, chance, 3),
        smoke=100,
        names_file=False,
    ),
    Target(
        "nir",
        lambda: [bytes(60), b"\xc1" + bytes(60)],
        parse_nir,
        choices_mutated,
        smoke=100,
        names_file=False,
    ),
    Target(
        "config",
        lambda: [CONFIG, MAZE],
        lambda content, folder: load_experiment(str(written(content, folder, "a.yaml"))),
        text_mutated,
    ),
    Target("comparison", lambda: [COMPARISON], parse_comparison, text_mutated, names_file=False),
    Target(
        "sweep",
        lambda: [SPACE],
        lambda content, folder: validate(Space, read_yaml(written(content, folder)), str(folder)),
        text_mutated,
    ),
    Target("metrics", metrics_seeds, parse_metrics, text_mutated),
)
