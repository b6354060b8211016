"""SIGKILL and Ctrl-C at random moments, and at each operation on files."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from random import Random

from tests.faults.children import Ended
from tests.faults.operations import die, slow_disk
from tests.faults.trainings import Course, Moments, Outcome, is_half_saved, reached

_SLOW_S = 0.02


def kill_trainings(courses: list[Course], kills: int, chance: Random) -> Outcome:
    """Kill trainings at random moments; each goes on until it is killed again, or done."""
    outcome = Outcome("SIGKILL while training")
    _kill(courses, kills, chance, outcome, slow=0.0)
    return outcome


def kill_saving(courses: list[Course], kills: int, chance: Random) -> Outcome:
    """The same on a slow disk: most of the time then goes into saving."""
    outcome = Outcome("SIGKILL while checkpointing, on a slow disk")
    halves = _kill(courses, kills, chance, outcome, slow=_SLOW_S)
    outcome.about = f"{halves} within a checkpoint half written"
    return outcome


def _kill(courses: list[Course], kills: int, chance: Random, outcome: Outcome, slow: float) -> int:
    halves = 0
    for course, share in zip(courses, _shares(kills, len(courses)), strict=True):
        # Five waits a checkpoint, and one iteration has one.
        moments = Moments(chance, course.seconds + 6 * slow * course.experiment.train.iterations)
        left = share
        while left:
            run, iteration = course.new_folder(), 0
            while left:
                ended = course.train(run, partial(slow_disk, slow), ((moments(), signal.SIGKILL),))
                moments.met(alive=ended.status != 0)
                if ended.status == 0:
                    break
                if ended.status != -signal.SIGKILL:
                    outcome.lost.append(f"{course.name}: {ended}")
                left -= 1
                outcome.injected += 1
                halves += is_half_saved(run)
                iteration = _not_back(course, run, iteration, outcome)
            course.finished(run, outcome)
    return halves


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
    for course, share in zip(courses, _shares(times, len(courses)), strict=True):
        moments = Moments(chance, course.seconds + 6 * _SLOW_S * course.experiment.train.iterations)
        left = share
        while left:
            run, iteration = course.new_folder(), 0
            while left:
                signals = ((moments(), signal.SIGINT), (chance.uniform(0, 0.1), signal.SIGINT))
                ended = course.train(run, partial(slow_disk, _SLOW_S), signals)
                moments.met(alive=ended.status != 0)
                if ended.status == 0:
                    break
                left -= 1
                outcome.injected += 1
                at_once += "interrupted" in ended.said
                if not _ended_as_interrupted(ended):
                    outcome.lost.append(f"{course.name}: {ended}")
                if run.exists():
                    iteration = _not_back(course, run, iteration, outcome)
            course.finished(run, outcome)
    outcome.about = f"exit status 130 each time; {at_once} stopped at once, the others had saved before"
    return outcome


def _ended_as_interrupted(ended: Ended) -> bool:
    return ended.status == 130 and "Traceback" not in ended.said


def _not_back(course: Course, run: Path, iteration: int, outcome: Outcome) -> int:
    """Return how far a run is; it must not be less far than before."""
    now = reached(run) if run.exists() else 0
    if now < iteration:
        outcome.lost.append(f"{course.name}: back from iteration {iteration} to {now}")
    return now


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]
