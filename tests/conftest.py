"""Shared by all tests."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

# A shell starts background jobs with Ctrl-C ignored; the tests of Ctrl-C are about one that is not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No screen, no sound: before anything imports pygame.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

import pytest
import torch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@pytest.fixture(autouse=True, scope="session")
def _one_thread_each():
    # The tests' tensors are small: more threads only wait for each other, badly so beside other processes.
    torch.set_num_threads(1)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written, to look at what is on them."""
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    write = Figure.savefig

    def watched(self: Figure, *arguments: Any, **named: Any) -> None:
        figures.append(self)
        write(self, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", watched)
    return figures
