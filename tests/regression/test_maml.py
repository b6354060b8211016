"""MAML: its gradients against plain autograd, that it learns, and that it does not look ahead."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lsnn_gym.regression import maml
from lsnn_gym.regression.episodes import Episodes, RegressionSettings, draw_episodes
from lsnn_gym.regression.maml import MAML, MAMLSettings

WAVES = RegressionSettings(family="sinusoid", trials=8)


def make(**changes) -> MAML:
    settings = {"hidden_units": 12, "shots": 5, "queries": 4, "batch_size": 10, "most_steps": 3, **changes}
    return MAML(MAMLSettings.model_validate(settings), WAVES, 3)


def network(weights: dict[str, torch.Tensor]) -> torch.nn.Sequential:
    """The same network made of PyTorch's layers."""
    layers = []
    for name in ("first", "second", "readout"):
        inputs, outputs = weights[name].shape
        layers.append(torch.nn.Linear(inputs, outputs))
        layers[-1].weight.data = weights[name].T.clone()
        layers[-1].bias.data = weights[f"{name}_bias"].clone()
    return torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])


def test_a_step_is_one_of_gradient_descent():
    learner = make()
    x, y = torch.randn(5, 1), torch.randn(5)
    plain = network(learner.weights)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    (plain(x)[:, 0] - y).square().mean().backward()
    optimizer.step()
    stepped = maml._descended(learner.weights, x, y, 0.1)
    asked = torch.randn(7, 1)
    torch.testing.assert_close(maml._answers(stepped, asked), plain(asked)[:, 0])


def test_the_meta_gradient_is_that_of_the_error_after_the_step():
    """By finite differences, in double precision, of what is left after the inner step."""
    learner = make()
    weights = {name: each.double().requires_grad_() for name, each in learner.weights.items()}
    episodes = draw_episodes(WAVES.model_copy(update={"trials": 9}), 3, 0)
    x, y = torch.from_numpy(episodes.inputs.swapaxes(0, 1)), torch.from_numpy(episodes.targets.T)
    learner._meta_loss(weights, x, y).backward()
    for name in ("first", "second_bias", "readout"):
        index = (0,) * weights[name].dim()
        slope = weights[name].grad
        assert slope is not None
        losses = []
        for change in (1e-6, -1e-6):
            moved = {key: each.detach().clone() for key, each in weights.items()}
            moved[name][index] += change
            losses.append(float(learner._meta_loss(moved, x, y)))
        assert float(slope[index]) == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_meta_training_makes_the_error_after_few_examples_fall():
    learner = make(hidden_units=40, learning_rate=0.003)
    episodes = draw_episodes(WAVES, 100, 1)
    before = learner.squared_errors(WAVES, episodes, range(8))
    errors = learner.train(3000)
    assert len(errors) == 300
    assert np.mean(errors[-20:]) < 0.7 * np.mean(errors[:20])
    after = learner.squared_errors(WAVES, episodes, range(8))
    assert after[7].mean() < 0.7 * before[7].mean()


def test_training_repeats_itself():
    one, again = make(), make()
    assert one.train(40) == again.train(40)
    assert all(torch.equal(each, again.weights[name]) for name, each in one.weights.items())


def test_it_does_not_see_the_target_it_is_asked_for_or_later_ones():
    learner = make()
    learner.train(200)
    episodes = draw_episodes(WAVES, 3, 0)
    targets = episodes.targets.copy()
    targets[4:] += 1.0
    before = learner.squared_errors(WAVES, episodes, range(6))
    after = learner.squared_errors(WAVES, Episodes(episodes.inputs, targets), range(6))
    np.testing.assert_array_equal(before[:4], after[:4])
    # The same prediction, another target.
    roots = [sign * np.sqrt(before[4]) + episodes.targets[4] for sign in (1, -1)]
    assert np.isclose(np.abs(roots - targets[4]), np.sqrt(after[4]), atol=1e-5).any(axis=0).all()
    assert not np.allclose(before[5], after[5])
    assert np.isnan(before[6:]).all()


def test_another_family_is_mapped_onto_the_ranges_of_its_own():
    learner = make()
    narrow = RegressionSettings(family="polynomial", trials=4)
    episodes = draw_episodes(narrow, 5, 0)
    wide = Episodes(5.0 * episodes.inputs, 1.25 * episodes.targets)
    np.testing.assert_allclose(
        learner.squared_errors(narrow, episodes, range(4)),
        learner.squared_errors(WAVES.model_copy(update={"trials": 4}), wide, range(4)) / 1.25**2,
        rtol=1e-4,
    )
