"""TIMIT on disk: its folders, its standard speakers and its phone transcriptions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsnn_gym.data.checksums import Problem, cannot_read
from lsnn_gym.data.data_set import NotDownloadable
from lsnn_gym.data.phones import PHONES_61
from lsnn_gym.errors import UserError, shortened, unknown

_CORE_TEST = (
    "mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0 "
    "mbpm0 mklt0 fnlp0 mcmj0 mjdh0 fmgd0 mgrt0 mnjm0 fdhc0 mjln0 mpam0 fmld0"
)
_DEV = (
    "faks0 fdac1 fjem0 mjsw0 mreb0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 mglb0 mgjf0 "
    "mmjr0 mmwh0 mrtk0 mtaa0 mtdt0 mthc0 mwjg0 fadg0 fdms0 fedw0 fgjd0 fjmg0 fnmr0 frew0 fsem0 mbns0 mdls0 "
    "mroa0 mteb0 fcal1 fmah0 mrws1 fdrw0 mjfc0 mrjr0 fmml0 mdlf0 mdvc0 mers0 mrcs0 mrjm4 fjsj0 majc0"
)

CORE_TEST_SPEAKERS = frozenset(_CORE_TEST.split())
"""The 24 of the core test set: two men and a woman of each of the eight regions."""

DEV_SPEAKERS = frozenset(_DEV.split())
"""50 of the other test speakers, the usual development set."""

SPLITS = {"train": 3_696, "dev": 400, "core-test": 192, "test": 1_344}
"""Utterances of each split without the two sentences that all speakers read (SA)."""

_DISC = {"train": 4_620, "test": 1_680}
_REGIONS = tuple(f"dr{number}" for number in range(1, 9))


class UtteranceFiles(NamedTuple):
    """Where one utterance lies."""

    name: str
    """``region/speaker/sentence`` in lower case, such as ``dr1/fcjf0/si1027``."""
    sound: Path
    phones: Path
    """Its phone transcription, ``.phn``."""

    @property
    def speaker(self) -> str:
        """Sex and identity, such as ``fcjf0``."""
        return self.name.split("/")[1]


class PhoneSegments(NamedTuple):
    """Which phone is heard when; neighbours touch."""

    ends: np.ndarray
    """int64 ``[P]``: the sample after each phone's last; the first phone begins at sample 0."""
    phones: tuple[str, ...]
    """Codes, among the 61."""


def find_utterances(root: Path, split: str) -> list[UtteranceFiles]:
    """Return the utterances of a split, without SA sentences, in the order of their names.

    Args:
        root: The folder with ``train`` and ``test`` in it, or the one above (``timit``); in any case of letters.
        split: ``train``, ``dev`` and ``core-test`` (standard speakers of ``test``), or ``test`` (all of it).

    Raises:
        UserError: No such split, or ``root`` is not laid out as TIMIT.
    """
    if split not in SPLITS:
        raise UserError(unknown("split", split, SPLITS))
    found = _all_utterances(root, "train" if split == "train" else "test")
    wanted = {"dev": DEV_SPEAKERS, "core-test": CORE_TEST_SPEAKERS}.get(split)
    return [
        files
        for files in found
        if not files.name.rpartition("/")[2].startswith("sa") and (wanted is None or files.speaker in wanted)
    ]


def read_phones(path: Path) -> PhoneSegments:
    """Read a ``.phn`` file: lines of first sample, sample after the last, and phone.

    Raises:
        UserError: The file cannot be read, or a line of it cannot be right; the line's number is given.
    """
    try:
        lines = path.read_text("latin-1").splitlines()
    except OSError as error:
        raise cannot_read(path, error) from error
    ends, phones, before = [], [], 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not (_is_number(words[0]) and _is_number(words[1])):
            raise UserError(
                f"{path}, line {number}: {shortened(line)!r}, expected two sample numbers and a phone"
            )
        begin, end, phone = int(words[0]), int(words[1]), words[2].lower()
        if phone not in PHONES_61:
            raise UserError(f"{path}, line {number}: {unknown('phone', phone, PHONES_61)}")
        if begin != before or end <= begin:
            raise UserError(
                f"{path}, line {number}: {begin} to {end}, expected to begin at {before} and end later"
            )
        ends.append(end)
        phones.append(phone)
        before = end
    if not ends:
        raise UserError(f"{path}: truncated: no phones in it")
    return PhoneSegments(np.array(ends, np.int64), tuple(phones))


def _is_number(word: str) -> bool:
    """Whether a word is a number of samples; 18 digits fit into 64 bits."""
    return word.isdecimal() and len(word) <= 18


@dataclass(frozen=True)
class Timit(NotDownloadable):
    """Sold, not given: users bring their own copy."""

    def packaged(self) -> Path | None:
        """Return None: no package has it."""
        return None

    def how_to_get(self) -> str:
        """Say who sells the corpus and where to put it."""
        return (
            "TIMIT is proprietary and cannot be downloaded: licence it from the Linguistic Data Consortium "
            "(LDC93S1), then put the folder that holds TRAIN and TEST at $LSNN_GYM_DATA/timit, or pass it as root"
        )

    def missing(self, folder: Path) -> tuple[str, ...]:
        """Return ``train`` or ``test`` where that folder is not there."""
        inside = _entries(_inner(folder))
        return tuple(name for name in _DISC if name not in inside)

    def problems(self, folder: Path) -> tuple[Problem, ...]:
        """Count the utterances; the publisher gives no checksums."""
        problems = []
        for usage, expected in _DISC.items():
            try:
                found = len(_all_utterances(folder, usage))
            except UserError as error:
                problems.append(Problem(folder, f"{expected:,} utterances in {usage}", str(error)))
                continue
            if found != expected:
                problems.append(Problem(folder, f"{expected:,} utterances in {usage}", f"{found:,}"))
        return tuple(problems)


TIMIT = Timit(
    name="timit",
    summary="read sentences with phone labels: 6,300 utterances of 630 speakers, 16 kHz, 61, 48 or 39 classes",
    source="J. S. Garofolo and others, Linguistic Data Consortium, LDC93S1, https://catalog.ldc.upenn.edu/LDC93S1",
    licence="proprietary (LDC); bring your own copy",
)


def _all_utterances(root: Path, usage: str) -> list[UtteranceFiles]:
    inside = _entries(_inner(root))
    if usage not in inside:
        raise UserError(
            f"{root}: no folder {usage!r} in it (nor in a folder 'timit' in it), in any case of letters: "
            f"expected TIMIT's layout, {usage}/dr1/<speaker>/<sentence>.wav"
        )
    found = []
    for region, region_folder in sorted(_entries(inside[usage]).items()):
        if region in _REGIONS:
            for speaker, folder in sorted(_entries(region_folder).items()):
                found += _utterances_of(folder, f"{region}/{speaker}")
    return found


def _utterances_of(folder: Path, name: str) -> list[UtteranceFiles]:
    sounds: dict[str, Path] = {}
    phones: dict[str, Path] = {}
    for entry, path in sorted(_entries(folder).items()):
        sentence, _, ending = entry.partition(".")
        if ending == "phn":
            phones[sentence] = path
        elif ending in ("wav", "wav.wav"):  # conversions at times add an ending of their own
            sounds[sentence] = path
    unpaired = sorted(sounds.keys() ^ phones.keys())
    if unpaired:
        lacks = "sound (.wav)" if unpaired[0] in phones else "phones (.phn)"
        raise UserError(f"{folder}: {unpaired[0]} lacks its {lacks}")
    return [
        UtteranceFiles(f"{name}/{sentence}", sounds[sentence], phones[sentence])
        for sentence in sorted(sounds)
    ]


def _inner(root: Path) -> Path:
    """Return the folder with train and test in it: ``root``, or ``timit`` in it."""
    inside = _entries(root)
    return inside["timit"] if "timit" in inside and not inside.keys() & _DISC.keys() else root


def _entries(folder: Path) -> dict[str, Path]:
    """Return what is in a folder, by lower-case name; hidden names left out."""
    try:
        return {path.name.lower(): path for path in folder.iterdir() if not path.name.startswith(".")}
    except NotADirectoryError:
        return {}
    except OSError as error:
        raise cannot_read(folder, error) from error
