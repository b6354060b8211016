"""The loop that every trainer shares: iterations, metrics, checkpoints, progress, a clean stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Protocol, runtime_checkable

from tqdm import tqdm

from lsnn_gym.errors import NotFiniteError, UserError, one_line
from lsnn_gym.training.allocator import keep_freed_memory
from lsnn_gym.training.checkpoint import (
    Checkpoint,
    DamagedCheckpointError,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    whole_before,
)
from lsnn_gym.training.distributed import decided_by_writer, gather_json, writes
from lsnn_gym.training.finite import check_finite_checkpoint, save_not_finite
from lsnn_gym.training.interrupt import StopRequest
from lsnn_gym.training.metrics import MetricsLog, TensorBoardLog, cut_to, extent_problem
from lsnn_gym.training.run_folder import RunFolder

Figures = dict[str, float | int | None]

_METRICS = "metrics"
"""Under which a checkpoint's plain values have what the metrics file was when it was saved."""

_TOLD = "\nStopping after this iteration, to save; Ctrl-C once more stops at once.\n"

_log = logging.getLogger(__name__)


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

    Where the newest checkpoint is damaged, or the metrics until then, it goes on from an older one before the damage,
    and says so: training comes to the same from there.

    Returns:
        The number of finished iterations.

    Raises:
        UserError: If no checkpoint is whole, or one is foreign or of a newer format; nothing is overwritten then.
    """
    # All ranks go on from the same one, also where a shared disk shows some of them an older state.
    name = decided_by_writer(lambda: _newest_whole(run))
    if name is not None:
        path = run.checkpoints / name
        checkpoint = load_checkpoint(path)
        try:
            trainer.restore(checkpoint)
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
            # Made by hand, with checksums that are right: each trainer's own part is then of some other kind.
            told = one_line(f"{type(error).__name__}: {error}", 200)
            raise UserError(f"{path} is not laid out as this run's checkpoints: {told}") from error
        if writes() and _METRICS in checkpoint.scalars:
            # Later lines are written again; whatever became of them must not stop the run.
            cut_to(run.metrics, checkpoint.scalars[_METRICS])
    return trainer.finished_iterations


def _newest_whole(run: RunFolder) -> str | None:
    """Return the name of the newest checkpoint with which all is well, and say which ones are passed over."""
    path = latest_checkpoint(run.checkpoints)
    while path is not None:
        try:
            extent = load_checkpoint(path).scalars.get(_METRICS)
        except DamagedCheckpointError as error:
            problem, older, hint = error.reason, error.older, ""
        else:
            problem = None if extent is None else extent_problem(run.metrics, extent)
            if problem is None:
                return path.name
            if not run.metrics.exists():
                _log.warning("%s is missing: going on without the lines before", run.metrics)
                return path.name
            older, hint = whole_before(path), "; move it away to go on without its lines"
        if older is None:
            raise UserError(f"{problem}; no older checkpoint is whole{hint}")
        _log.warning("%s; going on from %s", problem, older)
        path = older
    return None


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

    Raises:
        NotFiniteError: There is NaN or infinity; the state just before is in ``run.not_finite``.
        UserError: Something cannot be written; the checkpoints of before are whole.
    """
    keep_freed_memory()
    done = trainer.finished_iterations
    with (
        StopRequest(_TOLD if writes() else None) as stop,
        _Record(run, done, iterations, describe, show_progress) as record,
    ):
        saved, stopped_by = done, _asked_of_any(stop)
        while trainer.finished_iterations < iterations and stopped_by is None:
            started, processor = time.perf_counter(), time.process_time()
            try:
                figures = trainer.run_iteration()
            except NotFiniteError as error:
                raise _with_state(error, trainer, run) from None
            seconds = time.perf_counter() - started
            costs = {"processor_seconds": time.process_time() - processor}
            costs |= trainer.costs() if isinstance(trainer, MeasuresCosts) else {}
            record.add(trainer.finished_iterations, figures, seconds, costs)
            stopped_by = _asked_of_any(stop)
            if trainer.finished_iterations % checkpoint_every == 0:
                record.save(trainer, checkpoints_kept)
                saved = trainer.finished_iterations
        if trainer.finished_iterations > saved:
            record.save(trainer, checkpoints_kept)
        # No rank leaves before rank 0 has saved: a launcher that sees one gone stops the others.
        gather_json(None)
    return stopped_by if trainer.finished_iterations < iterations else None


def _with_state(error: NotFiniteError, trainer: Trainer, run: RunFolder) -> NotFiniteError:
    """Save what there is just before the step that is not taken, and say where; of several ranks, all call it."""
    error.iteration = trainer.finished_iterations + (error.batch is not None)
    checkpoint = trainer.checkpoint()
    about = {"iteration": error.iteration, "seed": getattr(trainer, "seed", None)}
    try:
        save_not_finite(run.not_finite, error, checkpoint if writes() else None, about)
        error.saved = run.not_finite
    except UserError as reason:  # a full disk must not hide what was found
        _log.warning("%s", reason)
    gather_json(None)  # no rank leaves before the others have saved
    return error


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

    def save(self, trainer: Trainer, keep: int) -> None:
        """Write a checkpoint; of several ranks, all call it.

        Raises:
            NotFiniteError: On all ranks, if a weight is not finite: such a checkpoint would be of no use.
        """
        checkpoint = trainer.checkpoint()
        try:
            check_finite_checkpoint(checkpoint)
        except NotFiniteError as error:
            raise _with_state(error, trainer, self._run) from None
        if self._writes:
            self._metrics.sync()
            scalars = {**checkpoint.scalars, _METRICS: self._metrics.extent()}
            save_checkpoint(self._run.checkpoints, replace(checkpoint, scalars=scalars), keep=keep)
