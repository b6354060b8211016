"""What every trainer does with optimisers: make them, wired or not, and put them into checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lsnn_gym.adam import EpsilonHatAdam
from lsnn_gym.errors import UserError, unknown
from lsnn_gym.rewiring import KINDS, WiredOptimizer
from lsnn_gym.training.checkpoint import Checkpoint
from lsnn_gym.training.distributed import average_gradients, check_equal
from lsnn_gym.training.finite import Watched, check_finite, not_finite
from lsnn_gym.training.optimizer_state import optimizer_tensors, restore_optimizer
from lsnn_gym.wiring import WiredMatrix

OptimizerName = Literal["adam", "epsilon-hat-adam"]
LayeredOptimizerName = Literal["adam", "adamw", "sgd"]
"""Those that take a weight decay."""

RATE_FACTOR = "rate_factor"
"""Key of the factor on the learning rate in a group of parameters."""

_WIRING = "wiring:"
"""Begins the names of a wiring optimiser's tensors in a checkpoint."""


def make_optimizer(
    module: nn.Module,
    matrices: Sequence[WiredMatrix],
    *,
    learning_rate: float,
    epsilon: float,
    wiring: Literal["dense", "deep_r", "fixed_sparse"],
    seed: int,
    name: OptimizerName | LayeredOptimizerName = "adam",
    weight_decay: float = 0.0,
    fused: bool = False,
    layer_rates: Sequence[float] = (),
) -> Optimizer:
    """Make the optimiser of all trained parameters of ``module``.

    Args:
        module: What is trained.
        matrices: Those of its weights whose connections or signs are managed; none for a plain optimiser.
        learning_rate: At the start.
        epsilon: Adam's.
        wiring: How ``matrices`` are managed.
        seed: Of the random connections.
        name: Adam as PyTorch has it, or as TensorFlow 1, with decoupled decay, or none.
        weight_decay: Of the optimiser; TensorFlow 1's has none.
        fused: Whether each update is one kernel, which is faster and rounds a little differently.
        layer_rates: Factors on the learning rate, one a layer that learns (see :func:`rate_groups`); none for 1.

    Raises:
        ValueError: There are not as many layers.
    """
    trained: list[Any] = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if layer_rates:
        trained = rate_groups(module, layer_rates)
    decay = {"weight_decay": weight_decay, "fused": fused}
    kinds: dict[str, Callable[..., Optimizer]] = {
        "adam": partial(torch.optim.Adam, eps=epsilon, **decay),
        "adamw": partial(torch.optim.AdamW, eps=epsilon, **decay),
        "epsilon-hat-adam": partial(EpsilonHatAdam, eps=epsilon),
        "sgd": partial(torch.optim.SGD, **decay),
    }
    optimizer = kinds[name](trained, lr=learning_rate)
    return wired(optimizer, matrices, wiring, seed)


def wired(
    optimizer: Optimizer,
    matrices: Sequence[WiredMatrix],
    wiring: Literal["dense", "deep_r", "fixed_sparse"],
    seed: int,
) -> Optimizer:
    """Return the optimiser that manages ``matrices`` around ``optimizer``; itself where there are none."""
    return KINDS[wiring](optimizer, matrices, torch.Generator().manual_seed(seed)) if matrices else optimizer


class Decaying(Protocol):
    """Settings of a learning rate that is multiplied by a factor every so many iterations, or epochs."""

    @property
    def learning_rate(self) -> float:
        """Return the rate at the start."""
        ...

    @property
    def learning_rate_decay(self) -> float:
        """Return the factor."""
        ...

    @property
    def learning_rate_decay_every(self) -> int:
        """Return after how many iterations it is applied, each time."""
        ...


def decayed(settings: Decaying, iteration: int) -> float:
    """Return the learning rate of ``iteration``, counted from 0."""
    times = iteration // settings.learning_rate_decay_every
    return settings.learning_rate * settings.learning_rate_decay**times


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Give all groups of parameters this learning rate, times the factor that a group may have."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get(RATE_FACTOR, 1.0)


def rate_groups(module: nn.Module, factors: Sequence[float]) -> list[dict[str, Any]]:
    """Return the trained parameters of each layer of ``module`` as a group with a factor on the learning rate.

    Args:
        module: Whose submodules with parameters of their own are its layers, in order.
        factors: One a layer.

    Raises:
        ValueError: There are not as many layers.
    """
    own = [
        [each for each in layer.parameters(recurse=False) if each.requires_grad] for layer in module.modules()
    ]
    groups = [each for each in own if each]
    if len(groups) != len(factors):
        raise ValueError(
            f"{len(factors)} factors on the learning rate: expected {len(groups)}, one a layer that learns"
        )
    return [{"params": each, RATE_FACTOR: factor} for each, factor in zip(groups, factors, strict=True)]


def step(
    optimizer: Optimizer,
    loss: Tensor,
    max_gradient_norm: float | None,
    watched: Watched,
    adjust: Callable[[Sequence[Tensor]], None] | None = None,
) -> Tensor:
    """Take one step down the gradient of ``loss``; return the gradient's norm before clipping.

    Of several ranks, the gradient is that of the mean of their losses (see ``training.distributed``).

    Args:
        optimizer: Of the parameters.
        loss: What is to fall.
        max_gradient_norm: Gradients are scaled down to this norm; None for never.
        watched: What must be finite beside loss and gradient, and their names.
        adjust: Is given the parameters, to change their gradients before that.

    Raises:
        NotFiniteError: On all ranks, before anything is changed.
    """
    optimizer.zero_grad()
    loss.backward()
    limit = float("inf") if max_gradient_norm is None else max_gradient_norm
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    trace = average_gradients(trained, watched.trace(loss))
    check_finite(trace, watched, loss)
    if adjust is not None:
        adjust(trained)
    try:
        norm = nn.utils.clip_grad_norm_(trained, limit, error_if_nonfinite=True)
    except RuntimeError as error:  # and no gradient was scaled
        raise not_finite(watched, loss) from error
    optimizer.step()
    return norm


@torch.no_grad()
def follow_scaling(optimizer: Optimizer, weight: Tensor, factor: float) -> None:
    """Let a wired optimiser's theta follow where ``weight`` was multiplied by a positive ``factor`` after a step."""
    if isinstance(optimizer, WiredOptimizer):
        tensors = optimizer.wiring_tensors()  # whose thetas are no copies
        for index, matrix in enumerate(optimizer.matrices):
            if matrix.weight is weight:
                tensors[f"{index}/theta"].mul_(factor)


def connections(optimizer: Optimizer) -> dict[str, int]:
    """Return, for the metrics, how many connections a wired optimiser's matrices have; else nothing."""
    return {"connections": sum(optimizer.connections())} if isinstance(optimizer, WiredOptimizer) else {}


def make_checkpoint(iteration: int, module: nn.Module, optimizer: Optimizer) -> Checkpoint:
    """Return the weights of ``module`` and everything that ``optimizer`` keeps, wiring included.

    Of several ranks, all call it, and it checks that their weights are equal.
    """
    check_equal(module)
    inner = optimizer.inner if isinstance(optimizer, WiredOptimizer) else optimizer
    tensors, scalars = optimizer_tensors(inner, module.named_parameters())
    if isinstance(optimizer, WiredOptimizer):
        tensors |= {_WIRING + name: tensor for name, tensor in optimizer.wiring_tensors().items()}
    return Checkpoint(iteration, module.state_dict(), tensors, {"optimizer": scalars})


def restore_checkpoint(
    checkpoint: Checkpoint, module: nn.Module, optimizer: Optimizer, others: Iterable[str] = ()
) -> None:
    """Put back what ``make_checkpoint`` returned, bit for bit.

    Args:
        checkpoint: Of a module and an optimiser made from the same settings.
        module: Gets the weights.
        optimizer: Gets its state.
        others: Names of further training tensors, which are the caller's.

    Raises:
        UserError: If it belongs to another module or optimiser.
    """
    load_model(module, checkpoint)
    if "optimizer" not in checkpoint.scalars:
        raise UserError("the checkpoint holds no optimizer state: it was not written by this trainer")
    own = {name: each for name, each in checkpoint.training.items() if name not in set(others)}
    plain = {name: each for name, each in own.items() if not name.startswith(_WIRING)}
    inner = optimizer.inner if isinstance(optimizer, WiredOptimizer) else optimizer
    restore_optimizer(inner, module.named_parameters(), plain, checkpoint.scalars["optimizer"])
    if isinstance(optimizer, WiredOptimizer):
        # After the weights: these follow from what is restored here.
        wired = {name.removeprefix(_WIRING): each for name, each in own.items() if name.startswith(_WIRING)}
        optimizer.restore_wiring(wired)


def load_model(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Give ``module`` the weights and constants of ``checkpoint``.

    Raises:
        UserError: If a tensor is missing, unknown or of another shape, naming it.
    """
    expected: dict[str, Any] = module.state_dict()
    for name in checkpoint.model:
        if name not in expected:
            raise UserError(f"checkpoint of another network: {unknown('tensor', name, expected)}")
    for name, tensor in expected.items():
        if name not in checkpoint.model:
            raise UserError(f"checkpoint of another network: it lacks the tensor {name!r}")
        found = checkpoint.model[name].shape
        if found != tensor.shape:
            raise UserError(
                f"checkpoint of another network: {name!r} is {list(found)}, expected {list(tensor.shape)}"
            )
        if checkpoint.model[name].is_complex() and not tensor.is_complex():
            raise UserError(f"checkpoint of another network: {name!r} is complex, expected {tensor.dtype}")
    module.load_state_dict(dict(checkpoint.model))
