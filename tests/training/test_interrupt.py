from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lsnn_gym.training.interrupt import StopRequest


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)  # lets the interpreter run the handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_a_stop(number: signal.Signals):
    with StopRequest() as stop:
        assert stop.requested is None
        send(number)
        assert stop.requested == number.name
    assert stop.requested == number.name


def test_a_second_interrupt_raises_at_once():
    with StopRequest() as stop:
        send(signal.SIGINT)
        assert stop.requested == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigterm_before_or_after_does_not_count_as_an_interrupt():
    with StopRequest() as stop:
        send(signal.SIGTERM)
        send(signal.SIGINT)
        send(signal.SIGTERM)
        assert stop.requested == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_former_handlers_are_back_even_after_an_error():
    def own(number: int, frame: object) -> None: ...

    def fail() -> None:
        with StopRequest():
            assert signal.getsignal(signal.SIGTERM) is not own
            raise RuntimeError("failed")

    former = signal.signal(signal.SIGTERM, own)
    try:
        with pytest.raises(RuntimeError, match="failed"):
            fail()
        assert signal.getsignal(signal.SIGTERM) is own
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, former)


def test_nested():
    with StopRequest() as outer:
        with StopRequest() as inner:
            send(signal.SIGINT)
        assert (inner.requested, outer.requested) == ("SIGINT", None)
        send(signal.SIGINT)
        assert outer.requested == "SIGINT"


def test_ignored_signals_stay_ignored():
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            send(signal.SIGINT)
            assert stop.requested is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)


def test_outside_the_main_thread_nothing_happens():
    found: list[object] = []

    def work() -> None:
        try:
            with StopRequest() as stop:
                found.append(stop.requested)
        except ValueError as error:
            found.append(error)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loop_saves_before_it_ends():
    program = (
        "import time\n"
        "from lsnn_gym.training.interrupt import StopRequest\n"
        "with StopRequest() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while not stop.requested:\n"
        "        time.sleep(0.01)\n"
        "    print('saved', stop.requested, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.read() == "saved SIGTERM\n"
    assert child.returncode == 0


class Dying:
    """Is interrupted while it is taken down, where Python drops exceptions."""

    def __del__(self) -> None:
        send(signal.SIGINT)


def test_a_second_interrupt_within_a_finalizer_is_not_lost():
    with StopRequest():
        send(signal.SIGINT)
        dying = [Dying()]
        dying.clear()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(60)


def test_the_first_signal_is_answered(capfd: pytest.CaptureFixture[str]):
    with StopRequest("stopping soon\n"):
        send(signal.SIGTERM)
        send(signal.SIGINT)
    assert capfd.readouterr().err == "stopping soon\n"
