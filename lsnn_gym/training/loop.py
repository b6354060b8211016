"""The loop that every trainer shares: iterations, metrics, checkpoints, progress, a clean stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from tqdm import tqdm

from lsnn_gym.training.allocator import keep_freed_memory
from lsnn_gym.training.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
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
        """Return everything needed to go on from here."""
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
    if newest is not None:
        trainer.restore(load_checkpoint(newest))
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
    leaves the same file as an undisturbed one; seconds go to ``timing.jsonl``.

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
    with (
        StopRequest() as stop,
        MetricsLog(run.metrics) as metrics,
        MetricsLog(run.timing) as timing,
        TensorBoardLog(run.tensorboard, purge_step=done + 1) as events,
        tqdm(total=iterations, initial=done, disable=not show_progress, unit="it", dynamic_ncols=True) as bar,
    ):
        metrics.truncate_after(done)
        timing.truncate_after(done)
        saved = done
        while trainer.finished_iterations < iterations and stop.requested is None:
            started = time.perf_counter()
            figures = trainer.run_iteration()
            seconds = time.perf_counter() - started
            speed = (figures.get("environment_steps") or figures.get("simulation_steps") or 0) / seconds
            metrics.append(figures)
            times: dict[str, float] = {"seconds": seconds, "steps_per_second": speed}
            if isinstance(trainer, MeasuresCosts):
                times |= trainer.costs()
            timing.append({"iteration": figures["iteration"], **times})
            events.log(trainer.finished_iterations, figures | times)
            bar.set_postfix({**describe(figures), "steps/s": f"{speed:,.0f}"}, refresh=False)
            bar.update()
            if trainer.finished_iterations % checkpoint_every == 0:
                metrics.sync()
                save_checkpoint(run.checkpoints, trainer.checkpoint(), keep=checkpoints_kept)
                saved = trainer.finished_iterations
        if trainer.finished_iterations > saved:
            metrics.sync()
            save_checkpoint(run.checkpoints, trainer.checkpoint(), keep=checkpoints_kept)
    return stop.requested if trainer.finished_iterations < iterations else None
