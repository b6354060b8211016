"""Where the Triton engine serves, and that it gives the reference's numbers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lsnn_gym.engine import ENGINES, choose_engine, on_device, triton
from lsnn_gym.errors import UserError
from lsnn_gym.neurons import CELL_MODELS, LSNN

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_cases_in_the_interpreter():
    cases = Path(__file__).with_name("triton_cases.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=cases.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


@pytest.mark.skipif(triton.unavailable is None, reason="the engine can be used here")
def test_without_it_the_reason_is_said():
    with pytest.raises(UserError, match=r"engine 'triton' cannot be used here: (Triton|PyTorch)"):
        choose_engine("triton")


def test_on_a_gpu_another_engine_stands_in_for_the_native_one(monkeypatch):
    native = ENGINES["native"]
    assert on_device(native, CPU) is native
    monkeypatch.setattr(triton, "unavailable", None)
    assert on_device(native, GPU) is ENGINES["triton"]
    monkeypatch.setattr(triton, "unavailable", "no")
    assert on_device(native, GPU) is ENGINES["unrolled"]
    assert on_device(native, GPU, CELL_MODELS["eprop-a"]) is ENGINES["reference"]
    assert on_device(native, torch.device("meta"), replace(LSNN)) is ENGINES["unrolled"]
    assert on_device(ENGINES["reference"], GPU) is ENGINES["reference"]
