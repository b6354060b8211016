"""Recordings of event cameras: read back, refused where damaged, steadied; N-MNIST's folders; CIFAR-10's files."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsnn_gym import data
from lsnn_gym.data import archive_set, registry
from lsnn_gym.data.cifar10 import CIFAR_10
from lsnn_gym.data.event_files import Events, read_events
from lsnn_gym.data.nmnist import NMNIST, SIDE, read_nmnist, without_saccades
from lsnn_gym.errors import UserError
from tests.data.fake_server import FakeServer
from tests.data.made_files import zip_of


def event(column: int, row: int, polarity: int, time_us: int) -> bytes:
    return bytes([column, row, polarity << 7 | time_us >> 16, time_us >> 8 & 255, time_us & 255])


RECORDING = event(1, 2, 1, 5) + event(33, 0, 0, 70_000) + event(3, 3, 1, (1 << 23) - 1)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "00001.bin"
    path.write_bytes(content)
    return path


def test_events_are_read_back(tmp_path: Path):
    found = read_events(written(tmp_path, RECORDING), SIDE)
    assert found.columns.tolist() == [1, 33, 3]
    assert found.rows.tolist() == [2, 0, 3]
    assert found.polarities.tolist() == [1, 0, 1]
    assert found.times_us.tolist() == [5, 70_000, 8_388_607]
    assert found.times_us.dtype == np.int64


def test_a_recording_without_events_is_one(tmp_path: Path):
    assert len(read_events(written(tmp_path, b""), SIDE).times_us) == 0


def test_overflows_are_no_events_but_make_later_ones_later(tmp_path: Path):
    content = (
        event(1, 1, 0, 10) + event(0, 240, 0, 0) + event(2, 2, 0, 5) + event(0, 240, 0, 0) + event(3, 3, 0, 6)
    )
    found = read_events(written(tmp_path, content), SIDE)
    assert found.times_us.tolist() == [10, 8192 + 5, 2 * 8192 + 6]
    assert found.columns.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (RECORDING[:-1], "truncated or no recording: 14 bytes, expected a multiple of 5"),
        (
            RECORDING + event(34, 0, 0, 9_000_000 % (1 << 23)),
            "event 3 at column 34, row 0: expected both below 34",
        ),
        (event(0, 239, 0, 0), "event 0 at column 0, row 239"),
        (event(0, 0, 0, 9) + event(0, 0, 0, 8), "event 1 at 8 us comes after one at 9 us"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str):
    path = written(tmp_path, content)
    with pytest.raises(UserError, match=re.escape(f"{path}: {message}")):
        read_events(path, SIDE)


def test_a_file_too_large_to_be_a_recording_is_not_read(tmp_path: Path):
    path = tmp_path / "00001.bin"
    with open(path, "wb") as file:
        file.truncate((1 << 26) + 5)
    with pytest.raises(UserError, match=r"has 67,108,869 bytes, too many for one recording"):
        read_events(path, SIDE)


def test_a_missing_recording_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="cannot read"):
        read_events(tmp_path / "00001.bin", SIDE)


def test_a_still_point_stays_where_it_is_without_saccades():
    times = np.arange(0, 315_001, 15_000)
    phase = times / 105_000
    right = np.where(phase < 2, 3.5 * phase, 7 * (3 - phase))
    down = np.where(phase < 1, 7 * phase, np.clip(7 * (2 - phase), 0, None))
    columns, rows = np.rint(10 + right).astype(np.uint8), np.rint(12 + down).astype(np.uint8)
    steady = without_saccades(Events(columns, rows, np.ones(len(times), np.uint8), times))
    assert np.abs(steady.columns.astype(int) - 10).max() <= 1
    assert np.abs(steady.rows.astype(int) - 12).max() <= 1
    assert (columns.max(), rows.max()) == (17, 19)


def test_what_leaves_the_picture_without_saccades_is_dropped():
    at_end_of_second = np.array([210_000, 210_000])
    events = Events(
        np.array([3, 9], np.uint8), np.array([0, 0], np.uint8), np.zeros(2, np.uint8), at_end_of_second
    )
    assert without_saccades(events).columns.tolist() == [2]


def test_folders_are_read_in_mnists_order(tmp_path: Path):
    for split, number, label in (("Train", 2, 5), ("Train", 1, 7), ("Train", 10, 5), ("Test", 1, 0)):
        folder = tmp_path / split / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05}.bin").write_bytes(event(number, 0, 0, 0))
        (folder / ".DS_Store").write_bytes(b"x")
    found = read_nmnist(tmp_path, "train")
    assert found.labels.tolist() == [7, 5, 5]
    assert [each.columns.item() for each in found.recordings] == [1, 2, 10]
    assert NMNIST.missing(tmp_path) == ()
    counted = [problem.found for problem in NMNIST.problems(tmp_path)]
    assert counted == ["3", "1"]
    (tmp_path / "Test" / "0" / "00001.bin").write_bytes(b"123")
    assert "truncated" in NMNIST.problems(tmp_path)[-1].found
    with pytest.raises(UserError, match="unknown split 'trian': did you mean 'train'"):
        read_nmnist(tmp_path, "trian")  # type: ignore[arg-type]


def test_a_folder_without_recordings_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"no recordings, expected Train/<digit>/<number>.bin"):
        read_nmnist(tmp_path, "train")


def test_the_real_recordings(real_data: Path):
    if not (real_data / "nmnist").is_dir():
        pytest.skip("there is no N-MNIST")
    train, test = data.nmnist("train"), data.nmnist("test")
    assert (len(train.labels), len(test.labels)) == (1000, 100)
    if (real_data / "mnist").is_dir():
        np.testing.assert_array_equal(test.labels, data.mnist("test").labels[:100])
    # They become sharper: the same events meet on fewer pixels.
    assert np.mean([_sharpness(without_saccades(each)) / _sharpness(each) for each in test.recordings]) > 1.3


def _sharpness(events: Events) -> float:
    picture = np.zeros((SIDE, SIDE))
    np.add.at(picture, (events.rows, events.columns), 1.0)
    return float((picture**2).sum() / picture.sum() ** 2)


# CIFAR-10 ----------------------------------------------------------------------------------------


def cifar_record(label: int, seed: int) -> tuple[bytes, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 32, 32), np.uint8)
    return bytes([label]) + pixels.tobytes(), pixels


def cifar_folder(folder: Path) -> None:
    folder.mkdir()
    for number, name in enumerate([*(f"data_batch_{part}.bin" for part in range(1, 6)), "test_batch.bin"]):
        (folder / name).write_bytes(
            b"".join(cifar_record(label, 10 * number + label)[0] for label in (number, 9))
        )


def test_cifar_is_read_file_after_file(own_folder: Path):
    cifar_folder(own_folder / "cifar-10")
    train, test = data.cifar_10("train"), data.cifar_10("test")
    assert train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert test.labels.tolist() == [5, 9]
    np.testing.assert_array_equal(train.images[3], cifar_record(9, 19)[1])
    assert {problem.found for problem in CIFAR_10.problems(own_folder / "cifar-10")} == {"2"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (cifar_record(0, 0)[0][:-1], "3,072 bytes, expected a multiple of 3073"),
        (cifar_record(0, 0)[0] + cifar_record(10, 0)[0], "image 1 is of class 10, expected 0 to 9"),
    ],
)
def test_damaged_cifar_is_named(own_folder: Path, content: bytes, message: str):
    cifar_folder(own_folder / "cifar-10")
    (own_folder / "cifar-10" / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(UserError, match=f"data_batch_2.bin: {message}"):
        data.cifar_10("train")
    with pytest.raises(UserError, match="unknown split"):
        data.cifar_10("validation")  # type: ignore[arg-type]


def test_recordings_come_out_of_the_authors_archives(cache: Path, monkeypatch: pytest.MonkeyPatch):
    server = FakeServer({})
    archives = []
    for archive in NMNIST.archives:
        (member,) = archive.members
        path = zip_of(cache.parent / archive.file, {f"{member}/3/00001.bin": RECORDING, "read me": b"-"})
        url, digest = f"https://data.test/{archive.file}", hashlib.md5(path.read_bytes()).hexdigest()
        server.files[url] = path.read_bytes()
        archives.append(replace(archive, checksum=f"md5:{digest}", urls=(url,)))
    monkeypatch.setitem(registry.DATA_SETS, "nmnist", replace(NMNIST, archives=tuple(archives)))
    download = archive_set.download
    monkeypatch.setattr(
        archive_set, "download", lambda *arguments: download(*arguments, session=server.session())
    )
    assert data.nmnist("test").labels.tolist() == [3]
    assert sorted(path.name for path in (cache / "nmnist").iterdir()) == ["Test", "Train"]
    assert len(server.asked) == 2
    data.nmnist("train")
    assert len(server.asked) == 2


def test_an_archive_of_something_else_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch):
    path = zip_of(cache.parent / "other.zip", {"something": b"else"})
    monkeypatch.setattr(archive_set, "download", lambda _urls, target, *_: shutil.copy(path, target))
    with pytest.raises(UserError, match="expected 'Train' in it, found none"):
        data.nmnist("train")
