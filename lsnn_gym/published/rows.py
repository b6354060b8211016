"""The rows of the table of results: what is claimed, by whom it was published, and how it is run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator

import lsnn_gym
from lsnn_gym.comparison import load_comparison
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


class _Claim(Settings):
    """What a row and the rows of a comparison have alike."""

    name: str = Field(pattern=r"^[a-z0-9-]+$", description="of a row: folder of its summaries")
    system: str = Field(description="heading in the table")
    source: str = Field(default="", description="where the published figures stand")
    figures: dict[str, PublishedFigure | None] = Field(
        min_length=1, description="in the table, the first of them the row's own, with what was published"
    )
    beside: tuple[str, ...] = Field(default=(), description="further figures, in the row's section")
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


class Row(_Claim):
    """One experiment of the table."""

    what: str = Field(description="the experiment in words")
    config: str = Field(description="name of a config of the package")
    set: dict[str, Any] = Field(
        default={}, description="changes of the config, by dotted key, of a row not run"
    )
    by_epoch: dict[str, float] = Field(default={}, description="published test accuracy after so many epochs")


class ComparisonRows(_Claim):
    """A row for each of a comparison's variants; their names begin with ``name``."""

    comparison: str = Field(description="name of a comparison's config of the package")
    options: str = Field(default="", description="of the command line, with which it was run")
    variants: dict[str, str] = Field(min_length=1, description="in words, by name in the comparison")

    def rows(self) -> Iterator[Row]:
        """Give the rows, in their order here.

        Raises:
            UserError: The comparison has no such variant, or is of experiments that have no base.
        """
        comparison = load_comparison((self.comparison,), (), ())
        changes = comparison.all_variants()
        command = " ".join(filter(None, ("lsnn-gym compare", self.comparison, self.options)))
        if comparison.base is None:
            raise UserError(
                f"comparison {self.comparison} of row {self.name}: expected one whose variants change one base, or a "
                "row for each config"
            )
        for variant, what in self.variants.items():
            if variant not in changes:
                raise UserError(f"{PLACE}, row {self.name}: {unknown('variant', variant, changes)}")
            shared = {key: getattr(self, key) for key in _Claim.model_fields}
            own = {
                "name": f"{self.name}-{re.sub('[^a-z0-9]+', '-', variant.lower())}",
                "what": what,
                "notes": f"Variant {variant} of `{command}`. {self.notes}".strip(),
                "config": comparison.base,
                "set": {**changes[variant], **comparison.set},
            }
            yield Row.model_validate(shared | own)


def _kind(entry: Any) -> str:
    is_comparison = isinstance(entry, ComparisonRows) or (
        isinstance(entry, Mapping) and "comparison" in entry
    )
    return (ComparisonRows if is_comparison else Row).__name__


_Entry = Annotated[
    Annotated[Row, Tag("Row")] | Annotated[ComparisonRows, Tag("ComparisonRows")], Discriminator(_kind)
]
"""Of the file: a row, or those of a comparison."""


class RowsFile(Settings):
    """The file of all rows."""

    rows: tuple[_Entry, ...]

    def all_rows(self) -> tuple[Row, ...]:
        """Return the rows, in the order of the table.

        Raises:
            UserError: Two have one name, or a comparison has no such variant.
        """
        listed = [[entry] if isinstance(entry, Row) else entry.rows() for entry in self.rows]
        found = tuple(row for rows in listed for row in rows)
        comparisons = [entry.name for entry in self.rows if isinstance(entry, ComparisonRows)]
        names = [*(row.name for row in found), *comparisons]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise UserError(f"{PLACE}: there are two rows named {twice!r}: expected different names")
        return found

    def comparison(self, name: str) -> ComparisonRows | None:
        """Return the rows of the comparison that are named so, if there are."""
        return next(
            (each for each in self.rows if isinstance(each, ComparisonRows) and each.name == name), None
        )


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


def read_rows_file(documents: Path) -> RowsFile:
    """Return what the file has.

    Raises:
        UserError: It cannot be read or used.
    """
    return validate(RowsFile, read_yaml(documents / PLACE), str(documents / PLACE))


def read_rows(documents: Path) -> tuple[Row, ...]:
    """Return all rows, in the order of the table (errors as of ``read_rows_file`` and ``RowsFile.all_rows``)."""
    return read_rows_file(documents).all_rows()


def row_named(rows: tuple[Row, ...], name: str) -> Row:
    """Return the row of that name.

    Raises:
        UserError: There is none.
    """
    by_name = {row.name: row for row in rows}
    if name not in by_name:
        raise UserError(unknown("row", name, by_name))
    return by_name[name]
