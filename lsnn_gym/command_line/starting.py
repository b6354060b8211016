"""From a command to a run under way: which experiment, which folder, begun or gone on with, by one process or many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click

from lsnn_gym.atomic import cannot_write
from lsnn_gym.errors import NotFiniteError, UserError
from lsnn_gym.experiment import Experiment, experiment_of, family_of, load_experiment
from lsnn_gym.folder_lock import holding
from lsnn_gym.settings import to_yaml
from lsnn_gym.training.distributed import (
    decided_by_writer,
    leave,
    process_group,
    remember,
    remembered,
    world_size,
    writes,
)
from lsnn_gym.training.loop import Trainer, resume, train
from lsnn_gym.training.run_folder import RunFolder

_RUN = "run"
"""Name under which restarted workers find the run's folder."""


@dataclass(frozen=True)
class Place:
    """Where a run is to be; at most one of the three.

    Attributes:
        out: Parent of a new run's folder.
        resume: A run to go on with.
        folder: A run's folder itself, new or not.
    """

    out: Path | None = None
    resume: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        run: Its folder.
        stopped_by: The signal that stopped it; None if it is complete.
        writes: Whether this is the process that goes on to judge and draw.
    """

    run: RunFolder
    stopped_by: str | None
    writes: bool


def planned_experiment(config: str | None, overrides: tuple[str, ...], place: Place) -> Experiment:
    """Return the experiment that is to be trained.

    Raises:
        UserError: What is given does not go together, or does not describe an experiment.
    """
    if place.resume is not None:
        if config is not None or overrides or place.out is not None or place.folder is not None:
            raise UserError(
                "--resume goes on with the run's own config.yaml: leave out CONFIG, --set, --out and --folder"
            )
        return experiment_of(RunFolder.open(place.resume))
    if config is None:
        raise UserError("expected a CONFIG (see `lsnn-gym list configs`), or --resume RUN")
    if place.out is not None and place.folder is not None:
        raise UserError("--folder is the run's folder itself and --out its parent: expected one of them")
    return load_experiment(config, overrides)


def train_or_go_on(experiment: Experiment, place: Place, *, show_progress: bool) -> Trained:
    """Train an experiment until it is complete or a stop is asked for; under ``torchrun``, with the other ranks.

    Workers that ``torchrun`` starts again after a fault go on from the last checkpoint of the run that they had
    begun, also if there are more or fewer of them.
    """
    with process_group(experiment.train.device), _ends_quietly_beside_rank_0():
        # Whatever can be refused is refused before a folder is made.
        trainer = family_of(experiment).make_trainer(experiment)
        with ExitStack() as held:
            run = _folder(experiment, place, held)
            stopped_by = _train(trainer, experiment, run, show_progress)
            return Trained(run, stopped_by, writes())


@contextmanager
def _ends_quietly_beside_rank_0() -> Iterator[None]:
    try:
        yield
    except NotFiniteError:
        if not writes():  # all ranks have it, and one line is enough
            leave(1)
        raise


def _train(trainer: Trainer, experiment: Experiment, run: RunFolder, show_progress: bool) -> str | None:
    family = family_of(experiment)
    done = resume(trainer, run)
    if writes():
        run.write_environment(seed=experiment.seed, ranks=world_size())
        shared = f", {world_size()} ranks" if world_size() > 1 else ""
        click.echo(f"{run.path}: {f'going on after iteration {done}' if done else experiment.name}{shared}")
    settings = experiment.train
    return train(
        trainer,
        run,
        iterations=settings.iterations,
        checkpoint_every=settings.checkpoint_every,
        checkpoints_kept=settings.checkpoints_kept,
        describe=family.headline,
        show_progress=show_progress,
    )


def _folder(experiment: Experiment, place: Place, held: ExitStack) -> RunFolder:
    """Return the run's folder, the same on all ranks; rank 0 makes it if need be.

    No other process gets in until ``held`` is closed.
    """
    begun = remembered(_RUN)
    known = place if begun is None else Place(resume=Path(begun))
    run = RunFolder(decided_by_writer(lambda: str(_claimed(experiment, known, held).path)))
    remember(_RUN, str(run.path))
    return run


def _claimed(experiment: Experiment, place: Place, held: ExitStack) -> RunFolder:
    if place.resume is not None:
        run = RunFolder.open(place.resume)
    elif place.folder is None:
        run = RunFolder.create(place.out or Path("runs"), experiment.name)
    else:
        run = RunFolder(place.folder)
        try:
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(run.path, error) from error
    # Should nothing be put into it, the folder is no run, and would be in the way.
    held.callback(_remove_if_empty, run.path)
    held.enter_context(holding(run.path, "training"))
    if place.resume is None:
        _begin(run, experiment)
    return run


def _begin(run: RunFolder, experiment: Experiment) -> None:
    if not run.config.is_file():
        run.write_config(to_yaml(experiment))
    elif experiment_of(run) != experiment:
        raise UserError(f"--folder {run.path}: there is a run with other settings; expected another folder")


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
