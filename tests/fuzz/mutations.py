"""Ways to damage valid input: bytes, text, JSON and safetensors, each as an attacker who knows the format would."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

_NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 62,
    (1 << 64) - 1,
)
TOKENS = (
    "",
    "0",
    "-1",
    "1e999",
    "nan",
    ".inf",
    "9" * 20,
    "9" * 5000,
    "null",
    "~",
    "true",
    "{}",
    "[]",
    "[[]]",
    "{a: {b: 1}}",
    "&a [*a]",
    "*a",
    "<<: *a",
    "!!python/object/apply:os.system [ls]",
    "!!binary aGk=",
    "!x y",
    "? [a]",
    "a: a: a",
    "'\\ud800'",
    '"\\ud800"',
    '"\\UFFFFFFFF"',
    '"\\0"',
    "\u2028",
    "\ufeff",
    "\x85",
    "%YAML 9.9",
    "---",
    "...",
    "- - - -",
    "[" * 500,
    "{a: " * 200,
    "../../etc/passwd",
    "\0",
    "²",
    "٣",
    "0x10",
    "1_0",
    "2026-11-28",
    "1:30",
    "end_head",
    "h#",
    "a" * 300,
    "-",
    ".",
    "/",
    "#",
    ": ",
    "\t",
    "@",
    "`",
    "|",
    ">",
)
_DEEP: Any = 1
for _ in range(400):
    _DEEP = [_DEEP]
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    10**6,
    10**12,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    "\0",
    "../x",
    "a" * 300,
    [],
    [0],
    [1, 2, 3],
    [-1],
    [2**40, 2**40],
    {},
    {"": 0},
    {"$class": "os:system"},
    {"$class": "lsnn_gym.__main__:main"},
    {"$tuple": [1]},
    {"$number": "nan"},
    {"$space": {}},
    _DEEP,
)


def bytes_mutated(content: bytes, chance: random.Random) -> bytes:
    """Return ``content`` after one to four of the usual damages."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        _BYTE_DAMAGES[chance.randrange(len(_BYTE_DAMAGES))](damaged, chance)
    return bytes(damaged)


def text_mutated(content: bytes, chance: random.Random) -> bytes:
    """Return text in which words or lines were replaced, doubled or removed; at times any bytes."""
    if chance.random() < 0.2:
        return bytes_mutated(content, chance)
    text = content.decode("utf-8", "surrogateescape")
    for _ in range(chance.choice((1, 1, 2, 4))):
        ends = "\n" if chance.random() < 0.4 else " "
        pieces = text.split(ends)
        at = chance.randrange(len(pieces))
        piece = chance.choice(TOKENS) if chance.random() < 0.7 else chance.choice(pieces)
        kind = chance.randrange(4)
        if kind == 0:
            pieces[at] = piece
        elif kind == 1:
            pieces.insert(at, piece)
        elif kind == 2:
            pieces[at] = pieces[at] + piece
        else:
            del pieces[at]
        text = ends.join(pieces)
    return text.encode("utf-8", "surrogatepass" if "\ud800" in text else "surrogateescape")


def json_mutated(content: bytes, chance: random.Random) -> bytes:
    """Return JSON in which values were replaced, removed, renamed or swapped; at times any bytes."""
    if chance.random() < 0.1:
        return bytes_mutated(content, chance)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return content
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        found = _value_mutated(found, chance)
    try:
        return json.dumps(found).encode()
    except (RecursionError, ValueError):
        return content


def safetensors_mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a safetensors file whose header was changed, its length put right; at times any bytes."""
    size = int.from_bytes(content[:8], "little")
    if chance.random() < 0.3 or not 0 < size <= len(content) - 8:
        return bytes_mutated(content, chance)
    try:
        header = json.loads(content[8 : 8 + size])
    except (ValueError, RecursionError):
        return bytes_mutated(content, chance)
    tensors = [
        name for name, told in _items(header) if isinstance(told, dict) and told.get("shape") is not None
    ]
    if tensors and chance.random() < 0.3:  # other sizes and kinds, which a reader has to look at closely
        told = header[chance.choice(tensors)]
        told["shape"] = chance.choice(
            (told["shape"], [0], [0, 2**40], [0, 2**62], [2**63, 0], [1, 1, 1], [], [-1])
        )
        told["dtype"] = chance.choice(("F32", "F8_E8M0", "F4", "C64", "BOOL", "U64", "I64", "F64", "U8"))
        if isinstance(told["shape"], list) and 0 in told["shape"]:
            told["data_offsets"] = [0, 0]
        changed = json.dumps(header).encode()
    else:
        changed = json_mutated(content[8 : 8 + size], chance)
    return struct.pack("<Q", len(changed)) + changed + content[8 + size :]


def choices_mutated(content: bytes, chance: random.Random) -> bytes:
    """Make a few of the choices that ``content`` stands for odd ones."""
    changed = bytearray(content or b"\0")
    for _ in range(chance.choice((1, 1, 2, 3))):
        changed[chance.randrange(len(changed))] = chance.randrange(192, 256)
    return bytes(changed)


def _items(found: Any) -> list[tuple[str, Any]]:
    return list(found.items()) if isinstance(found, dict) else []


def _flip(damaged: bytearray, chance: random.Random) -> None:
    if damaged:
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)


def _replace(damaged: bytearray, chance: random.Random) -> None:
    if damaged:
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)


def _cut(damaged: bytearray, chance: random.Random) -> None:
    del damaged[chance.randrange(len(damaged) + 1) :]


def _remove(damaged: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(damaged) + 1)
    del damaged[at : at + chance.choice((1, 2, 4, 64))]


def _insert(damaged: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(damaged) + 1)
    damaged[at:at] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 2, 5, 40))))


def _double(damaged: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(damaged) + 1)
    damaged[at:at] = damaged[at : at + chance.choice((1, 8, 100))]


def _number(damaged: bytearray, chance: random.Random) -> None:
    # Near the start, where headers are, as often as anywhere.
    at = chance.randrange(min(len(damaged), 32) + 1 if chance.random() < 0.5 else len(damaged) + 1)
    size, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
    number = chance.choice(_NUMBERS) & ((1 << 8 * size) - 1)
    damaged[at : at + size] = number.to_bytes(size, order)  # type: ignore[arg-type]


def _word(damaged: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(damaged) + 1)
    word = chance.choice(TOKENS).encode("utf-8", "surrogatepass")
    damaged[at : at + chance.choice((0, 1, len(word)))] = word


_BYTE_DAMAGES = (_flip, _replace, _cut, _remove, _insert, _double, _number, _word)


def _value_mutated(found: Any, chance: random.Random) -> Any:
    """Return ``found`` with one place in it changed."""
    if chance.random() < 0.25 or not isinstance(found, (dict, list)) or not found:
        return chance.choice(VALUES) if chance.random() < 0.9 else [found]
    if isinstance(found, list):
        at = chance.randrange(len(found))
        return [*found[:at], _value_mutated(found[at], chance), *found[at + 1 :]]
    key = chance.choice(sorted(found))
    kind = chance.random()
    if kind < 0.1:
        return {name: value for name, value in found.items() if name != key}
    if kind < 0.2:
        return {name + "x" if name == key else name: value for name, value in found.items()}
    return {**found, key: _value_mutated(found[key], chance)}
