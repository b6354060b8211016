"""SIGKILL and Ctrl-C at random moments, and at each operation on files."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

from tests.faults.children import Ended
from tests.faults.operations import die, slow_disk
from tests.faults.trainings import Course, Moments, Outcome, is_half_saved, reached

_SLOW_S = 0.02

Signals = tuple[tuple[float, signal.Signals], ...]
"""Each with the seconds of waiting before it."""


def kill_trainings(courses: list[Course], kills: int, chance: Random) -> Outcome:
    """Kill trainings at random moments; each goes on until it is killed again, or done."""
    outcome = Outcome("SIGKILL while training")
    for _, _, ended in _disturbed(courses, kills, chance, outcome, _killed, slow=0.0):
        _check_killed(ended, outcome)
    return outcome


def kill_saving(courses: list[Course], kills: int, chance: Random) -> Outcome:
    """The same on a slow disk: most of the time then goes into saving."""
    outcome = Outcome("SIGKILL while checkpointing, on a slow disk")
    halves = 0
    for _, run, ended in _disturbed(courses, kills, chance, outcome, _killed, slow=_SLOW_S):
        _check_killed(ended, outcome)
        halves += is_half_saved(run)
    outcome.about = f"{halves} within a checkpoint half written"
    return outcome


def kill_at_each_operation(courses: list[Course], step: int) -> Outcome:
    """Kill fresh trainings just before each operation on files that they do, or each ``step``-th, one run each."""
    outcome = Outcome("SIGKILL before an operation on files, each once")
    for course in courses:
        for run, ended in course.operations(die, step=step):
            outcome.injected += 1
            if ended.status != -signal.SIGKILL:
                outcome.lost.append(f"{course.name}: survived its death: {ended}")
            course.finished(run, outcome)
    return outcome


def interrupt_twice(courses: list[Course], times: int, chance: Random) -> Outcome:
    """Press Ctrl-C at a random moment and once more soon after, on a slow disk."""
    outcome = Outcome("Ctrl-C twice")
    at_once = 0

    def pressed(first: float) -> Signals:
        return (first, signal.SIGINT), (chance.uniform(0, 0.1), signal.SIGINT)

    for course, _, ended in _disturbed(courses, times, chance, outcome, pressed, slow=_SLOW_S):
        at_once += "interrupted" in ended.said
        if ended.status != 130 or "Traceback" in ended.said:
            outcome.lost.append(f"{course.name}: {ended}")
    outcome.about = f"exit status 130 each time; {at_once} stopped at once, the others had saved before"
    return outcome


def _killed(moment: float) -> Signals:
    return ((moment, signal.SIGKILL),)


def _check_killed(ended: Ended, outcome: Outcome) -> None:
    if ended.status != -signal.SIGKILL:
        outcome.lost.append(f"not killed: {ended}")


def _disturbed(
    courses: list[Course],
    times: int,
    chance: Random,
    outcome: Outcome,
    signals: Callable[[float], Signals],
    slow: float,
) -> Iterator[tuple[Course, Path, Ended]]:
    """Send signals to trainings that go on until they are done, then to the next ones; compare each in the end.

    Args:
        courses: Which share the disturbances.
        times: How many, in all.
        chance: Of the moments.
        outcome: Gets what is found.
        signals: What is sent, given the moment of the first.
        slow: Seconds that each wait for the disk takes more.

    Yields:
        After each disturbance that met a living one: the course, the run and how the process ended.
    """
    for course, share in zip(courses, _shares(times, len(courses)), strict=True):
        # About six waits a checkpoint, and one iteration has one.
        moments = Moments(chance, course.seconds + 6 * slow * course.experiment.train.iterations)
        left = share
        while left:
            run, iteration = course.new_folder(), 0
            while left:
                ended = course.train(run, partial(slow_disk, slow), signals(moments()))
                moments.met(alive=ended.status != 0)
                if ended.status == 0:
                    break
                left -= 1
                outcome.injected += 1
                yield course, run, ended
                iteration = _not_back(course, run, iteration, outcome)
            course.finished(run, outcome)


def _not_back(course: Course, run: Path, iteration: int, outcome: Outcome) -> int:
    """Return how far a run is; it must not be less far than before."""
    now = reached(run) if run.exists() else 0
    if now < iteration:
        outcome.lost.append(f"{course.name}: back from iteration {iteration} to {now}")
    return now


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]
