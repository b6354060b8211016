"""How the recurrence and its gradient are computed.

Every engine offers ``run`` with the arguments and results of ``reference.run``, the definition of correct, and
gives the same spikes and, to rounding, the same gradients. ``LSNN_GYM_ENGINE`` overrides the choice. An engine that
does not have every cell names those it has in ``MODELS``.
"""

from __future__ import annotations

import os
from types import ModuleType

from lsnn_gym.engine import reference, unrolled
from lsnn_gym.errors import UserError, unknown
from lsnn_gym.neurons import LSNN, CellModel

ENGINES: dict[str, ModuleType] = {"unrolled": unrolled, "reference": reference}


def choose_engine(name: str | None = None, model: CellModel = LSNN) -> ModuleType:
    """Return the engine ``name``, or the one that ``LSNN_GYM_ENGINE`` names, or the fastest.

    Where that engine does not implement ``model``, return the reference, which implements them all.

    Raises:
        UserError: If there is no such engine.
    """
    wanted = name or os.environ.get("LSNN_GYM_ENGINE") or next(iter(ENGINES))
    if wanted not in ENGINES:
        raise UserError(unknown("engine", wanted, ENGINES))
    engine = ENGINES[wanted]
    return engine if model in getattr(engine, "MODELS", (model,)) else reference
