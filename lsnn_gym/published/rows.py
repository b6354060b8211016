"""The rows of the table of results: what is claimed, by whom it was published, and how it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

import lsnn_gym
from lsnn_gym.errors import UserError, unknown
from lsnn_gym.plain_yaml import read_yaml
from lsnn_gym.published.measures import measure_of
from lsnn_gym.settings import Settings, validate

PLACE = Path("results", "rows.yaml")
"""Of the rows, within the folder of documents."""


class PublishedFigure(Settings):
    """A figure that others published."""

    value: float | None = Field(default=None, description="as runs have it: a share, not per cent")
    spread: float | None = Field(default=None, ge=0, description="standard deviation, where they state one")
    text: str = Field(default="", description="what was said where it is no number, or what the number is")


class Row(Settings):
    """One experiment of the table."""

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="folder of its summaries")
    system: str = Field(description="heading in the table")
    what: str = Field(description="the experiment in words")
    source: str = Field(default="", description="where the published figures stand")
    config: str = Field(description="name of a config of the package")
    set: dict[str, Any] = Field(
        default={}, description="changes of the config, by dotted key, of a row not run"
    )
    figures: dict[str, PublishedFigure | None] = Field(
        min_length=1, description="in the table, the first of them the row's own, with what was published"
    )
    beside: tuple[str, ...] = Field(default=(), description="further figures, in the row's section")
    by_epoch: dict[str, float] = Field(default={}, description="published test accuracy after so many epochs")
    tried: str = Field(default="", description="where the figure falls short: what was tried")
    suspected: str = Field(default="", description="... and what is suspected")
    notes: str = Field(default="", description="what else is to be known")
    not_run: str = Field(default="", description="why there is no run")

    @field_validator("figures", "beside")
    @classmethod
    def _known(cls, keys: Any) -> Any:
        for key in keys:
            try:
                measure_of(key)
            except UserError as error:
                raise ValueError(str(error)) from None
        return keys


class Rows(Settings):
    """The file of all rows."""

    rows: tuple[Row, ...]

    @field_validator("rows")
    @classmethod
    def _different(cls, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        names = [row.name for row in rows]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"there are two rows named {twice!r}: expected different names")
        return rows


def documents_folder(given: Path | None = None) -> Path:
    """Return the folder of documents: ``given``, or that of the checkout that this package is run from.

    Raises:
        UserError: There are no rows in it.
    """
    folder = given or Path(lsnn_gym.__file__).resolve().parent.parent / "docs"
    if not (folder / PLACE).is_file():
        raise UserError(
            f"there is no {folder / PLACE}: the table of results belongs to a checkout of lsnn_gym; "
            "run this from one, or name its folder of documents with --docs"
        )
    return folder


def read_rows(documents: Path) -> tuple[Row, ...]:
    """Return all rows, in the order of the table.

    Raises:
        UserError: The file cannot be read or used.
    """
    return validate(Rows, read_yaml(documents / PLACE), str(documents / PLACE)).rows


def row_named(rows: tuple[Row, ...], name: str) -> Row:
    """Return the row of that name.

    Raises:
        UserError: There is none.
    """
    by_name = {row.name: row for row in rows}
    if name not in by_name:
        raise UserError(unknown("row", name, by_name))
    return by_name[name]
