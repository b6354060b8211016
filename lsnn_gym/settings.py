"""Typed settings: YAML in, a validated immutable object out, and the resolved copy back to YAML.

A program describes its settings as subclasses of :class:`Settings`; a YAML file and ``--set`` options only
fill them. Whatever cannot be used becomes one line (:class:`~lsnn_gym.errors.UserError`) that names the key,
the value, what was expected and the nearest valid name.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lsnn_gym.errors import UserError, nearest, one_line, unknown
from lsnn_gym.plain_yaml import dump_yaml, parse_yaml, show


class Settings(BaseModel):
    """A section of settings: immutable, without unknown keys, without silent conversions.

    ``"3"`` is no number, ``True`` is no integer, ``1.0`` is no integer; an integer is accepted where a float
    is wanted; floats are finite. A string literal under a field is its description (help text). Where a field
    can be one of several sections, give each a ``Literal`` field and name it as the discriminator
    (``pydantic.Field(discriminator="kind")``), so that messages are about the section that was meant.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


S = TypeVar("S", bound=Settings)


def apply_overrides(mapping: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of ``mapping`` with ``section.key=value`` assignments applied in order.

    Args:
        mapping: Nested settings as read from YAML; it is left as it is.
        overrides: Assignments; the value is YAML (``1e-3``, ``[1, 2]``, ``null``, ``{kind: lif}``). Missing
            sections are created, so that :func:`validate` can say which key is unknown.

    Raises:
        UserError: An assignment is malformed, or leads through something that is no section.
    """
    result = copy.deepcopy(dict(mapping))
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = [part.strip() for part in key.split(".")]
        source = f"--set {override!r}"
        if not equals or not all(parts):
            raise UserError(f"{source}: expected section.key=value, e.g. --set train.seed=3")
        if not text.strip():
            raise UserError(f"{source}: there is no value after '=' (null is written out)")
        _assign(result, parts, parse_yaml(text, source), source)
    return result


def assign(mapping: Mapping[str, Any], changes: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a copy of ``mapping`` with the values of dotted keys (``section.key``) put in.

    Args:
        mapping: Nested settings as read from YAML; it is left as it is.
        changes: Dotted key to plain value.
        source: Where the changes come from; begins the message.

    Raises:
        UserError: A key leads through something that is no section.
    """
    result = copy.deepcopy(dict(mapping))
    for key, value in changes.items():
        _assign(result, key.split("."), copy.deepcopy(value), f"{source}: {key}")
    return result


def _assign(mapping: dict[str, Any], parts: list[str], value: Any, source: str) -> None:
    """Put ``value`` at the end of the path ``parts``; missing sections are created."""
    section = mapping
    for depth, part in enumerate(parts[:-1], start=1):
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
        if not isinstance(section, dict):
            name = ".".join(parts[:depth])
            raise UserError(f"{source}: {name} is {show(section)}, not a section with keys")
    section[parts[-1]] = value


def to_yaml(settings: Settings) -> str:
    """Write every setting, defaults included, so that reading and validating gives an equal object."""
    plain = settings.model_dump(mode="json", round_trip=True)
    return dump_yaml(plain)


_LONGEST = 4000
"""Of a message: lists of names are shown whole."""
_SECTION = "a section with keys"
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": _SECTION,
    "model_type": _SECTION,
    "model_attributes_type": _SECTION,
    "none_required": "null",
}
_CHOICES = {"literal_error", "enum"}
_TAGS = {"union_tag_invalid", "union_tag_not_found"}


def validate(model: type[S], mapping: Mapping[str, Any], source: str = "") -> S:
    """Turn plain data into settings.

    Args:
        model: The settings to make.
        mapping: Nested plain data, as :func:`read_yaml` gives it.
        source: Where it comes from, e.g. the file's path; begins the message, where it is given.

    Raises:
        UserError: One line about the first problem (unknown keys first: a misspelt key explains a missing
            one), and how many there are besides.
    """
    start = f"{source}: " if source else ""
    # As JSON, because pydantic's strictness then still lets a list be a tuple and text be a path or an enum.
    try:
        text = json.dumps(mapping)
    except (RecursionError, ValueError):
        raise UserError(f"{start}nested too deeply") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{start}{_describe(model, error)}") from None


@dataclass(frozen=True)
class _Place:
    """Where in the settings a problem is, and what the schema has there."""

    key: str  # dotted
    annotation: Any  # of the value at the key; None where the key is unknown
    section: Any  # annotation of the section that holds the key


def _describe(model: type[Settings], error: ValidationError) -> str:
    problems: dict[str, list[tuple[ErrorDetails, _Place]]] = {}
    for detail in error.errors(include_url=False, include_context=True):
        place = _locate(model, detail["loc"])
        problems.setdefault(place.key, []).append((detail, place))
    # The members of an untagged union each complain about the same key: that is one problem.
    groups = sorted(problems.values(), key=lambda group: not _is_unknown_key(group))
    more = len(groups) - 1
    message = _message(model, groups[0])
    return message + (f" (and {more} more problem{'s' if more > 1 else ''})" if more else "")


def _is_unknown_key(group: list[tuple[ErrorDetails, _Place]]) -> bool:
    return all(detail["type"] == "extra_forbidden" for detail, _ in group)


def _message(model: type[Settings], group: list[tuple[ErrorDetails, _Place]]) -> str:
    detail, place = group[0]
    kind, value = detail["type"], detail["input"]
    choices = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
    if _is_unknown_key(group):
        return _unknown_key(model, place)
    if kind in _TAGS:
        return _tag_message(detail, place)
    if kind == "missing":
        return f"{place.key} is missing"
    if kind in _CHOICES and isinstance(value, str) and choices:
        return unknown(place.key, value, choices)
    if kind in {"value_error", "assertion_error"}:
        text = one_line(re.sub(r"^(Value error|Assertion failed), ", "", detail["msg"]), _LONGEST)
        if isinstance(value, dict):
            return f"{place.key}: {text}" if place.key else text
        return f"{place.key} is {show(value)}: {text}"
    expected = [_expected(other) for other, _ in group]
    known = [text for text in dict.fromkeys(expected) if text]
    if not place.key:
        return one_line(detail["msg"], _LONGEST)
    if not known:
        return f"{place.key} is {show(value)}: {one_line(detail['msg'], _LONGEST)}"
    return f"{place.key} is {show(value)}, expected {' or '.join(known)}"


def _expected(detail: ErrorDetails) -> str:
    known = _EXPECTED.get(detail["type"])
    if known:
        return known
    start = "Input should be "
    return one_line(detail["msg"].removeprefix(start), _LONGEST) if detail["msg"].startswith(start) else ""


def _tag_message(detail: ErrorDetails, place: _Place) -> str:
    context = detail.get("ctx", {})
    name = str(context.get("discriminator", "")).strip("'")
    tags = dict.fromkeys(tag for member in _members(place.annotation) for tag in _tags(member, name))
    if detail["type"] == "union_tag_invalid":
        return unknown(f"{place.key}.{name}", context.get("tag"), tags)
    if not isinstance(detail["input"], dict):
        return f"{place.key} is {show(detail['input'])}, expected {_SECTION}"
    return f"{place.key}.{name} is missing: there is {', '.join(tags)}"


def _unknown_key(model: type[Settings], place: _Place) -> str:
    prefix, _, leaf = place.key.rpartition(".")
    keys = {name for member in _members(place.section) for name in _fields(member)}
    near = nearest(leaf, keys)
    if near:
        dotted = f"{prefix}.{near}" if prefix else near
    else:
        # The right name in the wrong place is as common as a misspelt one.
        dotted = next((path for path in _paths(model) if path.rpartition(".")[2] == leaf), None)
    hint = f"did you mean {dotted!r}? " if dotted else ""
    where = f"{prefix} has" if prefix else "there is"
    return f"unknown key {place.key!r}: {hint}{where} {', '.join(sorted(keys)) or 'no key'}"


def _locate(model: type[Settings], loc: tuple[int | str, ...]) -> _Place:
    """Follow pydantic's location through the schema, leaving out the labels it puts in for unions."""
    keys: list[str] = []
    annotation: Any = model
    section: Any = model
    for part in loc:
        members = _members(annotation)
        if len(members) > 1:
            annotation = _choose(members, str(part))
            continue
        section = annotation
        keys.append(one_line(part, 60))
        annotation = _child(members[0], part) if members else None
    return _Place(".".join(keys), annotation, section)


def _members(annotation: Any) -> list[Any]:
    """Return the non-null alternatives of a type, without ``Annotated`` and type aliases."""
    annotation = getattr(annotation, "__value__", annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [member for arg in get_args(annotation) for member in _members(arg)]
    return [] if annotation in (None, NoneType) else [annotation]


def _choose(members: list[Any], label: str) -> Any:
    """Return the member that pydantic's ``label`` stands for: its class name or its discriminator's value."""
    for name in (None, *(name for member in members for name in _fields(member))):
        found = [m for m in members if label in (_tags(m, name) if name else [getattr(m, "__name__", "")])]
        if len(found) == 1:
            return found[0]
    return None


def _tags(member: Any, name: str) -> list[str]:
    """Return the values that the ``Literal`` field ``name`` of a section can have."""
    field = _fields(member).get(name)
    values = get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()
    return [str(value.value if isinstance(value, Enum) else value) for value in values]


def _child(annotation: Any, part: int | str) -> Any:
    field = _fields(annotation).get(str(part))
    if field:
        return field.annotation
    arguments = [argument for argument in get_args(annotation) if argument is not Ellipsis]
    if isinstance(part, int) and part < len(arguments):
        return arguments[part]
    return arguments[-1] if arguments else None


def _fields(annotation: Any) -> dict[str, FieldInfo]:
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation.model_fields if is_model else {}


def _paths(annotation: Any, prefix: str = "") -> Iterator[str]:
    for member in _members(annotation):
        for name, field in _fields(member).items():
            yield prefix + name
            yield from _paths(field.annotation, f"{prefix}{name}.")
