from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lsnn_gym.atomic import replacing, write_atomically
from lsnn_gym.errors import UserError


def test_text_and_bytes(tmp_path: Path):
    path = tmp_path / "a.txt"
    write_atomically(path, "é\r\n")
    assert path.read_bytes() == "é\r\n".encode()
    write_atomically(str(path), b"\x00")
    assert path.read_bytes() == b"\x00"
    assert os.listdir(tmp_path) == ["a.txt"]
    (tmp_path / "plain").write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_failure_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"^cannot write .*a\.txt: No space left on device$"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs the names of open files")
def test_the_new_file_is_synced_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    seen: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        seen.append((os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))[:3], path.read_text()))
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        seen.append(("replace", path.read_text()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_atomically(path, "new")
    names = [name for name, _ in seen]
    assert names.index(".a.") < names.index("replace") < len(names) - 1
    assert [text for _, text in seen][-2:] == ["old", "new"]
    assert names[-1] == tmp_path.name[:3]


@pytest.mark.parametrize("where", ["missing/a.txt", "file/a.txt"])
def test_unwritable_place(tmp_path: Path, where: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^cannot write .*a\.txt: (No such file|Not a) .*directory$"):
        write_atomically(tmp_path / where, "")


def test_replacing_keeps_the_suffix_and_cleans_up(tmp_path: Path):
    path = tmp_path / "film.mp4"
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".film.")
        assert temporary.suffix == ".mp4"
        temporary.write_bytes(b"x")
        assert not path.exists()
    assert path.read_bytes() == b"x"

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_bytes() == b"x"
    assert os.listdir(tmp_path) == ["film.mp4"]
