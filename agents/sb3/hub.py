"""A trained policy as a folder that can be shared: weights, what they belong to, and a card for people.

::

    policy.safetensors          the weights
    normalization.safetensors   of observations, only where the policy was trained with VecNormalize
    config.json                 the policy's class and arguments, spaces, learning rate, settings, figures
    README.md                   the card

No file holds a pickle, and none is read as one.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from lsnn_gym.agents.sb3.bounded import bounded_by
from lsnn_gym.agents.sb3.model_card import model_card
from lsnn_gym.agents.sb3.normalized_policy import Normalization, NormalizedPolicy
from lsnn_gym.agents.sb3.plain_json import (
    class_name,
    decode,
    decode_schedule,
    encode,
    encode_schedule,
    find_class,
)
from lsnn_gym.atomic import cannot_write, write_atomically
from lsnn_gym.errors import UserError, one_line, shortened
from lsnn_gym.tensor_files import read_tensors

FORMAT = "lsnn_gym-policy"
FORMAT_VERSION = 1
WEIGHTS_FILE = "policy.safetensors"
NORMALIZATION_FILE = "normalization.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"

_PACKAGES = ("lsnn-gym", "stable-baselines3", "sb3-contrib", "gymnasium", "torch")
_MAKING_ERRORS = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    NotImplementedError,
)
"""What classes that are not ours raise on arguments that they cannot use."""
_CONFIG_KINDS: dict[str, tuple[type, ...]] = {
    "policy": (str,),
    "arguments": (dict,),
    "learning_rate": (dict,),
    "normalization": (dict, type(None)),
}
_KIND_NAMES = {str: "text", dict: "an object"}
# Of use for training only; the optimiser may be an object that no file can name.
_LEFT_OUT = ("lr_schedule", "optimizer_class", "optimizer_kwargs")


def export_policy(
    model: BaseAlgorithm | BasePolicy,
    folder: str | Path,
    *,
    env_id: str | None = None,
    figures: Mapping[str, float] | None = None,
    description: str = "",
) -> Path:
    """Write a policy into a folder, from which ``load_policy`` makes it again.

    Args:
        model: An algorithm of Stable-Baselines3 or sb3-contrib, whose settings are noted, too, or a policy.
        folder: Where to; made if need be. Files of a former export there are replaced.
        env_id: What it was trained on; None: as the algorithm's environment says, if it does.
        figures: Of its evaluation, by name, e.g. ``{"mean reward": 480.0, "standard deviation": 12.0}``.
        description: For the card.

    Returns:
        The folder.

    Raises:
        UserError: If an argument of the policy cannot be written down, or the folder cannot be written to.
    """
    policy = model if isinstance(model, BasePolicy) else model.policy
    normalization = None
    if not isinstance(model, BasePolicy):
        around = model.get_vec_normalize_env()
        normalization = None if around is None else Normalization.of(around)
        env_id = _env_id(model) if env_id is None else env_id
    config: dict[str, Any] = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "algorithm": None if isinstance(model, BasePolicy) else type(model).__name__,
        "env_id": env_id,
        "policy": class_name(type(policy)),
        "arguments": encode(_arguments(policy), "arguments"),
        "learning_rate": encode_schedule(_learning_rate(model)),
        "settings": {} if isinstance(model, BasePolicy) else _settings(model),
        "figures": encode({name: float(value) for name, value in (figures or {}).items()}, "figures"),
        "normalization": None if normalization is None else normalization.settings(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    weights = _plain(policy.state_dict())
    # An export that could not be loaded should fail now, not later at somebody else's.
    _check_shapes(weights, _rebuilt(config, _named_classes(policy)))
    files: dict[str, str | bytes] = {
        WEIGHTS_FILE: safetensors.torch.save(weights, {"format": "pt"}),
        CONFIG_FILE: json.dumps(config, indent=2, allow_nan=False) + "\n",
        CARD_FILE: model_card(config, policy, description),
    }
    if normalization is not None:
        files[NORMALIZATION_FILE] = safetensors.torch.save(normalization.tensors())
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if normalization is None:
            (folder / NORMALIZATION_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    for name, content in files.items():
        write_atomically(folder / name, content)
    return folder


def load_policy(
    folder: str | Path, *, device: torch.device | str = "cpu", classes: Collection[type] = ()
) -> BasePolicy | NormalizedPolicy:
    """Make the policy of a folder again, ready for ``predict``.

    Args:
        folder: Which ``export_policy`` wrote.
        device: Where it is to be.
        classes: Of your own that it uses (policies, features extractors, activations); others are found only in
            ``plain_json.TRUSTED_PACKAGES``.

    Returns:
        The policy; one trained with ``VecNormalize`` within ``NormalizedPolicy``, which takes observations as the
        environment has them.

    Raises:
        UserError: If a file is missing, cut off or of another format, names a class that is not trusted, or holds
            weights of other names or shapes than the policy has; the message says which.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG_FILE)
    weights = read_tensors(folder / WEIGHTS_FILE)
    with bounded_by(weights, f"{folder / CONFIG_FILE}: the policy"):
        policy = _rebuilt(config, classes)
    _check_shapes(weights, policy, folder / WEIGHTS_FILE)
    policy.load_state_dict(weights)
    policy.to(device)
    policy.set_training_mode(False)
    if config["normalization"] is None:
        return policy
    tensors = read_tensors(folder / NORMALIZATION_FILE)
    try:
        normalization = Normalization.from_parts(config["normalization"], tensors)
        normalization.check(policy.observation_space)
    except ValueError as error:
        raise UserError(f"{folder / CONFIG_FILE}: normalization: {error}") from error
    return NormalizedPolicy(policy, normalization)


def _arguments(policy: BasePolicy) -> dict[str, Any]:
    """Return the arguments that a policy was made with, those that policies themselves forget included."""
    arguments = policy._get_constructor_parameters()
    parameters = inspect.signature(type(policy).__init__).parameters
    if isinstance(policy, RecurrentActorCriticPolicy) and "lsnn_kwargs" not in arguments:
        arguments |= {
            "lstm_hidden_size": policy.lstm_output_dim,
            "n_lstm_layers": policy.lstm_actor.num_layers,
            "shared_lstm": policy.shared_lstm,
            "enable_critic_lstm": policy.enable_critic_lstm,
            "lstm_kwargs": policy.lstm_kwargs,
        }
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    if hasattr(policy, "share_features_extractor") and (
        takes_any or "share_features_extractor" in parameters
    ):
        arguments["share_features_extractor"] = policy.share_features_extractor
    return {name: value for name, value in arguments.items() if name not in _LEFT_OUT}


def _rebuilt(config: Mapping[str, Any], classes: Collection[type]) -> BasePolicy:
    """Return a new policy of the class and with the arguments that a config has."""
    kind = find_class(config["policy"], classes, BasePolicy)
    name = shortened(str(config["policy"]))
    try:
        arguments = decode(config["arguments"], classes)
        if "lr_schedule" in inspect.signature(kind.__init__).parameters:
            arguments["lr_schedule"] = decode_schedule(config["learning_rate"])
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and then replaced
            return kind(**arguments)
    except _MAKING_ERRORS as error:
        what = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"{name} cannot be made with the arguments of the config: {what}") from error


def _named_classes(policy: BasePolicy) -> list[type]:
    """Return the classes that a policy's arguments hold, and its own."""
    values = policy._get_constructor_parameters().values()
    return [type(policy), *(value for value in values if isinstance(value, type))]


def _learning_rate(model: BaseAlgorithm | BasePolicy) -> Any:
    if isinstance(model, BaseAlgorithm):
        return model.lr_schedule
    for part in (model, getattr(model, "actor", None)):
        optimizer = getattr(part, "optimizer", None)
        if optimizer is not None:
            rate = float(optimizer.param_groups[0]["lr"])
            return lambda left: rate
    return lambda left: 0.0


def _settings(model: BaseAlgorithm) -> dict[str, Any]:
    """Return those arguments of an algorithm that are plain values or schedules."""
    settings: dict[str, Any] = {}
    for name in inspect.signature(type(model).__init__).parameters:
        value: Any = getattr(model, name, None)
        if name == "learning_rate":
            continue
        if isinstance(value, (bool, int, float, str, np.generic)):
            settings[name] = encode(value, name)
        elif name.startswith("clip_range") and value is not None:
            settings[name] = encode_schedule(value)
    return settings | {"timesteps": model.num_timesteps}


def _env_id(model: BaseAlgorithm) -> str | None:
    env = model.get_env()
    try:
        spec = None if env is None else env.get_attr("spec", indices=[0])[0]
    except AttributeError:
        return None
    return None if spec is None else spec.id


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies on the CPU: networks that share a features extractor share its memory."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}


def _check_shapes(weights: Mapping[str, Tensor], policy: BasePolicy, where: Path | None = None) -> None:
    expected = {name: tuple(value.shape) for name, value in policy.state_dict().items()}
    file = "the policy" if where is None else str(where)
    for name, shape in expected.items():
        if name not in weights:
            raise UserError(
                f"{file} has no weights {name!r}: {type(policy).__name__} with its arguments has them"
            )
        if tuple(weights[name].shape) != shape:
            raise UserError(
                f"{file}: {name!r} has the shape {tuple(weights[name].shape)}: expected {shape}, as the arguments say"
            )
    for name in weights:
        if name not in expected:
            raise UserError(
                f"{file} has weights {name!r}, which {type(policy).__name__} with its arguments has not"
            )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON: {shortened(str(error), 200)}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(f"{path} is no config of an exported policy: expected the format {FORMAT!r}")
    if config.get("version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has version {shortened(repr(config.get('version')))}: expected {FORMAT_VERSION}"
        )
    for key, kinds in _CONFIG_KINDS.items():
        if key not in config:
            raise UserError(f"{path} has no {key!r}")
        if not isinstance(config[key], kinds):
            raise UserError(
                f"{path}: {key!r} is {shortened(repr(config[key]))}, expected {_KIND_NAMES[kinds[0]]}"
            )
    return config
