"""The C library keeps freed memory once it was told to."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from lsnn_gym.training.allocator import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    arrays = [np.empty(2_000_000, np.uint8) for _ in range(20)]
    for each in arrays:
        each.fill(1)
for _ in range(3):
    use()
before = faults()
for _ in range(20):
    use()
print(faults() - before)
"""


def new_pages(call: str) -> int:
    command = [sys.executable, "-c", PROGRAM.format(call=call)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_used_again():
    assert new_pages("keep_freed_memory()") < 100 < new_pages("pass")


def test_elsewhere_nothing_happens(monkeypatch):
    from lsnn_gym.training import allocator

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    allocator.keep_freed_memory()
