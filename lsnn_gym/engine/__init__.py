"""How the recurrence and its gradient are computed.

Every engine offers ``run`` with the arguments and results of ``reference.run``, the definition of correct, and
gives the same spikes and, to rounding, the same gradients; ``supports``, whether it has a cell; and
``unavailable``, why it cannot be used on this machine, or None. ``LSNN_GYM_ENGINE`` overrides the choice.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import Any, Protocol

import torch
from torch import Tensor

from lsnn_gym.engine import native, reference, triton, unrolled
from lsnn_gym.engine.native.session import Session
from lsnn_gym.errors import UserError, unknown
from lsnn_gym.neurons import LSNN, CellModel, SpikingState

_LOG = logging.getLogger(__name__)


class Engine(Protocol):
    """What every engine offers, as a module."""

    unavailable: str | None
    __doc__: str | None

    @staticmethod
    def supports(model: CellModel) -> bool:
        """Return whether the engine has the cell."""
        ...

    @staticmethod
    def begin(*args: Any, **options: Any) -> Session | None:
        """Return networks that act (see ``native.begin``), or None if there is no quicker way than ``run``."""
        ...

    @staticmethod
    def run(*args: Any, **options: Any) -> tuple[Tensor, SpikingState]:
        """Advance B networks through T simulation steps; see ``reference.run``."""
        ...


ENGINES: dict[str, Engine] = {
    "native": native,
    "triton": triton,
    "unrolled": unrolled,
    "reference": reference,
}
"""By name, the fastest first."""

_ON_CPU = ("native", "unrolled")
"""Of which the fastest that there is serves unasked; on a GPU others stand in for them."""


def choose_engine(name: str | None = None, model: CellModel = LSNN) -> Engine:
    """Return the engine ``name``, or the one that ``LSNN_GYM_ENGINE`` names, or the fastest that there is.

    Where that engine does not implement ``model``, return the reference, which implements them all.

    Raises:
        UserError: If there is no such engine, or it cannot be used on this machine.
    """
    wanted = name or os.environ.get("LSNN_GYM_ENGINE") or _fastest()
    if wanted not in ENGINES:
        raise UserError(unknown("engine", wanted, ENGINES))
    engine = ENGINES[wanted]
    if engine.unavailable:
        raise UserError(f"engine {wanted!r} cannot be used here: {engine.unavailable}")
    return engine if engine.supports(model) else reference


@functools.cache
def _fastest() -> str:
    """Return the name of the fastest engine that there is; say once if a faster one is missing."""
    for name in _ON_CPU:
        if not ENGINES[name].unavailable:
            return name
        _LOG.warning("the %s engine cannot be used, a slower one serves: %s", name, ENGINES[name].unavailable)
    raise AssertionError("the unrolled engine is always there")


def on_device(engine: Engine, device: torch.device, model: CellModel = LSNN) -> Engine:
    """Return ``engine`` or, where it is for CPUs only and the device is none, the fastest that has the cell there."""
    if engine is not native or device.type == "cpu":
        return engine
    others: tuple[Engine, ...] = (triton, unrolled) if device.type == "cuda" else (unrolled,)
    return next((each for each in others if not each.unavailable and each.supports(model)), reference)
