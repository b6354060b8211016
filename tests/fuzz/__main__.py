"""Fuzz a parser: ``python -m tests.fuzz --parser idx --inputs 1000000``.

With Atheris installed (extra ``fuzz``) inputs are chosen by what they make the parser do; without, or with
``--blind``, they are damaged at random. Each kind of crash is told once, and its input is kept. Exits 1 if there
was one.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib.util
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

SLOW_S = 5.0
"""An input that takes longer is a crash too."""
STUCK_S = 60.0
SPARE_BYTES = 3 << 29
"""Memory that a process may take on top of what it has when it begins: no header may make it take more."""


class _SlowError(Exception):
    """An input took longer than it may."""


class Watch:
    """Runs inputs, counts them, and keeps one input of each kind of crash."""

    def __init__(self, target: Any, folder: Path, kept: Path, inputs: int, heartbeat: mmap.mmap) -> None:
        self.target = target
        self.folder = folder
        self.kept = kept
        self.inputs = inputs
        self.count = self.read = 0
        self.crashes: dict[str, int] = {}
        self.started = time.perf_counter()
        self.heartbeat = heartbeat
        signal.signal(signal.SIGALRM, self._too_slow)

    def run(self, content: bytes) -> None:
        """Give one input to the parser."""
        from tests.fuzz.target import accepts, signature

        self.count += 1
        self.heartbeat[:8] = self.count.to_bytes(8, "little")
        signal.setitimer(signal.ITIMER_REAL, SLOW_S)
        try:
            self.read += accepts(self.target, content, self.folder)
        except Exception as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            kind = signature(error)
            if kind not in self.crashes:
                self.kept.mkdir(parents=True, exist_ok=True)
                (self.kept / f"{self.target.name}-{len(self.crashes)}").write_bytes(content)
                last = traceback.format_exception_only(error)[-1].strip()
                print(f"{self.target.name}: crash {len(self.crashes)}: {kind}: {last[:300]}", flush=True)
            self.crashes[kind] = self.crashes.get(kind, 0) + 1
            self.heartbeat[8] = 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def report(self) -> str:
        """Return one line about what was found."""
        seconds = time.perf_counter() - self.started
        return (
            f"{self.target.name}: {self.count:,} inputs, {self.read:,} of them read, "
            f"{len(self.crashes)} kinds of crash, {self.count / seconds:,.0f} inputs/s"
        )

    def _too_slow(self, *_: object) -> None:
        raise _SlowError(f"took more than {SLOW_S:g} s")


def _limit_memory() -> None:
    import resource

    most = SPARE_BYTES + int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # /dev/shm is memory too.
    resource.setrlimit(resource.RLIMIT_FSIZE, (SPARE_BYTES, SPARE_BYTES))


def _blind(watch: Watch, seed: int) -> None:
    chance = random.Random(seed)
    pool = list(watch.target.seeds())
    for content in pool:
        watch.run(content)
    while watch.count < watch.inputs:
        content = watch.target.mutate(chance.choice(pool), chance)
        watch.run(content)
        # Now and then on from damaged input, but never far from the valid ones.
        if chance.random() < 0.05:
            pool = [*watch.target.seeds(), *pool[-50:], content]


def _guided(watch: Watch, seed: int, atheris: Any) -> None:
    with tempfile.TemporaryDirectory() as corpus:
        for number, content in enumerate(watch.target.seeds()):
            (Path(corpus) / str(number)).write_bytes(content)

        def mutated(data: bytes, max_size: int, number: int) -> bytes:
            chance = random.Random(number)
            found = (
                atheris.Mutate(data, max_size) if chance.random() < 0.4 else watch.target.mutate(data, chance)
            )
            return found[:max_size]

        arguments = [sys.argv[0], corpus, f"-runs={watch.inputs}", f"-seed={seed}", "-max_len=16384", "-rss_limit_mb=0",
                     "-timeout=0", "-verbosity=0", "-print_final_stats=0"]  # fmt: skip
        atheris.Setup(arguments, _counted(watch), custom_mutator=mutated)
        atheris.Fuzz()


def _counted(watch: Watch) -> Any:
    def run(content: bytes) -> None:
        watch.run(content)
        if watch.count >= watch.inputs:
            _ended(watch)

    return run


def main() -> None:
    """Fuzz the parsers that are named, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parser", action="append", help="name of one; all of them by default")
    parser.add_argument("--inputs", type=int, default=10_000, help="of each parser")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blind", action="store_true", help="without Atheris")
    parser.add_argument("--keep", type=Path, default=Path("crashes"), help="folder for inputs that crash")
    asked = parser.parse_args()
    faulthandler.enable()  # libraries in C may die without a word
    guided = not asked.blind and importlib.util.find_spec("atheris") is not None
    atheris: Any = importlib.import_module("atheris") if guided else None
    instrumented = (
        atheris.instrument_imports(
            include=["lsnn_gym", "wave", "chunk", "tarfile", "zipfile", "gzip", "yaml"]
        )
        if guided
        else contextlib.nullcontext()
    )
    with instrumented:
        from tests.fuzz.target import accepts
        from tests.fuzz.targets import TARGETS, chosen
    import torch

    torch.set_num_threads(1)
    crashed = False
    for target in chosen(asked.parser) if asked.parser else TARGETS.values():
        target.seeds()  # whatever it imports is not the parser's memory
        for content in target.seeds():
            with tempfile.TemporaryDirectory() as first:
                accepts(target, content, Path(first))
        crashed |= _fuzzed(target, asked, atheris)
    sys.exit(1 if crashed else 0)


def _fuzzed(target: Any, asked: argparse.Namespace, atheris: Any) -> bool:
    """Fuzz one parser in processes of its own; return whether it crashed."""
    left, seed, crashed, deaths = asked.inputs, asked.seed, False, 0
    while left > 0:
        died, count, found = _fuzzed_by_a_process(target, asked, atheris, left, seed)
        left -= max(count, 1)
        crashed |= found or (died and not target.isolated)
        if not (died and target.isolated):
            break
        # The library takes that for a refusal; the inputs after it are others.
        deaths, seed = deaths + 1, seed + 1_000
    if deaths:
        print(f"{target.name}: {deaths} processes died of their input, as they may", flush=True)
    return crashed


def _fuzzed_by_a_process(
    target: Any, asked: argparse.Namespace, atheris: Any, inputs: int, seed: int
) -> tuple[bool, int, bool]:
    """Return whether a process that fuzzes one parser died, how many inputs it had by then, and if one crashed."""
    # In memory where there is such a folder: files are the slowest part.
    fast = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=fast if fast.is_dir() else None))
    heartbeat = mmap.mmap(-1, 9)  # shared with the child: inputs so far, and whether one crashed
    child = os.fork()
    if child == 0:
        watch = Watch(target, folder, asked.keep, inputs, heartbeat)
        _limit_memory()
        if atheris is None:
            _blind(watch, seed)
            _ended(watch)
        _guided(watch, seed, atheris)
    status = os.waitstatus_to_exitcode(_waited(child, heartbeat))
    died = status not in (0, 1)
    if died and not target.isolated:
        print(
            f"{target.name}: the process died with status {status}, its last input is in {folder}", flush=True
        )
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return died, int.from_bytes(heartbeat[:8], "little"), heartbeat[8] == 1


def _waited(child: int, heartbeat: mmap.mmap) -> int:
    """Return how a process ended; one that hangs in C, where no alarm reaches it, is killed."""
    seen, since = b"", time.perf_counter()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if heartbeat[:8] != seen:
            seen, since = heartbeat[:8], time.perf_counter()
        elif time.perf_counter() - since > STUCK_S:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)


def _ended(watch: Watch) -> None:
    print(watch.report(), flush=True)
    os._exit(1 if watch.crashes else 0)


if __name__ == "__main__":
    main()
