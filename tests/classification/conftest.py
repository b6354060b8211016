"""Shared by the tests of classification."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_nmnist() -> Path:
    """The folder of N-MNIST in the folder that LSNN_GYM_DATA names; tests that need it are skipped without."""
    folder = Path(os.environ.get("LSNN_GYM_DATA", "")) / "nmnist"
    if not os.environ.get("LSNN_GYM_DATA") or not folder.is_dir():
        pytest.skip("LSNN_GYM_DATA names no folder with N-MNIST")
    return folder
