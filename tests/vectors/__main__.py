"""Check recorded reference cases: ``python -m tests.vectors FILE…``.

Prints, a file each, the largest error of every quantity beside the largest one allowed. Exits 1 if any is
missed, or if a file cannot be read or is of no known kind; 0 if all is well.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from tests.vectors.results import BadRecordingError, Recording, Result

# The kind is the file name's first part and the name of the module here whose check(path) reads it.
KINDS = ("lsnn", "deepr", "eprop", "task", "tssl", "antlr", "strsbp")

# Arrays that only one kind records, for files of other names; asked in this order.
SIGNS = {
    "task": ("psp logits_t", "spike_probability", "images spikes"),
    "deepr": ("theta0", "balance_in"),
    "eprop": ("y_target", "random_g_psp", "g_in g_rec"),
    "lsnn": ("w_in_var w_rec_var",),
    "tssl": ("x spk0", "x step0_spk0", "cur g_out"),
    "antlr": ("x s0", "grey"),
    "strsbp": ("poly spikes0",),
}


def kind_of(path: Path) -> str:
    """Return the kind of a recorded file, by its name or else by what it holds.

    Raises:
        BadRecordingError: If it is of no known kind.
    """
    prefix = path.name.split("_", 1)[0]
    if prefix in KINDS:
        return prefix
    names = Recording(path).arrays
    for kind, signs in SIGNS.items():
        if any(all(name in names for name in sign.split()) for sign in signs):
            return kind
    raise BadRecordingError(f"{path}: of no known kind: neither its name nor its arrays are those of {KINDS}")


def check(path: Path) -> list[Result]:
    """Check one recorded file of any kind."""
    kind = kind_of(path)
    module = import_module(f"tests.vectors.{kind}")
    return module.check(path)


def report(path: Path) -> bool:
    """Check one file, print what was found and return whether all of it is well."""
    try:
        results = check(path)
    # A damaged file can fail anywhere in a check; whatever it raises, the other files are still checked.
    except Exception as error:
        print(
            f"{path.name}: FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )
        return False
    well = bool(results) and all(result.ok for result in results)
    print(f"{path.name}: {'ok' if well else 'FAILED'}")
    width = max((len(result.name) for result in results), default=0)
    for result in results:
        mark = "" if result.ok else "   MISSED"
        print(f"  {result.name:<{width}}  {result.error:9.3g}  of at most {result.tolerance:7.3g}{mark}")
    return well


def main(arguments: Sequence[str]) -> int:
    """Check the files named; return the exit status."""
    if not arguments:
        print("usage: python -m tests.vectors FILE…", file=sys.stderr)
        return 2
    torch.set_num_threads(1)  # the cases are small: threads would only wait for each other
    well = [report(Path(each)) for each in arguments]
    print(f"{sum(well)} of {len(well)} files reproduced")
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
