"""Training by several processes that share each batch: without ``torchrun``, everything here does nothing.

The rule that keeps 1, 2 or 1,024 ranks at the same loss curve: every rank draws the random numbers of the whole
batch, computes its own lanes (sequences, episodes), and makes of them a loss *whose mean over the ranks is the
loss of the whole batch*. Its gradient averaged over the ranks then is the gradient of the whole batch. A mean over
things that ranks have in unequal numbers is their sum over the ranks' mean number (``mean_of``); what is not linear
takes a global value first (``global_mean``).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lsnn_gym.counts import sums_of
from lsnn_gym.errors import UserError
from lsnn_gym.lanes import Share
from lsnn_gym.tasks.scoring import rate_penalty

_stores: Any = dist
"""Where the stores are: documented, but not marked as exported for type checkers."""

_KEPT = "lsnn_gym/"
"""Begins the names of what the job's store keeps for restarted workers."""


def is_launched() -> bool:
    """Return whether ``torchrun`` (or whatever sets the same variables) started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """While entered, the processes that were launched together train together.

    Args:
        device: Of the training: with ``cuda``, rank n of a machine takes its n-th GPU and speaks NCCL; gloo else.

    Raises:
        UserError: If there are fewer GPUs than processes, or ``device`` names one GPU for all.
    """
    if not is_launched() or dist.is_initialized():
        yield
        return
    if device.startswith("cuda"):
        _take_gpu(device)
    # Plain numbers and text go through gloo even where gradients go through NCCL.
    _meet("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def _meet(backend: str) -> None:
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        dist.init_process_group(backend)
        return
    # The launcher's store outlives a restart, and has the addresses of workers that are dead: each start has its own.
    start = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')} of {os.environ['WORLD_SIZE']} ranks"
    dist.init_process_group(
        backend,
        store=_stores.PrefixStore(f"{_KEPT}start {start}", _job_store()),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )


def _take_gpu(device: str) -> None:
    local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if device != "cuda" and int(os.environ["WORLD_SIZE"]) > 1:
        raise UserError(
            f"train.device is {device!r}: expected 'cuda' under torchrun, which gives each rank its own"
        )
    if local >= found:
        raise UserError(
            f"local rank {local} finds {found} GPUs: expected --nproc-per-node of at most {found}"
        )
    torch.cuda.set_device(local)


def leave(status: int = 0) -> NoReturn:
    """End a launched process whose part is done, at once.

    Gloo's threads may still hold tensors of the last exchange, and giving these back while Python ends aborts the
    process: https://github.com/pytorch/pytorch/pull/179291. The launcher would take that for a fault.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def world_size() -> int:
    """Return how many processes train together, 1 alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this process' number, 0 alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def writes() -> bool:
    """Return whether this process is the one that writes and speaks."""
    return rank() == 0


def share_of(total: int, name: str) -> Share:
    """Return this rank's share of a batch of ``total`` lanes.

    Args:
        total: Of the whole batch.
        name: Of the setting that says so, for the message.

    Raises:
        UserError: If the ranks cannot have equal shares; it names the nearest number of lanes that can be shared.
    """
    ranks = world_size()
    if total % ranks:
        near = max(ranks, round(total / ranks) * ranks)
        raise UserError(
            f"{name} is {total}: expected a multiple of {ranks}, the number of ranks, e.g. {near}"
        )
    return Share(total, rank() * (total // ranks), total // ranks)


def global_mean(value: Tensor) -> Tensor:
    """Return the mean of a tensor over the ranks; its gradient goes to this rank's ``value`` as it is.

    That is the right one: the average over the ranks of what the parameters get then is the gradient of the mean.
    """
    if world_size() == 1:
        return value
    found = value.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(found)
    found /= world_size()
    return value + (found - value.detach()) if value.requires_grad else found


def global_max(value: int) -> int:
    """Return the largest of the ranks' numbers."""
    if world_size() == 1:
        return value
    found = torch.tensor(value)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def mean_of(values: Tensor, empty: float = float("nan")) -> Tensor:
    """Return what has the mean of all ranks' ``values``, of any number on each, as its mean over the ranks.

    Args:
        values: Of this rank.
        empty: What to return where no rank has any.
    """
    count = global_mean(values.new_tensor(float(values.numel())))
    if not count:
        return values.new_tensor(empty)
    return values.mean() if world_size() == 1 else values.sum() / count


def weighted(mean: Tensor, count: int, parameters_of: Tensor) -> Tensor:
    """Return what has the mean over all ranks' items as its mean over the ranks, given the mean over this one's.

    Args:
        mean: Over ``count`` items; anything (NaN) where there are none.
        count: Of this rank.
        parameters_of: That ``mean`` was computed from; with no items the result is 0 and still has its gradient.
    """
    if world_size() == 1:
        return mean
    everywhere = float(global_mean(torch.tensor(float(count))))
    return mean * (count / everywhere) if count else parameters_of.sum() * 0


def standardised(values: Tensor, chosen: Tensor) -> Tensor:
    """Return ``values`` less the mean of those ``chosen`` on all ranks, over their standard deviation + 1e-8."""
    kept = values[chosen]
    if world_size() == 1:
        return (values - kept.mean()) / (kept.std() + 1e-8)
    mean = global_mean(mean_of(kept))
    count = world_size() * global_mean(torch.tensor(float(kept.numel()), device=kept.device))
    variance = world_size() * global_mean((kept - mean).square().sum()) / (count - 1)
    return (values - mean) / (variance.sqrt() + 1e-8)


def global_rate_loss(
    spikes: Tensor, target_rate: float, dt: float = 1.0, counts: Tensor | None = None
) -> Tensor:
    """Return ``tasks.scoring.rate_loss`` of the lanes of all ranks: ``sum_j (rate_j - target_rate)^2``.

    It takes the rates of the whole batch; a mean of each rank's own loss would be another one, as it is not linear.

    Args:
        spikes: This rank's ``[T, B, N]``, 0 or 1/dt; T is the same on all ranks, B may differ or be 0.
        target_rate: In Hz.
        dt: Simulation step in ms.
        counts: Sums of ``spikes`` over steps and lanes ``[N]``, where they are there already.
    """
    lanes = float(global_mean(torch.tensor(float(spikes.shape[1]))))
    sums = sums_of(spikes, counts)
    return rate_penalty(global_mean(sums / (len(spikes) * lanes * dt)), target_rate)


def global_firing_rate(spikes: Tensor, counts: Tensor | None = None) -> float:
    """Return the mean firing rate of all ranks in Hz; NaN where none has any lanes.

    Args:
        spikes: This rank's ``[T, B, N]``, 0 or 1/dt; T and B may differ between ranks, and B may be 0.
        counts: Sums of ``spikes`` over steps and lanes ``[N]``, where they are there already.
    """
    total = global_mean((spikes if counts is None else counts).detach().sum())
    number = global_mean(torch.tensor(float(spikes.numel()), dtype=torch.float64))
    # Spikes carry 1/dt, so their mean is a rate per ms.
    return 1000 * float(total) / float(number) if number else float("nan")


def average_gradients(parameters: Sequence[Tensor], value: Tensor) -> Tensor:
    """Replace gradients by their mean over the ranks, in one all-reduce; return that of a single ``value`` too.

    A gradient that a rank lacks counts as 0; one that all lack stays away.
    """
    if world_size() == 1:
        return value
    grads = [parameter.grad for parameter in parameters]
    sizes = [parameter.numel() for parameter in parameters]
    flat = torch.cat(
        [
            (torch.zeros_like(parameter) if grad is None else grad).flatten()
            for parameter, grad in zip(parameters, grads, strict=True)
        ]
        + [parameters[0].new_tensor([grad is not None for grad in grads]), value.to(parameters[0])[None]]
    )
    dist.all_reduce(flat)
    *averaged, present, total = flat.split([*sizes, len(grads), 1])
    for parameter, mean, anywhere in zip(parameters, averaged, present.tolist(), strict=True):
        # In the parameter's own layout: fused optimisers take both for equally laid out.
        laid_out = torch.empty_like(parameter).copy_((mean / world_size()).view(parameter.shape))
        parameter.grad = laid_out if anywhere else None
    return total[0] / world_size()


def broadcast_weights(module: nn.Module) -> None:
    """Give ``module`` the parameters and buffers of rank 0, whatever each rank began with."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def gather_lanes(tensor: Tensor, axis: int) -> Tensor:
    """Return the lanes of all ranks, of equal number, side by side along ``axis``; without a gradient."""
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts, dim=axis)


def gather_json(value: Any) -> list[Any]:
    """Return what each rank gave, in order: anything that JSON can hold, floats exactly."""
    if world_size() == 1:
        return [value]
    own = json.dumps(value).encode()
    # Of one length, as a collective wants it: JSON ignores the blanks.
    text = torch.frombuffer(bytearray(own.ljust(global_max(len(own)))), dtype=torch.uint8)
    parts = [torch.empty_like(text) for _ in range(world_size())]
    dist.all_gather(parts, text)
    return [json.loads(part.numpy().tobytes()) for part in parts]


def from_writer(value: Any) -> Any:
    """Return rank 0's ``value`` on every rank: anything that JSON can hold."""
    return gather_json(value if writes() else None)[0]


def decided_by_writer(decide: Callable[[], Any]) -> Any:
    """Return on every rank what ``decide`` returns on rank 0, which alone calls it: anything that JSON can hold.

    Raises:
        UserError: On every rank, if it did on rank 0: none is left waiting for the others.
    """
    value: Any = None
    refused: UserError | None = None
    if writes():
        try:
            value = decide()
        except UserError as error:
            refused = error
    value, message = from_writer([value, None if refused is None else str(refused)])
    if message is not None:
        raise refused or UserError(message)
    return value


def mean_figures(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the means over the ranks of figures that all ranks have, in the order of rank 0."""
    if world_size() == 1:
        return dict(figures)
    values = global_mean(torch.tensor(list(figures.values()), dtype=torch.float64))
    return dict(zip(figures, values.tolist(), strict=True))


def check_equal(module: nn.Module) -> None:
    """Compare the weights of all ranks, bit for bit.

    Raises:
        RuntimeError: They differ, so the ranks have not been training the same network.
    """
    if world_size() == 1:
        return
    for name, tensor in module.state_dict().items():
        # Equal NaN would differ; whoever looks for NaN does so elsewhere.
        low, high = tensor.detach().nan_to_num(), tensor.detach().nan_to_num()
        dist.all_reduce(low, dist.ReduceOp.MIN)
        dist.all_reduce(high, dist.ReduceOp.MAX)
        if not torch.equal(low, high):
            raise RuntimeError(
                f"the ranks' weights {name!r} differ by up to {float((high - low).abs().max()):g}"
            )


def remember(name: str, value: str) -> None:
    """Keep a text for workers that the launcher starts again after a fault (rank 0 alone does)."""
    if is_launched() and writes():
        _job_store().set(_KEPT + name, value)


def remembered(name: str) -> str | None:
    """Return what ``remember`` kept before a restart, on every rank; None if nothing was."""
    if not is_launched():
        return None
    found = None
    if writes():
        store = _job_store()
        found = store.get(_KEPT + name).decode() if store.check([_KEPT + name]) else None
    return from_writer(found)


def _job_store() -> Any:
    # The launcher's, which lives as long as the job.
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return _stores.TCPStore(host, port, is_master=False, timeout=timedelta(minutes=5))
