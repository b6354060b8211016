"""Checks recorded DEEP R steps and initial matrices: ``deepr_*.npz``.

Files are ``[pre, post]``, the library is ``[post, pre]``. What the authors drew is read from the file; what the
library draws in its place is checked against the invariants.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from lsnn_gym.adam import EpsilonHatAdam
from lsnn_gym.rewiring import DeepR
from lsnn_gym.thetas import NEW_CONNECTION, connect_
from lsnn_gym.wiring import (
    WiredMatrix,
    Wiring,
    balance_inputs,
    dale_wiring,
    free_wiring,
    pairs_mask,
    scale_to_unit_radius,
)
from tests.vectors.results import BadRecordingError, Recording, Result, compare, identical

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}


def check(path: Path) -> list[Result]:
    """Check one file, in float64 and float32.

    Raises:
        BadRecordingError: If it holds neither steps nor initial matrices, or lacks a part of them.
    """
    recording = Recording(path)
    results = [recording.all_finite()]
    for dtype in TOLERANCES:
        if "theta0" in recording:
            results += Steps(recording, dtype).check()
        results += check_initialisation(recording, dtype)
    if len(results) == 1:
        raise BadRecordingError(f"{path}: holds neither theta0 nor any known initial matrix")
    return results


class Steps:
    """Recorded steps, taken again by the library: once without, once with its own new connections."""

    def __init__(self, recording: Recording, dtype: torch.dtype) -> None:
        self.recording = recording
        self.dtype = dtype
        self.tolerance = TOLERANCES[dtype]
        self.suffix = str(dtype).removeprefix("torch.")
        self.num_matrices = int(recording.setting("n_matrices"))
        self.num_steps = int(recording.setting("n_steps"))
        self.executed = bool(recording.setting("reconnection_executed", default="noise0" not in recording))
        self.temperatures = self.per_matrix("temperature", 0.0)

    def check(self) -> list[Result]:
        """Take all steps, each from the recorded state before it, and compare."""
        shrinking, full = self.optimizer(reconnect=False), self.optimizer(reconnect=True)
        results = self.check_constants(shrinking)
        for step in range(self.num_steps):
            for optimizer in (shrinking, full):
                self.take(optimizer, step)
            results += self.check_step(step, shrinking, full)
        return _worst(results)

    def per_matrix(self, name: str, default: Any = None) -> list[float]:
        """Return a setting that is one number or a list with one number a matrix."""
        value = self.recording.setting(name, default=default)
        return [float(each) for each in (value if isinstance(value, list) else [value] * self.num_matrices)]

    def read(self, name: str) -> Tensor:
        """Return a recorded matrix as ``[post, pre]``."""
        return _transposed(self.recording.array(name), self.dtype)

    def optimizer(self, *, reconnect: bool) -> DeepR:
        """Return the library's optimiser in the recorded initial state."""
        settings = (self.per_matrix("connectivities"), self.per_matrix("l1", 0.0), self.temperatures)
        matrices = []
        for index, (connectivity, l1, temperature) in enumerate(zip(*settings, strict=True)):
            wiring = Wiring(self.read(f"theta{index}"), self.read(f"sign{index}"))
            weight = nn.Parameter(torch.zeros_like(wiring.theta))
            matrices.append(WiredMatrix(weight, connectivity, l1, temperature, wiring))
        weights = [matrix.weight for matrix in matrices]
        kind = str(self.recording.setting("optimizer")).lower()
        rate = self.learning_rate(0)
        if kind not in ("sgd", "adam"):
            raise BadRecordingError(f"{self.recording.path}: optimizer is {kind!r}, expected 'sgd' or 'adam'")
        inner = torch.optim.SGD(weights, lr=rate) if kind == "sgd" else self.adam(weights, rate)
        return DeepR(inner, matrices, torch.Generator().manual_seed(0), reconnect=reconnect)

    def adam(self, weights: list[nn.Parameter], rate: float) -> EpsilonHatAdam:
        """Return TensorFlow's Adam; the file's own ``epsilon`` is that of new connections."""
        setting = self.recording.setting
        betas = (float(setting("beta1", default=0.9)), float(setting("beta2", default=0.999)))
        return EpsilonHatAdam(weights, rate, betas, float(setting("adam_epsilon", default=1e-8)))

    def learning_rate(self, step: int) -> float:
        """Return the learning rate, which may be a list with one number a step."""
        rate = self.recording.setting("lr", "learning_rate")
        return float(rate[step] if isinstance(rate, list) else rate)

    def noise(self, step: int) -> Iterator[Tensor]:
        """Return the recorded normal draws of the matrices that have a temperature."""
        for index, temperature in enumerate(self.temperatures):
            if temperature:
                name = next(
                    (n for n in (f"step{step}_noise{index}", f"noise{index}") if n in self.recording), None
                )
                if name is None:
                    raise BadRecordingError(f"{self.recording.path}: array 'noise{index}' is missing")
                draws = self.recording.array(name)
                yield _transposed(draws[step] if draws.ndim == 3 else draws, self.dtype)

    def take(self, optimizer: DeepR, step: int) -> None:
        """Take one step from the recorded thetas with the recorded gradients and normal draws."""
        tensors = dict(optimizer.wiring_tensors())
        for index in range(self.num_matrices):
            tensors[f"{index}/theta"] = self.read(f"step{step}_before{index}")
        optimizer.restore_wiring(tensors)
        optimizer.param_groups[0]["lr"] = self.learning_rate(step)
        for index, matrix in enumerate(optimizer.matrices):
            matrix.weight.grad = self.read(f"step{step}_grad_w{index}")
        draws = self.noise(step)
        with patch("lsnn_gym.rewiring._normal_like", lambda theta, generator: next(draws)):
            optimizer.step()

    def check_constants(self, optimizer: DeepR) -> list[Result]:
        """Compare what holds in all steps."""
        results = [
            self.exact(
                f"theta{index} and step 0", self.read(f"theta{index}"), self.read(f"step0_before{index}")
            )
            for index in range(self.num_matrices)
        ]
        if "cap_connections" in self.recording:
            results.append(self.exact("budget", optimizer.budget, self.recording.array("cap_connections")))
        epsilon = float(self.recording.setting("epsilon", default=NEW_CONNECTION))
        start = torch.tensor(NEW_CONNECTION, dtype=torch.float64)
        return [*results, self.exact("theta of new connections", start, np.array(epsilon))]

    def check_step(self, step: int, shrinking: DeepR, full: DeepR) -> list[Result]:
        """Compare one step: thetas, numbers of connections, and the invariants of new connections."""
        settled = [shrinking.wiring(index).theta for index in range(self.num_matrices)]
        own = [full.wiring(index).theta for index in range(self.num_matrices)]
        after = [self.read(f"step{step}_after{index}") for index in range(self.num_matrices)]
        results = []
        new = [self.new_connections(*pair) for pair in zip(after, settled, strict=True)]
        for index in range(self.num_matrices):
            name = f"step {step} theta{index}"
            results += self.compare_thetas(name, settled[index], after[index], new[index])
            own_new = self.new_connections(own[index], settled[index])
            results += self.compare_thetas(f"{name}, own connections", settled[index], own[index], own_new)
            effective = (full.matrices[index].weight, full.wiring(index).weight())
            results.append(self.exact(f"{name}, weight", effective[0].detach(), effective[1].numpy()))
        results.append(self.check_own_budget(step, full, own))
        # Which thetas are positive can differ in float32 where one is within rounding of 0.
        return results + (
            self.check_numbers(step, settled, after, new) if self.dtype == torch.float64 else []
        )

    def new_connections(self, after: Tensor, settled: Tensor) -> Tensor:
        """Return where a connection was made: exactly 1e-12, which the step up to there had not left."""
        start = torch.tensor(NEW_CONNECTION, dtype=self.dtype)
        return (after == start) & (settled != start)

    def compare_thetas(self, name: str, settled: Tensor, after: Tensor, new: Tensor) -> list[Result]:
        """Compare thetas where no connection is new, and ask that new ones are where theta was not positive."""
        kept = torch.where(new, 0.0, after).numpy()
        scale = float(after.abs().max()) or 1.0
        above = float(torch.where(new, settled, 0.0).clamp(min=0).max()) / scale
        return [
            compare(f"{name} ({self.suffix})", torch.where(new, 0.0, settled), kept, self.tolerance),
            Result(f"{name} where connected anew ({self.suffix})", above, self.tolerance),
        ]

    def check_own_budget(self, step: int, full: DeepR, own: list[Tensor]) -> Result:
        """Ask that the library's own step ends at the budget, or below it with a full matrix."""
        connected = sum(full.connections())
        some_full = any(bool((theta > 0).all()) for theta in own)
        off = max(0, connected - full.budget) if some_full else abs(full.budget - connected)
        return Result(f"step {step} connections off the budget ({self.suffix})", float(off), 0)

    def check_numbers(
        self, step: int, settled: list[Tensor], after: list[Tensor], new: list[Tensor]
    ) -> list[Result]:
        """Compare the numbers of connections, requested, made and present."""
        recording = self.recording
        results = []
        budget = int(recording.array("cap_connections"))
        missing = max(0, budget - sum(int((theta > 0).sum()) for theta in settled))
        totals = {
            "total_requested": missing,
            "connected_after": sum(int((theta > 0).sum()) for theta in after),
        }
        for key, value in totals.items():
            if f"step{step}_{key}" in recording:
                results.append(self.exact(f"step {step} {key}", value, recording.array(f"step{step}_{key}")))
        if f"step{step}_counts" not in recording:
            return results
        counts = recording.array(f"step{step}_counts", (self.num_matrices,))
        results.append(self.exact(f"step {step} counts", missing, counts.sum()))
        if self.executed:
            generator = torch.Generator().manual_seed(step)
            made = [
                connect_(theta.clone(), int(n), generator) for theta, n in zip(settled, counts, strict=True)
            ]
            recorded = np.array([int(each.sum()) for each in new])
            results.append(self.exact(f"step {step} made", np.array(made), recorded))
        return results

    def exact(self, name: str, value: Tensor | np.ndarray | float, expected: Any) -> Result:
        """Ask that both are identical."""
        return identical(f"{name} ({self.suffix})", torch.as_tensor(value), np.asarray(expected))


def check_initialisation(recording: Recording, dtype: torch.dtype) -> list[Result]:
    """Check all recorded steps of the initialisation that the file holds."""
    tolerance, suffix = TOLERANCES[dtype], str(dtype).removeprefix("torch.")
    found: list[tuple[str, Tensor]] = []
    if "balance_in" in recording:
        found.append(("balance_out", balance_inputs(_transposed(recording.array("balance_in"), dtype))))
    if "scale_in" in recording:
        scaled = scale_to_unit_radius(_transposed(recording.array("scale_in"), dtype))
        found.append(("scale_out", scaled))
        if "scale_factor" in recording:
            factor = scaled.abs().sum() / np.abs(recording.array("scale_in")).sum()
            found.append(("scale_factor", factor))
    for name in list(recording.arrays):
        chain, sampler = re.fullmatch(r"(.+)_sign_vec", name), re.fullmatch(r"(.+)_draw0_choice", name)
        if chain and f"{chain[1]}_w" in recording and f"{chain[1]}_randn" in recording:
            found += signed_chain(recording, chain[1], dtype)
        if sampler:
            found += sampled(recording, sampler[1], dtype)
    return [
        compare(f"{name} ({suffix})", value.mT if value.dim() else value, recording.array(name), tolerance)
        for name, value in found
    ]


def signed_chain(recording: Recording, name: str, dtype: torch.dtype) -> list[tuple[str, Tensor]]:
    """Return weight, theta and sign of a signed matrix before masking, from the recorded magnitudes."""
    num_pre, num_post = recording.array(f"{name}_w").shape
    magnitude = _transposed(recording.array(f"{name}_randn", (num_pre, num_pre)), dtype)
    signs = torch.as_tensor(recording.array(f"{name}_sign_vec", (num_pre,)), dtype=dtype)
    mask = torch.ones(num_post, num_pre, dtype=torch.bool)
    targets = _targets(recording, f"{name}_columns", num_pre, num_post)
    found = _named(name, dale_wiring(mask, magnitude, signs, targets))
    return [(key, value) for key, value in found if key in recording]


def sampled(recording: Recording, name: str, dtype: torch.dtype) -> list[tuple[str, Tensor]]:
    """Return weight, theta and sign of a sparse matrix from the recorded draws, in their order."""
    num_pre, num_post = recording.array(f"{name}_theta").shape
    pre, post = (
        torch.as_tensor(recording.array(f"{name}_draw{k}_choice"), dtype=torch.int64) for k in (0, 1)
    )
    mask = pairs_mask(post, pre, (num_post, num_pre))
    wanted = int(num_pre * num_post * float(recording.setting("p", "connectivity")))
    if len(pre) != wanted or len(post) != wanted:
        raise BadRecordingError(f"{recording.path}: {name} has {len(pre)} draws, expected {wanted}")
    draw3 = _transposed(recording.array(f"{name}_draw3_randn"), dtype)
    if f"{name}_draw2_randn" in recording:
        wiring = free_wiring(mask, _transposed(recording.array(f"{name}_draw2_randn"), dtype), draw3)
    else:
        own = f"{name}_sign_vec"
        signs = recording.array(own if own in recording else "square_sign_vec", (num_pre,))
        targets = _targets(recording, f"{name}_draw4_choice", num_pre, num_post)
        wiring = dale_wiring(mask, draw3, torch.as_tensor(signs, dtype=dtype), targets)
    return [(key, value) for key, value in _named(name, wiring) if key in recording]


def _named(name: str, wiring: Wiring) -> list[tuple[str, Tensor]]:
    return [(f"{name}_theta", wiring.theta), (f"{name}_sign", wiring.sign), (f"{name}_w", wiring.weight())]


def _targets(recording: Recording, name: str, num_pre: int, num_post: int) -> Tensor:
    if num_post <= num_pre:
        return torch.arange(num_post)
    return torch.as_tensor(recording.array(name, (num_post,)), dtype=torch.int64)


def _transposed(array: np.ndarray, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(array, dtype=dtype).T.contiguous()


def _worst(results: list[Result]) -> list[Result]:
    """Keep, of each quantity, the step with the largest error; a NaN is the largest of all."""
    worst: dict[str, Result] = {}
    for result in results:
        name = re.sub(r"^step \d+ ", "", result.name)
        kept = worst.get(name)
        if kept is None or not result.error <= kept.error:
            worst[name] = result
    return list(worst.values())
