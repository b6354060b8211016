"""Shared by all tests."""

from __future__ import annotations

import os
import signal

# A shell starts background jobs with Ctrl-C ignored; the tests of Ctrl-C are about one that is not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No screen, no sound: before anything imports pygame.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread_each():
    # The tests' tensors are small: more threads only wait for each other, badly so beside other processes.
    torch.set_num_threads(1)
