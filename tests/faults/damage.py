"""Bits flipped and ends cut off in every file that a run goes on from, and in a data file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import torch

from lsnn_gym.data.data_set import DataFile, FileSet
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import experiment_of
from lsnn_gym.training.checkpoint import Checkpoint, latest_checkpoint
from lsnn_gym.training.loop import resume
from lsnn_gym.training.run_folder import RunFolder
from tests.faults.trainings import Course, Outcome


class Remembers:
    """A trainer that only keeps what it is restored to."""

    def __init__(self) -> None:
        self.restored: Checkpoint | None = None

    @property
    def finished_iterations(self) -> int:
        return 0 if self.restored is None else self.restored.iteration

    def restore(self, checkpoint: Checkpoint) -> None:
        self.restored = checkpoint


def restored(run: RunFolder) -> Checkpoint | None:
    """Return what a run would go on from."""
    trainer = Remembers()
    resume(trainer, run)  # type: ignore[arg-type]
    return trainer.restored


def same(left: Checkpoint | None, right: Checkpoint | None) -> bool:
    """Return whether two checkpoints are equal bit for bit."""
    if left is None or right is None:
        return left is right
    pairs = [(left.model, right.model), (left.training, right.training)]
    return (left.iteration, left.scalars) == (right.iteration, right.scalars) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs
    )


@contextmanager
def warnings_of_training() -> Iterator[list[str]]:
    """Collect what is warned of meanwhile."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("lsnn_gym")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def flipped(content: bytes, chance: Random) -> bytes:
    """Return bytes with one bit changed."""
    changed = bytearray(content)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(content: bytes, chance: Random) -> bytes:
    """Return the beginning of bytes."""
    return content[: chance.randrange(len(content))]


def files_of(run: Path) -> list[Path]:
    """Return the files that a run goes on from."""
    newest = latest_checkpoint(run / "checkpoints")
    if newest is None:
        raise ValueError(f"{run}: no checkpoint")
    return [*sorted(newest.iterdir()), run / "config.yaml", run / "metrics.jsonl"]


def damage_runs(courses: list[Course], each: int, chance: Random) -> list[Outcome]:
    """Damage each file of a stopped run ``each`` times by a flip and by a cut, and look what it would go on from."""
    outcomes = []
    for name, change in (("a bit flipped", flipped), ("an end cut off", cut)):
        outcome = Outcome(f"{name} in weights, optimiser, state, config or metrics")
        counts = {"refused": 0, "older": 0, "unchanged": 0}
        for course in courses:
            run = RunFolder(course.folder / "undisturbed")
            for path in files_of(run.path):
                for _ in range(each):
                    counts[damage(run, path, change, chance, outcome)] += 1
        outcome.about = (
            f"{counts['older']} went on from the checkpoint before, with a warning; {counts['refused']} refused in one "
            f"line; {counts['unchanged']} without a meaning (blanks, last digits)"
        )
        outcomes.append(outcome)
    return outcomes


def damage(
    run: RunFolder,
    path: Path,
    change: Callable[[bytes, Random], bytes],
    chance: Random,
    outcome: Outcome,
) -> str:
    """Damage a file, see what that does, and mend it; return whether the run was refused, or goes on from where."""
    expected, settings = restored(run), experiment_of(run)
    metrics, content = run.metrics.read_bytes(), path.read_bytes()
    path.write_bytes(change(content, chance))
    outcome.injected += 1
    try:
        with warnings_of_training() as told:
            found, read = restored(run), experiment_of(run)
    except UserError as error:
        if str(path) not in str(error) or "\n" in str(error):
            outcome.lost.append(f"{path.name}: not named in {error}")
        return "refused"
    finally:
        path.write_bytes(content)
        run.metrics.write_bytes(metrics)
    if same(found, expected) and read == settings and not told:
        outcome.resumed += 1
        return "unchanged"
    if read != settings or found is None or expected is None or found.iteration >= expected.iteration:
        outcome.lost.append(f"{path.name}: taken for whole")
    elif not told or not told[0].startswith(str(path)) or "going on from" not in told[0]:
        outcome.lost.append(f"{path.name}: not named in {told}")
    outcome.resumed += 1
    return "older"


def damage_data(folder: Path, times: int, chance: Random) -> Outcome:
    """Damage a file of a data set; loading it has to name it and the checksum that it should have."""
    outcome = Outcome("a bit flipped or an end cut off in a data file", about="all refused in one line")
    content = chance.randbytes(5000)
    folder.mkdir()
    file = DataFile("made.bin", f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), ())
    made = FileSet("made", "made for this", "nobody", "none", files=(file,))
    for number in range(times):
        (folder / file.name).write_bytes((flipped if number % 2 else cut)(content, chance))
        outcome.injected += 1
        try:
            made.whole_file(folder, file.name)
            outcome.lost.append("a damaged data file was taken for whole")
        except UserError as error:
            if str(folder / file.name) not in str(error):
                outcome.lost.append(f"not named in {error}")
    return outcome
