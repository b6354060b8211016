"""What a finished training tells of its cost."""

from __future__ import annotations

import json
import mmap
import sys
from pathlib import Path

import pytest

from lsnn_gym.training.results import MemoryGrowth, peak_memory_bytes, write_results
from lsnn_gym.training.run_folder import RunFolder

MEBIBYTE = 2**20


def touched(mebibytes: int) -> mmap.mmap:
    """Return memory that is the system's own, not what an allocator has kept of another test's."""
    memory = mmap.mmap(-1, mebibytes * MEBIBYTE)
    for page in range(0, len(memory), mmap.PAGESIZE):
        memory[page] = 1
    return memory


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell the growth")
def test_growth_is_that_within_the_block_and_the_peak_before_is_not_forgotten():
    before = touched(48)
    peak = peak_memory_bytes()
    assert peak is not None
    before.close()
    with MemoryGrowth() as growth:
        within = touched(32)
    within.close()
    assert growth.bytes is not None
    assert 24 * MEBIBYTE < growth.bytes < 44 * MEBIBYTE
    assert (peak_memory_bytes() or 0) >= peak


def test_seconds_of_learning_are_spread_over_the_samples(tmp_path: Path):
    run = RunFolder(tmp_path)
    run.metrics.write_text('{"iteration": 1}\n{"iteration": 2}\n')
    timing = [
        {
            "iteration": 1,
            "seconds": 5.0,
            "learning_seconds": 3.0,
            "samples": 10,
            "memory_per_sample_bytes": 7.0,
        },
        {"iteration": 2, "seconds": 4.0, "learning_seconds": 1.0, "samples": 30},
        {"iteration": 3, "seconds": 2.0, "samples": 5},  # of an older release, gone on with
    ]
    run.timing.write_text("".join(json.dumps(each) + "\n" for each in timing))
    write_results(run, {"accuracy": 0.5})
    found = json.loads(run.results.read_text())
    assert found["seconds_per_sample"] == 0.1
    assert found["memory_per_sample_bytes"] == 7.0
    assert found["train_seconds"] == 11.0
    run.timing.write_text('{"iteration": 1, "seconds": 5.0}\n')
    write_results(run, {})
    assert "seconds_per_sample" not in json.loads(run.results.read_text())
