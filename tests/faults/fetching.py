"""SIGKILL while a data set is fetched from a slow server."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from lsnn_gym.data import download, registry, store
from lsnn_gym.data.data_set import DataFile, FileSet
from tests.data.fake_server import FakeServer
from tests.faults.children import run_child
from tests.faults.trainings import Moments, Outcome

_NAME = "made"
_CHUNK_S = 0.005
_FILES = {"first.bin": bytes(range(256)) * 4000, "second.bin": bytes(range(255, -1, -1)) * 3000}


def _data_set() -> FileSet:
    return FileSet(
        _NAME,
        "made for this",
        "nobody",
        "none",
        files=tuple(
            DataFile(name, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), (_url(name),))
            for name, content in _FILES.items()
        ),
    )


def _url(name: str) -> str:
    return f"https://made.test/{name}"


def kill_fetching(folder: Path, kills: int, chance: Random) -> Outcome:
    """Kill ``lsnn_gym.data.fetch`` at random moments; whatever has a file's name must be that file."""
    outcome = Outcome("SIGKILL while fetching data")
    folder.mkdir()
    made = _data_set()
    started = time.perf_counter()
    run_child(lambda: _fetch(made, folder / "undisturbed"), folder / "errors.txt")
    moments = Moments(chance, time.perf_counter() - started)
    parts = 0
    for number in count():
        if outcome.injected >= kills:
            break
        cache = folder / f"cache-{number}"
        while outcome.injected < kills:
            ended = run_child(
                lambda cache=cache: _fetch(made, cache),
                folder / "errors.txt",
                ((moments(), signal.SIGKILL),),
            )
            moments.met(alive=ended.status != 0)
            if ended.status == 0:
                break
            if ended.status != -signal.SIGKILL:
                outcome.lost.append(f"ended with {ended}")
            outcome.injected += 1
            parts += any((cache / _NAME).glob("*.part"))
            outcome.lost += [
                f"{each} under its name" for each in made.problems(cache / _NAME) if each.path.exists()
            ]
        ended = run_child(lambda cache=cache: _fetch(made, cache), folder / "errors.txt")
        outcome.resumed += 1
        if ended.status or made.problems(cache / _NAME):
            outcome.lost.append(f"not fetched in the end: {ended}")
        leftover = sorted(each.name for each in (cache / _NAME).iterdir() if each.name not in _FILES)
        outcome.lost += [f"left behind: {each}" for each in leftover if each.endswith(".part")]
    outcome.about = f"{parts} in the middle of a file, which the next one went on with"
    return outcome


def _fetch(made: FileSet, cache: Path) -> int:
    server = FakeServer({_url(name): content for name, content in _FILES.items()})
    chunks = download._chunks

    def slow(response: Any) -> Iterator[bytes]:
        for chunk in chunks(response):
            time.sleep(_CHUNK_S)
            yield chunk

    with (
        mock.patch.dict(registry.DATA_SETS, {_NAME: made}),
        mock.patch.dict("os.environ"),
        mock.patch.object(store, "cache_folder", return_value=cache),
        mock.patch.object(download, "https_session", server.session),
        mock.patch.object(download, "_chunks", slow),
    ):
        store.os.environ.pop(store.ENVIRONMENT_VARIABLE, None)
        store.fetch(_NAME)
    return 0
