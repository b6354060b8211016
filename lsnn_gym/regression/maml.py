"""Model-agnostic meta-learning: initial weights from which a few steps of gradient descent fit a new function.

Source: Finn, Abbeel, Levine, Model-agnostic meta-learning for fast adaptation of deep networks, ICML 2017, section 5.1:
a network of two hidden layers of 40 rectified linear units, one inner step of size 0.01 on ten examples, Adam on
the error that is left at other points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.functional import relu
from tqdm import tqdm

from lsnn_gym.envs.functions import FunctionFamily
from lsnn_gym.regression.episodes import Episodes, FloatArray, RegressionSettings, draw_episodes
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import Settings
from lsnn_gym.tasks.task import slices

Weights = dict[str, Tensor]

_DRAWN_AT_ONCE = 1000  # functions: drawing them one by one would take longer than learning from them
_OWN_EPISODES = 256


class MAMLSettings(Settings):
    """The reference MAML; the defaults are the paper's."""

    hidden_units: int = Field(default=40, ge=1, description="rectified linear units of each of two layers")
    shots: int = Field(default=10, ge=1, description="examples that the inner step is taken on")
    queries: int = Field(default=10, ge=1, description="other points whose error is trained on")
    inner_steps: int = Field(default=1, ge=1, description="of gradient descent in meta-training")
    inner_rate: float = Field(default=0.01, gt=0, description="size of an inner step")
    batch_size: int = Field(default=25, ge=1, description="functions a step of Adam")
    learning_rate: float = Field(default=0.001, gt=0, description="of Adam")
    functions: int | None = Field(
        default=None,
        ge=1,
        description="seen in meta-training; by default as many as the network has seen in its own",
    )
    most_steps: int = Field(default=10, ge=0, description="of gradient descent when judged, at most")


class MAML:
    """Initial weights for functions of one family, meta-trained on it; float32, inputs and targets as they are.

    Args:
        settings: Of network and training.
        regression: The family; its number of trials does not matter.
        seed: Of initial weights and functions.
        weights: Meta-trained ones; by default those at the start.
    """

    def __init__(
        self,
        settings: MAMLSettings,
        regression: RegressionSettings,
        seed: int,
        weights: Weights | None = None,
    ) -> None:
        self.settings = settings
        self.regression = regression
        self.seed = seed
        family = regression.functions
        if weights is None:
            generator = torch.Generator().manual_seed(derived_seed(seed, "maml weights"))
            weights = _initial_weights(family.input_size, settings.hidden_units, generator)
        self.weights: Weights = weights

    def train(self, functions: int, *, show_progress: bool = False) -> list[float]:
        """Meta-train on so many functions, rounded to whole batches; return the error of each batch after its step."""
        settings = self.settings
        trained = {name: each.clone().requires_grad_() for name, each in self.weights.items()}
        optimizer = torch.optim.Adam(trained.values(), lr=settings.learning_rate)
        one = self.regression.model_copy(update={"trials": settings.shots + settings.queries})
        batches = max(1, round(functions / settings.batch_size))
        at_once = max(1, _DRAWN_AT_ONCE // settings.batch_size)
        errors: list[float] = []
        progress = tqdm(total=batches, desc="MAML", unit="batch", disable=None if show_progress else True)
        with progress:
            for number, group in enumerate(slices(batches, at_once)):
                size = (group.stop - group.start) * settings.batch_size
                drawn = draw_episodes(one, size, derived_seed(self.seed, "maml functions", number))
                for batch in slices(size, settings.batch_size):
                    x, y = _examples(drawn, batch)
                    loss = self._meta_loss(trained, x, y)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    errors.append(loss.item())
                progress.update(group.stop - group.start)
        self.weights = {name: each.detach() for name, each in trained.items()}
        return errors

    def squared_errors(
        self, regression: RegressionSettings, episodes: Episodes, trials: Sequence[int]
    ) -> FloatArray:
        """Return squared errors as a reference does (``references.Reference``).

        Before each trial the network starts anew from the meta-trained weights, and takes some steps of gradient
        descent on all examples so far: as many as served best for that number of examples on episodes of its own.
        What it says is cut off at the ends of the targets' range, lest single descents that diverge tell for all.
        """
        own = self.regression.model_copy(update={"trials": len(episodes.targets)})
        tried = self._after_steps(draw_episodes(own, _OWN_EPISODES, derived_seed(0, "maml steps")), trials)
        found = self._after_steps(self._mapped(regression, episodes), trials)
        unit = (_span(regression.functions) / _span(self.regression.functions)) ** 2
        errors = np.full(episodes.targets.shape, np.nan)
        for trial in trials:
            best = int(tried[:, trial].mean(axis=1).argmin()) if trial else 0
            errors[trial] = unit * found[best, trial]
        return errors

    def _meta_loss(self, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean error at the last points of B functions, ``[B, k, D]``, after learning from the first."""
        shots, settings = self.settings.shots, self.settings

        def of_function(inputs: Tensor, targets: Tensor) -> Tensor:
            learnt = weights
            for _ in range(settings.inner_steps):
                learnt = _descended(learnt, inputs[:shots], targets[:shots], settings.inner_rate)
            return _error(learnt, inputs[shots:], targets[shots:])

        return vmap(of_function)(x, y).mean()

    def _after_steps(self, episodes: Episodes, trials: Sequence[int]) -> FloatArray:
        """Return squared errors after 0, 1, 2 ... steps, ``[most_steps + 1, T, B]``; NaN in other trials."""
        steps = self.settings.most_steps
        x, y = _examples(episodes, slice(None))
        low, high = self.regression.functions.target_low, self.regression.functions.target_high
        errors = np.full((steps + 1, *episodes.targets.shape), np.nan)
        for trial in trials:

            def of_function(inputs: Tensor, targets: Tensor, trial: int = trial) -> Tensor:
                learnt, said = self.weights, []
                for step in range(steps + 1):
                    if step and trial:
                        learnt = _descended(learnt, inputs[:trial], targets[:trial], self.settings.inner_rate)
                    said.append(_answers(learnt, inputs[trial : trial + 1])[0])
                answers = torch.stack(said).nan_to_num(high).clamp(low, high)
                return (answers - targets[trial]) ** 2

            errors[:, trial] = vmap(of_function)(x, y).T.double().numpy()
        return errors

    def _mapped(self, regression: RegressionSettings, episodes: Episodes) -> Episodes:
        """Return episodes of another family with its ranges mapped onto those of the family trained on."""
        theirs, ours = regression.functions, self.regression.functions
        share = (episodes.inputs - theirs.input_low) / (theirs.input_high - theirs.input_low)
        targets = (episodes.targets - theirs.target_low) / _span(theirs)
        return Episodes(
            ours.input_low + share * (ours.input_high - ours.input_low),
            ours.target_low + targets * _span(ours),
        )


def _span(family: FunctionFamily) -> float:
    return family.target_high - family.target_low


def _examples(episodes: Episodes, chosen: slice) -> tuple[Tensor, Tensor]:
    """Return inputs ``[B, T, D]`` and targets ``[B, T]`` of some of the episodes, as float32."""
    inputs, targets = episodes.inputs[:, chosen].swapaxes(0, 1), episodes.targets[:, chosen].T
    return torch.from_numpy(inputs).float(), torch.from_numpy(targets).float()


def _initial_weights(inputs: int, hidden: int, generator: torch.Generator) -> Weights:
    """Return weights and biases as ``torch.nn.Linear`` draws them."""
    shapes = {"first": (inputs, hidden), "second": (hidden, hidden), "readout": (hidden, 1)}
    weights: Weights = {}
    for name, shape in shapes.items():
        for part, size in ((name, shape), (f"{name}_bias", shape[1:])):
            weights[part] = shape[0] ** -0.5 * (2 * torch.rand(size, generator=generator) - 1)
    return weights


def _answers(weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Return what a network says ``[k]`` to ``inputs`` ``[k, D]``."""
    hidden = relu(inputs @ weights["first"] + weights["first_bias"])
    hidden = relu(hidden @ weights["second"] + weights["second_bias"])
    return (hidden @ weights["readout"] + weights["readout_bias"])[:, 0]


def _error(weights: Mapping[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    return (_answers(weights, inputs) - targets).square().mean()


def _descended(weights: Weights, inputs: Tensor, targets: Tensor, rate: float) -> Weights:
    """Return the weights after one step of gradient descent on the mean squared error of some examples."""
    slopes = grad(_error)(weights, inputs, targets)
    return {name: each - rate * slopes[name] for name, each in weights.items()}
