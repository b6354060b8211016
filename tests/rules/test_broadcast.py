"""Readouts whose errors come back by feedback weights."""

from __future__ import annotations

import pytest
import torch

from lsnn_gym.rules.broadcast import broadcast_linear

GENERATOR = torch.Generator().manual_seed(0)
VALUES = torch.randn(7, 2, 6, generator=GENERATOR, dtype=torch.float64)
WEIGHT = torch.randn(4, 6, generator=GENERATOR, dtype=torch.float64)
FEEDBACK = torch.randn(4, 6, generator=GENERATOR, dtype=torch.float64)
BY_OUTPUT = torch.randn(7, 2, 4, generator=GENERATOR, dtype=torch.float64)


def test_errors_come_back_by_the_feedback_and_the_weight_learns_truly():
    values, weight = VALUES.clone().requires_grad_(), WEIGHT.clone().requires_grad_()
    output = broadcast_linear(values, weight, FEEDBACK)
    torch.testing.assert_close(output, VALUES @ WEIGHT.T)
    by_values, by_weight = torch.autograd.grad(output, [values, weight], BY_OUTPUT)
    torch.testing.assert_close(by_values, BY_OUTPUT @ FEEDBACK)
    (true,) = torch.autograd.grad(VALUES @ weight.T, weight, BY_OUTPUT)
    torch.testing.assert_close(by_weight, true)


def test_with_its_own_weight_as_feedback_it_is_a_linear_layer():
    assert torch.autograd.gradcheck(
        lambda values: broadcast_linear(values, WEIGHT, WEIGHT), VALUES.clone().requires_grad_()
    )


def test_feedback_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"feedback is \(6, 4\): expected \(4, 6\)"):
        broadcast_linear(VALUES, WEIGHT, FEEDBACK.T)
