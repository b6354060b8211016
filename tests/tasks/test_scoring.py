"""What losses share: here the matching of features, against a slow form of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lsnn_gym.tasks.scoring import matching_losses


def slow_matching_loss(features: Tensor, classes: Tensor) -> float:
    showings, lanes, size = features.shape
    losses = []
    for lane in range(lanes):
        for now in range(showings):
            if classes[now, lane] < 0:
                continue
            total, right = 0.0, 0.0
            for before in range(now):
                if classes[before, lane] < 0:
                    continue
                one, other = features[now, lane], features[before, lane]
                cosine = float(one @ other / one.norm() / other.norm())
                weight = math.exp(math.sqrt(size) * cosine)
                total += weight
                right += weight * bool(classes[before, lane] == classes[now, lane])
            if right:
                losses.append(-math.log(right / total))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("seed", range(3))
def test_matching_equals_its_slow_form(seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(9, 4, 6, generator=generator, dtype=torch.float64)
    classes = torch.randint(-1, 3, (9, 4), generator=generator)
    assert float(matching_losses(features, classes).mean()) == pytest.approx(
        slow_matching_loss(features, classes)
    )


def test_matching_is_0_for_like_features_of_a_class_and_none_of_another():
    features = 100 * torch.eye(400)[[0, 1, 0, 1]][:, None]
    assert float(matching_losses(features, torch.tensor([[0], [1], [0], [1]])).mean()) < 1e-6
    assert float(matching_losses(features, torch.tensor([[0], [1], [1], [0]])).mean()) > 10


def test_matching_without_a_class_shown_twice_is_0_and_has_a_gradient():
    features = torch.randn(3, 1, 4, requires_grad=True)
    loss = matching_losses(features, torch.tensor([[0], [1], [2]])).sum()
    assert loss.item() == 0
    torch.autograd.backward(loss + features.sum())
    assert features.grad is not None
    assert torch.equal(features.grad, torch.ones(3, 1, 4))


def test_the_gradient_of_matching_is_exact_and_finite():
    features = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    classes = torch.tensor([[0, 1], [1, -1], [0, 1], [-1, 0], [1, 2], [2, 0]])
    assert torch.autograd.gradcheck(lambda each: matching_losses(each, classes), (features,))
