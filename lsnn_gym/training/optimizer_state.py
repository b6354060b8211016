"""An optimiser's state as named tensors and plain values, instead of a pickle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from torch.optim import Optimizer

from lsnn_gym.errors import UserError, shortened, unknown

_KEYS = {"optimizer", "shapes", "groups", "state"}
_HUGE = 2.0**62
_STATE = {
    "Adam": ("step", "exp_avg", "exp_avg_sq"),
    "AdamW": ("step", "exp_avg", "exp_avg_sq"),
    "EpsilonHatAdam": ("step", "m", "v"),
}
"""What these optimisers keep of a parameter that has been updated, if anything; of others it is not known."""


class _Group(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    params: list[str]
    values: dict[str, Any]


class _Stored(BaseModel):
    """How the plain values are laid out."""

    model_config = ConfigDict(strict=True, extra="forbid")

    optimizer: str
    shapes: dict[str, list[int]]
    groups: list[_Group]
    state: dict[str, dict[str, Any]]


def optimizer_tensors(
    optimizer: Optimizer, named_parameters: Iterable[tuple[str, Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take an optimiser's state apart.

    Args:
        optimizer: Any PyTorch optimiser whose state holds tensors, numbers, text and None.
        named_parameters: Names of its parameters, e.g. ``model.named_parameters()``.

    Returns:
        Tensors under ``parameter name/key`` (tensor hyperparameters under ``/group/key``), not copied; and a
        dict that JSON can hold: the optimiser's class, parameter shapes, hyperparameters, other state.

    Raises:
        ValueError: A parameter of the optimiser has no name.
        TypeError: The state holds something else, e.g. a list of tensors.
    """
    names = _names(optimizer, named_parameters)
    tensors: dict[str, Tensor] = {}
    groups = []
    for index, group in enumerate(optimizer.param_groups):
        plain = _split(_hyperparameters(group), f"/{index}", tensors)
        groups.append({"params": [names[id(parameter)] for parameter in group["params"]], "values": plain})
    state: dict[str, Any] = {}
    shapes: dict[str, list[int]] = {}
    for parameter in _parameters(optimizer):
        name = names[id(parameter)]
        shapes[name] = list(parameter.shape)
        if parameter in optimizer.state:
            state[name] = _split(optimizer.state[parameter], name, tensors)
    scalars = {"optimizer": type(optimizer).__name__, "shapes": shapes, "groups": groups, "state": state}
    return tensors, scalars


def restore_optimizer(
    optimizer: Optimizer,
    named_parameters: Iterable[tuple[str, Tensor]],
    tensors: Mapping[str, Tensor],
    scalars: Mapping[str, Any],
) -> None:
    """Put back what :func:`optimizer_tensors` took apart, bit for bit.

    Hyperparameters are restored too (a learning rate may have been on a schedule). Tensors are copied to
    their parameter's device and keep their dtype.

    Args:
        optimizer: An optimiser of the same class over parameters of the same names, shapes and groups.
        named_parameters: Names of its parameters.
        tensors: Its tensors, and no others.
        scalars: Its plain values.

    Raises:
        UserError: The state is of another optimiser or other parameters; nothing is changed then.
    """
    names = _names(optimizer, named_parameters)
    _check_same(optimizer, names, tensors, scalars)
    by_name = {names[id(parameter)]: parameter for parameter in _parameters(optimizer)}
    found: dict[str, dict[str, Any]] = {name: dict(plain) for name, plain in scalars["state"].items()}
    for full, tensor in tensors.items():
        owner, _, key = full.rpartition("/")
        if owner in by_name:
            found[owner][key] = tensor
    optimizer.state.clear()
    for index, (group, stored) in enumerate(zip(optimizer.param_groups, scalars["groups"], strict=True)):
        for key, value in stored["values"].items():
            group[key] = tuple(value) if isinstance(group.get(key), tuple) else value
        for full, tensor in tensors.items():
            owner, _, key = full.rpartition("/")
            if owner == f"/{index}":
                group[key] = tensor.clone()
        for parameter in group["params"]:
            values = found.get(names[id(parameter)])
            if values is not None:
                optimizer.state[parameter] = {
                    key: _placed(value, key, parameter, group) for key, value in values.items()
                }


def _placed(value: Any, key: str, parameter: Tensor, group: Mapping[str, Any]) -> Any:
    if not isinstance(value, Tensor):
        return value
    # PyTorch keeps the step counter on the CPU unless the whole update runs on the device.
    on_device = key != "step" or group.get("capturable") or group.get("fused")
    if value.shape == parameter.shape and value.ndim:
        # Fused updates go through memory as it lies: the state has to lie as its parameter does.
        return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
    return value.to(parameter.device if on_device else "cpu", copy=True)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _names(optimizer: Optimizer, named_parameters: Iterable[tuple[str, Tensor]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for name, parameter in named_parameters:
        names.setdefault(id(parameter), name)
    nameless = sum(id(parameter) not in names for parameter in _parameters(optimizer))
    if nameless:
        raise ValueError(f"{nameless} of the optimiser's parameters are not among the named ones")
    return names


def _hyperparameters(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in {"params", "param_names"}}


def _split(values: Mapping[str, Any], owner: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the plain values and put the tensors into ``tensors``."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Tensor):
            tensors[f"{owner}/{key}"] = value.detach()
        elif value is None or isinstance(value, bool | int | float | str):
            plain[key] = value
        elif isinstance(value, tuple) and all(
            item is None or isinstance(item, int | float) for item in value
        ):
            plain[key] = list(value)
        else:
            raise TypeError(f"cannot store {key!r} of {owner!r}: a {type(value).__name__}")
    return plain


def _check_same(
    optimizer: Optimizer, names: Mapping[int, str], tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]
) -> None:
    _check_layout(scalars)
    own = type(optimizer).__name__
    if scalars["optimizer"] != own:
        raise UserError(
            f"the optimiser state is of {shortened(scalars['optimizer'])}, but the optimiser is {own}"
        )
    _check_shapes(
        {names[id(parameter)]: list(parameter.shape) for parameter in _parameters(optimizer)}, scalars
    )
    _check_groups(optimizer, names, scalars["groups"])
    owners = {*scalars["state"], *(f"/{index}" for index in range(len(scalars["groups"])))}
    for full in tensors:
        if full.rpartition("/")[0] not in owners:
            raise UserError(f"the optimiser state has a tensor {shortened(full)!r} of no parameter")
    _check_hyperparameters(optimizer, tensors, scalars["groups"])
    for parameter in _parameters(optimizer):
        name = names[id(parameter)]
        if own in _STATE and name in scalars["state"]:
            _check_moments(name, parameter, _STATE[own], scalars["state"][name], tensors)


def _check_layout(scalars: Any) -> None:
    if not isinstance(scalars, dict) or set(scalars) != _KEYS:
        found = shortened(", ".join(sorted(scalars))) if isinstance(scalars, dict) else type(scalars).__name__
        raise UserError(f"no optimiser state: found keys [{found}], expected [{', '.join(sorted(_KEYS))}]")
    try:
        _Stored.model_validate(scalars)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = shortened(".".join(str(part) for part in first["loc"]))
        raise UserError(f"the optimiser state is not laid out as expected: {where}: {first['msg']}") from None


def _check_shapes(shapes: Mapping[str, list[int]], scalars: Mapping[str, Any]) -> None:
    for name, shape in scalars["shapes"].items():
        if name not in shapes:
            raise UserError(f"the optimiser state has an {unknown('parameter', name, shapes)}")
        if shape != shapes[name]:
            raise UserError(
                f"the optimiser state of parameter {name!r} is for shape {shape}, expected {shapes[name]}"
            )
    missing = [name for name in shapes if name not in scalars["shapes"]]
    if missing:
        raise UserError(f"the optimiser state lacks parameter {missing[0]!r} (and {len(missing) - 1} more)")
    for name in scalars["state"]:
        if name not in shapes:
            raise UserError(f"the optimiser state has an {unknown('parameter', name, shapes)}")


def _check_groups(optimizer: Optimizer, names: Mapping[int, str], stored: list[dict[str, Any]]) -> None:
    expected = [{names[id(p)] for p in group["params"]} for group in optimizer.param_groups]
    if [set(group["params"]) for group in stored] != expected:
        raise UserError(
            "the optimiser state has its parameters in other groups: "
            f"found sizes {[len(group['params']) for group in stored]}, expected {[len(e) for e in expected]}"
        )


def _check_hyperparameters(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], stored: list[dict[str, Any]]
) -> None:
    """Numbers may have changed on a schedule, but stay numbers; whatever else there is stays as it is."""
    for index, (group, told) in enumerate(zip(optimizer.param_groups, stored, strict=True)):
        own = _hyperparameters(group)
        for key, found in told["values"].items():
            expected = own.get(key, 0.0)  # of a schedule's own there are numbers only
            expected = list(expected) if isinstance(expected, tuple) else expected
            if not _alike(found, expected):
                raise UserError(
                    f"the optimiser state has {key} {shortened(repr(found))}, expected a value like {expected!r}"
                )
        for key, expected in own.items():
            tensor = tensors.get(f"/{index}/{key}")
            if tensor is not None and not (isinstance(expected, Tensor) and tensor.shape == expected.shape):
                raise UserError(
                    f"the optimiser state has a tensor for {key}, expected a value like {expected!r}"
                )


def _alike(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(_alike(each, like) for each, like in zip(found, expected, strict=True))
        )
    if isinstance(expected, int | float) and not isinstance(expected, bool):
        return isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < _HUGE
    if found is None and expected is False:
        return True  # an option that is off, as PyTorch itself has it: older checkpoints do
    return type(found) is type(expected) and found == expected


def _check_moments(
    name: str,
    parameter: Tensor,
    expected: Iterable[str],
    plain: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> None:
    """Refuse what the optimiser's next step could not go on with."""
    for key in expected:
        found = tensors.get(f"{name}/{key}", plain.get(key))
        if key == "step":
            fits = (
                isinstance(found, Tensor)
                and found.numel() == 1
                and found.ndim == 0
                and found.is_floating_point()
            )
            fits = fits or (type(found) is int and 0 <= found < _HUGE)
        else:
            fits = (
                isinstance(found, Tensor)
                and found.shape == parameter.shape
                and found.dtype == parameter.dtype
            )
        if not fits:
            what = (
                f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else shortened(repr(found))
            )
            raise UserError(
                f"the optimiser state of parameter {name!r} has {what} for {key!r}, which cannot be"
            )
