"""Data sets: where they are, whether they are whole, and loaders that give numpy arrays.

Nothing of them is in this package: each is read from the folder that ``LSNN_GYM_DATA`` names, from the user's
cache, or downloaded there with a checksum. ``describe(name)`` names authors and licence.
"""

from lsnn_gym.data.characters import Characters, omniglot
from lsnn_gym.data.checksums import Problem
from lsnn_gym.data.digit_images import LabelledImages, digits, fashion_mnist, mnist
from lsnn_gym.data.episodes import Episodes, sample_episodes
from lsnn_gym.data.framewise_phones import NO_LABEL, PhoneCorpus, Utterance, timit
from lsnn_gym.data.registry import data_set as describe
from lsnn_gym.data.sound_features import mfcc
from lsnn_gym.data.spoken_digits import SpokenDigitRecordings, fsdd
from lsnn_gym.data.store import Status, cache_folder, check, fetch, locate, names, status

__all__ = [
    "NO_LABEL",
    "Characters",
    "Episodes",
    "LabelledImages",
    "PhoneCorpus",
    "Problem",
    "SpokenDigitRecordings",
    "Status",
    "Utterance",
    "cache_folder",
    "check",
    "describe",
    "digits",
    "fashion_mnist",
    "fetch",
    "fsdd",
    "locate",
    "mfcc",
    "mnist",
    "names",
    "omniglot",
    "sample_episodes",
    "status",
    "timit",
]
