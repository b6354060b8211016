"""The references: against scikit-learn and slow forms, and what each must be able to do and not to do."""

from __future__ import annotations

import numpy as np
import pytest

from lsnn_gym.regression import references
from lsnn_gym.regression.episodes import Episodes, RegressionSettings, draw_episodes
from lsnn_gym.regression.references import (
    REFERENCES,
    Kernel,
    judged_trials,
    log_likelihood,
    process_prediction,
    ridge_prediction,
)


def examples(functions: int = 3, seen: int = 6, inputs: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (functions, seen, inputs))
    return x, np.sin(3 * x.sum(axis=2)) + 0.5, rng.uniform(-1, 1, (functions, inputs))


def settings(**changes) -> RegressionSettings:
    return RegressionSettings(**{"family": "linear", "trials": 12, **changes})


def test_ridge_regression_equals_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y, asked = examples()
    found = ridge_prediction(x, y, asked, 0.3)
    for number in range(3):
        fitted = linear_model.Ridge(alpha=0.3).fit(x[number], y[number])
        assert found[number] == pytest.approx(fitted.predict(asked[number : number + 1])[0])


def test_the_process_equals_scikit_learns():
    gaussian_process = pytest.importorskip("sklearn.gaussian_process")
    kernels = gaussian_process.kernels
    x, y, asked = examples()
    kernel = Kernel(length_scale=0.7, variance=2.0, noise=0.01)
    found, likely = process_prediction(x, y, asked, kernel), log_likelihood(x, y, kernel)
    theirs = kernels.ConstantKernel(2.0) * kernels.RBF(0.7) + kernels.WhiteKernel(0.02)
    for number in range(3):
        fitted = gaussian_process.GaussianProcessRegressor(theirs, alpha=0.0, optimizer=None)
        fitted.fit(x[number], y[number])
        assert found[number] == pytest.approx(fitted.predict(asked[number : number + 1])[0])
        assert likely[number] == pytest.approx(fitted.log_marginal_likelihood_value_)


@pytest.mark.parametrize("name", REFERENCES)
def test_no_reference_sees_the_target_it_is_asked_for_or_later_ones(name, monkeypatch):
    # The choice among learning rates is the one thing that is made on the episodes judged.
    monkeypatch.setattr(references, "_LEARNING_RATES", (0.03,))
    regression = settings(family="sinusoid", trials=6)
    episodes = draw_episodes(regression, 3, 0)
    targets = episodes.targets.copy()
    targets[3:] = np.flip(targets[3:], axis=1) + 1.0
    before = REFERENCES[name](regression, episodes, range(6))
    after = REFERENCES[name](regression, Episodes(episodes.inputs, targets), range(6))
    assert before.shape == (6, 3)
    np.testing.assert_allclose(before[:3], after[:3])
    # At trial 3 only what is judged differs: both errors tell of the same prediction.
    roots = [(s * np.sqrt(e) + t) for e, t in ((before, episodes.targets), (after, targets)) for s in (1, -1)]
    same = np.isclose(roots[0][3], roots[2][3]) | np.isclose(roots[0][3], roots[3][3])
    same |= np.isclose(roots[1][3], roots[2][3]) | np.isclose(roots[1][3], roots[3][3])
    assert same.all()
    assert not np.allclose(before[5], after[5])


def test_mean_and_last_target_are_what_they_say():
    regression = settings(family="two_layer_network")
    episodes = draw_episodes(regression, 400, 0)
    mean = REFERENCES["family_mean"](regression, episodes, [])
    assert mean.mean() == pytest.approx(episodes.targets.var(), rel=0.02)
    last = REFERENCES["last_target"](regression, episodes, [])
    np.testing.assert_allclose(last[1:], (episodes.targets[1:] - episodes.targets[:-1]) ** 2)
    np.testing.assert_allclose(last[0], mean[0])


def test_each_fits_what_it_can_fit():
    planes, waves = settings(), settings(family="sinusoid", trials=30)
    on_planes, on_waves = draw_episodes(planes, 8, 0), draw_episodes(waves, 8, 0)
    last = [11]
    assert REFERENCES["ridge_regression"](planes, on_planes, last)[11].mean() < 1e-6
    assert REFERENCES["ridge_regression"](waves, on_waves, [29])[29].mean() > 0.3
    assert REFERENCES["gaussian_process"](waves, on_waves, [29])[29].mean() < 0.02
    one, ten = (
        REFERENCES[name](planes, on_planes, range(12)).mean(axis=1)
        for name in ("backprop_network", "backprop_10_steps")
    )
    assert one[11] < 0.5 * one[0]
    assert ten[11] < 0.5 * one[11]


def test_trials_at_which_a_reference_is_not_asked_have_no_error():
    regression = settings()
    errors = REFERENCES["gaussian_process"](regression, draw_episodes(regression, 2, 0), [0, 4])
    assert np.flatnonzero(~np.isnan(errors).any(axis=1)).tolist() == [0, 4]


def test_parts_of_the_episodes_make_no_difference(monkeypatch):
    regression = settings()
    episodes = draw_episodes(regression, 5, 0)
    whole = REFERENCES["ridge_regression"](regression, episodes, [3, 7])
    monkeypatch.setattr(references, "_EPISODES_AT_ONCE", 2)
    np.testing.assert_allclose(REFERENCES["ridge_regression"](regression, episodes, [3, 7]), whole)


@pytest.mark.parametrize(("trials", "most"), [(5, 10), (10, 10), (500, 60)])
def test_judged_trials_thin_out(trials, most):
    judged = judged_trials(trials, most)
    assert judged[0] == 0
    assert judged[-1] == trials - 1
    assert len(judged) <= most
    assert np.diff(judged).min() >= 1
    if trials > most:
        assert judged[:5] == [0, 1, 2, 3, 4]
        assert np.diff(judged)[-1] > 10
