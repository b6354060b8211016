"""Downloads: verified before they get their name, resumed where they were cut off; no network."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import requests

from lsnn_gym.data import download as download_module
from lsnn_gym.data.data_set import DataSet, Downloadable
from lsnn_gym.data.download import download, https_session
from lsnn_gym.data.registry import DATA_SETS
from lsnn_gym.errors import UserError
from tests.data.fake_server import FakeServer

CONTENT = bytes(range(256)) * 1000
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
URL, MIRROR = "https://first.test/file.gz", "https://second.test/file.gz"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "_PAUSE_S", 0.0)


def _download(
    server: FakeServer, path: Path, urls: tuple[str, ...] = (URL,), max_bytes: int = len(CONTENT)
) -> None:
    download(urls, path, CHECKSUM, max_bytes, server.session())


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once(tmp_path: Path) -> None:
    server, path = FakeServer({URL: CONTENT}), tmp_path / "new" / "file.gz"
    _download(server, path)
    _download(server, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [(URL, None)]
    assert _names(path.parent) == ["file.gz"]


def test_a_broken_connection_goes_on_where_it_broke(tmp_path: Path) -> None:
    server, path = FakeServer({URL: CONTENT}), tmp_path / "file.gz"
    server.break_after = [1000, 70_000]
    _download(server, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [(URL, None), (URL, "bytes=1000-"), (URL, "bytes=71000-")]


def test_the_next_process_goes_on_with_what_the_last_one_got(tmp_path: Path) -> None:
    server, path = FakeServer({URL: CONTENT}), tmp_path / "file.gz"
    server.break_after = [100, 100, 100]
    with pytest.raises(
        UserError, match=r"cannot download file\.gz \(expected sha256:.*: broke off after 100 of"
    ):
        _download(server, path)
    assert _names(tmp_path) == ["file.gz.part"]
    _download(server, path)
    assert server.asked[-1] == (URL, "bytes=300-")
    assert path.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_sends_all_again(tmp_path: Path) -> None:
    server, path = FakeServer({URL: CONTENT}, ranges=False), tmp_path / "file.gz"
    server.break_after = [1000]
    _download(server, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"of another version", CONTENT + b"more", CONTENT])
def test_an_old_part_that_does_not_fit_is_thrown_away(tmp_path: Path, part: bytes) -> None:
    server, path = FakeServer({URL: CONTENT}), tmp_path / "file.gz"
    (tmp_path / "file.gz.part").write_bytes(part)
    _download(server, path)
    assert path.read_bytes() == CONTENT
    assert _names(tmp_path) == ["file.gz"]


def test_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    server, path = FakeServer({URL: CONTENT[:-1] + b"!"}), tmp_path / "file.gz"
    path.write_bytes(b"what was there before")
    with pytest.raises(
        UserError,
        match=rf"cannot download file\.gz \(expected {CHECKSUM}\): {URL}: what came has another checksum",
    ):
        _download(server, path)
    assert path.read_bytes() == b"what was there before"
    assert _names(tmp_path) == ["file.gz"]


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(CONTENT[:100])
    _download(FakeServer({URL: CONTENT}), path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("first", [None, b"another file"])
def test_a_mirror_helps_out(tmp_path: Path, first: bytes | None) -> None:
    files = {MIRROR: CONTENT} | ({URL: first} if first else {})
    path = tmp_path / "file.gz"
    _download(FakeServer(files), path, (URL, MIRROR))
    assert path.read_bytes() == CONTENT


def test_all_failures_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"404 .*{re.escape(URL)}.*404 .*{re.escape(MIRROR)}"):
        _download(FakeServer({}), tmp_path / "file.gz", (URL, MIRROR))
    assert _names(tmp_path) == []


def test_an_endless_answer_is_cut_off(tmp_path: Path) -> None:
    server = FakeServer({URL: CONTENT})
    server.lengths[URL] = "unknown"
    with pytest.raises(UserError, match="sends more than the 1,000 bytes expected"):
        _download(server, tmp_path / "file.gz", max_bytes=1000)
    assert _names(tmp_path) == []


def test_a_long_file_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="announces 256,000 bytes, more than the 1,000 bytes expected"):
        _download(FakeServer({URL: CONTENT}), tmp_path / "file.gz", max_bytes=1000)
    assert _names(tmp_path) == []


@pytest.mark.parametrize("length", ["²", "9" * 5000, "-1", "", "12x"])
def test_lengths_that_are_none_are_not_believed(tmp_path: Path, length: str) -> None:
    server = FakeServer({URL: CONTENT})
    server.lengths[URL] = length
    _download(server, tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


def test_a_chain_of_redirects_ends(tmp_path: Path) -> None:
    server = FakeServer({})
    server.redirects[URL] = URL
    with pytest.raises(UserError, match="Exceeded 30 redirects"):
        _download(server, tmp_path / "file.gz")


def test_certificates_are_checked() -> None:
    with https_session() as session:
        assert session.verify is True


@pytest.mark.parametrize("data_set", DATA_SETS.values(), ids=DATA_SETS)
def test_every_address_is_https_and_has_a_checksum(data_set: DataSet) -> None:
    files = [*getattr(data_set, "files", ()), *getattr(data_set, "archives", ())]
    if not isinstance(data_set, Downloadable):
        return
    for file in files:
        assert re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum)
    urls = [url for file in files for url in file.urls] or list(getattr(data_set, "urls", ()))
    assert urls
    assert all(url.startswith("https://") for url in urls)
    assert files or re.fullmatch(r"sha256:[0-9a-f]{64}", getattr(data_set, "index_checksum", ""))


@pytest.mark.parametrize(
    "url", ["http://first.test/file.gz", "ftp://first.test/file.gz", "file:///etc/passwd"]
)
def test_only_https_is_asked(tmp_path: Path, url: str) -> None:
    server = FakeServer({url: CONTENT})
    with pytest.raises(UserError, match=f"cannot download {url}: only https addresses are allowed"):
        _download(server, tmp_path / "file.gz", (url,))
    assert server.asked == []


def test_a_redirect_away_from_https_is_refused(tmp_path: Path) -> None:
    server = FakeServer({URL: CONTENT})
    server.redirects[URL] = "http://first.test/file.gz"
    with pytest.raises(UserError, match="No connection adapters were found for 'http://first"):
        _download(server, tmp_path / "file.gz")


def test_a_redirect_within_https_is_followed(tmp_path: Path) -> None:
    server = FakeServer({MIRROR: CONTENT})
    server.redirects[URL] = MIRROR
    _download(server, tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


def test_the_real_session_speaks_https_only() -> None:
    with https_session() as session:
        assert list(session.adapters) == ["https://"]
        with pytest.raises(requests.exceptions.InvalidSchema):
            session.get("http://localhost/")


def test_without_a_checksum_the_file_is_taken_as_it_is(tmp_path: Path) -> None:
    download((URL,), tmp_path / "file.zip", None, len(CONTENT), FakeServer({URL: CONTENT}).session())
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write .*file"):
        _download(FakeServer({URL: CONTENT}), tmp_path / "file" / "below" / "file.gz")
