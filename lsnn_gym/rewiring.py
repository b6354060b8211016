"""DEEP R: training under a budget of connections, as a wrapper around any optimiser.

A wired matrix is trained as ``weight = sign * theta``; the parameter itself always holds the weight that acts,
so that a network needs no change::

    layer = torch.nn.Linear(100, 10)
    optimizer = DeepR(
        torch.optim.Adam(layer.parameters(), lr=0.01),
        [WiredMatrix(layer.weight, connectivity=0.1)],
        torch.Generator().manual_seed(0),
    )

and from there on as with any optimiser. All matrices are ``[post, pre]``.

Source: Bellec, Kappel, Maass, Legenstein: Deep rewiring: training very sparse deep networks, ICLR 2018, in the
form of the authors' code of Bellec et al., NIPS 2018.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lsnn_gym.errors import UserError, unknown
from lsnn_gym.thetas import connect_, connection_budget, draw_counts, shrink
from lsnn_gym.wiring import WiredMatrix, Wiring


class BudgetError(RuntimeError):
    """There are more connections than the budget allows."""


class WiredOptimizer(Optimizer, ABC):
    """An optimiser that trains matrices as ``sign * theta`` and hands all arithmetic to an inner optimiser.

    Stands wherever the inner optimiser would: learning-rate schedules, gradient clipping and ``zero_grad`` act
    on the same parameters and groups. The inner optimiser sees theta, with gradient ``sign * dL/dweight`` for
    every synapse, also one that is not connected; all other parameters are ordinary. A matrix without a
    gradient (None) sits the step out.

    Args:
        inner: Any first-order ``torch.optim`` optimiser; its parameters include the matrices' weights. Not to
            be stepped by itself any more.
        matrices: Those with managed connections. Their weights are overwritten by their wiring.
        generator: Source of every random choice, part of the state. Processes that train together need equal
            ones.
        budget: Highest total number of connections; None for any.

    Raises:
        BudgetError: If there are more connections at the start than the budget allows.
        ValueError: If matrices and optimiser do not fit together.
    """

    def __init__(
        self,
        inner: Optimizer,
        matrices: Sequence[WiredMatrix],
        generator: torch.Generator,
        *,
        budget: int | None = None,
    ) -> None:
        self._group_index = _checked_groups(inner, matrices)
        super().__init__(inner.param_groups, inner.defaults)
        self.inner = inner
        self.matrices: tuple[WiredMatrix, ...] = tuple(matrices)
        self.generator = generator
        self._budget = budget
        self._share_groups()
        self._wirings = [self._start(matrix).copy_like(matrix.weight) for matrix in self.matrices]
        self._check_budget()
        self._write_weights()

    @abstractmethod
    def _start(self, matrix: WiredMatrix) -> Wiring:
        """Return the wiring at the start."""

    @abstractmethod
    def _settle(self, connected: list[Tensor]) -> None:
        """Change thetas after the inner optimiser's step, given where they were positive before it."""

    def connections(self) -> list[int]:
        """Return the number of connections of each matrix."""
        return [
            int(((theta > 0 if matrix.keep_signs else theta != 0) & (sign != 0)).sum())
            for matrix, (theta, sign) in zip(self.matrices, self._wirings, strict=True)
        ]

    def wiring(self, index: int) -> Wiring:
        """Return copies of a matrix's theta and sign; theta is not positive where there is no connection."""
        return Wiring(*(tensor.clone() for tensor in self._wirings[index]))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update all parameters, and the connections of the matrices.

        Args:
            closure: Computes the loss and its gradients, once, before anything changes.

        Returns:
            What the closure returned, or None.

        Raises:
            FloatingPointError: If a gradient is not finite. Nothing is changed then.
            BudgetError: If there are more connections than the budget allows. Nothing is changed then.
            ValueError: If a weight was changed by something else. Nothing is changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._check_before_step()
        connected = [wiring.theta > 0 for wiring in self._wirings]
        try:
            self._step_thetas()
            self._settle(connected)
        finally:
            self._write_weights()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the inner optimiser's state and, under ``"wiring"``, copies of the ``wiring_tensors``."""
        wiring = {name: tensor.clone() for name, tensor in self.wiring_tensors().items()}
        return {**self.inner.state_dict(), "wiring": wiring}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a ``state_dict``; the weights follow.

        Raises:
            UserError: If it is of other matrices; nothing is changed then.
            ValueError: If it is of another inner optimiser; nothing is changed then.
        """
        self._check_tensors(state_dict.get("wiring", {}))
        self.inner.load_state_dict({key: value for key, value in state_dict.items() if key != "wiring"})
        self._share_groups()
        self.restore_wiring(state_dict["wiring"])

    def wiring_tensors(self) -> dict[str, Tensor]:
        """Return all that the inner optimiser's state and the weights lack, as safetensors can hold it.

        Returns:
            ``I/theta`` and ``I/sign`` of matrix number I, and ``generator`` (bytes). Thetas are not copied.
        """
        tensors = {"generator": self.generator.get_state()}
        for index, wiring in enumerate(self._wirings):
            tensors |= {f"{index}/{key}": tensor for key, tensor in wiring._asdict().items()}
        return tensors

    def restore_wiring(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``wiring_tensors`` returned, bit for bit; the weights follow.

        Raises:
            UserError: If it is of other matrices; nothing is changed then.
        """
        self._check_tensors(tensors)
        try:
            self.generator.set_state(tensors["generator"].cpu())
        except (RuntimeError, TypeError) as error:
            raise UserError(f"the wiring's 'generator' is no state of a generator: {error}") from None
        for index, matrix in enumerate(self.matrices):
            stored = Wiring(tensors[f"{index}/theta"], tensors[f"{index}/sign"])
            self._wirings[index] = stored.copy_like(matrix.weight)
        self._write_weights()

    def _check_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        expected = self.wiring_tensors()
        for name in tensors:
            if name not in expected:
                raise UserError(f"the wiring has an {unknown('tensor', name, expected)}")
        for name, tensor in expected.items():
            found = list(tensors[name].shape) if name in tensors else "missing"
            if found != list(tensor.shape):
                raise UserError(f"the wiring's tensor {name!r} is {found}, expected {list(tensor.shape)}")
            if tensors[name].is_complex():
                raise UserError(f"the wiring's tensor {name!r} is complex, expected {tensor.dtype}")

    def _share_groups(self) -> None:
        # One set of groups and state, so that a schedule set here is what the inner optimiser uses.
        self.param_groups: list[dict[str, Any]] = self.inner.param_groups
        self.state: defaultdict[Tensor, Any] = self.inner.state

    def _weight(self, index: int) -> Tensor:
        return self._wirings[index].weight(keep_signs=self.matrices[index].keep_signs)

    def _learning_rate(self, index: int) -> float:
        return float(self.param_groups[self._group_index[index]]["lr"])

    def _check_before_step(self) -> None:
        for number, group in enumerate(self.param_groups):
            for position, parameter in enumerate(group["params"]):
                bad = _num_not_finite(parameter.grad)
                if bad:
                    raise FloatingPointError(
                        f"{bad} of {parameter.numel()} gradients of parameter {position} "
                        f"{list(parameter.shape)} in group {number} are not finite"
                    )
        self._check_budget()
        for index, matrix in enumerate(self.matrices):
            if not torch.equal(matrix.weight, self._weight(index)):
                raise ValueError(
                    f"{_label(index, matrix)} was changed outside the optimiser, which keeps it as sign * theta: load "
                    "weights before making the optimiser, or its state after them"
                )

    def _check_budget(self) -> None:
        counts = self.connections()
        if self._budget is not None and sum(counts) > self._budget:
            raise BudgetError(f"{sum(counts)} connections {counts}: the budget is {self._budget}")

    def _step_thetas(self) -> None:
        """Let the inner optimiser see theta and its gradient in the place of each weight."""
        weights = [matrix.weight for matrix in self.matrices]
        gradients = [weight.grad for weight in weights]
        try:
            for weight, wiring, gradient in zip(weights, self._wirings, gradients, strict=True):
                weight.copy_(wiring.theta)
                weight.grad = None if gradient is None else wiring.sign * gradient
            self.inner.step()
            for weight, wiring in zip(weights, self._wirings, strict=True):
                wiring.theta.copy_(weight)
        finally:
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient

    @torch.no_grad()
    def _write_weights(self) -> None:
        for index, matrix in enumerate(self.matrices):
            matrix.weight.copy_(self._weight(index))


class DeepR(WiredOptimizer):
    """DEEP R: connections that shrink to 0 are given up, and as many new ones are made elsewhere, at random.

    A step, over all matrices (theta has the unit of the weight):

    1. the inner optimiser's step on theta;
    2. what was not connected before it is put back to 0: momentum does not connect;
    3. ``theta += -lr * l1 + sqrt(2 * lr * temperature) * N(0, 1)`` where theta is positive;
    4. as many connections as the budget lacks are drawn, each into a matrix with probability proportional to
       ``size * connectivity``, and there into synapses without a connection (theta <= 0), uniformly and without
       replacement, which get theta = 1e-12. Draws into a matrix that is full are lost until the next step.

    Only the total is budgeted: matrices exchange connections. It is the integer part of the sum of
    ``size * connectivity`` in float32, as in the authors' code.

    Args:
        inner: See ``WiredOptimizer``.
        matrices: Those that share the budget.
        generator: Source of noise and new connections.
        reconnect: False leaves out 4, so that connections are only lost (pruning by L1).

    Attributes:
        budget: The highest total number of connections, which every step restores.
        reconnected: How many connections the last step made in each matrix.

    Raises:
        BudgetError: If there are more connections at the start than the budget allows.
    """

    def __init__(
        self,
        inner: Optimizer,
        matrices: Sequence[WiredMatrix],
        generator: torch.Generator,
        *,
        reconnect: bool = True,
    ) -> None:
        self.reconnect = reconnect
        self.reconnected: list[int] = [0] * len(matrices)
        signed = [replace(matrix, keep_signs=True) for matrix in matrices]
        self.budget: int = connection_budget([(each.weight.numel(), each.connectivity) for each in matrices])
        super().__init__(inner, signed, generator, budget=self.budget)

    def _start(self, matrix: WiredMatrix) -> Wiring:
        return matrix.wiring_or_draw(self.generator, with_replacement=True)

    def _settle(self, connected: list[Tensor]) -> None:
        for index, (matrix, wiring) in enumerate(zip(self.matrices, self._wirings, strict=True)):
            if matrix.weight.grad is not None:
                noise = _normal_like(wiring.theta, self.generator) if matrix.temperature else None
                rate = self._learning_rate(index)
                theta = shrink(wiring.theta, connected[index], rate, matrix.l1, matrix.temperature, noise)
                wiring.theta.copy_(theta)
        if self.reconnect:
            self._fill_budget()

    def _fill_budget(self) -> None:
        thetas = [wiring.theta for wiring in self._wirings]
        missing = max(0, self.budget - sum(self.connections()))
        shares = [matrix.weight.numel() * matrix.connectivity for matrix in self.matrices]
        requested = draw_counts(missing, shares, self.generator)
        self.reconnected = [
            connect_(theta, count, self.generator) for theta, count in zip(thetas, requested, strict=True)
        ]


class FixedSparse(WiredOptimizer):
    """Sparse connectivity that stays as it was drawn, for comparison with ``DeepR``.

    Drawn wiring has exactly ``int(size * connectivity)`` connections in each matrix. A weight that reaches 0
    goes on: to the other sign or, with ``keep_signs``, back when its gradient wants it back.
    """

    def _start(self, matrix: WiredMatrix) -> Wiring:
        theta, sign = matrix.wiring_or_draw(self.generator, with_replacement=False)
        # Without a sign, neither weight nor gradient.
        return Wiring(theta.clamp(min=0), torch.where(theta > 0, sign, 0.0))

    def _settle(self, connected: list[Tensor]) -> None:
        """Nothing is rewired."""


class Dense(WiredOptimizer):
    """All synapses are trained: the wrapper turned off, for comparison with ``DeepR``.

    Weights start as they are, or from their wiring where one is given; ``connectivity`` is ignored. Without
    ``keep_signs``, the numbers are those of the inner optimiser alone.
    """

    def _start(self, matrix: WiredMatrix) -> Wiring:
        if matrix.wiring:
            return matrix.wiring
        weight = matrix.weight.detach()
        sign = torch.where(weight < 0, -1.0, 1.0)
        return Wiring(sign * weight, sign)

    def _settle(self, connected: list[Tensor]) -> None:
        """Nothing is rewired."""


KINDS: dict[str, type[DeepR] | type[FixedSparse] | type[Dense]] = {
    "deep_r": DeepR,
    "fixed_sparse": FixedSparse,
    "dense": Dense,
}
"""By the name that settings give them."""


def _normal_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tensor.shape, generator=generator, device=generator.device, dtype=tensor.dtype)
    return noise.to(tensor.device)


def _label(index: int, matrix: WiredMatrix) -> str:
    return f"matrix {index} {list(matrix.weight.shape)}"


def _num_not_finite(gradient: Tensor | None) -> int:
    if gradient is None:
        return 0
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return 0 if torch.isfinite(values).all() else int((~torch.isfinite(values)).sum())


def _checked_groups(inner: Optimizer, matrices: Sequence[WiredMatrix]) -> list[int]:
    """Return the number of the optimiser's group to which each matrix belongs, after checking that all fit."""
    if isinstance(inner, torch.optim.LBFGS | torch.optim.SparseAdam | WiredOptimizer):
        raise ValueError(f"{type(inner).__name__} cannot be wrapped: expected a dense first-order optimiser")
    groups = {
        id(parameter): number
        for number, group in enumerate(inner.param_groups)
        for parameter in group["params"]
    }
    seen: set[int] = set()
    for index, matrix in enumerate(matrices):
        if id(matrix.weight) not in groups:
            raise ValueError(f"{_label(index, matrix)} is not among the optimiser's parameters")
        if id(matrix.weight) in seen:
            raise ValueError(f"{_label(index, matrix)} is given twice")
        seen.add(id(matrix.weight))
    return [groups[id(matrix.weight)] for matrix in matrices]
