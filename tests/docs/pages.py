"""The README and the pages of the documentation: which there are, and the blocks of code in them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

NOT_RUN = {"text": "output", "slurm": "for a cluster", "kubernetes": "for a cluster"}
"""Languages of blocks that are not run, and why."""
SHELL = ("", "sh")
LANGUAGES = {*SHELL, "python", "yaml", *NOT_RUN}

_BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")


def name_of(page: Path) -> str:
    """Return a page's path in the checkout."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of each block of code in a page."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, textwrap.dedent(text)) for _, language, text in found]


def without_blocks(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """Return the code within lines of a page."""
    return _SPAN.findall(without_blocks(page))


def commands(page: Path) -> list[str]:
    """Return the commands of this program that a page shows, in blocks or in a line, without comments."""
    lines = [line for language, text in blocks(page) if language in SHELL for line in _joined(text)]
    lines += [span for span in spans(page) if span.startswith("lsnn-gym ") and not _is_pattern(span)]
    found = [re.search(r"(?:(?:^|[ /])lsnn-gym|-m lsnn_gym(?:\.cli)?) +(.*)", line) for line in lines]
    return [match.group(1).split(" # ")[0].split(" && ")[0].strip() for match in found if match]


def _joined(text: str) -> list[str]:
    return re.sub(r"\\\n\s*", "", text).splitlines()


def _is_pattern(span: str) -> bool:
    """Return whether a span says what commands look like, e.g. ``lsnn-gym train CONFIG [--out DIR]``."""
    named = re.search(
        r"--\S+ [A-Z]+\b|^lsnn-gym \w+ --[a-z-]+$", span
    )  # a placeholder's value, or an option's name
    return named is not None or any(mark in span for mark in "[|…*")
