"""The runs that a folder stands for: a run, or a variant of a comparison with all its seeds."""

from __future__ import annotations

from pathlib import Path

from lsnn_gym.comparison import planned
from lsnn_gym.errors import UserError, unknown
from lsnn_gym.training.run_folder import RunFolder


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
