"""Data sets: where they are, whether they are whole, and loaders that give numpy arrays.

Nothing of them is in this package: each is read from the folder that ``LSNN_GYM_DATA`` names, from the user's
cache, or downloaded there with a checksum. ``describe(name)`` names authors and licence.
"""

from lsnn_gym.data.characters import Characters, omniglot
from lsnn_gym.data.checksums import Problem
from lsnn_gym.data.cochlea import bsa_spikes, cochleagram
from lsnn_gym.data.digit_images import LabelledImages, cifar_10, digits, fashion_mnist, mnist
from lsnn_gym.data.episodes import Episodes, sample_episodes
from lsnn_gym.data.event_files import Events, read_events
from lsnn_gym.data.framewise_phones import NO_LABEL, PhoneCorpus, Utterance, timit
from lsnn_gym.data.nmnist import EventRecordings, without_saccades
from lsnn_gym.data.recordings import nmnist, spike_recordings
from lsnn_gym.data.registry import data_set as describe
from lsnn_gym.data.sound_features import mfcc
from lsnn_gym.data.spike_files import SpikeTrains, read_ntidigits, read_shd
from lsnn_gym.data.spoken_digits import RATE_HZ as FSDD_RATE_HZ
from lsnn_gym.data.spoken_digits import SpokenDigitRecordings, fsdd
from lsnn_gym.data.store import Status, cache_folder, check, fetch, locate, names, status

__all__ = [
    "FSDD_RATE_HZ",
    "NO_LABEL",
    "Characters",
    "Episodes",
    "EventRecordings",
    "Events",
    "LabelledImages",
    "PhoneCorpus",
    "Problem",
    "SpikeTrains",
    "SpokenDigitRecordings",
    "Status",
    "Utterance",
    "bsa_spikes",
    "cache_folder",
    "check",
    "cifar_10",
    "cochleagram",
    "describe",
    "digits",
    "fashion_mnist",
    "fetch",
    "fsdd",
    "locate",
    "mfcc",
    "mnist",
    "names",
    "nmnist",
    "omniglot",
    "read_events",
    "read_ntidigits",
    "read_shd",
    "sample_episodes",
    "spike_recordings",
    "status",
    "timit",
    "without_saccades",
]
