"""Small labelled images in ten classes: MNIST, Fashion-MNIST and scikit-learn's digits."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from lsnn_gym.data.cifar10 import CIFAR_10, read_cifar_folder
from lsnn_gym.data.data_set import FileSet
from lsnn_gym.data.idx import read_idx
from lsnn_gym.data.packaged_digits import DIGITS, TRAIN_SIZE
from lsnn_gym.data.registry import FASHION_MNIST, MNIST
from lsnn_gym.data.store import locate
from lsnn_gym.errors import UserError, unknown

_STEMS = {"train": "train", "test": "t10k"}


class LabelledImages(NamedTuple):
    """Images and what they show."""

    images: np.ndarray
    """uint8 ``[N, height, width]``: ink is high, background 0; of photographs ``[N, colours, height, width]``."""
    labels: np.ndarray
    """int64 ``[N]``: the class, 0 to 9."""


def mnist(split: Literal["train", "test"]) -> LabelledImages:
    """Load MNIST: handwritten digits, 60,000 in ``train`` and 10,000 in ``test``.

    By Y. LeCun, C. Cortes and C. J. C. Burges, CC BY-SA 3.0. Downloaded (11 MB) where it is not here yet.

    Args:
        split: The authors' own.

    Returns:
        Images uint8 ``[N, 28, 28]``, 0 (paper) to 255 (ink), and the digits.

    Raises:
        UserError: No such split; a file cannot be had, or is not the one the authors published.
    """
    return _load(MNIST, split)


def fashion_mnist(split: Literal["train", "test"]) -> LabelledImages:
    """Load Fashion-MNIST: pieces of clothing, 60,000 in ``train`` and 10,000 in ``test``.

    By H. Xiao, K. Rasul and R. Vollgraf (Zalando SE), MIT. Downloaded (31 MB) where it is not here yet.

    Args:
        split: The authors' own.

    Returns:
        Images uint8 ``[N, 28, 28]``, 0 (background) to 255, and the classes, 0 (T-shirt) to 9 (ankle boot).

    Raises:
        UserError: No such split; a file cannot be had, or is not the one the authors published.
    """
    return _load(FASHION_MNIST, split)


def digits(split: Literal["train", "test"]) -> LabelledImages:
    """Load the 1,797 small digits that come with scikit-learn.

    By E. Alpaydin and C. Kaynak (UCI, "Optical Recognition of Handwritten Digits"), CC BY 4.0. Nothing is
    downloaded. There is no official split of these: ``train`` is the first 1,437, ``test`` the last 360; the
    file goes writer by writer, so that most writers of ``test`` are unseen.

    Args:
        split: See above.

    Returns:
        Images uint8 ``[N, 8, 8]``, 0 (paper) to 16 (ink), and the digits.

    Raises:
        UserError: No such split; scikit-learn is not installed, or its file is not the known one.
    """
    _check_split(split)
    images, labels = DIGITS.load(locate(DIGITS.name))
    part = slice(None, TRAIN_SIZE) if split == "train" else slice(TRAIN_SIZE, None)
    return LabelledImages(images[part], labels[part])


def cifar_10(split: Literal["train", "test"]) -> LabelledImages:
    """Load CIFAR-10: colour photographs, 50,000 in ``train`` and 10,000 in ``test``.

    By A. Krizhevsky, V. Nair and G. Hinton. Downloaded (170 MB) where it is not here yet.

    Args:
        split: The authors' own.

    Returns:
        Images uint8 ``[N, 3, 32, 32]``, red, green and blue, and the classes, 0 (airplane) to 9 (truck).

    Raises:
        UserError: No such split; a file cannot be had, or is damaged.
    """
    return LabelledImages(*read_cifar_folder(locate(CIFAR_10.name), split))


def _load(data_set: FileSet, split: str) -> LabelledImages:
    stem = _check_split(split)
    folder = locate(data_set.name)
    images_path = data_set.whole_file(folder, f"{stem}-images-idx3-ubyte.gz")
    labels_path = data_set.whole_file(folder, f"{stem}-labels-idx1-ubyte.gz")
    return _pair(read_idx(images_path), read_idx(labels_path), f"{folder}: {split}")


def _pair(images: np.ndarray, labels: np.ndarray, where: str) -> LabelledImages:
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise UserError(
            f"{where}: expected images [N, height, width] and labels [N], found {images.shape}, {labels.shape}"
        )
    return LabelledImages(images, labels.astype(np.int64))


def _check_split(split: str) -> str:
    if split not in _STEMS:
        raise UserError(unknown("split", split, _STEMS))
    return _STEMS[split]
