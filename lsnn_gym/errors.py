"""Messages for bad input: one line that names the value, what was expected and the nearest valid one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user gave cannot be used; the message is one line, fit to be printed as it is.

    The command line prints it and exits with status 2; library callers may catch it.
    """


def shortened(text: str, length: int = 60) -> str:
    """Return ``text``, cut to a readable length: what is refused may be megabytes long."""
    return text if len(text) <= length else text[: length - 3] + "..."


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
