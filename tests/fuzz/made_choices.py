"""Odd structures out of bytes: each byte is a choice, and no bytes mean the valid one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Reads choices off ``content``; when it is used up, always the first option."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def pick(self, options: Sequence[T]) -> T:
        """Return one of ``options``; the first is the valid one, and most bytes mean it."""
        byte = self._content[self._at] if self._at < len(self._content) else 0
        self._at += 1
        # Of 256 bytes, 192 are valid: else nothing would be valid often enough to be read to its end.
        return options[0] if byte < 192 else options[(byte - 192) % len(options)]
