"""Tensors from safetensors files that anybody may have made."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lsnn_gym.errors import UserError, one_line


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a safetensors file, by name, on the CPU.

    Raises:
        UserError: The file cannot be read, is cut off, or holds what PyTorch has not.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_tensors(content, path)


def parse_tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """Return the tensors in the bytes of a file; ``path`` is for messages (errors as of ``read_tensors``)."""
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise UserError(f"{path} is cut off or no safetensors file: {one_line(error)}") from error
    except KeyError as error:
        raise UserError(f"{path} has tensors of type {error}, which PyTorch has not") from error
    except (
        TypeError,
        RuntimeError,
        OverflowError,
        ValueError,
    ) as error:  # empty tensors of more than 2^63 rows
        raise UserError(f"{path} has a tensor of a shape that cannot be: {one_line(error)}") from error
