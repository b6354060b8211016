"""The trainer of regression: episodes with new functions in, weights out that learn functions faster."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from lsnn_gym.regression.episodes import Episodes, RegressionSettings, draw_episodes
from lsnn_gym.regression.network import Predictions, RegressionNetwork
from lsnn_gym.seeding import derived_seed
from lsnn_gym.training.checkpoint import Checkpoint
from lsnn_gym.training.denormals import flushed_denormals
from lsnn_gym.training.distributed import (
    Share,
    broadcast_weights,
    global_firing_rate,
    global_rate_loss,
    mean_figures,
    share_of,
)
from lsnn_gym.training.finite import Watched
from lsnn_gym.training.loop import Figures
from lsnn_gym.training.optimization import (
    connections,
    decayed,
    make_checkpoint,
    restore_checkpoint,
    set_learning_rate,
    step,
)
from lsnn_gym.training.train_settings import BatchTrainSettings


class RegressionTrainSettings(BatchTrainSettings):
    """A training run of regression; its sequences are episodes."""

    trials: int | None = Field(
        default=None,
        ge=2,
        description="trials of an episode in training, fewer to learn faster; by default all of regression.trials",
    )
    skipped_trials: int = Field(
        default=0, ge=0, description="first trials of an episode whose errors are not trained on"
    )


class RegressionTrainer:
    """Trains a network by backpropagation through whole episodes, each with a function of its own.

    Every random number of an iteration follows from the run's seed and the iteration's number. Of several ranks,
    each computes its share of the episodes.

    Args:
        network: Trained in place.
        regression: What it learns.
        settings: Of the training.
        seed: Of the run.

    Raises:
        UserError: If the ranks cannot have equal shares of a batch.

    Source: Bellec et al., NIPS 2018, section 4; Hochreiter et al., Learning to learn using gradient descent, 2001.
    """

    def __init__(
        self,
        network: RegressionNetwork,
        regression: RegressionSettings,
        settings: RegressionTrainSettings,
        seed: int,
    ) -> None:
        self._share = share_of(settings.batch_size, "train.batch_size")
        broadcast_weights(network)
        self.network = network
        self.regression: RegressionSettings = regression.model_copy(
            update={"trials": settings.trials or regression.trials}
        )
        self.settings = settings
        self.seed = seed
        self.finished_iterations: int = 0
        self.optimizer: torch.optim.Optimizer = settings.make_optimizer(
            network, network.wired_matrices(), network.network_settings.wiring, seed
        )

    @flushed_denormals()
    def run_iteration(self) -> Figures:
        """Improve the network on one batch of episodes, and return the iteration's figures."""
        iteration, settings = self.finished_iterations, self.settings
        rate = decayed(settings, iteration)
        set_learning_rate(self.optimizer, rate)
        episodes = draw_episodes(
            self.regression,
            self._share.size,
            # The seed plus i is that of episode i.
            derived_seed(self.seed, "functions", iteration) + self._share.first,
        )
        figures: Figures = {"iteration": iteration + 1, **self._improve(episodes, iteration)}
        figures["learning_rate"] = rate
        figures |= connections(self.optimizer)
        self.finished_iterations += 1
        return figures

    def _improve(self, episodes: Episodes, iteration: int) -> Figures:
        network, settings = self.network, self.settings
        seed = derived_seed(self.seed, "draws", iteration)
        predictions, squares = squared_errors(network, episodes, seed, self._share)
        loss = squares[settings.skipped_trials :].mean()
        figures: Figures = {
            **mean_figures(
                {
                    "loss": loss.item(),
                    "error": network.error_unit * float(squares.detach().mean()),
                    "last_error": network.error_unit * float(squares.detach()[-1].mean()),
                }
            ),
            "simulation_steps": len(squares) * network.steps * settings.batch_size,
        }
        if predictions.spikes is not None:
            dt = network.network_settings.dt
            regulated = global_rate_loss(predictions.spikes, settings.target_rate, dt, predictions.counts)
            loss = loss + settings.rate_weight * regulated
            figures["rate_loss"] = regulated.item()
            figures["firing_rate_hz"] = global_firing_rate(predictions.spikes, predictions.counts)
        watched = Watched(
            network,
            iteration,
            {
                "observations": torch.from_numpy(episodes.inputs),
                "targets": torch.from_numpy(episodes.targets),
                "network's state": predictions.state,
            },
            lambda: {"predictions": predictions.values, "squared errors": squares},
        )
        figures["gradient_norm"] = step(self.optimizer, loss, settings.max_gradient_norm, watched).item()
        return figures

    def checkpoint(self) -> Checkpoint:
        """Return everything needed to go on from here."""
        return make_checkpoint(self.finished_iterations, self.network, self.optimizer)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``.

        Raises:
            UserError: If it belongs to another network or optimiser.
        """
        restore_checkpoint(checkpoint, self.network, self.optimizer)
        self.finished_iterations = checkpoint.iteration


def squared_errors(
    network: RegressionNetwork, episodes: Episodes, seed: int, share: Share | None = None
) -> tuple[Predictions, Tensor]:
    """Return what a network predicts of ``episodes``, and its squared errors in scaled targets, ``[T, B]``.

    Args:
        network: What predicts.
        episodes: Of T trials.
        seed: Of input spikes and noise.
        share: Which of how many episodes these are; by default they are all.
    """
    shown = network.shown(episodes)
    predictions = network(shown, network.draw(shown, torch.Generator().manual_seed(seed), share))
    return predictions, (predictions.values - network.scaled_targets(episodes)) ** 2
