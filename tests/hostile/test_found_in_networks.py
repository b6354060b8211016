"""What fuzzing has found in exported policies and NIR graphs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.nir_export import from_nir, to_nir
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN

pytest.importorskip("sb3_contrib")
from stable_baselines3 import PPO

from lsnn_gym.agents.sb3 import export_policy, load_policy


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    model = PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, device="cpu")
    return export_policy(model, tmp_path)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"policy": ["os:system"]}, {}, "'policy' is .*, expected text"),
        ({"arguments": [1]}, {}, "'arguments' is .*, expected an object"),
        ({"policy": "lsnn_gym.__main__:main"}, {}, "is of none of the packages"),
        ({}, {"activation_fn": {"$class": ["x"]}}, "expected module:Class"),
        (
            {},
            {"activation_fn": {"$class": "torch.nn:modules.module.torch.optim.Adam"}},
            "which is not trusted",
        ),
        ({}, {"net_arch": [10**6, 10**6]}, "asks for .* numbers at once"),
        ({}, {"net_arch": [1] * 500}, "asks for more weights than the file's"),
        (
            {},
            {
                "observation_space": {
                    "$space": {"kind": "Box", "low": 0, "high": 1, "shape": [10**9], "dtype": "float32"}
                }
            },
            "expected at most 16,777,216 numbers",
        ),
        (
            {},
            {"observation_space": {"$space": {"kind": "MultiBinary", "n": 10**12}}},
            "expected at most 16,777,216",
        ),
        ({"normalization": {"keys": [None], "clip": 1.0}}, {}, "normalization: expected 'epsilon'"),
        ({"normalization": {"clip": 1.0, "epsilon": 0.1}}, {}, "normalization: expected 'keys'"),
        ({"normalization": {"keys": [], "clip": "x", "epsilon": 0.1}}, {}, "normalization: expected 'clip'"),
        (
            {"normalization": {"keys": [None], "clip": 1.0, "epsilon": 0.1}},
            {},
            "normalization: expected numbers '0.mean'",
        ),
    ],
)
def test_policies_that_cannot_be(exported: Path, changes: Any, arguments: Any, message: str):
    path = exported / "config.json"
    config = json.loads(path.read_text()) | changes
    if arguments:
        config["arguments"] |= arguments
    path.write_text(json.dumps(config))
    (exported / "normalization.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match=message):
        load_policy(exported)


def test_a_policy_of_endless_lists(exported: Path):
    (exported / "config.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is no JSON"):
        load_policy(exported)


def made() -> Any:
    settings = NetworkSettings(regular_neurons=2, adaptive_neurons=2, cell="eprop-b", engine="reference")
    return copy.deepcopy(to_nir(SpikingRNN(settings, 3, torch.Generator().manual_seed(0))))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", None, "has version None"),
        ("version", "../x", "has version"),
        ("form", None, "unknown form"),
        ("state", None, "has no 'state'"),
        ("state", {}, "has none for the delays of input synapses"),
        ("state", {"a": np.array([None])}, "'a' that are no numbers"),
        ("state", {"input_synapses.delay_index": np.array(3)}, "for the delays of input synapses"),
        ("settings", '{"regular_neurons": 1' + 400 * "0" + "}", "cannot be used|for the delays"),
    ],
)
def test_graphs_whose_metadata_cannot_be(key: str, value: Any, message: str):
    graph = made()
    graph.metadata["lsnn"][key] = value
    with pytest.raises(UserError, match=message):
        from_nir(graph)
    graph.metadata = None
    with pytest.raises(UserError, match="has no metadata"):
        from_nir(graph)


@pytest.mark.parametrize("weight", ["x", None, np.array([["a"]]), np.zeros((4, 3), object)])
def test_graphs_whose_weights_are_no_numbers(weight: Any):
    graph = made()
    graph.nodes["input_weights_0"].weight = weight
    with pytest.raises(UserError, match="the graph has none at 'input_weights_0'"):
        from_nir(graph)
