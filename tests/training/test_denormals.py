"""Denormals are flushed inside the block only."""

from __future__ import annotations

import sys

import pytest

from lsnn_gym.training.denormals import flushed_denormals


def flushing() -> bool:
    return sys.float_info.min / 2 == 0


def test_denormals_are_zero_inside_and_back_outside():
    assert not flushing()
    with flushed_denormals():
        inside = flushing()
        with flushed_denormals():
            pass
        assert flushing() == inside, "an inner block does not end the outer one"
    assert inside
    assert not flushing()


def test_denormals_are_back_after_an_error():
    with pytest.raises(RuntimeError, match="failed"), flushed_denormals():
        raise RuntimeError("failed")
    assert not flushing()
