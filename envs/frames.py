"""What drawings share: frames and their size, pygame, and a window to show frames in.

pygame is loaded when the first picture is drawn.
"""

from __future__ import annotations

import numbers
import os
import sys
import time
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.error import DependencyNotInstalled

Color = tuple[int, int, int]
Frame = npt.NDArray[np.uint8]

_LARGEST_SIZE = 8192


def checked_size(size: Any) -> int:
    """Return the side of a frame in pixels.

    Raises:
        ValueError: If it is not a whole number from 1 to 8192.
    """
    if isinstance(size, numbers.Integral) and not isinstance(size, bool) and 1 <= int(size) <= _LARGEST_SIZE:
        return int(size)
    raise ValueError(f"render_size must be a whole number from 1 to {_LARGEST_SIZE}, not {size!r}")


def load_pygame() -> Any:
    """Return pygame.

    Raises:
        gymnasium.error.DependencyNotInstalled: If it is not there, naming what to install.
    """
    try:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame
    except ImportError as error:
        raise DependencyNotInstalled('drawing needs pygame: pip install "lsnn-gym[render]"') from error
    return pygame


class Window:
    """A window for frames. pygame has one; environments that are shown at once take turns in it.

    On Linux without a screen, the frames go to SDL's dummy driver: nothing is seen, and nothing fails.

    Args:
        caption: Of the window.
    """

    def __init__(self, caption: str) -> None:
        self._caption = caption
        self._next_frame_time = 0.0

    def show(self, frame: Frame, frames_per_second: float) -> None:
        """Show a frame ``[size, size, 3]``, no sooner than its turn comes."""
        pygame = load_pygame()
        if not pygame.display.get_init():
            _start_display(pygame)
            _windows.started_display = True
        _windows.open.add(self)
        side = (frame.shape[1], frame.shape[0])
        screen = pygame.display.get_surface()
        if screen is None or screen.get_size() != side:
            screen = pygame.display.set_mode(side)
            pygame.display.set_caption(self._caption)
        pygame.surfarray.blit_array(screen, frame.swapaxes(0, 1))
        pygame.event.pump()
        pygame.display.flip()
        if pygame.display.get_driver() != "dummy":  # nobody watches: no need to wait
            time.sleep(max(0.0, self._next_frame_time - time.monotonic()))
            self._next_frame_time = time.monotonic() + 1.0 / frames_per_second

    def close(self) -> None:
        """Close the window, unless another environment is still shown in it, or somebody else opened it."""
        if self not in _windows.open:
            return
        _windows.open.discard(self)
        if not _windows.open and _windows.started_display:
            _windows.started_display = False
            load_pygame().display.quit()


class _OpenWindows:
    """Who shows frames at the moment, and whether pygame's display was started for them."""

    def __init__(self) -> None:
        self.open: weakref.WeakSet[Window] = weakref.WeakSet()
        self.started_display = False


_windows = _OpenWindows()


def _start_display(pygame: Any) -> None:
    screenless = (
        sys.platform.startswith("linux")
        and "SDL_VIDEODRIVER" not in os.environ
        and not os.environ.get("DISPLAY")
        and not os.environ.get("WAYLAND_DISPLAY")
    )
    if not screenless:
        pygame.display.init()
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        pygame.display.init()
    finally:
        del os.environ["SDL_VIDEODRIVER"]  # only this display was meant
