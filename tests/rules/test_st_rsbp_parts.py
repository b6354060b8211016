"""ST-RSBP's tables, losses and penalty."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lsnn_gym.rules.layers import DenseSynapses, Signal
from lsnn_gym.rules.st_rsbp.layers import SpikingLayer, silent_made_to_fire
from lsnn_gym.rules.st_rsbp.losses import (
    boosted,
    count_loss,
    published_cost,
    regular_train,
    wanted_counts,
    wish_for_labels,
)
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron
from lsnn_gym.rules.st_rsbp.penalty import ExponentialPenalty
from lsnn_gym.rules.st_rsbp.pooling import SpikingPool
from lsnn_gym.rules.st_rsbp.random_layers import convolution, output
from lsnn_gym.rules.st_rsbp.recurrent import RecurrentLayer
from lsnn_gym.rules.st_rsbp.tables import EffectTable, effect_table
from tests.rules import obvious_st_rsbp
from tests.rules.st_rsbp_networks import random_spikes

# ---- tables


def test_table_meets_the_published_one():
    table = effect_table(RSBPNeuron(20.0), 400)
    assert table.rows == 100
    counts = torch.tensor([1.0, 5, 10, 20, 35, 50, 80, 100], dtype=torch.float64)
    published = torch.tensor([0.410, 0.317, 0.219, 0.077, -0.030, -0.052, -0.038, -0.143])
    slopes = table.slope(table.of_pre(torch.full_like(counts, 10)), counts)
    torch.testing.assert_close(slopes, published.double(), rtol=0, atol=0.012)
    twice = table.slope(table.of_pre(torch.full_like(counts, 20)), counts)
    torch.testing.assert_close(twice[:4], 2 * slopes[:4], rtol=0.1, atol=0.01)


def test_table_is_made_once_and_the_same_for_the_same_seed():
    neuron = RSBPNeuron(1.0, 32, 5)
    table = effect_table(neuron, 50, pairs=20)
    assert effect_table(RSBPNeuron(3.0, 32, 5), 50, pairs=20) is table
    effect_table.__globals__["_made"].cache_clear()
    again = effect_table(neuron, 50, pairs=20)
    assert again is not table
    assert torch.equal(again.coefficients, table.coefficients)
    assert not torch.equal(effect_table(neuron, 50, pairs=20, seed=1).coefficients, table.coefficients)


@pytest.mark.parametrize("freezes", [True, False])
def test_table_holds_the_means_of_trains_drawn_one_spike_at_a_time(freezes: bool):
    steps, period, rng = 12, 2, np.random.default_rng(0)
    neuron = RSBPNeuron(1.0, 20, 4, period)

    def train(count: int) -> np.ndarray:
        times: list[int] = []
        while len(times) < count:
            time = round(rng.random() * steps)
            if all(abs(time - other) > period for other in times):
                times.append(time)
        spikes = np.zeros(steps + 1)
        spikes[times] = 1
        return spikes

    def mean(pre: int, post: int) -> tuple[float, float]:
        drawn = []
        for _ in range(1500):
            trains = train(pre), train(post)
            frozen = freezes and trains[1][0]
            drawn.append(0.0 if frozen else obvious_st_rsbp.spike_psp(20, 4, period, *trains))
        return float(np.mean(drawn)), float(np.std(drawn) / math.sqrt(len(drawn)))

    table = effect_table(neuron, steps, max_count=2, pairs=4000, freezes_at_zero=freezes)
    assert table.rows == 2
    for pre, post in ((1, 1), (2, 2)):
        expected, error = mean(pre, post)
        found = sum(table.coefficients[pre - 1, k].item() * post ** (4 - k) for k in range(5))
        assert found == pytest.approx(expected, abs=5 * error)


@pytest.mark.parametrize(
    ("steps", "period", "rows"), [(1, 0, 2), (1, 2, 1), (9, 2, 3), (30, 0, 31), (200, 2, 56)]
)
def test_table_has_as_many_rows_as_trains_have_room_for(steps: int, period: int, rows: int):
    table = effect_table(RSBPNeuron(1.0, refractory_period=period), steps, pairs=40)
    assert table.rows == pytest.approx(rows, abs=1)
    assert table.coefficients.isfinite().all()
    assert effect_table(RSBPNeuron(1.0, refractory_period=period), steps, max_count=1, pairs=4).rows == 1


def test_rows_are_counts_of_pre_neurons_clipped():
    rows = torch.arange(10.0, dtype=torch.float64).view(2, 5)
    found = EffectTable(rows).of_pre(torch.tensor([[0.0, 1, 2, 7]], dtype=torch.float64))
    assert found[:, 0].T.tolist() == [[0, 3, 4, 3]] * 2 + [[20, 18, 14, 8]] * 2


def test_bad_tables_are_named():
    with pytest.raises(
        ValueError, match=r"^coefficients are \(3, 4\): expected \[rows, 5\] of at least one row$"
    ):
        EffectTable(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"^steps is 0: expected at least 1$"):
        effect_table(RSBPNeuron(1.0), 0)


# ---- losses


def output_with_counts(*counts: int) -> Signal:
    """Return a signal of one sample whose output neurons fired so often, as an output layer sends it."""
    spikes = torch.zeros(40, 1, len(counts), dtype=torch.float64)
    for k, count in enumerate(counts):
        spikes[:count, 0, k] = 1
    return Signal(spikes.requires_grad_(), torch.zeros_like(spikes, requires_grad=True))


def test_loss_leaves_alone_what_is_within_the_margin():
    # Wanted: 20 of the label, 5 of others, each give or take 5.
    signal = output_with_counts(15, 10, 11, 0)
    loss = count_loss(signal, torch.tensor([0]), desired=20)
    loss.backward()
    assert loss.item() == 0.5 * 6**2
    assert signal.values.grad is not None
    assert signal.values.grad[:, 0].tolist() == [[0, 0, 6, 0]] * 40
    signal = output_with_counts(14, 11, 26, 0)
    loss = count_loss(signal, torch.tensor([2]), desired=20, sample_weight=torch.tensor([3.0]))
    loss.backward()
    assert loss.item() == 3 * 0.5 * (9**2 + 6**2 + 6**2)
    assert signal.values.grad is not None
    assert signal.values.grad[7, 0].tolist() == [3 * 9, 3 * 6, 3 * 6, 0]


def test_printed_cost_is_of_the_trains_that_learning_goes_by():
    spikes = output_with_counts(0, 12).values.detach()
    # 40 steps, 6 wanted: every 6 steps, 6 of them.
    assert published_cost(spikes, torch.tensor([0]), desired=6).tolist() == [7**2]
    assert published_cost(spikes, torch.tensor([1]), desired=30).tolist() == [18**2]


@pytest.mark.parametrize(("steps", "count"), [(400, 36), (600, 35), (700, 34)])
def test_regular_train_has_the_published_count(steps: int, count: int):
    train = regular_train(steps, 35, torch.zeros(()))
    every = steps // 35
    assert train.nonzero().flatten().tolist() == list(range(every, steps, every))
    assert train.sum() == count


def test_wish_is_for_the_label_alone_however_the_loss_is_scaled():
    signal = output_with_counts(3, 0, 0)
    (1e-3 * wish_for_labels(signal, torch.tensor([1]), 8)).backward()
    assert signal.timing is not None
    assert signal.timing.grad is not None
    trains, wanted = silent_made_to_fire(signal.values.detach(), signal.timing.grad)
    assert wanted.tolist() == [[False, True, False]]
    assert trains.sum(0).tolist() == [[3, 7, 0]]  # at 5, 10, ..., 35
    fired = output_with_counts(3, 2, 0).values.detach()
    assert torch.equal(silent_made_to_fire(fired, signal.timing.grad)[0], fired)


def test_a_silent_labels_neuron_learns_with_any_loss_that_wishes():
    inputs = random_spikes(1, 50, 2, 6, rate=0.3)
    labels = torch.tensor([2, 0])
    for wishes in (True, False):
        layer = output(6, 3, RSBPNeuron(1e3)).double()
        signal = layer(Signal(inputs))
        assert not signal.values.any()
        loss = torch.nn.functional.cross_entropy(signal.values.sum(0), labels)
        (loss + wish_for_labels(signal, labels, 10) if wishes else loss).backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.any(1).tolist() == [wishes, False, wishes]
        if wishes:
            assert (layer.weight.grad <= 0).all()  # a step of descent makes it fire sooner


def test_wanted_counts():
    assert wanted_counts(torch.tensor([1, 0]), 3).tolist() == [[5, 35, 5], [35, 5, 5]]


def test_samples_decided_wrongly_gain_weight_as_their_class_errs():
    weight = torch.tensor([1.0, 3, 2, 1], dtype=torch.float64)
    found = boosted(weight, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]))
    assert found.tolist() == pytest.approx([1, 3 * math.exp(0.75 / 20), 2, 1])


def test_bad_losses_are_named():
    signal = output_with_counts(3, 0)
    with pytest.raises(ValueError, match=r"^labels go from 2 to 2: expected 0 to 1$"):
        count_loss(signal, torch.tensor([2]))
    with pytest.raises(ValueError, match=r"^labels are \(2,\): expected \(1,\) as the output is$"):
        count_loss(signal, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"^desired count is 41 in 40 steps: expected 1 to 40$"):
        count_loss(signal, torch.tensor([0]), desired=41)
    with pytest.raises(ValueError, match=r"^sample_weight is \(2,\): expected \(1,\) as the labels are$"):
        count_loss(signal, torch.tensor([0]), sample_weight=torch.ones(2))
    with pytest.raises(
        ValueError, match=r"^sample_weight, labels, decided are \[\(2,\), \(1,\), \(1,\)\]: expected"
    ):
        boosted(torch.ones(2), torch.tensor([0]), torch.tensor([0]))


# ---- penalty


def penalised_layers() -> list[torch.nn.Module]:
    generator = torch.Generator().manual_seed(2)
    within = torch.randn(3, 3, generator=generator, dtype=torch.float64) * torch.eye(3).flip(0)
    return [
        SpikingLayer(DenseSynapses(), 9 * torch.rand(3, 5, generator=generator).double(), RSBPNeuron(1.0)),
        RecurrentLayer(9 * torch.rand(3, 5, generator=generator).double(), within, RSBPNeuron(1.0)),
        convolution(2, 3, 2, RSBPNeuron(1.0), generator=generator).double(),
        SpikingPool(2, RSBPNeuron(1.0)),
    ]


def test_exact_penalty_is_what_its_gradient_says_and_the_published_one_is_stronger():
    layers = penalised_layers()
    parameters = [each for layer in layers for each in layer.parameters()]
    found = []
    for exact in (True, False):
        penalty = ExponentialPenalty(10.0, 0.4, 8.0, is_exact=exact)
        found.append(torch.autograd.grad(penalty(layers), parameters))
    numbers = [6, 5 + 3 + 1, 5 + 3 + 1, 2 * 4]
    for one, other, number in zip(*found, numbers, strict=True):
        torch.testing.assert_close(one * 8.0 * number / 2, other)
    penalty = ExponentialPenalty(10.0, 0.4, 8.0, is_exact=True)
    for k, each in enumerate(parameters):
        direction = torch.randn(each.shape, generator=torch.Generator().manual_seed(k), dtype=each.dtype)
        if k == 2:
            direction *= each != 0
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                each += sign * 1e-5 * direction
                values.append(penalty(layers).item())
                each -= sign * 1e-5 * direction
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx((direction * found[0][k]).sum().item(), rel=1e-6)


def test_penalty_is_without_recurrent_weights_that_do_not_learn():
    layer = penalised_layers()[1]
    assert isinstance(layer, RecurrentLayer)
    layer.recurrent_weight.requires_grad_(False)
    alone = SpikingLayer(DenseSynapses(), layer.weight.detach(), layer.neuron)
    penalty = ExponentialPenalty()
    assert penalty([layer]).item() == pytest.approx(penalty([alone]).item(), rel=1e-14)
