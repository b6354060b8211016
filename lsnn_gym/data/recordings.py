"""Recordings as events and spikes, by the name of their data set."""

from __future__ import annotations

from typing import Literal

from lsnn_gym.data.nmnist import NMNIST, EventRecordings, read_nmnist
from lsnn_gym.data.spike_files import (
    FSDD_SPIKES,
    N_TIDIGITS,
    SHD,
    SSC,
    SpikeTrains,
    read_ntidigits,
    read_shd,
)
from lsnn_gym.data.store import locate
from lsnn_gym.errors import UserError, unknown

_SHD_LAYOUT = {
    SHD.name: ("shd", 700, 20),
    SSC.name: ("ssc", 700, 35),
    FSDD_SPIKES.name: ("fsdd_spikes", 64, 10),
}


def nmnist(split: Literal["train", "test"]) -> EventRecordings:
    """Load N-MNIST: 60,000 recordings in ``train`` and 10,000 in ``test``, or as many as there are of each.

    By G. Orchard, A. Jayawant, G. K. Cohen and N. Thakor, CC BY-SA 4.0. Downloaded (1.2 GB) where it is not here yet.

    Args:
        split: The authors' own.

    Returns:
        The recordings in MNIST's order, and the digits.

    Raises:
        UserError: No such split; the data cannot be had; a recording is damaged.
    """
    return read_nmnist(locate(NMNIST.name), split)


def spike_recordings(
    name: Literal["fsdd-spikes", "n-tidigits", "shd", "ssc"], split: Literal["train", "test"]
) -> tuple[SpikeTrains, int, int]:
    """Load spoken words as spikes: the Spiking Heidelberg Digits, Spiking Speech Commands or N-TIDIGITS18.

    Args:
        name: Of the data set.
        split: The authors' own.

    Returns:
        The recordings, how many channels they have, and how many classes.

    Raises:
        UserError: No such data set or split; h5py is not installed; the files are not here, or damaged.
    """
    if split not in ("train", "test"):
        raise UserError(unknown("split", split, ("train", "test")))
    if name == N_TIDIGITS.name:
        return read_ntidigits(locate(name) / N_TIDIGITS.files[0], split), 64, 11
    if name not in _SHD_LAYOUT:
        raise UserError(unknown("data set of spikes", name, [*_SHD_LAYOUT, N_TIDIGITS.name]))
    stem, channels, classes = _SHD_LAYOUT[name]
    trains = read_shd(locate(name) / f"{stem}_{split}.h5", channels)
    if len(trains.labels) and not 0 <= trains.labels.min() <= trains.labels.max() < classes:
        raise UserError(f"{name}: a label is {trains.labels.max()}, expected 0 to {classes - 1}")
    return trains, channels, classes
