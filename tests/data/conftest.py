"""Shared by the tests of the data sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lsnn_gym.data import store

_REAL = os.environ.get("LSNN_GYM_DATA")


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with real data; tests that need it are skipped without."""
    if not _REAL:
        pytest.skip("LSNN_GYM_DATA names no folder with real data")
    monkeypatch.setenv("LSNN_GYM_DATA", _REAL)
    return Path(_REAL)


@pytest.fixture
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder that LSNN_GYM_DATA names."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("LSNN_GYM_DATA", str(folder))
    return folder


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of this test's own, without LSNN_GYM_DATA."""
    monkeypatch.delenv("LSNN_GYM_DATA", raising=False)
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"
