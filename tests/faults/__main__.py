"""Inject faults and see what is lost: ``python -m tests.faults --kills 200``.

Trainings of seconds are killed, interrupted and damaged, go on, and are compared byte for byte with undisturbed ones.
Prints a table in Markdown; exits 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import errno
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import torch
from tqdm import tqdm

from tests.faults.damage import damage_data, damage_runs
from tests.faults.disks import fail_at_each_operation, fill_disk, small_disk
from tests.faults.fetching import kill_fetching
from tests.faults.kills import interrupt_twice, kill_at_each_operation, kill_saving, kill_trainings
from tests.faults.trainings import NAMES, Course, Outcome, warm_up

ITERATIONS = 5


def outcomes(folder: Path, kills: int, seed: int, step: int) -> Iterator[Outcome | list[Outcome]]:
    """Inject all kinds of faults, one after the other.

    Args:
        folder: For everything.
        kills: At random moments, in all; as many interruptions as a third of them.
        seed: Of the moments.
        step: Only each ``step``-th operation on files is disturbed.
    """
    chance = Random(seed)
    torch.set_num_threads(1)  # a fork takes no other threads along
    # Progress bars share a semaphore with forked processes, which one that is killed may hold for ever, and have a
    # thread that may hold their lock while a fork is made.
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0
    warm_up(folder / "warm")
    courses = [Course(name, ITERATIONS, folder / name) for name in NAMES]
    short = [Course("supervised", 2, folder / "short")]
    yield kill_trainings(courses, kills - 2 * (kills // 3), chance)
    yield kill_saving(courses, kills // 3, chance)
    yield kill_fetching(folder / "data", kills // 3, chance)
    yield kill_at_each_operation(short, step)
    yield interrupt_twice(courses, kills // 3, chance)
    yield fail_at_each_operation(short, errno.ENOSPC, step)
    yield fail_at_each_operation(short, errno.EROFS, step)
    with small_disk(folder / "disk", "2m") as disk:
        if disk is not None:
            yield fill_disk(courses[0], disk, max(3, kills // 10))
    yield damage_runs(courses, max(2, kills // 5), chance)
    yield damage_data(folder / "made", kills, chance)


def table(found: Sequence[Outcome]) -> str:
    """Return what was found in Markdown."""
    rows = [
        f"| {each.fault} | {each.injected:,} | {each.resumed:,} | {'; '.join(each.lost) or 'nothing'} | {each.about} |"
        for each in found
    ]
    return "\n".join(
        ["| fault | injected | went on to the end | lost | |", "| --- | --- | --- | --- | --- |", *rows]
    )


def main(arguments: Sequence[str], tell: Callable[[str], object] = print) -> int:
    """Inject what is asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--kills", type=int, default=200, help="at random moments")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--step", type=int, default=1, help="disturb each so-many-th operation on files")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=given.folder))
    found: list[Outcome] = []
    try:
        for each in outcomes(folder, given.kills, given.seed, given.step):
            found += each if isinstance(each, list) else [each]
            print(found[-1], file=sys.stderr)
    finally:
        shutil.rmtree(folder)
    tell(table(found))
    lost = sum(len(each.lost) for each in found)
    tell(f"\n{sum(each.injected for each in found):,} faults, {lost} losses")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
