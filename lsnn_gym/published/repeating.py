"""The command that repeats a run: a config of the package, and what the run had otherwise."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lsnn_gym.errors import UserError
from lsnn_gym.experiment import load_experiment
from lsnn_gym.plain_yaml import parse_yaml
from lsnn_gym.published.rows import Row
from lsnn_gym.published.summaries import Summary, plain


def command_of(row: Row, summary: Summary | None) -> str:
    """Return the command line that trains as the run of ``summary`` was; without one, as ``row`` says.

    Raises:
        UserError: What the row says does not describe an experiment.
    """
    if summary is None:
        changes = dict(row.set)
        load_experiment(row.config, tuple(f"{key}={_written(value)}" for key, value in changes.items()))
    else:
        changes = dict(_changes(plain(load_experiment(row.config)), plain(summary.experiment())))
    parts = ["lsnn-gym", "train", row.config]
    for key, value in changes.items():
        parts += ["--set", f"{key}={_written(value)}"]
    return shlex.join(parts)


def _written(value: Any) -> str:
    """Return a value as ``--set`` reads it."""
    is_plain = isinstance(value, str) and parse_yaml(value, "") == value
    return value if is_plain else json.dumps(value)


def parsed(command: str) -> tuple[str, tuple[str, ...]]:
    """Return config and overrides of what ``command_of`` gave.

    Raises:
        UserError: It is no such command.
    """
    words = shlex.split(command)
    if words[:2] != ["lsnn-gym", "train"] or len(words) % 2 == 0 or set(words[3::2]) - {"--set"}:
        raise UserError(f"{command!r}: expected lsnn-gym train CONFIG --set A.B=C ...")
    return words[2], tuple(words[4::2])


def _changes(
    base: Mapping[str, Any], wanted: Mapping[str, Any], prefix: Sequence[str] = ()
) -> Iterator[tuple[str, Any]]:
    """Give dotted keys and values that turn ``base`` into ``wanted``; a section with other keys is given whole."""
    for key, value in wanted.items():
        former = base.get(key)
        if former == value and key in base:
            continue
        path = (*prefix, key)
        if isinstance(value, Mapping) and isinstance(former, Mapping) and value.keys() == former.keys():
            yield from _changes(former, value, path)
        else:
            yield ".".join(path), value
