"""The command line, but rank 1 is killed in its third iteration and, once restarted, is asked to stop in its fifth."""

from __future__ import annotations

import os
import signal

from lsnn_gym.cli import main
from lsnn_gym.training.loop import Figures
from lsnn_gym.training.supervised import SupervisedTrainer

run_iteration = SupervisedTrainer.run_iteration


def run_or_die(self: SupervisedTrainer) -> Figures:
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if os.environ["RANK"] == "1" and self.finished_iterations == (2 if first else 4):
        os.kill(os.getpid(), signal.SIGKILL if first else signal.SIGTERM)
    return run_iteration(self)


if __name__ == "__main__":
    SupervisedTrainer.run_iteration = run_or_die  # type: ignore[method-assign]
    main()
