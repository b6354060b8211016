"""What is fuzzed: a parser, valid input for it, and what may come of damaged input."""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsnn_gym.errors import UserError
from tests.fuzz.mutations import bytes_mutated

PACKAGE = "lsnn_gym"


@dataclass(frozen=True)
class Target:
    """A parser as a function of bytes.

    Attributes:
        name: For the command line.
        seeds: Valid inputs.
        parse: Reads the bytes, with a folder to put files in; of all errors it may raise only ``UserError``.
        mutate: Damages an input.
        smoke: Inputs in the tests of the project.
        names_file: Whether messages name the file.
        isolated: Whether a process of its own does this in the library, so that it may die of an input.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    parse: Callable[[bytes, Path], object]
    mutate: Callable[[bytes, random.Random], bytes] = bytes_mutated
    smoke: int = 300
    names_file: bool = True
    isolated: bool = False


class VagueMessageError(AssertionError):
    """A refusal that is no single line, or that does not name the file."""


def accepts(target: Target, content: bytes, folder: Path) -> bool:
    """Return whether the parser takes ``content``; False where it refuses it in one line.

    Raises:
        Exception: Whatever else comes of it: a crash.
    """
    try:
        target.parse(content, folder)
    except UserError as error:
        message = str(error)
        # Long lists of names are shown whole; a refusal must not repeat the input.
        if not message or len(message.splitlines()) > 1 or len(message) > 4000:
            raise VagueMessageError(f"no line of readable length: {message[:500]!r}") from error
        if target.names_file and str(folder) not in message:
            raise VagueMessageError(f"the file is not named: {message!r}") from error
        return False
    return True


def signature(error: BaseException) -> str:
    """Return what crashes of the same cause have in common: the error's kind and our innermost line."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"/{PACKAGE}/" in frame.filename or "/agents/" in frame.filename]
    cause = error.__cause__ if isinstance(error, VagueMessageError) else None
    if cause is not None:
        return f"{type(error).__name__} of {signature(cause)}"
    where = own[-1] if own else frames[-1]
    return f"{type(error).__name__} in {Path(where.filename).name}, {where.name}, line {where.lineno}"


def written(content: bytes, folder: Path, name: str = "input") -> Path:
    """Write the input to a file and return its path."""
    path = folder / name
    path.write_bytes(content)
    return path
