"""Where data sets are looked for, judged and put."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lsnn_gym.data as data
from lsnn_gym.data import data_set, fsdd_files, registry, store
from lsnn_gym.data.data_set import DataFile, FileSet
from lsnn_gym.data.fsdd_files import FSDD, SpokenDigits, Take
from lsnn_gym.errors import UserError
from tests.data.fake_server import FakeServer
from tests.data.made_files import wav, zip_of

FILES = {"a.bin": b"alpha" * 100, "b.bin": b"beta" * 100}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """A server with the files of the data set ``small``, which is registered."""
    server = FakeServer({f"https://data.test/{name}": content for name, content in FILES.items()})
    small = FileSet(
        name="small",
        summary="two files",
        source="this test",
        licence="MIT",
        files=tuple(
            DataFile(
                name, f"sha256:{hashlib.sha256(content).hexdigest()}", 1000, (f"https://data.test/{name}",)
            )
            for name, content in FILES.items()
        ),
    )
    monkeypatch.setitem(registry.DATA_SETS, "small", small)
    original = data_set.download
    for module in (data_set, fsdd_files):
        monkeypatch.setattr(
            module, "download", lambda *arguments: original(*arguments, session=server.session())
        )
    return server


def _fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_every_data_set_says_whose_it_is() -> None:
    assert data.names() == [
        "cifar-10",
        "digits",
        "fashion-mnist",
        "fsdd",
        "fsdd-spikes",
        "mnist",
        "n-tidigits",
        "nmnist",
        "omniglot",
        "shd",
        "ssc",
        "timit",
    ]
    for name in data.names():
        about = data.describe(name)
        assert about.name == name
        assert about.summary
        assert about.source
        assert about.licence


def test_every_download_is_https_and_has_a_checksum() -> None:
    for wanted in registry.DATA_SETS.values():
        if isinstance(wanted, FileSet):
            for file in wanted.files:
                assert all(url.startswith("https://") for url in file.urls)
                assert file.checksum.partition(":")[0] in ("sha256", "md5")
    assert all(url.startswith("https://") for url in FSDD.urls)


@pytest.mark.parametrize("verb", [data.locate, data.status, data.check, data.fetch, data.describe])
def test_an_unknown_name_gets_the_nearest(verb: object) -> None:
    with pytest.raises(UserError, match="unknown data set 'minst': did you mean 'mnist'"):
        verb("minst")  # pyright: ignore[reportCallIssue]


def test_the_cache_is_filled_on_demand(server: FakeServer, cache: Path) -> None:
    assert str(data.status("small")) == "not here"
    with pytest.raises(UserError, match=r"'small' is not here: `lsnn-gym data fetch small` gets it"):
        data.check("small")
    assert data.locate("small") == cache / "small"
    assert data.status("small") == data.Status("small", cache / "small", "cache", ())
    assert data.check("small") == ()
    assert data.fetch("small") == cache / "small"
    assert len(server.asked) == 2, "each file once"


def test_only_what_is_missing_or_damaged_is_downloaded_again(server: FakeServer, cache: Path) -> None:
    folder = _fill(cache / "small")
    (folder / "b.bin").write_bytes(b"damaged")
    (problem,) = data.check("small")
    assert problem.path == folder / "b.bin"
    assert str(problem) == (
        f"{folder / 'b.bin'}: expected sha256:{hashlib.sha256(FILES['b.bin']).hexdigest()}, found sha256:"
        f"{hashlib.sha256(b'damaged').hexdigest()} (7 bytes): truncated, damaged or another file"
    )
    assert server.asked == []
    data.fetch("small")
    assert [url for url, _ in server.asked] == ["https://data.test/b.bin"]
    (folder / "a.bin").unlink()
    assert str(data.status("small")) == f"{folder} (cache, 1 files missing)"
    data.locate("small")
    assert data.check("small") == ()


def test_a_failed_download_leaves_the_cache_as_it_was(server: FakeServer, cache: Path) -> None:
    folder = _fill(cache / "small")
    (folder / "a.bin").write_bytes(b"old")
    server.files["https://data.test/a.bin"] = b"wrong"
    with pytest.raises(UserError, match=r"cannot download a\.bin \(expected sha256:"):
        data.fetch("small")
    assert (folder / "a.bin").read_bytes() == b"old"
    assert (folder / "b.bin").read_bytes() == FILES["b.bin"]


def test_ones_own_folder_wins_and_is_never_written_to(
    server: FakeServer, cache: Path, own_folder: Path
) -> None:
    _fill(cache / "small")
    folder = _fill(own_folder / "small")
    assert data.locate("small") == folder
    assert data.status("small").origin == "LSNN_GYM_DATA"
    (folder / "a.bin").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"a\.bin: expected sha256:.*; mend it, or unset LSNN_GYM_DATA"):
        data.fetch("small")
    (folder / "a.bin").unlink()
    with pytest.raises(
        UserError, match=r"the data set 'small' lacks a\.bin; complete it, or unset LSNN_GYM_DATA"
    ):
        data.locate("small")
    assert [path.name for path in folder.iterdir()] == ["b.bin"]
    assert server.asked == []


def test_what_ones_own_folder_has_not_comes_from_the_cache(
    server: FakeServer, cache: Path, own_folder: Path
) -> None:
    assert data.locate("small") == cache / "small"
    assert list(own_folder.iterdir()) == []


def test_a_mistyped_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSNN_GYM_DATA", "/nowhere/at/all")
    with pytest.raises(UserError, match="LSNN_GYM_DATA is '/nowhere/at/all', expected an existing folder"):
        data.status("mnist")


def test_fetching_at_the_same_time_downloads_once(server: FakeServer, cache: Path) -> None:
    threads = [threading.Thread(target=data.fetch, args=("small",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert data.check("small") == ()
    assert len(server.asked) == 2


def test_a_cache_that_cannot_be_written_to_is_named(
    server: FakeServer, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(store, "cache_folder", lambda: tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot write .*small"):
        data.fetch("small")


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSNN_GYM_DATA", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(
        UserError, match=r"need pooch, which is not installed: pip install 'lsnn-gym\[data\]'"
    ):
        data.fetch("mnist")
    assert str(data.status("mnist")) == "not here"


class TestUnpackedArchive:
    """Spoken digits come as one archive without a checksum of its own."""

    URL = "https://data.test/spoken.zip"

    @pytest.fixture
    def recordings(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
        takes = [Take(0, "ada", 0), Take(1, "ada", 0)]
        monkeypatch.setattr(fsdd_files, "takes", lambda: takes)
        return {take.file: wav(np.full(1200, take.digit), 8000) for take in takes}

    @pytest.fixture
    def spoken(
        self,
        server: FakeServer,
        recordings: dict[str, bytes],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> SpokenDigits:
        whole = tmp_path / "whole"
        (whole / "recordings").mkdir(parents=True)
        for name, content in recordings.items():
            (whole / "recordings" / name).write_bytes(content)
        digest = hashlib.sha256(fsdd_files.write_index(whole)).hexdigest()
        spoken = replace(FSDD, index_checksum=f"sha256:{digest}", urls=(self.URL,))
        monkeypatch.setitem(registry.DATA_SETS, "fsdd", spoken)
        return spoken

    def _serve(self, server: FakeServer, tmp_path: Path, members: dict[str, bytes]) -> None:
        archive = zip_of(
            tmp_path / "served.zip", {f"repository/recordings/{n}": c for n, c in members.items()}
        )
        server.files[self.URL] = archive.read_bytes()

    def test_it_is_unpacked_judged_and_indexed(
        self,
        server: FakeServer,
        spoken: SpokenDigits,
        recordings: dict[str, bytes],
        cache: Path,
        tmp_path: Path,
    ) -> None:
        self._serve(server, tmp_path, recordings | {"unknown.wav": b""})
        folder = data.locate("fsdd")
        found = sorted(path.name for path in folder.rglob("*.*"))
        assert found == ["0_ada_0.wav", "1_ada_0.wav", "index.csv"]
        assert data.check("fsdd") == ()
        assert [path.name for path in cache.iterdir() if path.name != ".fsdd.lock"] == ["fsdd"]

    def test_a_wrong_recording_leaves_nothing(
        self,
        server: FakeServer,
        spoken: SpokenDigits,
        recordings: dict[str, bytes],
        cache: Path,
        tmp_path: Path,
    ) -> None:
        self._serve(server, tmp_path, recordings | {"1_ada_0.wav": recordings["0_ada_0.wav"]})
        with pytest.raises(
            UserError, match=f"recordings: expected .* index of {spoken.index_checksum}, found"
        ):
            data.fetch("fsdd")
        assert [path.name for path in cache.iterdir() if path.name != ".fsdd.lock"] == []

    def test_a_damaged_recording_is_named_and_replaced(
        self,
        server: FakeServer,
        spoken: SpokenDigits,
        recordings: dict[str, bytes],
        cache: Path,
        tmp_path: Path,
    ) -> None:
        self._serve(server, tmp_path, recordings)
        path = data.fetch("fsdd") / "recordings" / "1_ada_0.wav"
        path.write_bytes(recordings["1_ada_0.wav"][:-2])
        (problem,) = data.check("fsdd")
        assert problem.path == path
        assert problem.expected == f"sha256:{hashlib.sha256(recordings['1_ada_0.wav']).hexdigest()}"
        server.files.clear()
        with pytest.raises(UserError, match="cannot get the data set 'fsdd'"):
            data.fetch("fsdd")
        assert path.is_file(), "left as it was"
        self._serve(server, tmp_path, recordings)
        data.fetch("fsdd")
        assert data.check("fsdd") == ()

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            ({}, "expected a folder 'recordings'"),
            ({"../../evil": b""}, "outside"),
            ({"x.wav": b""}, "no such file"),
        ],
    )
    def test_other_archives_are_refused(
        self,
        server: FakeServer,
        spoken: SpokenDigits,
        cache: Path,
        tmp_path: Path,
        members: dict,
        message: str,
    ) -> None:
        self._serve(server, tmp_path, members)
        with pytest.raises(UserError, match=message):
            data.fetch("fsdd")
        assert not (cache / "fsdd").exists()
