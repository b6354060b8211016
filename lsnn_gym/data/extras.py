"""Libraries that only the data sets need, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from lsnn_gym.errors import UserError


def need(module: str, package: str) -> Any:
    """Import ``module``; where it is not installed, say which extra brings ``package``.

    Raises:
        UserError: The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"the data sets need {package}, which is not installed: pip install 'lsnn-gym[data]'"
        ) from error
