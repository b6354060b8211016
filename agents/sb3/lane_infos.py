"""One lane's info out of a vectorised environment's infos, put together only when somebody looks into it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_ABSENT = object()
_OF_LAST_STEP = ("final_obs", "final_info")


class LaneInfo(dict[str, Any]):
    """What a vectorised environment's infos say of one lane: a dictionary like any other, filled at first use.

    Algorithms ask a hundred lanes a step for a key or two which are mostly not there; ``get`` answers that without
    filling anything. What is written into it stays, whether it has been filled or not.

    Args:
        infos: Of the vectorised environment: arrays or lists of a value a lane, or dictionaries of such, each with a
            mask ``_key`` of the lanes that it speaks of; whatever else is for all lanes alike. Not changed later.
        lane: Which one.
        truncated: What ``TimeLimit.truncated`` says; None leaves it out, as after a reset.
    """

    __slots__ = ("_infos", "_lane")

    def __init__(self, infos: Mapping[str, Any], lane: int, truncated: bool | None = None) -> None:
        self._infos: Mapping[str, Any] | None = infos
        self._lane = lane
        if truncated is not None:
            self["TimeLimit.truncated"] = truncated

    @classmethod
    def of_last_step(cls, infos: Mapping[str, Any], lane: int, truncated: bool) -> LaneInfo:
        """Return the info of a lane's last step, from infos that already speak of its next episode."""
        info = cls(infos.get("final_info", {}), lane, truncated)
        info["terminal_observation"] = infos["final_obs"][lane]
        if "episode" in infos:  # gymnasium.wrappers.vector.RecordEpisodeStatistics adds it afterwards
            info.update(_of_lane({"episode": infos["episode"], "_episode": infos["_episode"]}, lane))
        return info

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default`` where there is none."""
        found = dict.get(self, key, _ABSENT)
        if found is not _ABSENT:
            return found
        if self._infos is None or key not in self._infos:
            return default
        self._fill()
        return dict.get(self, key, default)

    def copy(self) -> dict[str, Any]:
        """Return a plain dictionary of the same entries."""
        return dict(self)

    def __missing__(self, key: str) -> Any:
        if self._infos is None:
            raise KeyError(key)
        self._fill()
        return self[key]

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def _fill(self) -> None:
        infos, self._infos = self._infos, None
        if infos is not None:
            for key, value in _of_lane(infos, self._lane).items():
                self.setdefault(key, value)


def _filled_first(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def filled(self: LaneInfo, *arguments: Any) -> Any:
        self._fill()
        return method(self, *arguments)

    return filled


# All that looks at a dictionary as a whole, or takes something away. With an __iter__ of its own, dict(info) and
# {**info} ask keys() as well, instead of reading what is filled so far.
for _name in (
    *("__contains__", "__iter__", "__reversed__", "__len__", "__eq__", "__ne__", "__repr__"),
    *("__delitem__", "__or__", "__ror__", "__ior__"),
    *("keys", "values", "items", "pop", "popitem", "setdefault", "clear"),
):
    setattr(LaneInfo, _name, _filled_first(getattr(dict, _name)))


def _of_lane(infos: Mapping[str, Any], lane: int) -> dict[str, Any]:
    """Return what ``infos`` say of one lane, numbers as plain ones."""
    found: dict[str, Any] = {}
    for key, values in infos.items():
        if key in _OF_LAST_STEP or (key.startswith("_") and key[1:] in infos):
            continue
        mask = infos.get(f"_{key}")
        if mask is not None and not mask[lane]:
            continue
        if isinstance(values, dict):
            found[key] = _of_lane(values, lane)
        elif isinstance(values, (list, tuple)) or (isinstance(values, np.ndarray) and values.ndim):
            value = values[lane]
            found[key] = value.item() if isinstance(value, np.generic) else value
        else:
            found[key] = values
    return found
