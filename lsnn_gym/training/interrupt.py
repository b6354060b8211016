"""Stopping at a safe point instead of in the middle of a step."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

_Handler = Callable[[int, FrameType | None], object] | int | None


class StopRequest:
    """While entered, Ctrl-C and SIGTERM only ask for a stop; the loop looks at :attr:`requested`.

    ::

        with StopRequest() as stop:
            while not stop.requested and iteration < last:
                ...
            save()

    A second Ctrl-C raises KeyboardInterrupt at once. On leaving, the former handlers are back. Outside the
    main thread, where Python delivers no signals, it does nothing; a signal that was ignored stays ignored.

    Args:
        told: What to say on standard error at the first signal; None for nothing.

    Attributes:
        requested: ``"SIGINT"`` (Ctrl-C) or ``"SIGTERM"``, whichever came first; None while none came.
    """

    def __init__(self, told: str | None = None) -> None:
        self._told = told
        self.requested: str | None = None
        self._interrupted = False
        self._former: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                former = signal.getsignal(number)
                # Ignored: started with nohup or in the background. None: not installed from Python.
                if former not in (signal.SIG_IGN, None):
                    self._former[number] = former
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)
        self._former.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._interrupted:
            if not _is_swallowed(frame):
                raise KeyboardInterrupt
            threading.Timer(0.01, _interrupt_again).start()
            return
        self._interrupted |= number == signal.SIGINT
        if self.requested is None and self._told is not None:
            with contextlib.suppress(OSError):
                os.write(2, self._told.encode())  # no print: what was interrupted may be printing
        self.requested = self.requested or signal.Signals(number).name


def _interrupt_again() -> None:
    if hasattr(signal, "pthread_kill"):  # which also ends a wait of the main thread
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _is_swallowed(frame: FrameType | None) -> bool:
    """Return whether Python would drop an exception in ``frame``, with a traceback: it does within ``__del__``."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
