"""Messages for bad input: one line that names the value, what was expected and the nearest valid one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """Something the user gave cannot be used; the message is one line, fit to be printed as it is.

    The command line prints it and exits with status 2; library callers may catch it.
    """


class NotFiniteError(ArithmeticError):
    """A training met NaN or infinity, and stopped before it took the step.

    Attributes:
        name: Of the first tensor that has them, e.g. ``"gradient of network.recurrent_weights"``.
        count: How many of its values.
        size: How many values it has.
        batch: Number of the batch, from 0; None if it shows at a checkpoint only.
        tensor: The tensor itself; None on other ranks than the one that has it.
        iteration: Of the training, from 1, once that is known.
        saved: Folder with the state just before, once there is one.
    """

    def __init__(self, name: str, count: int, size: int, batch: int | None, tensor: Any) -> None:
        super().__init__(name, count, size, batch)
        self.name = name
        self.count = count
        self.size = size
        self.batch = batch
        self.tensor: Any = tensor
        self.iteration: int | None = None
        self.saved: Any = None

    def __str__(self) -> str:
        where = "" if self.iteration is None else f"iteration {self.iteration}: "
        when = " just before" if self.batch is not None else ""
        saved = "" if self.saved is None else f"; the state{when} is in {self.saved}"
        return f"{where}{self.count:,} of {self.size:,} values of the {self.name} are NaN or infinite{saved}"


def shortened(text: str, length: int = 60) -> str:
    """Return ``text``, cut to a readable length: what is refused may be megabytes long."""
    return text if len(text) <= length else text[: length - 3] + "..."


def one_line(text: object, length: int = 300) -> str:
    """Return a text, or what an error says, without line breaks and cut to a readable length."""
    return shortened(" ".join(str(text).split()), length)


def last_line(told: str) -> str:
    """Return the last line that a process wrote before it failed, where Python says what was wrong."""
    return (told.strip().splitlines() or ["no message"])[-1]


def nearest(name: object, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like ``name``, or None where none is near."""
    found = difflib.get_close_matches(shortened(str(name), 200), list(candidates), n=1, cutoff=0.5)
    return found[0] if found else None


def unknown(kind: str, name: object, candidates: Iterable[str]) -> str:
    """Say that ``name`` is no known ``kind``, which one is nearest, and what there is.

    Args:
        kind: What was looked up, e.g. ``"config"``.
        name: The value given.
        candidates: The valid names.
    """
    names = sorted(candidates)
    near = nearest(name, names)
    hint = f"did you mean {near!r}? " if near else ""
    return f"unknown {kind} {shortened(str(name))!r}: {hint}there is {', '.join(names) if names else 'none'}"
