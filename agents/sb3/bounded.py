"""Making a network that a file describes without taking more memory than its weights account for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from lsnn_gym.errors import UserError

_SPARE_NUMBERS, _SPARE_TENSORS = 1 << 24, 64


@contextmanager
def bounded_by(weights: Mapping[str, Tensor], what: str) -> Iterator[None]:
    """Within it, no tensor may be much larger than ``weights`` together, and not many more parameters be made.

    A file of a kilobyte can ask for a layer of a billion units; that it has not the weights for it would show only once
    they are made. Networks that are made and replaced are allowed for.

    Args:
        weights: What the file has.
        what: Begins the message.

    Raises:
        UserError: More is asked for, before it is taken.
    """
    most = _SPARE_NUMBERS + 4 * sum(each.numel() for each in weights.values())
    left = _SPARE_TENSORS + 4 * len(weights)

    def count(module: nn.Module, name: str, parameter: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise UserError(f"{what} asks for more weights than the file's {len(weights):,}")

    handle = register_module_parameter_registration_hook(count)
    try:
        with _Limited(most, what):
            yield
    finally:
        handle.remove()


class _Limited(TorchDispatchMode):
    """Looks at sizes before they are allocated."""

    def __init__(self, most: int, what: str) -> None:
        super().__init__()
        self._most = most
        self._what = what

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for each in args:
            counts = func.overloadpacket.__name__ == "arange"
            size = abs(each) if counts and isinstance(each, int | float) else _numbers_of(each)
            if size > self._most:
                raise UserError(
                    f"{self._what} asks for {size:,} numbers at once, far more than its weights are"
                )
        return func(*args, **(kwargs or {}))


def _numbers_of(shape: object) -> int:
    """Return how many numbers a tensor of ``shape`` has; 0 if it is no shape."""
    if isinstance(shape, list | tuple) and shape and all(type(each) is int and each >= 0 for each in shape):
        return math.prod(shape)
    return 0
