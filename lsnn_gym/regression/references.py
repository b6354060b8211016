"""What a regressing network is compared with, on the same episodes: from no memory at all to a Gaussian process.

Each reference predicts the target of a trial from the examples of the trials before it, and returns the squared
errors of all episodes, ``[T, B]`` in units of the family, NaN in trials at which it was not asked. Choices that it
has to make once (a kernel's length scale, a learning rate) it makes on episodes of its own, as a network does in
training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lsnn_gym.regression.episodes import Episodes, FloatArray, RegressionSettings, draw_episodes
from lsnn_gym.seeding import derived_seed
from lsnn_gym.tasks.task import slices

Reference = Callable[[RegressionSettings, Episodes, Sequence[int]], FloatArray]
"""From settings, episodes and the trials to be judged (counted from 0) to squared errors ``[T, B]``."""

_OWN_EPISODES = 32
_RIDGE_PENALTIES = (1e-6, 1e-3, 1e-2, 0.1, 1.0)
_LENGTH_SCALES = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0)
_NOISE_SHARES = (1e-6, 1e-4, 1e-2)
_LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_EPISODES_AT_ONCE = 32  # covariances of hundreds of examples each take megabytes
_HIDDEN_UNITS = {"two_layer_network": 10}
_OTHER_HIDDEN_UNITS = 40


def family_mean(settings: RegressionSettings, episodes: Episodes, trials: Sequence[int]) -> FloatArray:
    """Predict the mean of all targets of the family."""
    return (episodes.targets - _own(settings, 1024).targets.mean()) ** 2


def last_target(settings: RegressionSettings, episodes: Episodes, trials: Sequence[int]) -> FloatArray:
    """Predict the target of the trial before; in the first trial the mean of the family."""
    before = episodes.targets_before
    before[0] = _own(settings, 1024).targets.mean()
    return (episodes.targets - before) ** 2


def ridge_regression(settings: RegressionSettings, episodes: Episodes, trials: Sequence[int]) -> FloatArray:
    """Fit a linear function to the examples so far, its penalty the best of a grid."""
    own = _own(settings, _OWN_EPISODES)
    mean = float(own.targets.mean())
    early = [trial for trial in trials if 0 < trial < len(own.targets)]

    def predictor(penalty: float) -> Predictor:
        return lambda x, y, asked: ridge_prediction(x, y, asked, penalty)

    found = {each: np.nanmean(_refitted(predictor(each), own, early, mean)) for each in _RIDGE_PENALTIES}
    best = min(found, key=lambda penalty: found[penalty])
    return _refitted(predictor(best), episodes, trials, mean)


def gaussian_process(settings: RegressionSettings, episodes: Episodes, trials: Sequence[int]) -> FloatArray:
    """Condition a Gaussian process on the examples so far.

    Its kernel is ``v (exp(-|x - x'|^2 / (2 l^2)) + s [x = x'])`` with v the variance of the family's targets about
    their mean; length scale l and share of noise s are those of a grid under which whole episodes are likeliest.
    """
    own = _own(settings, _OWN_EPISODES)
    kernel = _likeliest(own)
    mean = float(own.targets.mean())
    return _refitted(lambda x, y, asked: process_prediction(x, y, asked, kernel), episodes, trials, mean)


def backprop_network(settings: RegressionSettings, episodes: Episodes, trials: Sequence[int]) -> FloatArray:
    """Train a network of the family's own size by backpropagation, one step a trial, from random weights.

    A step is one of Adam's on all examples so far, from where the weights were; the learning rate is that of a grid
    which does best on these very episodes. Networks have one layer of sigmoid units, 10 as those of
    ``two_layer_network`` or 40 for other families; inputs and targets are scaled to [-1, 1].
    """
    return _best_trained(settings, episodes, trials, steps=1)


def backprop_10_steps(settings: RegressionSettings, episodes: Episodes, trials: Sequence[int]) -> FloatArray:
    """Train the same network with ten steps a trial instead of one."""
    return _best_trained(settings, episodes, trials, steps=10)


REFERENCES: Mapping[str, Reference] = {
    "family_mean": family_mean,
    "last_target": last_target,
    "ridge_regression": ridge_regression,
    "gaussian_process": gaussian_process,
    "backprop_network": backprop_network,
    "backprop_10_steps": backprop_10_steps,
}


def judged_trials(trials: int, most: int) -> list[int]:
    """Return at most about ``most`` of ``trials``, counted from 0: all of them, or ever fewer of the later ones."""
    if trials <= most:
        return list(range(trials))
    spaced = np.unique(np.geomspace(1, trials, most).round().astype(int)) - 1
    return spaced.tolist()


def _own(settings: RegressionSettings, number: int) -> Episodes:
    """Return episodes that are not those to be judged on, of at most 50 trials."""
    short = settings.model_copy(update={"trials": min(settings.trials, 50)})
    return draw_episodes(short, number, derived_seed(0, "references"))


def ridge_prediction(x: FloatArray, y: FloatArray, asked: FloatArray, penalty: float) -> FloatArray:
    """Return what ridge regression with an intercept predicts, ``[B]``.

    Args:
        x: Inputs of k examples of each of B functions ``[B, k, D]``.
        y: Their targets ``[B, k]``.
        asked: One more input each, ``[B, D]``.
        penalty: On the squared slopes.
    """
    x_mean, y_mean = x.mean(axis=1), y.mean(axis=1)
    centred = x - x_mean[:, None]
    gram = centred.swapaxes(1, 2) @ centred + penalty * np.eye(x.shape[2])
    slopes = np.linalg.solve(gram, centred.swapaxes(1, 2) @ (y - y_mean[:, None])[..., None])[..., 0]
    return y_mean + ((asked - x_mean) * slopes).sum(axis=1)


class Kernel(NamedTuple):
    """Of a Gaussian process: length scale in units of the inputs, variance, and noise as a share of the variance."""

    length_scale: float
    variance: float
    noise: float

    def between(self, x: FloatArray, other: FloatArray) -> FloatArray:
        """Return the covariances, without noise, ``[B, k, m]`` of inputs ``[B, k, D]`` and ``[B, m, D]``."""
        squared = ((x[:, :, None] - other[:, None]) ** 2).sum(axis=-1)
        return self.variance * np.exp(-0.5 * squared / self.length_scale**2)

    def of_examples(self, x: FloatArray) -> FloatArray:
        """Return the covariances of examples with noise, ``[B, k, k]``."""
        return self.between(x, x) + self.noise * self.variance * np.eye(x.shape[1])


def process_prediction(x: FloatArray, y: FloatArray, asked: FloatArray, kernel: Kernel) -> FloatArray:
    """Return the posterior mean of a Gaussian process with mean 0, ``[B]`` (arguments as of ridge regression)."""
    weights = np.linalg.solve(kernel.of_examples(x), y[..., None])
    return (kernel.between(asked[:, None], x) @ weights)[:, 0, 0]


def log_likelihood(x: FloatArray, y: FloatArray, kernel: Kernel) -> FloatArray:
    """Return the log-likelihoods ``[B]`` of targets ``[B, k]`` at inputs ``[B, k, D]`` under a Gaussian process."""
    covariance = kernel.of_examples(x)
    fit = (y * np.linalg.solve(covariance, y[..., None])[..., 0]).sum(axis=1)
    return -0.5 * (fit + np.linalg.slogdet(covariance)[1] + y.shape[1] * math.log(2 * math.pi))


Predictor = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
"""From examples ``[B, k, D]`` and ``[B, k]`` and an input each ``[B, D]`` to predictions ``[B]``."""


def _refitted(predictor: Predictor, episodes: Episodes, trials: Iterable[int], mean: float) -> FloatArray:
    """Fit anew to the examples before each of ``trials``; return squared errors ``[T, B]``.

    Args:
        predictor: Of targets less ``mean``.
        episodes: Of T trials.
        trials: Counted from 0; in trial 0, where there is nothing to fit, ``mean`` is predicted.
        mean: Of the family's targets.
    """
    inputs, targets = episodes.inputs.swapaxes(0, 1), episodes.targets.T - mean
    errors = np.full(episodes.targets.shape, np.nan)
    for trial in trials:
        for part in slices(len(targets), _EPISODES_AT_ONCE):
            x, y = inputs[part], targets[part]
            predicted = predictor(x[:, :trial], y[:, :trial], x[:, trial]) if trial else np.zeros(len(y))
            errors[trial, part] = (predicted - y[:, trial]) ** 2
    return errors


def _likeliest(own: Episodes) -> Kernel:
    """Return the kernel of the grid under which ``own`` episodes are likeliest."""
    inputs, targets = own.inputs.swapaxes(0, 1), (own.targets - own.targets.mean()).T
    half_range = float(np.ptp(own.inputs)) / 2
    kernels = [
        Kernel(half_range * scale, float(own.targets.var()), noise)
        for scale, noise in itertools.product(_LENGTH_SCALES, _NOISE_SHARES)
    ]
    return max(kernels, key=lambda kernel: float(log_likelihood(inputs, targets, kernel).sum()))


def _best_trained(
    settings: RegressionSettings, episodes: Episodes, trials: Sequence[int], *, steps: int
) -> FloatArray:
    found = [_trained(settings, episodes, rate, steps) for rate in _LEARNING_RATES]
    judged = list(trials)
    return min(found, key=lambda errors: float(errors[judged].mean()))


def _trained(
    settings: RegressionSettings, episodes: Episodes, learning_rate: float, steps: int
) -> FloatArray:
    """Train one network an episode, all side by side, ``steps`` a trial; return squared errors ``[T, B]``."""
    family = settings.functions
    inputs = _scaled(episodes.inputs, family.input_low, family.input_high).transpose(0, 1)
    targets = _scaled(episodes.targets, family.target_low, family.target_high).T
    size, trials, _ = inputs.shape
    hidden = _HIDDEN_UNITS.get(settings.family, _OTHER_HIDDEN_UNITS)
    generator = torch.Generator().manual_seed(derived_seed(0, "reference network"))
    weights = _random_weights((size, family.input_size + 1, hidden), generator)
    readout = _random_weights((size, hidden + 1, 1), generator)
    optimizer = torch.optim.Adam([weights, readout], lr=learning_rate)
    squares = []
    for trial in range(trials):
        with torch.no_grad():
            predicted = _answers(inputs[:, trial : trial + 1], weights, readout)
        squares.append((predicted[:, 0] - targets[:, trial]) ** 2)
        for _ in range(steps):
            optimizer.zero_grad()
            answers = _answers(inputs[:, : trial + 1], weights, readout)
            # A sum over networks: each has its own weights, and Adam does not mix them.
            (answers - targets[:, : trial + 1]).square().mean(dim=1).sum().backward()
            optimizer.step()
    unit = ((family.target_high - family.target_low) / 2) ** 2
    return unit * torch.stack(squares).numpy()


def _random_weights(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Return weights and biases ``[B, inputs + 1, outputs]`` as ``torch.nn.Linear`` draws them."""
    bound = (shape[1] - 1) ** -0.5
    drawn = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    return (bound * drawn).requires_grad_()


def _answers(inputs: Tensor, weights: Tensor, readout: Tensor) -> Tensor:
    """Return the outputs ``[B, k]`` of B networks at inputs ``[B, k, D]``."""
    ones = inputs.new_ones(*inputs.shape[:2], 1)
    hidden = torch.sigmoid(torch.cat([inputs, ones], dim=2) @ weights)
    return (torch.cat([hidden, ones], dim=2) @ readout)[..., 0]


def _scaled(values: FloatArray, low: float, high: float) -> Tensor:
    return torch.from_numpy((2 * values - (low + high)) / (high - low))
