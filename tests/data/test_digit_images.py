"""MNIST, Fashion-MNIST and scikit-learn's digits."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lsnn_gym.data as data
from lsnn_gym.data import digit_images
from lsnn_gym.data.digit_images import _load
from lsnn_gym.data.packaged_digits import DIGITS
from lsnn_gym.data.registry import FASHION_MNIST, MNIST
from lsnn_gym.errors import UserError
from tests.data.made_files import idx, idx_data_set


@pytest.mark.parametrize("load", [data.mnist, data.fashion_mnist])
def test_the_real_images(real_data: Path, load: object) -> None:
    for split, count in (("train", 60_000), ("test", 10_000)):
        images, labels = load(split)  # pyright: ignore[reportCallIssue]
        assert images.shape == (count, 28, 28)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.max() == 255
        counts = np.bincount(labels)
        assert len(counts) == 10
        if load is data.fashion_mnist:
            assert (counts == count // 10).all()
    if load is data.mnist:
        assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.parametrize("wanted", [MNIST, FASHION_MNIST])
def test_the_real_files_are_whole(real_data: Path, wanted: object) -> None:
    assert data.check(wanted.name) == ()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("load", [data.mnist, data.fashion_mnist, data.digits])
def test_an_unknown_split_gets_the_nearest(load: object) -> None:
    with pytest.raises(UserError, match="unknown split 'tset': did you mean 'test'"):
        load("tset")  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("damage", [lambda content: content[:-5], lambda content: content[:-1] + b"!"])
def test_a_damaged_file_is_named_with_its_checksum(own_folder: Path, damage: object) -> None:
    files = idx_data_set(own_folder / "mnist")
    name = "t10k-labels-idx1-ubyte.gz"
    (own_folder / "mnist" / name).write_bytes(damage(files[name]))  # pyright: ignore[reportCallIssue]
    with pytest.raises(
        UserError, match=r"train-images-idx3-ubyte\.gz: expected sha256:440fcabf.*, found sha256:"
    ):
        data.mnist("train")
    problems = {problem.path.name: problem for problem in data.check("mnist")}
    assert problems[name].expected.startswith("sha256:f7ae60f9")


def _known(folder: Path, files: dict[str, bytes]):
    """MNIST's registry entry with the checksums of these files."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return replace(
        MNIST,
        files=tuple(
            replace(file, checksum=f"sha256:{hashlib.sha256(files[file.name]).hexdigest()}")
            for file in MNIST.files
        ),
    )


def test_images_come_with_their_labels(own_folder: Path) -> None:
    files = idx_data_set(own_folder / "mnist")
    images, labels = _load(_known(own_folder / "mnist", files), "test")
    assert images.shape == (3, 2, 3)
    assert labels.tolist() == [0, 1, 2]


def test_images_without_labels_are_refused(own_folder: Path) -> None:
    files = idx_data_set(own_folder / "mnist")
    files["train-labels-idx1-ubyte.gz"] = gzip.compress(idx(np.zeros(2, np.uint8)))
    with pytest.raises(UserError, match=r"train: expected images .*, found \(3, 2, 3\), \(2,\)"):
        digit_images._load(_known(own_folder / "mnist", files), "train")


class TestPackagedDigits:
    @pytest.fixture(autouse=True)
    def _scikit_learn(self) -> None:
        pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

    def test_they_are_scikit_learns(self) -> None:
        datasets = pytest.importorskip("sklearn.datasets")
        train, test = data.digits("train"), data.digits("test")
        known = datasets.load_digits()
        assert train.images.shape == (1437, 8, 8)
        assert test.images.shape == (360, 8, 8)
        np.testing.assert_array_equal(np.concatenate([train.images, test.images]), known.images)
        np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), known.target)
        assert train.labels.dtype == np.int64

    def test_they_are_whole_and_need_no_download(self, cache: Path) -> None:
        assert data.check("digits") == ()
        assert data.status("digits").origin == "package"
        assert data.fetch("digits") == data.locate("digits")
        assert not cache.exists()

    def test_other_values_are_noticed(self, own_folder: Path) -> None:
        (own_folder / "digits").mkdir()
        rows = "\n".join(",".join(["1"] * 65) for _ in range(3))
        (own_folder / "digits" / "digits.csv.gz").write_bytes(gzip.compress(rows.encode()))
        with pytest.raises(
            UserError, match=r"digits\.csv\.gz: expected sha256:.* of its values, found sha256:"
        ):
            data.digits("train")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"no gzip", "truncated or damaged"),
            (gzip.compress(b"1,2,x\n", mtime=0), "truncated or damaged"),
            (gzip.compress(b"1,2,3\n", mtime=0), "expected 65 columns"),
            (gzip.compress(b"1,2,3\n" * 100, mtime=0)[:-9], "truncated or damaged"),
        ],
        ids=["no gzip", "no number", "too few columns", "cut"],
    )
    def test_damage_is_named(self, own_folder: Path, content: bytes, message: str) -> None:
        (own_folder / "digits").mkdir()
        (own_folder / "digits" / "digits.csv.gz").write_bytes(content)
        with pytest.raises(UserError, match=rf"digits\.csv\.gz: {message}"):
            data.digits("train")


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(type(DIGITS), "packaged", lambda self: None)
    with pytest.raises(
        UserError, match=r"scikit-learn, which is not installed: pip install 'lsnn-gym\[data\]'"
    ):
        data.digits("train")
