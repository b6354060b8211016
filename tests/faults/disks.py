"""Disks that are full or may only be read."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.operations import failing
from tests.faults.trainings import Course, Outcome, reached


def fail_at_each_operation(courses: list[Course], code: int, step: int) -> Outcome:
    """Let the system refuse each operation on files of fresh trainings from some one on; then let them go on."""
    outcome = Outcome(f"{os.strerror(code)!r} for an operation on files and all later ones, each once")
    told = 0
    for course in courses:
        for run, ended in course.operations(failing(code), ever_after=True, step=step):
            outcome.injected += 1
            told += ended.status == 2
            if ended.status not in (0, 2) or "Traceback" in ended.said:
                outcome.lost.append(f"{course.name}: {ended}")
            elif ended.status == 2 and not _is_one_line(ended.said, code, run):
                outcome.lost.append(f"{course.name}: said {ended.said!r}")
            course.finished(run, outcome)
    outcome.about = f"{told} stopped with one line that names the place"
    return outcome


def _is_one_line(said: str, code: int, run: Path) -> bool:
    return (
        said.startswith(f"cannot write {run}")
        and said.endswith(f": {os.strerror(code)}\n")
        and said.count("\n") == 1
    )


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path | None]:
    """Give a file system in memory of this size; None where this user may not make one."""
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
    ):
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let a disk that ``small_disk`` made be read only."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def fill_disk(course: Course, disk: Path, times: int) -> Outcome:
    """Let a training run into a full disk with more and more space left at first; make space, and let it go on."""
    outcome = Outcome("a full disk (tmpfs)")
    run, ballast = disk / "run", disk / "ballast"
    furthest = 0
    for number in range(times):
        ballast.write_bytes(b"")
        free = os.statvfs(disk)
        left = 4096 * (1 + number)
        ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left)))
        ended = course.train(run)
        full = ended.status == 2 and ended.said.startswith(f"cannot write {run}")
        if full and ended.said.endswith(f"{os.strerror(errno.ENOSPC)}\n") and ended.said.count("\n") == 1:
            outcome.injected += 1
        elif ended.status:
            outcome.lost.append(f"{ended}")
        if run.exists():
            now = reached(run)
            outcome.lost += [f"back from {furthest} to {now}"] if now < furthest else []
            furthest = now
    ballast.unlink()
    course.finished(run, outcome)
    return outcome
