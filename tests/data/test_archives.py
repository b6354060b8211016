"""Archives: unpacked whole and in their folder, or not at all."""

from __future__ import annotations

import copy
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from lsnn_gym.data.archives import Limits, unpacked
from lsnn_gym.errors import UserError
from tests.data.made_files import tar_of, zip_of

MEMBERS = {"top/a.txt": b"alpha", "top/below/b.bin": bytes(range(256)) * 100, "./c": b""}


def _refused(archive: Path, message: str, limits: Limits | None = None) -> None:
    place = archive.parent / "place"
    place.mkdir(exist_ok=True)
    with pytest.raises(UserError, match=message) as caught, unpacked(archive, place, limits):
        pytest.fail("it was unpacked")
    assert str(archive) in str(caught.value)
    assert list(place.iterdir()) == [], "nothing stays"
    assert sorted(path.name for path in archive.parent.iterdir()) == sorted([archive.name, "place"])


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_all_files_come_out_and_the_folder_goes(tmp_path: Path, make: type) -> None:
    archive = make(tmp_path / "archive", MEMBERS)
    with unpacked(archive, tmp_path) as folder:
        assert folder.parent == tmp_path
        for name, content in MEMBERS.items():
            assert (folder / name).read_bytes() == content
        kept = folder.joinpath("top").rename(tmp_path / "kept")
    assert not folder.exists()
    assert (kept / "a.txt").read_bytes() == b"alpha"


@pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
def test_other_compressions_of_tar(tmp_path: Path, mode: str) -> None:
    archive = tmp_path / "archive"
    with tarfile.open(archive, mode) as file:  # pyright: ignore[reportArgumentType, reportCallIssue]
        info = tarfile.TarInfo("a")
        info.size = 3
        file.addfile(info, io.BytesIO(b"abc"))
    with unpacked(archive, tmp_path) as folder:
        assert (folder / "a").read_bytes() == b"abc"


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize(
    "name", ["/etc/evil", "../evil", "a/../../evil", "a\\..\\evil", "C:evil", "//evil", ".."]
)
def test_names_that_lead_outside_are_refused(tmp_path: Path, make: type, name: str) -> None:
    archive = make(tmp_path / "archive", {"good": b"x", name: b"evil"})
    _refused(archive, "refused, its member .* is outside the folder it belongs to")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tar_of(tmp_path / "archive", {"evil": b""}, kind, link="/etc/passwd")
    _refused(archive, "refused, its member 'evil' is a link or a device")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
    archive = zip_of(tmp_path / "archive", {"evil": b"/etc/passwd"}, mode=kind | 0o777)
    _refused(archive, "refused, its member 'evil' is a link or a device")


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_a_bomb_is_limited(tmp_path: Path, make: type) -> None:
    archive = make(tmp_path / "archive", {"zeros": bytes(1 << 20), "more": bytes(1 << 20)})
    assert archive.stat().st_size < 1 << 14
    _refused(archive, "refused, it unpacks to more than 1,000,000 bytes", Limits(max_bytes=1_000_000))


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_the_number_of_files_is_limited(tmp_path: Path, make: type) -> None:
    archive = make(tmp_path / "archive", {f"file{number}": b"" for number in range(11)})
    _refused(archive, "or 10 files", Limits(max_files=10))


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "archive", {"zeros": bytes(5000)})
    content = archive.read_bytes()
    archive.write_bytes(content.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    _refused(archive, "truncated or damaged archive")


def test_a_high_compression_is_refused_far_below_the_limit(tmp_path: Path) -> None:
    for number, make in enumerate((zip_of, tar_of)):
        (tmp_path / str(number)).mkdir()
        archive = make(tmp_path / str(number) / "archive", {"zeros": bytes(1 << 24)})
        assert archive.stat().st_size < 1 << 15
        _refused(
            archive,
            "refused, it unpacks to more than [0-9]{1},[0-9]{3},[0-9]{3} bytes",
            Limits(max_bytes=1 << 30),
        )


def test_zips_whose_members_overlap_are_counted_as_often_as_they_are_read(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "archive", {"a": bytes(range(256)) * 4000})
    with zipfile.ZipFile(archive, "a") as file:
        (info,) = file.infolist()
        for number in range(50):  # further names of the same bytes
            again = copy.copy(info)
            again.filename = f"{number}"
            file.filelist.append(again)
            file.NameToInfo[again.filename] = again
        file._didModify = True  # type: ignore[attr-defined]
    _refused(archive, "truncated or damaged|unpacks to more than", Limits(max_bytes=2_000_000))


@pytest.mark.parametrize("names", [("a", "A"), ("top/x", "TOP/X"), ("a/b", "a"), ("a", "a/b")])
def test_names_that_are_one_on_some_disk_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with tarfile.open(tmp_path / "archive", "w") as file:
        for name in names:
            file.addfile(tarfile.TarInfo(name))
    _refused(tmp_path / "archive", "is there twice|cannot read")


@pytest.mark.parametrize(
    "name", ["a\0b", "con:", "..\\..\\x", "a/..\\..\\x", "\\\\server\\x", "./../x", "a/./../../x"]
)
def test_names_of_other_systems_are_refused(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "archive", "w", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("plain")
        info.pax_headers = {"path": name}
        file.addfile(info)
    _refused(tmp_path / "archive", "is outside the folder it belongs to")


def test_a_sparse_file_of_a_terabyte_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("x")
        info.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.name": "x",
            "GNU.sparse.realsize": str(1 << 40),
            "GNU.sparse.map": "0,0",
            "GNU.sparse.size": str(1 << 40),
        }
        file.addfile(info)
    _refused(archive, "unpacks to more than|truncated or damaged")


def test_headers_of_a_tar_count_too(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with tarfile.open(archive, "w:gz", format=tarfile.PAX_FORMAT) as file:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"comment": "x" * (1 << 20)}
        file.addfile(info)
    _refused(archive, "unpacks to more than", Limits(max_bytes=1000, max_files=10))


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w") as file:
        file.addfile(tarfile.TarInfo("a"))
        file.addfile(tarfile.TarInfo("./a"))
    _refused(tmp_path / "archive", "its member './a' is there twice")


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_truncated_archives_are_refused(tmp_path: Path, make: type, part: float) -> None:
    archive = make(tmp_path / "archive", MEMBERS)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(part * len(content))])
    _refused(archive, "truncated or damaged archive|cannot read")


def test_a_flipped_byte_in_a_zip_is_noticed(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", b"alphabet")
    archive.write_bytes(archive.read_bytes().replace(b"alphabet", b"alphabeT"))
    _refused(archive, "truncated or damaged archive: Bad CRC-32")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"<html>not found</html>" * 100)
    _refused(tmp_path / "archive", "truncated or damaged archive")
