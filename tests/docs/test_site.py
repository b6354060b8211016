"""What the site is made of: links, markers of tables, pictures."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.docs.pages import PAGES, ROOT, name_of, without_blocks

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


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page has by its headings."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_place_a_page_names_is_there(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*\.md)?#([^)\s]+)\)", without_blocks(page)):
        named = (page.parent / target).resolve() if target else page
        if named.parent.name != "api":  # whose anchors are names
            assert anchor in anchors(named), f"{target}#{anchor}"


def test_links_out_of_the_site_are_taken_away(tmp_path):
    (tmp_path / "docs" / "folder").mkdir(parents=True)
    (tmp_path / "OTHER.md").touch()
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    config = SimpleNamespace(docs_dir=str(tmp_path / "docs"))
    text = "[this](folder), [that](../OTHER.md), [these](other.md), [those](misspelt)"
    left = HOOKS.on_page_markdown(text, page=page, config=config)
    assert left == "this, that, [these](other.md), [those](misspelt)"  # the build refuses the last


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_markers_stand_for_something(page):
    text = HOOKS.with_tables(page.read_text(encoding="utf-8"))
    assert not re.search(r"<!-- \w+: ", text)


def test_what_the_api_names_is_there():
    named = {
        name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    }
    assert len(named) > 100
    for name in sorted(named):
        assert pkgutil.resolve_name(name).__doc__, name


def test_tables_say_what_the_settings_are():
    lines = HOOKS.expanded("settings", "lsnn_gym.wiring.WiringSettings").splitlines()
    assert lines[0] == "| key | type | default | meaning |"
    lines += HOOKS.expanded("settings", "lsnn_gym.recurrent.NetworkSettings").splitlines()
    assert (
        "| `delay` | list of 2 | `[1, 1]` | lowest and highest synaptic delay, in simulation steps |" in lines
    )
    assert "| `engine` | `native`, `triton`, `unrolled`, `reference` or null | `null` |" in "\n".join(lines)
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
