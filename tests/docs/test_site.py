"""What the site is made of: links, markers of tables, pictures."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.docs.pages import PAGES, ROOT, name_of

LARGEST_PICTURE = 100_000


def loaded(name: str) -> ModuleType:
    """Return a module of ``docs/``, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS, PICTURES = loaded("hooks"), loaded("pictures")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_a_page_names_is_there(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path = page.parent / target
        if path.parent.name == "notebooks":
            path = path.with_suffix(".ipynb")
        assert path.exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_markers_stand_for_something(page):
    text = HOOKS.on_page_markdown(page.read_text(encoding="utf-8"))
    assert not re.search(r"<!-- \w+: ", text)


def test_tables_say_what_the_settings_are():
    lines = HOOKS.expanded("settings", "lsnn_gym.wiring.WiringSettings").splitlines()
    assert lines[0] == "| key | type | default | meaning |"
    assert "| `connectivity` | number | `1.0` | share of the synapses that exist |" in lines


def test_unknown_markers_are_refused():
    with pytest.raises(ValueError, match="did you mean 'settings'"):
        HOOKS.expanded("setings", "lsnn_gym.wiring.WiringSettings")
    with pytest.raises(ValueError, match="there is no command lsnn-gym trian"):
        HOOKS.expanded("help", "trian")
    with pytest.raises(ValueError, match="did you mean 'configs'"):
        HOOKS.expanded("list", "config")


def test_every_page_is_in_the_menu():
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    docs = ROOT / "docs"
    config = SimpleNamespace(nav=menu, docs_dir=str(docs))
    HOOKS.on_config(config)
    notebooks = [path.with_suffix(".md") for path in docs.glob("notebooks/*.ipynb")]
    pages = [path.relative_to(docs).as_posix() for path in (*docs.rglob("*.md"), *notebooks)]
    assert sorted(HOOKS.pages_of(menu)) == sorted(pages)


def test_a_page_that_the_menu_does_not_name_is_added(tmp_path):
    for name in ("named.md", "more.md"):
        (tmp_path / name).touch()
    config = SimpleNamespace(nav=["named.md", {"Inside": []}], docs_dir=str(tmp_path))
    assert HOOKS.on_config(config).nav == ["named.md", {"Inside": ["more.md"]}]


@pytest.mark.parametrize("name", ["water-maze", "function-regression", "bandits", "goal-reaching", "meta-rl"])
def test_pictures_are_made_by_the_library(name, tmp_path):
    PICTURES.save(PICTURES.PICTURES[name](), tmp_path / "again.png")
    again, shown = (
        np.asarray(Image.open(path).convert("RGB"), dtype=float)
        for path in (tmp_path / "again.png", ROOT / "docs" / "images" / f"{name}.png")
    )
    assert again.shape == shown.shape
    assert np.abs(again - shown).mean() < 2  # of 255: another version may draw an edge otherwise


def test_pictures_are_small():
    for name in PICTURES.PICTURES:
        path = Path(ROOT, "docs", "images", f"{name}.png")
        assert path.stat().st_size <= LARGEST_PICTURE, path
