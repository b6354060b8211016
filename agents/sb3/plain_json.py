"""Spaces, schedules and arguments of policies as plain JSON, and back; nothing that is read can run code.

What JSON lacks is written as an object with one key that begins with ``$``: tuples, spaces, infinite numbers, and
classes, which are named as ``module:Class`` and found again only in packages that are trusted, or if they are given.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule
from torch import nn

from lsnn_gym.errors import UserError, shortened, unknown

TRUSTED_PACKAGES = ("lsnn_gym", "sb3_contrib", "stable_baselines3", "torch.nn")
"""Where classes that a file names are looked for."""

_MOST_NUMBERS = 1 << 24  # in a space that a file describes
_SAMPLES = 101  # of a schedule that is neither constant nor linear


class SampledSchedule:
    """A schedule known at evenly spaced shares of the training that is left, linear between them.

    Args:
        values: From nothing left to everything left, at least 2.
    """

    def __init__(self, values: Sequence[float]) -> None:
        self.values: list[float] = [float(value) for value in values]

    def __call__(self, progress_remaining: float) -> float:
        """Return the value at a share of the training that is left, from 1 to 0."""
        return float(np.interp(progress_remaining, np.linspace(0.0, 1.0, len(self.values)), self.values))


def encode(value: Any, what: str) -> Any:
    """Return ``value`` as JSON has it.

    Args:
        value: Numbers, text, lists, tuples, dictionaries with text for keys, spaces, classes of modules.
        what: Its name, for messages.

    Raises:
        UserError: If it, or a part of it, is of another kind.
    """
    if isinstance(value, spaces.Space):
        return {"$space": encode_space(value)}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$number": repr(value)}
    if isinstance(value, (list, tuple)):
        items = [encode(each, f"{what}[{index}]") for index, each in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, type) and issubclass(value, nn.Module):
        return {"$class": class_name(value)}
    if isinstance(value, Mapping) and all(isinstance(key, str) and key[:1] != "$" for key in value):
        return {key: encode(each, f"{what}.{key}") for key, each in value.items()}
    raise UserError(
        f"{what} is {value!r}: expected numbers, text, lists, dictionaries, spaces or classes of torch.nn.Module, "
        "which a file can name"
    )


def decode(value: Any, classes: Collection[type] = ()) -> Any:
    """Return what ``encode`` was given.

    Args:
        value: As it was read.
        classes: Further classes that may be named.

    Raises:
        UserError: If a class or a space is named that is not known.
    """
    if isinstance(value, list):
        return [decode(each, classes) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, content),) = value.items()
        if key == "$tuple":
            return tuple(decode(each, classes) for each in content)
        if key == "$number":
            return float(content)
        if key == "$class":
            return find_class(content, classes)
        if key == "$space":
            return decode_space(content)
    return {key: decode(each, classes) for key, each in value.items()}


def class_name(kind: type) -> str:
    """Return a class's name in a file."""
    return f"{kind.__module__}:{kind.__qualname__}"


def find_class(name: str, classes: Collection[type] = (), base: type = nn.Module) -> Any:
    """Return the class that ``class_name`` has named.

    Args:
        name: As it was read.
        classes: Classes that may be named beside those of ``TRUSTED_PACKAGES``.
        base: Of which it has to be a subclass.

    Raises:
        UserError: If it is not there, is no such class, or is nobody's whom one trusts.
    """
    if not isinstance(name, str):
        raise UserError(f"a class is {shortened(repr(name))}: expected module:Class")
    given = {class_name(kind): kind for kind in classes}
    if name in given:
        found: Any = given[name]
    else:
        module, _, path = name.partition(":")
        # Importing a package's __main__ could start a program.
        if not _is_trusted(module) or "__main__" in module:
            raise UserError(
                f"the class {shortened(name, 200)} is of none of the packages {', '.join(TRUSTED_PACKAGES)}: if you "
                f"trust it, give it as classes=[{shortened(path.rpartition('.')[2])}]"
            )
        try:
            found = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError) as error:
            told = shortened(str(error), 200)
            raise UserError(f"the class {shortened(name, 200)} cannot be found: {told}") from None
        # Modules hold others that they import, those of other packages, too.
        if isinstance(found, type) and not _is_trusted(found.__module__):
            raise UserError(
                f"the class {shortened(name, 200)} is of {found.__module__}, which is not trusted"
            )
    if not isinstance(found, type) or not issubclass(found, base):
        raise UserError(f"{shortened(name, 200)} is no class of {base.__name__}")
    return found


def _is_trusted(module: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in TRUSTED_PACKAGES)


def encode_space(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return a space as JSON has it.

    Raises:
        UserError: If it is of a kind that policies do not take.
    """
    if isinstance(space, spaces.Box):
        bounds = {name: _encode_bounds(getattr(space, name)) for name in ("low", "high")}
        return {"kind": "Box", **bounds, "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "n": list(space.shape) if isinstance(space.n, tuple) else int(space.n)}
    if isinstance(space, spaces.Dict):
        # Pairs: features are joined in the order of the keys, which JSON does not promise to keep.
        return {"kind": "Dict", "spaces": [[key, encode_space(each)] for key, each in space.spaces.items()]}
    raise UserError(f"the space is {space}: expected one of {', '.join(_SPACES)}")


def decode_space(told: Mapping[str, Any]) -> spaces.Space[Any]:
    """Return the space that ``encode_space`` was given.

    Raises:
        UserError: If it is of an unknown kind.
    """
    kind = told.get("kind")
    if not isinstance(kind, str) or kind not in _SPACES:
        raise UserError(unknown("kind of space", kind, _SPACES))
    space = _SPACES[kind](told)
    if not isinstance(space, spaces.Dict) and spaces.flatdim(space) > _MOST_NUMBERS:
        raise UserError(
            f"a space is of {spaces.flatdim(space):,} numbers: expected at most {_MOST_NUMBERS:,}"
        )
    return space


def encode_schedule(schedule: Callable[[float], float]) -> dict[str, Any]:
    """Return a schedule as JSON has it; one that is neither constant nor linear by 101 of its values."""
    inner: Any = schedule
    while isinstance(inner, FloatSchedule):
        inner = inner.value_schedule
    if isinstance(inner, ConstantSchedule):
        return {"kind": "constant", "value": float(inner.val)}
    if isinstance(inner, LinearSchedule):
        return {"kind": "linear", "start": inner.start, "end": inner.end, "end_fraction": inner.end_fraction}
    return {"kind": "sampled", "values": [float(inner(left)) for left in np.linspace(0.0, 1.0, _SAMPLES)]}


def decode_schedule(told: Mapping[str, Any]) -> FloatSchedule:
    """Return the schedule that ``encode_schedule`` was given.

    Raises:
        UserError: If it is of an unknown kind.
    """
    kind = told.get("kind")
    if not isinstance(kind, str) or kind not in _SCHEDULES:
        raise UserError(unknown("kind of schedule", kind, _SCHEDULES))
    return FloatSchedule(_SCHEDULES[kind](told))


def _encode_bounds(bounds: npt.NDArray[Any]) -> Any:
    """Return bounds as one number where they are all the same, else as nested lists."""
    same = bounds.size > 0 and (bounds == bounds.flat[0]).all()
    return encode(bounds.flat[0] if same else bounds.tolist(), "bounds")


def _decode_bounds(told: Mapping[str, Any], name: str) -> npt.NDArray[Any]:
    if math.prod(told["shape"]) > _MOST_NUMBERS:
        raise UserError(f"a space is of shape {told['shape']}: expected at most {_MOST_NUMBERS:,} numbers")
    return np.broadcast_to(np.array(decode(told[name]), told["dtype"]), told["shape"]).copy()


def _decode_box(told: Mapping[str, Any]) -> spaces.Box:
    low, high = (_decode_bounds(told, name) for name in ("low", "high"))
    return spaces.Box(low, high, dtype=np.dtype(told["dtype"]).type)


def _bounded(told: Any) -> Any:
    if isinstance(told, int | list) and math.prod([told] if isinstance(told, int) else told) > _MOST_NUMBERS:
        raise UserError(f"a space is of {told} bits: expected at most {_MOST_NUMBERS:,}")
    return told


_SPACES: dict[str, Callable[[Mapping[str, Any]], spaces.Space[Any]]] = {
    "Box": _decode_box,
    "Discrete": lambda told: spaces.Discrete(told["n"], start=told["start"]),
    "MultiDiscrete": lambda told: spaces.MultiDiscrete(told["nvec"], start=told["start"]),
    "MultiBinary": lambda told: spaces.MultiBinary(_bounded(told["n"])),
    "Dict": lambda told: spaces.Dict([(key, decode_space(each)) for key, each in told["spaces"]]),
}
_SCHEDULES: dict[str, Callable[[Mapping[str, Any]], Callable[[float], float]]] = {
    "constant": lambda told: ConstantSchedule(told["value"]),
    "linear": lambda told: LinearSchedule(told["start"], told["end"], told["end_fraction"]),
    "sampled": lambda told: SampledSchedule(told["values"]),
}
