"""Spikes with their counts: values and derivatives are those of a plain sum, with blocks of memory used again too."""

from __future__ import annotations

import pytest
import torch

from lsnn_gym.counts import counted
from lsnn_gym.memory import POOL, SMALLEST, pooled_like
from lsnn_gym.rules.broadcast import stepwise_product
from lsnn_gym.tasks.scoring import rate_loss
from lsnn_gym.training.distributed import global_firing_rate, global_rate_loss


def _spikes(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(*shape, generator=generator) < 0.1).to(dtype).requires_grad_()


def test_derivatives_are_those_of_a_plain_sum():
    assert torch.autograd.gradcheck(counted, _spikes(4, 3, 2))


@pytest.mark.parametrize("asked", [("spikes",), ("counts",), ("spikes", "counts")])
def test_only_what_is_asked_for_comes_back(asked: tuple[str, ...]):
    spikes = _spikes(5, 2, 3)
    weight = torch.arange(30.0, dtype=torch.float64).view(5, 2, 3)
    passed, counts = counted(spikes)
    losses = {"spikes": (passed * weight).sum(), "counts": counts.square().sum()}
    derivatives = {"spikes": weight, "counts": (2 * counts.detach()).expand(5, 2, 3)}
    (found,) = torch.autograd.grad(torch.stack([losses[each] for each in asked]).sum(), spikes)
    assert torch.equal(found, torch.stack([derivatives[each] for each in asked]).sum(0))


def test_without_gradients_spikes_are_the_same_tensor():
    spikes = _spikes(3, 2, 4).detach()
    with torch.no_grad():
        passed, counts = counted(spikes)
    assert passed is spikes
    assert torch.equal(counts, spikes.sum((0, 1)))


def test_large_ones_too_and_memory_comes_from_the_pool():
    spikes = _spikes(64, 32, 600, dtype=torch.float32)
    assert spikes.nbytes > SMALLEST
    weight = torch.randn(3, 600, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def gradients(loss_of):
        return torch.autograd.grad(loss_of(), (spikes, weight))

    def ours():
        passed, counts = counted(spikes)
        return stepwise_product(passed, weight).square().sum() + (counts / len(spikes)).square().sum()

    def plain():
        return (spikes @ weight.T).square().sum() + (spikes.sum((0, 1)) / len(spikes)).square().sum()

    for _ in range(2):  # the second time in memory used before
        for found, expected in zip(gradients(ours), gradients(plain), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    taken = pooled_like(spikes)
    assert taken.shape == spikes.shape
    waiting = len(POOL.spare)
    del taken
    assert len(POOL.spare) == min(waiting + 1, 8)


@pytest.mark.parametrize("frozen", ["values", "weight"])
def test_of_a_product_only_what_is_needed_is_computed(frozen: str):
    values, weight = _spikes(4, 3, 2), torch.ones(5, 2, dtype=torch.float64, requires_grad=True)
    (values if frozen == "values" else weight).requires_grad_(False)
    stepwise_product(values, weight).sum().backward()
    assert (values.grad is None) == (frozen == "values")
    assert (weight.grad is None) == (frozen == "weight")


def test_a_products_derivatives_are_right():
    weight = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stepwise_product, (_spikes(4, 3, 2), weight))


def test_rates_are_the_same_by_counts():
    spikes = _spikes(50, 4, 6) * 2  # of steps of half a millisecond
    counts = spikes.sum((0, 1))
    expected = rate_loss(spikes, 20.0, 0.5)
    assert global_rate_loss(spikes, 20.0, 0.5).item() == pytest.approx(expected.item(), rel=1e-12)
    assert global_rate_loss(spikes, 20.0, 0.5, counts).item() == pytest.approx(expected.item(), rel=1e-12)
    assert global_firing_rate(spikes) == pytest.approx(1000 * spikes.mean().item(), rel=1e-12)
    assert global_firing_rate(spikes, counts) == pytest.approx(global_firing_rate(spikes), rel=1e-12)
