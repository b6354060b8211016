"""Initial wiring: Dale's law, balance, spectral radius, masks, messages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lsnn_gym.wiring import (
    WiredMatrix,
    Wiring,
    balance_inputs,
    balanced_weights,
    draw_mask,
    draw_wiring,
    input_signs,
    num_excitatory,
    recurrent_signs,
    scale_to_unit_radius,
)


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("neurons", "excitatory"), [(1, 1), (4, 4), (5, 4), (20, 16), (80, 61), (220, 166)])
def test_three_quarters_and_one_are_excitatory(neurons, excitatory):
    assert num_excitatory(neurons) == excitatory


def test_with_a_share_of_one_all_are_excitatory():
    assert num_excitatory(7, share=1.0) == 7


def test_first_recurrent_neurons_are_inhibitory_so_that_all_adaptive_ones_are_excitatory():
    signs = recurrent_signs(220)
    assert signs.tolist() == [-1.0] * 54 + [1.0] * 166
    assert bool((signs[120:] > 0).all())


def test_input_signs_are_shuffled():
    signs = input_signs(80, source())
    assert not torch.equal(signs, recurrent_signs(80))
    assert torch.equal(signs.sort().values, recurrent_signs(80))
    assert torch.equal(signs, input_signs(80, source()))


@settings(deadline=None)
@given(st.integers(5, 30), st.integers(0, 10_000))
def test_balanced_weights_keep_signs_sum_to_zero_and_have_radius_one(size, seed):
    magnitude = torch.randn(size, size, generator=source(seed), dtype=torch.float64)
    signs = input_signs(size, source(seed)).double()
    weight = balanced_weights(magnitude, signs)
    assert bool((weight * signs >= 0).all())
    torch.testing.assert_close(weight.sum(1), torch.zeros(size, dtype=torch.float64), atol=1e-10, rtol=0)
    radius = torch.linalg.eigvals(weight).abs().max()
    assert radius.item() == pytest.approx(1, abs=1e-9)


def slow_balanced_weights(magnitude, signs):
    """One neuron after the other, ``[pre, post]`` as in the authors' code."""
    size = len(signs)
    weight = [[abs(magnitude[i][j]) * signs[i] for j in range(size)] for i in range(size)]
    excitation = sum(w for row in weight for w in row if w > 0)
    inhibition = -sum(w for row in weight for w in row if w < 0)
    for i in range(size):
        if signs[i] < 0:
            weight[i] = [w * excitation / inhibition for w in weight[i]]
    for j in range(size):
        column = [weight[i][j] for i in range(size)]
        total = sum(column)
        changed = [i for i in range(size) if (column[i] > 0) == (total < 0)]
        for i in changed:
            weight[i][j] -= total / len(changed)
    matrix = np.array(weight)
    return matrix / np.abs(np.linalg.eigvals(matrix)).max()


@settings(deadline=None)
@given(st.integers(5, 12), st.integers(0, 10_000))
def test_balanced_weights_equal_a_slow_form(size, seed):
    magnitude = torch.randn(size, size, generator=source(seed), dtype=torch.float64)
    signs = input_signs(size, source(seed)).double()
    expected = slow_balanced_weights(magnitude.T.tolist(), signs.tolist())
    np.testing.assert_allclose(balanced_weights(magnitude, signs).T.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_balancing_adds_equal_parts_by_hand():
    # Row 0: sum -2, half to each excitatory weight; row 1: sum 3, taken off the one inhibitory weight;
    # row 2 lacks inhibition.
    weight = torch.tensor([[1.0, 2.0, -5.0], [3.0, 1.0, -1.0], [1.0, 2.0, 3.0]])
    expected = torch.tensor([[2.0, 3.0, -5.0], [3.0, 1.0, -4.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(balance_inputs(weight), expected)


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(5, 12)),
    st.floats(0.05, 1),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_drawn_wiring_is_sparse_and_obeys_dales_law(shape, connectivity, dale, seed):
    signs = input_signs(shape[1], source(seed)) if dale else None
    wiring = draw_wiring(shape, connectivity, source(seed), pre_signs=signs)
    assert wiring.theta.shape == wiring.sign.shape == shape
    assert bool((wiring.theta >= 0).all())
    assert bool((wiring.sign.abs() == 1).all())
    assert int((wiring.theta > 0).sum()) <= int(shape[0] * shape[1] * connectivity)
    if signs is not None:
        assert torch.equal(wiring.sign, signs.expand(shape))
    again = draw_wiring(shape, connectivity, source(seed), pre_signs=signs)
    assert torch.equal(wiring.theta, again.theta)
    assert torch.equal(wiring.sign, again.sign)


def test_draws_with_replacement_leave_gaps_and_without_do_not():
    wanted = int(50 * 40 * 0.3)
    assert int(draw_mask((50, 40), 0.3, source()).sum()) < 0.9 * wanted
    assert int(draw_mask((50, 40), 0.3, source(), with_replacement=False).sum()) == wanted


def test_every_synapse_is_equally_likely():
    hits = sum(draw_mask((3, 4), 0.25, source(seed)).float() for seed in range(2000)) / 2000
    torch.testing.assert_close(hits, torch.full((3, 4), 1 - (11 / 12) ** 3), atol=0.035, rtol=0)


def test_weights_of_random_sign_are_scaled_by_the_number_of_inputs():
    wiring = draw_wiring((300, 100), 1.0, source(), with_replacement=False, dtype=torch.float64)
    weight = wiring.weight()
    assert weight.dtype == torch.float64
    assert weight.std().item() == pytest.approx(0.1, rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=0.003)


def test_fewer_inputs_than_neurons_repeat_rows():
    wiring = draw_wiring((14, 6), 1.0, source(), pre_signs=recurrent_signs(6), with_replacement=False)
    assert len(wiring.theta.unique(dim=0)) <= 6


def test_weight_is_exactly_zero_without_connection():
    wiring = Wiring(torch.tensor([[0.5, 0.0, -0.5]]), torch.tensor([[-1.0, -1.0, 1.0]]))
    assert wiring.weight().tolist() == [[-0.5, 0.0, 0.0]]
    assert wiring.weight(keep_signs=False).tolist() == [[-0.5, 0.0, -0.5]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: num_excitatory(0), "0 neurons, 0.75 of them excitatory: expected at least 1"),
        (lambda: recurrent_signs(5, share=1.5), "5 neurons, 1.5 of them excitatory"),
        (lambda: draw_mask((3, 3), 0.0, source()), "connectivity is 0: expected more than 0 and at most 1"),
        (lambda: draw_mask((3, 3), 1.1, source()), "connectivity is 1.1"),
        (
            lambda: draw_wiring((3, 4), 0.5, source(), pre_signs=torch.ones(3)),
            r"signs are \[3\]: expected \[4\] for weights \[3, 4\]",
        ),
        (
            lambda: draw_wiring((3, 4), 0.5, source(), pre_signs=recurrent_signs(4)),
            "4 of 4 presynaptic neurons are excitatory: balanced weights need both kinds",
        ),
        (
            lambda: balanced_weights(torch.ones(3, 4), torch.ones(4)),
            r"magnitudes are \[3, 4\]: expected \[4, 4\] as signs are \[4\]",
        ),
        (lambda: scale_to_unit_radius(torch.zeros(3, 3)), "spectral radius 0"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"connectivity": 0.0}, "connectivity is 0: expected more than 0 and at most 1"),
        ({"connectivity": 2.0}, "connectivity is 2"),
        ({"connectivity": float("nan")}, "connectivity is nan"),
        ({"l1": -1.0}, "l1 is -1: expected at least 0"),
        ({"temperature": float("inf")}, "temperature is inf: expected at least 0"),
        (
            {"wiring": Wiring(torch.ones(3, 2), torch.ones(2, 3))},
            r"sign is \[2, 3\]: expected \[3, 2\] as the weight",
        ),
        (
            {"weight": nn.Parameter(torch.ones(3))},
            r"weight is \[3\] in torch.float32: expected \[post, pre\]",
        ),
        (
            {"weight": nn.Parameter(torch.ones(3, 2).half())},
            r"in torch.float16: expected .* in float32 or float64",
        ),
    ],
)
def test_matrices_that_cannot_be_wired_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        WiredMatrix(**({"weight": nn.Parameter(torch.ones(3, 2))} | changed))
