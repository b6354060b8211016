"""What MkDocs does beyond Markdown: tables made from the code, and notebooks that are run.

In a page, each on a line of its own::

    <!-- settings: lsnn_gym.recurrent.NetworkSettings -->   a table of a section's keys
    <!-- list: configs -->                                  what `lsnn-gym list configs` says
    <!-- help: train -->                                    what `lsnn-gym train --help` says
    <!-- config: water-maze-quick -->                       a config of the package

A notebook ``notebooks/NAME.ipynb`` becomes the page ``notebooks/NAME.md``, run when the site is built.
``LSNN_GYM_NOTEBOOKS=0`` leaves its outputs out (for ``mkdocs serve``).
"""

from __future__ import annotations

import base64
import importlib
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from lsnn_gym.errors import unknown
from lsnn_gym.plain_yaml import show

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

MARKER = re.compile(r"^<!-- (\w+): (\S.*?) -->$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\(([^)#:\s]+)\)")
EQUATION = re.compile(r'<math[^>]*display="block"[^>]*>.*?</math>', re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages at the top of the folder that the menu does not name into its section ``Inside``."""
    menu = config.nav or []
    inside = next(entry["Inside"] for entry in menu if isinstance(entry, dict) and "Inside" in entry)
    named = set(pages_of(menu))
    inside += sorted(path.name for path in Path(config.docs_dir).glob("*.md") if path.name not in named)
    return config


def pages_of(menu: Any) -> list[str]:
    """Return the pages that a menu names, in its order."""
    if isinstance(menu, str):
        return [menu]
    return [page for entry in (menu.values() if isinstance(menu, dict) else menu) for page in pages_of(entry)]


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Put tables in the place of their markers, and take away links to what the site has not: folders, other files."""
    docs = Path(config.docs_dir).resolve()
    here = (docs / page.file.src_uri).parent

    def kept_inside(link: re.Match[str]) -> str:
        target = (here / link[2]).resolve()
        outside = target.exists() and not target.is_relative_to(docs)
        return link[1] if outside or target.is_dir() else link[0]

    return LINK.sub(kept_inside, with_tables(markdown))


def with_tables(markdown: str) -> str:
    """Return a page with tables in the place of their markers."""
    return MARKER.sub(lambda found: expanded(*found.groups()), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Let wide equations be scrolled, each by itself."""
    return EQUATION.sub(r'<div class="equation">\g<0></div>', html)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page, and its pictures, for each notebook."""
    from mkdocs.structure.files import File

    for path in sorted(Path(config.docs_dir, "notebooks").glob("*.ipynb")):
        page, pictures = notebook_page(path, run=os.environ.get("LSNN_GYM_NOTEBOOKS") != "0")
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def expanded(kind: str, what: str) -> str:
    """Return the Markdown that a marker stands for.

    Raises:
        ValueError: If there is no such kind of marker, or nothing of that name.
    """
    if kind not in MAKERS:
        raise ValueError(unknown("marker", kind, MAKERS))
    return MAKERS[kind](what)


def settings_table(path: str) -> str:
    """Return the keys of a section, given the import path of its class."""
    module, _, name = path.rpartition(".")
    rows = [
        (f"`{key}`", type_name(field.annotation), default_of(field), field.description or "")
        for key, field in getattr(importlib.import_module(module), name).model_fields.items()
        if key != "kind"
    ]
    return table(("key", "type", "default", "meaning"), rows)


def inventory_table(kind: str) -> str:
    """Return what there is of a kind, by name."""
    from lsnn_gym.inventory import INVENTORY

    if kind not in INVENTORY:
        raise ValueError(unknown("list", kind, INVENTORY))
    return table(("name", ""), [(f"`{name}`", text) for name, text in INVENTORY[kind]().items()])


def command_help(words: str) -> str:
    """Return the help of a command, e.g. ``bench recurrent``."""
    import click

    from lsnn_gym.cli import cli

    command, context = cli, click.Context(cli, info_name="lsnn-gym")
    for word in words.split():
        found = command.get_command(context, word) if isinstance(command, click.Group) else None
        if found is None:
            raise ValueError(f"there is no command lsnn-gym {words}")
        command, context = found, click.Context(found, info_name=word, parent=context)
    return f"```text\n{command.get_help(context)}\n```"


def config_file(name: str) -> str:
    """Return a config as it is written."""
    from lsnn_gym.experiment import config_path

    return f"```yaml\n{config_path(name).read_text(encoding='utf-8')}```"


MAKERS: dict[str, Callable[[str], str]] = {
    "settings": settings_table,
    "list": inventory_table,
    "help": command_help,
    "config": config_file,
}
"""Kind of marker to what makes the Markdown."""


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def default_of(field: Any) -> str:
    """Return the default of a field of settings."""
    if field.is_required():
        return "required"
    default = field.default
    if hasattr(type(default), "model_fields"):
        kind = getattr(default, "kind", None)
        return f"`{kind}`" if kind else "its defaults"
    if default in ((), {}):
        return "none"
    if isinstance(default, float) and not default.is_integer():
        return f"`{default:.6g}`"
    return f"`{default if isinstance(default, str) else show(default)}`"


def type_name(annotation: Any) -> str:
    """Return a type of settings in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_name(each) for each in arguments))
    if origin is tuple:
        return "list" if Ellipsis in arguments else f"list of {len(arguments)}"
    if hasattr(annotation, "model_fields"):
        return "section"
    names = {float: "number", int: "whole number", bool: "true, false", str: "text", NoneType: "null"}
    return names.get(annotation, "section" if (origin or annotation) is dict else "")


def notebook_page(path: Path, *, run: bool) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by file name.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    if run:
        from nbclient import NotebookClient
        from traitlets.config import Config

        without_network = Config(KernelManager={"transport": "ipc"})  # not even this machine's own
        NotebookClient(notebook, timeout=300, config=without_network).execute()
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}_{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![output]({name})")
            elif output.get("name") != "stderr":
                text = output.get("text") or data.get("text/plain", "")
                parts.append(f"```text\n{inspect.cleandoc(text)}\n```")
    return "\n\n".join(parts) + "\n", pictures
