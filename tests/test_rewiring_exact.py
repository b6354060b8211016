"""DEEP R against a slow, obvious form in float64, over random cases; and the checker of recorded cases."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lsnn_gym import rewiring
from lsnn_gym.adam import EpsilonHatAdam
from lsnn_gym.rewiring import DeepR
from lsnn_gym.thetas import connect_, connection_budget, draw_counts
from lsnn_gym.wiring import WiredMatrix, Wiring
from tests.vectors.deepr import check

RECORDED = os.environ.get("LSNN_GYM_VECTORS")
MATRICES = [((6, 8), 0.3), ((8, 8), 0.2), ((8, 3), 0.5)]


class SlowDeepR:
    """The step as LSNN.md lists it, one synapse after the other, with every draw given.

    ``optimizer`` is "sgd" or "adam" (TensorFlow's).
    """

    def __init__(self, thetas, signs, optimizer, l1, temperature):
        self.thetas = [np.array(theta, dtype=np.float64) for theta in thetas]
        self.signs = signs
        self.optimizer = optimizer
        self.l1 = l1
        self.temperature = temperature
        self.m = [np.zeros_like(theta) for theta in self.thetas]
        self.v = [np.zeros_like(theta) for theta in self.thetas]
        self.time = 0

    def settle(self, gradients, noises, rate):
        """Steps 1 to 3: everything before new connections are made."""
        self.time += 1
        for k, theta in enumerate(self.thetas):
            for at in np.ndindex(theta.shape):
                connected = theta[at] > 0
                value = self._optimized(k, at, self.signs[k][at] * gradients[k][at], rate)
                if not connected:
                    value = 0.0
                if value > 0:
                    value += math.sqrt(2 * rate * self.temperature[k]) * noises[k][at] - rate * self.l1[k]
                theta[at] = value

    def _optimized(self, k, at, gradient, rate):
        if self.optimizer == "sgd":
            return self.thetas[k][at] - rate * gradient
        self.m[k][at] = 0.9 * self.m[k][at] + 0.1 * gradient
        self.v[k][at] = 0.999 * self.v[k][at] + 0.001 * gradient**2
        correction = math.sqrt(1 - 0.999**self.time) / (1 - 0.9**self.time)
        return self.thetas[k][at] - rate * correction * self.m[k][at] / (math.sqrt(self.v[k][at]) + 1e-8)

    def connect(self, k, at):
        """Step 6 for one synapse."""
        assert not self.thetas[k][at] > 0
        self.thetas[k][at] = 1e-12

    def connections(self):
        return [int((theta > 0).sum()) for theta in self.thetas]


def random_start(rng, shapes, shares):
    """Return thetas within the budget, the others 0 or negative as they are between steps, and signs."""
    sizes = [math.prod(shape) for shape in shapes]
    budget = connection_budget(zip(sizes, shares, strict=True))
    theta = -0.1 * rng.random(sum(sizes)) * rng.integers(0, 2, sum(sizes))
    connected = rng.permutation(sum(sizes))[: math.ceil(0.9 * budget)]
    theta[connected] = rng.random(len(connected))
    parts = np.split(theta, np.cumsum(sizes)[:-1])
    thetas = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return thetas, [rng.choice([-1.0, 1.0], shape) for shape in shapes], budget


def as_optimizer(slow, shares, rate, seed=0):
    matrices = []
    for theta, sign, share, l1, temperature in zip(
        slow.thetas, slow.signs, shares, slow.l1, slow.temperature, strict=True
    ):
        wiring = Wiring(torch.tensor(theta), torch.tensor(sign))
        weight = nn.Parameter(torch.zeros_like(wiring.theta))
        matrices.append(WiredMatrix(weight, share, l1, temperature, wiring))
    weights = [matrix.weight for matrix in matrices]
    inner = torch.optim.SGD(weights, lr=rate) if slow.optimizer == "sgd" else EpsilonHatAdam(weights, lr=rate)
    return DeepR(inner, matrices, torch.Generator().manual_seed(seed))


CASES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "shapes": st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=3),
        "share": st.floats(0.2, 1.0),
        "optimizer": st.sampled_from(["sgd", "adam"]),
        "l1": st.sampled_from([0.0, 0.01, 1.0]),
        "temperature": st.sampled_from([0.0, 0.001, 0.1]),
        "rate": st.sampled_from([0.003, 0.1]),
    }
)


@settings(deadline=None, max_examples=60)
@given(CASES)
def test_the_wrapper_equals_the_slow_form(case):
    rng = np.random.default_rng(case["seed"])
    num = len(case["shapes"])
    shares = [min(1.0, case["share"] * (1 + 0.3 * k)) for k in range(num)]
    thetas, signs, budget = random_start(rng, case["shapes"], shares)
    # The second matrix has its own settings.
    l1 = [case["l1"], 0.02, case["l1"]][:num]
    temperature = [case["temperature"], 0.0, case["temperature"]][:num]
    slow = SlowDeepR(thetas, signs, case["optimizer"], l1, temperature)
    fast = as_optimizer(slow, shares, case["rate"], seed=case["seed"])
    assert fast.budget == budget
    for step in range(5):
        gradients = [rng.standard_normal(shape) for shape in case["shapes"]]
        rate = case["rate"] / (1 + step)
        drawn: list[Tensor] = []
        draw = rewiring._normal_like

        def keep(theta, generator, drawn=drawn, draw=draw):
            drawn.append(draw(theta, generator))
            return drawn[-1]

        fast.param_groups[0]["lr"] = rate
        for matrix, gradient in zip(fast.matrices, gradients, strict=True):
            matrix.weight.grad = torch.tensor(gradient)
        with patch.object(rewiring, "_normal_like", keep):
            fast.step()
        noises = iter(drawn)
        noise = [
            next(noises).numpy() if t else np.zeros(s)
            for t, s in zip(temperature, case["shapes"], strict=True)
        ]
        slow.settle(gradients, noise, rate)
        missing = max(0, budget - sum(slow.connections()))
        connect_as(slow, fast)
        assert_equal(slow, fast, gradients)
        full = any(bool((theta > 0).all()) for theta in slow.thetas)
        assert sum(fast.reconnected) == missing or full
        assert sum(fast.connections()) == budget or full
        assert sum(fast.connections()) <= budget


def connect_as(slow, fast):
    """Make the connections that the wrapper drew, if these are allowed."""
    for k, made in enumerate(fast.reconnected):
        theta = fast.wiring(k).theta.numpy()
        new = [tuple(at) for at in np.argwhere((theta == 1e-12) & (slow.thetas[k] != 1e-12))]
        assert len(new) == made
        for at in new:
            slow.connect(k, at)


def assert_equal(slow, fast, gradients):
    for k, matrix in enumerate(fast.matrices):
        np.testing.assert_allclose(fast.wiring(k).theta.numpy(), slow.thetas[k], rtol=1e-11, atol=1e-15)
        weight = np.where(slow.thetas[k] > 0, slow.signs[k] * slow.thetas[k], 0)
        np.testing.assert_allclose(matrix.weight.detach().numpy(), weight, rtol=1e-11, atol=1e-15)
        # What the user's gradient was, it stays.
        np.testing.assert_array_equal(matrix.weight.grad.numpy(), gradients[k])


def test_new_connections_go_to_matrices_in_proportion_to_their_share_of_the_budget():
    shares = [48 * 0.3, 64 * 0.1, 24 * 0.5]
    counts = np.array(draw_counts(20_000, shares, torch.Generator().manual_seed(0)))
    assert counts.sum() == 20_000
    np.testing.assert_allclose(counts / 20_000, np.array(shares) / sum(shares), atol=0.015)


def test_the_wrapper_draws_matrices_in_proportion_to_size_and_connectivity():
    # [100, 100] at 10 %, [100, 100] at 30 %, [50, 100] at 40 %: 1 to 3 to 2.
    nothing = [Wiring(torch.zeros(shape), torch.ones(shape)) for shape in ((100, 100), (100, 100), (50, 100))]
    weights = [nn.Parameter(wiring.theta.clone()) for wiring in nothing]
    matrices = [
        WiredMatrix(weight, share, wiring=wiring)
        for weight, share, wiring in zip(weights, (0.1, 0.3, 0.4), nothing, strict=True)
    ]
    optimizer = DeepR(torch.optim.SGD(weights, lr=0.1), matrices, torch.Generator().manual_seed(0))
    optimizer.step()
    assert sum(optimizer.reconnected) == 6000
    np.testing.assert_allclose(np.array(optimizer.reconnected) / 1000, [1, 3, 2], atol=0.15)


def test_every_free_synapse_is_equally_likely_and_no_other_is_touched():
    theta = torch.tensor([[0.5, 0.0, -0.1], [0.0, 1e-12, 0.3]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    hits = torch.zeros(2, 3)
    for _ in range(3000):
        after = theta.clone()
        assert connect_(after, 2, generator) == 2
        new = after != theta
        assert bool((after[new] == 1e-12).all())
        hits += new
    expected = torch.tensor([[0, 2 / 3, 2 / 3], [2 / 3, 0, 0]])
    torch.testing.assert_close(hits / 3000, expected, atol=0.03, rtol=0)
    assert connect_(theta, 7, generator) == 3
    assert connect_(theta, 7, generator) == 0


def test_the_budget_is_reckoned_in_single_precision():
    # In double precision 100 * 0.29 is 28.999999999999996.
    assert connection_budget([(100, 0.29)]) == 29
    assert connection_budget([(48, 0.3), (64, 0.3), (24, 0.3)]) == 40


# The checker of recorded cases


def record(
    path: Path, optimizer: str, *, executed: bool, shares: list[float], noise: bool, seed: int = 0
) -> None:
    """Write a case as the authors' code would have left it, drawn by the slow form."""
    rng = np.random.default_rng(seed)
    shapes = [shape for shape, _ in MATRICES]
    thetas, signs, budget = random_start(rng, shapes, shares)
    l1, temperature = ([0.02, 0.0, 0.1], [0.01, 0.0, 0.02]) if noise else ([0.02] * 3, [0.0] * 3)
    slow = SlowDeepR(thetas, signs, optimizer, l1, temperature)
    noises = [rng.standard_normal(shape) for shape in shapes]
    arrays: dict[str, Any] = {"cap_connections": budget}
    for k in range(3):
        arrays |= {f"theta{k}": thetas[k], f"sign{k}": signs[k]} | ({f"noise{k}": noises[k]} if noise else {})
    for step in range(5):
        gradients = [rng.standard_normal(shape) for shape in shapes]
        before = [theta.copy() for theta in slow.thetas]
        slow.settle(gradients, noises, 0.05)
        missing = max(0, budget - sum(slow.connections()))
        sizes = np.array([math.prod(s) * p for s, p in zip(shapes, shares, strict=True)])
        counts = rng.multinomial(missing, sizes / sizes.sum()).astype(np.int32)
        for k in range(3 if executed else 0):
            free = np.argwhere(~(slow.thetas[k] > 0))
            for at in rng.permutation(free)[: counts[k]]:
                slow.connect(k, tuple(at))
        arrays |= {f"step{step}_total_requested": missing, f"step{step}_counts": counts}
        arrays[f"step{step}_connected_after"] = sum(slow.connections())
        for k in range(3):
            arrays[f"step{step}_before{k}"], arrays[f"step{step}_grad_w{k}"] = before[k], gradients[k]
            arrays[f"step{step}_after{k}"] = slow.thetas[k].copy()
    meta = {
        "n_matrices": 3, "n_steps": 5, "lr": 0.05, "l1": l1 if noise else 0.02, "optimizer": optimizer,
        "temperature": temperature if noise else 0.0, "connectivities": shares,
        "reconnection_executed": executed, "epsilon": 1e-12,
    }  # fmt: skip
    np.savez(path, meta=np.array(json.dumps(meta)), **arrays)


SPARSE = [0.3, 0.2, 0.5]
OVERFLOWING = [0.3, 0.2, 1.0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize("shares", [SPARSE, OVERFLOWING])
@pytest.mark.parametrize("noise", [False, True])
def test_the_checker_accepts_what_is_right(tmp_path, optimizer, executed, shares, noise):
    path = tmp_path / "deepr_90.npz"
    record(path, optimizer, executed=executed, shares=shares, noise=noise)
    results = check(path)
    assert [result for result in results if not result.ok] == []
    assert len(results) > 20


@pytest.mark.parametrize(
    "changed",
    ["step3_after1", "step2_grad_w0", "step1_counts", "step4_connected_after", "cap_connections", "noise0"],
)
def test_the_checker_finds_what_is_wrong(tmp_path, changed):
    path = tmp_path / "deepr_91.npz"
    record(path, "adam", executed=True, shares=SPARSE, noise=True)
    arrays = dict(np.load(path))
    arrays[changed] = arrays[changed] + 1
    np.savez(path, **arrays)
    assert not all(result.ok for result in check(path))


def test_recorded_cases_tell_the_two_forms_of_adam_apart(tmp_path):
    path = tmp_path / "deepr_92.npz"
    record(path, "adam", executed=False, shares=SPARSE, noise=False)
    with patch("tests.vectors.deepr.EpsilonHatAdam", torch.optim.Adam):
        assert not all(result.ok for result in check(path))


@pytest.mark.skipif(not RECORDED, reason="LSNN_GYM_VECTORS names no folder of recorded cases")
def test_recorded_cases_are_reproduced():
    paths = sorted(Path(RECORDED or "").glob("deepr_*.npz"))
    assert paths, f"no deepr_*.npz in {RECORDED}"
    for path in paths:
        assert [(path.name, result) for result in check(path) if not result.ok] == []
