from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import torch

from lsnn_gym.training.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint

WRITER = """
import sys, torch
from lsnn_gym.training.checkpoint import Checkpoint, load_checkpoint, latest_checkpoint, save_checkpoint
folder = sys.argv[1]
start = latest_checkpoint(folder)
iteration = load_checkpoint(start).iteration if start else 0
print("ready", iteration, flush=True)
while True:
    iteration += 1
    tensors = {"w": torch.full((64, 64), float(iteration))}
    save_checkpoint(folder, Checkpoint(iteration, tensors, {"m": -tensors["w"]}, {"i": iteration}), keep=2)
    print(iteration, flush=True)
"""


def test_sigkill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path):
    moments = random.Random(1)
    reached = 0
    # One interpreter start serves many kills: children are forked from a warm parent.
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKING, WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        kills, patience = 0, 0.06
        while kills < 30 or (reached < 10 and kills < 200):
            kills += 1
            parent.stdin.write(f"{moments.uniform(0.002, patience)}\n")
            parent.stdin.flush()
            told = int(parent.stdout.readline())  # the last iteration the child reported before it was killed
            latest = latest_checkpoint(tmp_path)
            if latest is None:
                assert told == 0
                patience = min(1.2 * patience, 0.5)  # a busy machine
                continue
            found = load_checkpoint(latest)
            assert found.iteration >= max(told, reached)
            assert found.iteration <= max(told, reached) + 1
            assert torch.equal(found.model["w"], torch.full((64, 64), float(found.iteration)))
            assert torch.equal(found.training["m"], -found.model["w"])
            assert found.scalars == {"i": found.iteration}
            if found.iteration == reached < 10:
                patience = min(1.2 * patience, 0.5)
            reached = found.iteration
    finally:
        parent.stdin.close()
        parent.wait(timeout=20)
        parent.stdout.close()
    assert reached >= 10
    save_checkpoint(tmp_path, Checkpoint(reached + 1, {}), keep=2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{reached:08d}", f"{reached + 1:08d}"]  # nothing hidden is left


FORKING = """
import os, signal, sys, time
import lsnn_gym.training.checkpoint
program, folder = sys.argv[1:]
for line in sys.stdin:
    sys.argv = ["writer", folder]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        exec(program, {})
    os.close(writing)
    output = b""
    while b"\\n" not in output:
        output += os.read(reading, 1000)
    time.sleep(float(line))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reading, 100000):
        output += more
    os.close(reading)
    whole = output.decode().rpartition("\\n")[0].split()
    print(whole[-1], flush=True)
"""
