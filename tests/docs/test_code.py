"""The Python of README and documentation does what it says, page by page, one block after the other."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import pytest

from lsnn_gym.envs import FUNCTION_FAMILIES
from tests.docs.pages import LANGUAGES, PAGES, README, blocks, name_of

WITH_PYTHON = [
    page for page in PAGES if page != README and any(language == "python" for language, _ in blocks(page))
]


@pytest.fixture(autouse=True)
def _leaves_no_trace(tmp_path, monkeypatch):
    """Let pages write into a folder of their own, and register what they like."""
    monkeypatch.chdir(tmp_path)
    before = [(known, dict(known)) for known in (gymnasium.registry, FUNCTION_FAMILIES)]
    yield
    for known, were in before:
        known.clear()
        known.update(were)  # type: ignore[arg-type]


def names_after(page: Path) -> dict[str, object]:
    """Run the blocks of a page, and return what is defined then."""
    names: dict[str, object] = {"__name__": "__page__"}
    for number, (language, text) in enumerate(blocks(page), start=1):
        if language == "python":
            exec(compile(text, f"{name_of(page)}, block {number}", "exec"), names)
    return names


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_the_blocks_of_a_page_run(page):
    names_after(page)


def test_the_blocks_of_the_readme_run():
    names = names_after(README)
    assert len(names["spikes"]) == 200  # type: ignore[arg-type]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page):
    assert {language for language, _ in blocks(page)} <= LANGUAGES
