"""YAML as plain data: text in, nested lists and mappings out, and back; no tags, no surprises."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lsnn_gym.errors import UserError, nearest, one_line, shortened

_BOOL = re.compile(r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$")
_INT = re.compile(r"^[-+]?[0-9][0-9_]*$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_MAX_BYTES = 1 << 20
"""No config is nearly as long; one that is would take minutes to read."""
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Plain data only: no tags, no anchors, no duplicate or non-text keys; ``1e-3`` is a float.

    PyYAML follows YAML 1.1, where ``1e-3`` is text, ``010`` is eight and ``1:30`` is ninety; here these are
    a float, ten and text. Dates are text.
    """

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 (PyYAML's own declaration)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.constructor.ConstructorError(None, None, "anchors are not allowed", event.start_mark)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the tag {tag!r} is not allowed", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            problem = None
            if key.tag != _TAG + "str":
                name = repr(key.value) if isinstance(key, yaml.ScalarNode) else "(a list or mapping)"
                problem = f"the key {name} is not text (quote it)"
            elif key.value in seen:
                problem = f"the key {key.value!r} appears twice"
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        digits = node.value.replace("_", "")
        # Long ones first: Python refuses to read thousands of digits, in words of its own.
        if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
            raise yaml.constructor.ConstructorError(
                None, None, f"the number {shortened(digits)} does not fit into 64 bits", node.start_mark
            )
        return int(digits)


class _Dumper(yaml.SafeDumper):
    """Writes what :class:`_Loader` reads back to the same data; the shared resolvers decide on quotes."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 (PyYAML's own declaration)

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # Only double quotes keep every line break and control character as it is.
        return self.represent_scalar(_TAG + "str", data, style=None if data.isprintable() else '"')


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(_TAG + "bool", _BOOL, list("yYnNtTfFoO"))
    _kind.add_implicit_resolver(_TAG + "int", _INT, list("-+0123456789"))
    _kind.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+0123456789."))
    _kind.add_implicit_resolver(_TAG + "null", _NULL, ["~", "n", "N", ""])
_Loader.add_constructor(_TAG + "int", _Loader.construct_yaml_int)
_Dumper.add_representer(str, _Dumper.represent_str)


def parse_yaml(text: str, source: str) -> Any:
    """Read one YAML document of plain data.

    Raises:
        UserError: It is no such document; ``source`` begins the message.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # derived from SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}" if mark is not None and "\n" in text else ""
        raise UserError(f"{source}{place}: {one_line(error.problem or str(error))}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # numbers of characters may be too large
        raise UserError(f"{source}: {one_line(str(error))}") from None
    except RecursionError:
        raise UserError(f"{source}: nested too deeply") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UserError: The file cannot be read, is no YAML, uses tags, anchors, duplicate or non-text keys, or
            its top level is no mapping.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UserError(f"{path}: longer than {_MAX_BYTES:,} bytes: expected settings")
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    except FileNotFoundError:
        raise UserError(f"no such file: {path}{_similar_file(Path(path))}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    found = parse_yaml(text, str(path))
    if not isinstance(found, dict):
        what = "nothing" if found is None else f"{type(found).__name__} {show(found)}"
        raise UserError(f"{path}: expected a mapping of keys at the top level, found {what}")
    return found


def _similar_file(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in {".yaml", ".yml"}]
    except OSError:
        return ""
    near = nearest(path.name, names)
    return f"; did you mean {path.parent / near}?" if near else ""


def dump_yaml(plain: Mapping[str, Any]) -> str:
    """Write plain data so that ``parse_yaml`` reads the same."""
    return yaml.dump(dict(plain), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def show(value: Any) -> str:
    """Show a value as the user would write it, cut to a readable length."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return shortened(text)
