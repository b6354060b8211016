"""What there is, by kind and name, one line each: for ``lsnn-gym list``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec

from lsnn_gym import cores, data, pretrained
from lsnn_gym.engine import ENGINES
from lsnn_gym.envs.functions import FUNCTION_FAMILIES
from lsnn_gym.envs.reference_policies import REFERENCE_POLICIES
from lsnn_gym.experiment import config_names
from lsnn_gym.rules.registry import RULES
from lsnn_gym.tasks.registry import TASKS


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _envs() -> dict[str, str]:
    specs = [spec for spec in gym.registry.values() if spec.namespace == "lsnn_gym"]
    return {
        spec.id: "; ".join([_arguments(spec.kwargs), *map(_wrapper, spec.additional_wrappers)])
        for spec in sorted(specs, key=lambda spec: spec.id)
    }


def _wrapper(wrapper: WrapperSpec) -> str:
    return f"in {wrapper.name} with {_arguments(wrapper.kwargs or {})}"


def _arguments(kwargs: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in kwargs.items())


def _configs() -> dict[str, str]:
    """Return each config with the comment that opens its file."""
    lines = {
        name: path.read_text(encoding="utf-8").partition("\n")[0] for name, path in config_names().items()
    }
    return {name: line.removeprefix("#").strip() for name, line in lines.items()}


def _cores() -> dict[str, str]:
    return {
        "lsnn": _first_line(cores.LSNNCore),
        "lstm": _first_line(cores.GatedCore),
        "gru": _first_line(cores.GatedCore),
    }


def _engines() -> dict[str, str]:
    """Return each engine with what it is or why it cannot be used here."""
    return {
        name: f"not here: {engine.unavailable}" if engine.unavailable else _first_line(engine)
        for name, engine in ENGINES.items()
    }


def _data_sets() -> dict[str, str]:
    return {name: data.describe(name).summary for name in data.names()}


def _tasks() -> dict[str, str]:
    return {name: _first_line(settings) for name, settings in TASKS.items()}


def _rules() -> dict[str, str]:
    return {
        "bptt": "Backpropagation through time with pseudo-derivatives (network.rule).",
        "eprop": "e-prop: no gradient through spikes between neurons; network.feedback says how errors come back.",
    } | {f"{name} (rule.kind)": _first_line(settings) for name, settings in RULES.items()}


INVENTORY: dict[str, Callable[[], dict[str, str]]] = {
    "envs": _envs,
    "functions": lambda: {name: _first_line(family) for name, family in FUNCTION_FAMILIES.items()},
    "tasks": _tasks,
    "rules": _rules,
    "configs": _configs,
    "cores": _cores,
    "engines": _engines,
    "data": _data_sets,
    "policies": lambda: {name: _first_line(policy) for name, policy in REFERENCE_POLICIES.items()},
    "pretrained": lambda: {name: pretrained.card(name).summary for name in pretrained.names()},
}
"""Kind to a function that returns name to description."""
