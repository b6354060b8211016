"""The runs that a folder stands for: a run, or variants of a comparison with all their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lsnn_gym.comparison import planned
from lsnn_gym.errors import UserError, unknown
from lsnn_gym.published.rows import Row, RowsFile, row_named
from lsnn_gym.training.run_folder import RunFolder


def runs_of(
    file: RowsFile, name: str, folders: Sequence[Path], variant: str | None = None
) -> list[tuple[Row, RunFolder]]:
    """Return the runs in ``folders``, each with the row that it is for.

    Args:
        file: The rows.
        name: Of a row, or of the rows of a comparison.
        folders: Of runs or, of a comparison, its folder.
        variant: Of a comparison; without it all that the rows have.

    Raises:
        UserError: There is no such row or run, or a variant has no complete run yet.
    """
    comparison = file.comparison(name)
    if comparison is None:
        row = row_named(file.all_rows(), name)
        return [(row, run) for folder in folders for run in runs_in(folder, variant)]
    rows = dict(zip(comparison.variants, comparison.rows(), strict=True))
    if variant is not None and variant not in rows:
        raise UserError(unknown("--variant", variant, rows))
    return [
        (row, run)
        for each, row in rows.items()
        if variant in (None, each)
        for folder in folders
        for run in runs_in(folder, each)
    ]


def runs_in(folder: Path, variant: str | None = None) -> list[RunFolder]:
    """Return the run in ``folder``; of a comparison's folder, the runs of ``variant`` that are complete.

    Raises:
        UserError: There is no such run or variant, or none of the variant's runs is complete.
    """
    if not (folder / "comparison.yaml").is_file():
        if variant is not None:
            raise UserError(
                f"--variant {variant}: {folder} is no folder of a comparison (it has no comparison.yaml)"
            )
        return [RunFolder.open(folder)]
    runs = planned(folder)
    if variant is None or variant not in {each.variant for each in runs}:
        raise UserError(unknown("--variant", variant or "", {each.variant for each in runs}))
    found = [each.run for each in runs if each.variant == variant and each.run.results.is_file()]
    if not found:
        raise UserError(
            f"{folder}: no run of variant {variant} is complete yet; lsnn-gym compare --resume {folder}"
        )
    return found
