"""Spoken words as spikes: both layouts read back, and refused where they are not what they should be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsnn_gym import data
from lsnn_gym.data import extras, read_ntidigits, read_shd, spike_files
from lsnn_gym.errors import UserError

h5py = pytest.importorskip("h5py", reason="h5py comes with the extra 'data'")

TIMES = [[0.1, 0.7001, 0.7001, 0.2], [], [0.0]]
UNITS = [[3, 9, 2, 5], [], [699]]
LABELS = [4, 0, 19]


def shd(
    path: Path, times: Any = None, units: Any = None, labels: Any = None, *, kind: Any = np.float16
) -> Path:
    """A file in SHD's layout."""
    with h5py.File(path, "w") as file:
        chosen = LABELS if labels is None else labels
        file["labels"] = np.array(chosen, np.uint16)
        for name, values, base in (("times", times or TIMES, kind), ("units", units or UNITS, np.uint16)):
            made = file.create_dataset(f"spikes/{name}", (len(values),), h5py.vlen_dtype(base))
            for number, each in enumerate(values):
                made[number] = np.array(each, base)
    return path


def ntidigits(
    path: Path, names: tuple[str, ...] = ("man-ae-a-1", "man-ae-a-z", "man-ae-a-1o2", "boy-b-b-o")
) -> Path:
    """A file in N-TIDIGITS18's layout."""
    with h5py.File(path, "w") as file:
        for split in ("train", "test"):
            file[f"{split}_labels"] = np.array([name.encode() for name in names])
            for number, name in enumerate(names):
                file[f"{split}_addresses/{name}"] = np.array([number, 63], np.uint8)
                file[f"{split}_timestamps/{name}"] = np.array([0.5, 0.25])
    return path


def test_shds_layout_is_read_in_the_order_of_time(tmp_path: Path):
    found = read_shd(shd(tmp_path / "a.h5"), 700)
    assert found.labels.tolist() == LABELS
    assert found.channels[0].tolist() == [3, 5, 2, 9]
    np.testing.assert_allclose(found.times_s[0], [0.1, 0.2, 0.7001, 0.7001], atol=5e-4)
    assert (np.diff(found.times_s[0]) >= 0).all()
    assert [len(each) for each in found.times_s] == [4, 0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"units": [[3, 9, 2, 5], [], [700]]},
            "recording 2: channel 700, expected whole numbers from 0 to 699",
        ),
        ({"units": [[3, 9, 2], [], [0]]}, "recording 0: 4 times, but 3 channels"),
        (
            {"times": [[0.1, float("nan"), 0.3, 0.2], [], [0.0]]},
            "recording 0: a time is negative or no number",
        ),
        ({"times": [[0.1, 0.2, -0.3, 0.2], [], [0.0]]}, "recording 0: a time is negative"),
        ({"labels": [1, 2]}, "expected 2 lists of numbers, one a label"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, changes: dict[str, Any], message: str):
    path = shd(tmp_path / "a.h5", **changes)
    with pytest.raises(UserError, match=re.escape(message)):
        read_shd(path, 700)


def test_damaged_files_are_named(tmp_path: Path):
    path = shd(tmp_path / "a.h5")
    content = path.read_bytes()
    for number, part in enumerate((b"", b"no HDF5", content[:100], content[: len(content) // 2])):
        damaged = tmp_path / f"{number}.h5"
        damaged.write_bytes(part)
        with pytest.raises(UserError, match=re.escape(f"{damaged}: no HDF5 file, or truncated or damaged")):
            read_shd(damaged, 700)
    with pytest.raises(UserError, match="no HDF5 file"):
        read_shd(tmp_path / "missing.h5", 700)


def test_links_out_of_the_file_are_refused(tmp_path: Path):
    other = shd(tmp_path / "other.h5")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["labels"] = h5py.ExternalLink(str(other), "labels")
        file["spikes"] = h5py.SoftLink("/elsewhere")
    with pytest.raises(UserError, match="expected a data set 'labels' in it"):
        read_shd(path, 700)
    with h5py.File(path, "w") as file:
        file["spikes/times/deeper"] = np.zeros(3)
        file["labels"] = np.zeros(3, np.uint16)
    with pytest.raises(UserError, match="'spikes/times' is no data set within the file"):
        read_shd(path, 700)
    with h5py.File(path, "w") as file:
        file["labels"] = np.zeros((3, 2))
    with pytest.raises(UserError, match=re.escape("'labels' is float64 (3, 2): expected one axis")):
        read_shd(path, 700)


def test_ntidigits_single_digits_are_read(tmp_path: Path):
    found = read_ntidigits(ntidigits(tmp_path / "a.h5"), "test")
    assert found.labels.tolist() == [1, 10, 0]
    assert found.times_s[1].tolist() == [0.25, 0.5]
    assert found.channels[1].tolist() == [63, 1]


def test_ntidigits_that_cannot_be_are_named(tmp_path: Path):
    with pytest.raises(UserError, match="unknown digit 'x'"):
        read_ntidigits(ntidigits(tmp_path / "a.h5", ("man-ae-a-x",)), "train")
    path = ntidigits(tmp_path / "b.h5")
    with pytest.raises(UserError, match="channel 63, expected whole numbers from 0 to 31"):
        read_ntidigits(path, "train", 32)
    with h5py.File(path, "a") as file:
        del file["train_addresses/man-ae-a-z"]
    with pytest.raises(UserError, match="expected a data set 'train_addresses/man-ae-a-z' in it"):
        read_ntidigits(path, "train")
    with pytest.raises(UserError, match="unknown split 'trian'"):
        read_ntidigits(path, "trian")  # type: ignore[arg-type]


def test_data_sets_are_found_by_name(own_folder: Path):
    with pytest.raises(
        UserError, match=r"https://zenkelab.org/datasets has; put shd_train.h5, shd_test.h5 into"
    ):
        data.spike_recordings("shd", "train")
    folder = own_folder / "shd"
    folder.mkdir()
    shd(folder / "shd_train.h5")
    shd(folder / "shd_test.h5", labels=[1, 2, 20])
    trains, channels, classes = data.spike_recordings("shd", "train")
    assert (len(trains.labels), channels, classes) == (3, 700, 20)
    with pytest.raises(UserError, match="shd: a label is 20, expected 0 to 19"):
        data.spike_recordings("shd", "test")
    assert data.check("shd") == ()
    (folder / "shd_test.h5").write_bytes(b"x")
    (problem,) = data.check("shd")
    assert problem.path.name == "shd_test.h5"
    with pytest.raises(UserError, match="unknown data set of spikes 'shed': did you mean 'shd'"):
        data.spike_recordings("shed", "train")  # type: ignore[arg-type]


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = shd(tmp_path / "a.h5")

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(UserError, match=r"need h5py, which is not installed: pip install 'lsnn-gym\[data\]'"):
        read_shd(path, 700)


def test_real_speech_in_both_layouts(real_data: Path):
    folder = real_data / "fsdd-spikes"
    if not folder.is_dir():
        pytest.skip("there is no fsdd-spikes")
    test, channels, classes = data.spike_recordings("fsdd-spikes", "test")
    assert (len(test.labels), channels, classes) == (300, 64, 10)
    assert np.bincount(test.labels).tolist() == [30] * 10
    other = read_ntidigits(folder / "fsdd_ntidigits_layout.h5", "test")
    assert len(other.labels) == 300
    # The same recordings: as many spikes in all.
    assert sum(map(len, other.times_s)) == sum(map(len, test.times_s))


def test_a_file_of_many_heaps_is_read(tmp_path: Path):
    rng = np.random.default_rng(3)
    units = [rng.integers(0, 700, rng.integers(0, 900)) for _ in range(300)]
    path = shd(tmp_path / "a.h5", [np.sort(rng.random(len(each))) for each in units], units, [0] * 300)
    assert path.read_bytes().count(b"GCOL") > 5
    found = read_shd(path, 700)
    assert [sorted(each) for each in found.channels] == [sorted(each) for each in units]


@pytest.mark.parametrize("number_and_taken", [(0, 0), (0, 2), (0, 8), (1, 1 << 40), (2, 4096), (0, 3984 + 8)])
def test_a_damaged_heap_is_refused_before_libhdf5_reads_it_for_ever(
    tmp_path: Path, number_and_taken: tuple[int, int]
):
    path = shd(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    number, taken = number_and_taken
    position = content.index(b"GCOL") + 16
    while (found := int.from_bytes(content[position : position + 2], "little")) != number:
        position += 16 + -(-int.from_bytes(content[position + 8 : position + 16], "little") // 8) * 8
        assert found, "no object of that number"
    content[position + 8 : position + 16] = taken.to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"a\.h5: damaged: object {number} of the heap at byte \d,\d\d\d takes"
    ):
        read_shd(path, 700)


def test_where_the_other_process_dies_the_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = shd(tmp_path / "a.h5")
    for call, told in {
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "ended by SIGSEGV: no message",
        "raise MemoryError('all of it')": "ended by status 1: MemoryError: all of it",
    }.items():
        monkeypatch.setattr(spike_files, "_CALL", call)
        with pytest.raises(UserError, match=rf"^{path}: damaged: the process that read it {told}$"):
            read_shd(path, 700)


def test_what_libhdf5_reads_for_ever_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spike_files, "_CALL", "import time; time.sleep(600)")
    monkeypatch.setattr(spike_files, "_LONGEST_S", 0.3)
    with pytest.raises(UserError, match=r"a\.h5: damaged: libhdf5 had not read it after 0\.3 s"):
        read_shd(shd(tmp_path / "a.h5"), 700)


def test_the_other_process_takes_no_module_from_the_folder_that_it_is_run_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "numpy.py").write_text("raise SystemExit('not this one')")
    path = shd(tmp_path / "a.h5")
    monkeypatch.chdir(tmp_path)
    assert read_shd(path, 700).labels.tolist() == LABELS
    assert read_shd(Path("a.h5"), 700).labels.tolist() == LABELS


def test_times_keep_all_their_digits(tmp_path: Path):
    path = ntidigits(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["train_timestamps/man-ae-a-1"][:] = [0.1, 0.1 + 2**-40]
    found = read_ntidigits(path, "train").times_s[0]
    assert found.tolist() == [0.1, 0.1 + 2**-40]
    assert found.dtype == np.float64


def test_lengths_of_other_sizes_are_refused(tmp_path: Path):
    settings = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    settings.set_sizes(4, 4)
    h5py.h5f.create(str(tmp_path / "a.h5").encode(), fcpl=settings).close()
    with pytest.raises(UserError, match=r"a\.h5: addresses and lengths of \(4, 4\) bytes, expected \(8, 8\)"):
        read_shd(tmp_path / "a.h5", 700)
