"""Every parser, on its valid input and on some damaged input: read, or refused in a line that names the file."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest

from tests.fuzz.target import Target, accepts
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.filterwarnings("ignore")  # libraries warn of what they are about to refuse


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_no_input_gets_anything_but_a_line(target: Target, tmp_path: Path):
    chance = random.Random(zlib.crc32(target.name.encode()))
    read = sum(accepts(target, seed, tmp_path) for seed in target.seeds())
    assert read, "no seed is valid"
    for number in range(target.smoke):
        content = target.mutate(chance.choice(list(target.seeds())), chance)
        try:
            read += accepts(target, content, tmp_path)
        except Exception as error:
            raise AssertionError(
                f"input {number}, {content[:200]!r}: {type(error).__name__}: {error}"
            ) from error
    assert read < target.smoke, "nothing is refused"


def test_a_crash_is_seen(tmp_path: Path):
    def parse(content: bytes, folder: Path) -> int:
        return content[5]

    broken = Target("broken", lambda: [b"abcdef"], parse)
    assert accepts(broken, b"abcdef", tmp_path)
    with pytest.raises(IndexError):
        accepts(broken, b"abc", tmp_path)
