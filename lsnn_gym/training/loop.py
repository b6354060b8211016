"""The loop that every trainer shares: iterations, metrics, checkpoints, progress, a clean stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Protocol, runtime_checkable

from tqdm import tqdm

from lsnn_gym.errors import UserError, shortened
from lsnn_gym.training.allocator import keep_freed_memory
from lsnn_gym.training.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from lsnn_gym.training.distributed import from_writer, gather_json, writes
from lsnn_gym.training.interrupt import StopRequest
from lsnn_gym.training.metrics import MetricsLog, TensorBoardLog
from lsnn_gym.training.run_folder import RunFolder

Figures = dict[str, float | int | None]


class Trainer(Protocol):
    """What the loop needs of a trainer."""

    @property
    def finished_iterations(self) -> int:
        """Return how many iterations are done, those before a resume included."""
        ...

    def run_iteration(self) -> Figures:
        """Do one iteration and return its figures.

        Among them are ``iteration`` and either ``environment_steps`` or ``simulation_steps``.
        """
        ...

    def checkpoint(self) -> Checkpoint:
        """Return everything needed to go on from here; of several ranks, all call it."""
        ...

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        ...


@runtime_checkable
class MeasuresCosts(Protocol):
    """A trainer that says what an iteration took."""

    def costs(self) -> Mapping[str, float]:
        """Return seconds, memory and the like of the last iteration, by name."""
        ...


def resume(trainer: Trainer, run: RunFolder) -> int:
    """Put ``trainer`` where the newest checkpoint of ``run`` left it, or leave it at the start if there is none.

    Returns:
        The number of finished iterations.

    Raises:
        UserError: If the checkpoint is damaged, foreign or of a newer format; nothing is overwritten then.
    """
    newest = latest_checkpoint(run.checkpoints)
    # All ranks go on from the same one, also where a shared disk shows some of them an older state.
    name = from_writer(None if newest is None else newest.name)
    if name is not None:
        path = run.checkpoints / name
        checkpoint = load_checkpoint(path)
        try:
            trainer.restore(checkpoint)
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
            # Made by hand, with checksums that are right: each trainer's own part is then of some other kind.
            told = shortened(f"{type(error).__name__}: {' '.join(str(error).split())}", 200)
            raise UserError(f"{path} is not laid out as this run's checkpoints: {told}") from error
    return trainer.finished_iterations


def train(
    trainer: Trainer,
    run: RunFolder,
    *,
    iterations: int,
    checkpoint_every: int,
    checkpoints_kept: int,
    describe: Callable[[Mapping[str, float | int | None]], Mapping[str, str]],
    show_progress: bool = True,
) -> str | None:
    """Train until ``iterations`` are done or a stop is asked for, leaving a checkpoint in either case.

    ``metrics.jsonl`` holds only what follows from seed and settings, so that an interrupted and resumed run
    leaves the same file as an undisturbed one; seconds go to ``timing.jsonl``. Of several ranks, all call this with
    trainers that share each batch; rank 0 writes, and a stop asked of one stops all after the same iteration.

    Args:
        trainer: At the start, or restored by ``resume``.
        run: Where everything is written.
        iterations: In all, those before a resume included.
        checkpoint_every: Iterations between checkpoints.
        checkpoints_kept: Older ones are removed.
        describe: Picks and formats the figures for the progress bar.
        show_progress: Whether to draw a progress bar.

    Returns:
        The name of the signal that asked for the stop, or None if the training is complete.
    """
    keep_freed_memory()
    done = trainer.finished_iterations
    with StopRequest() as stop, _Record(run, done, iterations, describe, show_progress) as record:
        saved, stopped_by = done, _asked_of_any(stop)
        while trainer.finished_iterations < iterations and stopped_by is None:
            started = time.perf_counter()
            figures = trainer.run_iteration()
            seconds = time.perf_counter() - started
            costs = trainer.costs() if isinstance(trainer, MeasuresCosts) else {}
            record.add(trainer.finished_iterations, figures, seconds, costs)
            stopped_by = _asked_of_any(stop)
            if trainer.finished_iterations % checkpoint_every == 0:
                record.save(trainer.checkpoint(), checkpoints_kept)
                saved = trainer.finished_iterations
        if trainer.finished_iterations > saved:
            record.save(trainer.checkpoint(), checkpoints_kept)
        # No rank leaves before rank 0 has saved: a launcher that sees one gone stops the others.
        gather_json(None)
    return stopped_by if trainer.finished_iterations < iterations else None


def _asked_of_any(stop: StopRequest) -> str | None:
    return next((each for each in gather_json(stop.requested) if each is not None), None)


class _Record:
    """What a training leaves in its folder and shows; nothing on ranks other than 0."""

    def __init__(
        self,
        run: RunFolder,
        done: int,
        iterations: int,
        describe: Callable[[Mapping[str, float | int | None]], Mapping[str, str]],
        show_progress: bool,
    ) -> None:
        self._run = run
        self._describe = describe
        self._open = ExitStack()
        self._writes = writes()
        if not self._writes:
            return
        with ExitStack() as opened:
            self._metrics = opened.enter_context(MetricsLog(run.metrics))
            self._timing = opened.enter_context(MetricsLog(run.timing))
            self._events = opened.enter_context(TensorBoardLog(run.tensorboard, purge_step=done + 1))
            self._bar = opened.enter_context(
                tqdm(total=iterations, initial=done, disable=not show_progress, unit="it", dynamic_ncols=True)
            )
            self._metrics.truncate_after(done)
            self._timing.truncate_after(done)
            self._open = opened.pop_all()

    def __enter__(self) -> _Record:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def add(self, finished: int, figures: Figures, seconds: float, costs: Mapping[str, float]) -> None:
        """Write and show the figures of an iteration, and what it took."""
        if not self._writes:
            return
        speed = (figures.get("environment_steps") or figures.get("simulation_steps") or 0) / seconds
        self._metrics.append(figures)
        times = {"seconds": seconds, "steps_per_second": speed, **costs}
        self._timing.append({"iteration": figures["iteration"], **times})
        self._events.log(finished, figures | times)
        self._bar.set_postfix({**self._describe(figures), "steps/s": f"{speed:,.0f}"}, refresh=False)
        self._bar.update()

    def save(self, checkpoint: Checkpoint, keep: int) -> None:
        """Write a checkpoint."""
        if self._writes:
            self._metrics.sync()
            save_checkpoint(self._run.checkpoints, checkpoint, keep=keep)
