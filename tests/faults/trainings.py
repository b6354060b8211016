"""Small trainings that are disturbed and go on, and what they have to come to."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import count
from pathlib import Path
from random import Random
from signal import Signals

from lsnn_gym.command_line.starting import Place, train_or_go_on
from lsnn_gym.errors import NotFiniteError, UserError
from lsnn_gym.experiment import Experiment, experiment_from
from lsnn_gym.training import run_folder
from lsnn_gym.training.checkpoint import latest_checkpoint, load_checkpoint
from tests.faults.children import Ended, run_child
from tests.faults.operations import Suffering
from tests.training.ranks_worker import EXPERIMENTS

NEVER = 50
"""Exit status of a child that did not come to the operation at which it was to suffer."""

NAMES = ("supervised", "ppo", "regression")
"""Of experiments of seconds, with connections rewired and a state carried from batch to batch: much to go on with."""


def experiment(name: str, iterations: int) -> Experiment:
    """Return a small experiment that saves after each iteration."""
    train = {"iterations": iterations, "checkpoint_every": 1, "checkpoints_kept": 2, "threads": 1}
    mapping = EXPERIMENTS[name]
    return experiment_from({**mapping, "train": {**mapping["train"], **train}}, name)


def warm_up(folder: Path) -> None:
    """Import whatever the children need, once; and spare them asking Git for the commit."""
    run_folder._git = dict
    with redirect_stdout(StringIO()):
        for name in NAMES:
            as_the_command_line(experiment(name, 1), folder / name)


@dataclass
class Outcome:
    """What came of a kind of fault.

    Attributes:
        fault: In words.
        injected: How many.
        resumed: How many runs went on to their end after them.
        lost: What was not as undisturbed, in words.
        about: What else is worth saying.
    """

    fault: str
    injected: int = 0
    resumed: int = 0
    lost: list[str] = field(default_factory=list)
    about: str = ""


class Course:
    """One experiment, trained undisturbed once, and disturbed as often as is asked for.

    Args:
        name: Of a config.
        iterations: Of the training.
        folder: For all its runs.
    """

    def __init__(self, name: str, iterations: int, folder: Path) -> None:
        self.name = name
        self.experiment = experiment(name, iterations)
        self.folder = folder
        self._errors = folder / "errors.txt"
        self._numbers = count()
        folder.mkdir(parents=True)
        started = time.perf_counter()
        ended = self.train(folder / "undisturbed")
        self.seconds = time.perf_counter() - started
        if ended.status:
            raise RuntimeError(f"the undisturbed run ended with status {ended.status}: {ended.said}")
        self._expected = leavings(folder / "undisturbed")

    def new_folder(self) -> Path:
        """Return a folder that does not exist yet."""
        return self.folder / f"run-{next(self._numbers)}"

    def train(
        self,
        run: Path,
        prepare: Callable[[], object] = lambda: None,
        signals: Sequence[tuple[float, Signals]] = (),
    ) -> Ended:
        """Begin the training in ``run``, or go on with it, in a child that calls ``prepare`` first."""

        def work() -> int:
            prepare()
            return as_the_command_line(self.experiment, run)

        return run_child(work, self._errors, signals)

    def finished(self, run: Path, outcome: Outcome) -> None:
        """Let a disturbed run go on to its end, and compare it."""
        ended = self.train(run)
        if ended.status:
            outcome.lost.append(f"{self.name}: could not go on: {ended.said.strip()}")
        else:
            self.compare(run, outcome)

    def compare(self, run: Path, outcome: Outcome) -> None:
        """Compare a run that came to its end with the undisturbed one, byte for byte."""
        outcome.resumed += 1
        found = leavings(run)
        outcome.lost += [
            f"{self.name}: {name} differs"
            for name in self._expected
            if found.get(name) != self._expected[name]
        ]

    def operations(
        self, act: Callable[[], None], *, ever_after: bool = False, step: int = 1
    ) -> Iterator[tuple[Path, Ended]]:
        """Disturb a fresh run at each of its operations on files, one run each; yield it and how it ended.

        Args:
            act: What it suffers.
            ever_after: Whether from then on.
            step: Only each ``step``-th operation.
        """
        for number in count(0, step):
            run = self.new_folder()

            def work(number: int = number, run: Path = run) -> int:
                suffering = Suffering(number, run, act, ever_after=ever_after)
                status = as_the_command_line(self.experiment, run)
                return status if suffering.came else NEVER

            ended = run_child(work, self._errors)
            if ended.status == NEVER:
                return
            yield run, ended


def as_the_command_line(experiment: Experiment, run: Path) -> int:
    """Train or go on; return the exit status that the command line has, and say on standard error what it says."""
    try:
        stopped_by = train_or_go_on(experiment, Place(folder=run), show_progress=False).stopped_by
    except (UserError, NotFiniteError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return {None: 0, "SIGINT": 130, "SIGTERM": 143}[stopped_by]


def leavings(run: Path) -> dict[str, bytes]:
    """Return what has to be the same however a run was disturbed: metrics and the last checkpoint's files."""
    newest = latest_checkpoint(run / "checkpoints")
    files = {} if newest is None else {each.name: each.read_bytes() for each in newest.iterdir()}
    return {**files, "metrics.jsonl": (run / "metrics.jsonl").read_bytes()}


def reached(run: Path) -> int:
    """Return after which iteration the newest checkpoint is, 0 if there is none; it has to be whole."""
    newest = latest_checkpoint(run / "checkpoints")
    return 0 if newest is None else load_checkpoint(newest).iteration


def is_half_saved(run: Path) -> bool:
    """Return whether a checkpoint was being written or removed when its process died."""
    return any((run / "checkpoints").glob(".[0-9]*.tmp"))


class Moments:
    """Random moments within a training whose length is not known: how fast this machine is may change meanwhile.

    Args:
        chance: Source of the moments.
        seconds: How long it takes, at first sight.
    """

    def __init__(self, chance: Random, seconds: float) -> None:
        self._chance = chance
        self._span = seconds

    def __call__(self) -> float:
        """Return a moment, in seconds from the start."""
        return self._chance.uniform(0, self._span)

    def met(self, *, alive: bool) -> None:
        """Learn whether the training was still alive then."""
        self._span *= 1.04 if alive else 0.8
