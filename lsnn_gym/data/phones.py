"""TIMIT's 61 phones, and how they are folded to 48 for training and 39 for scoring.

K.-F. Lee and H.-W. Hon, "Speaker-independent phone recognition using hidden Markov models", IEEE Transactions
on Acoustics, Speech and Signal Processing 37 (1989).
"""

from __future__ import annotations

from typing import Literal

from lsnn_gym.errors import UserError

SILENCE = "sil"
GLOTTAL_STOP = "q"

_CODES = (
    # stops, their closures, flaps and the glottal stop
    "b d g p t k bcl dcl gcl pcl tcl kcl dx q "
    # affricates and fricatives
    "jh ch s sh z zh f th v dh "
    # nasals, semivowels and glides
    "m n ng em en eng nx l r w y hh hv el "
    # vowels
    "iy ih eh ey ae aa aw ay ah ao oy ow uh uw ux er ax ix axr ax-h "
    # no speech
    "pau epi h#"
)

PHONES_61: tuple[str, ...] = tuple(sorted(_CODES.split()))
"""All phone codes of the corpus, sorted."""

# Only what changes; the glottal stop has no target.
_FOLD_TO_48 = {
    **dict.fromkeys(("bcl", "dcl", "gcl"), "vcl"),
    **dict.fromkeys(("pcl", "tcl", "kcl"), "cl"),
    **dict.fromkeys(("h#", "pau"), SILENCE),
    **{"ax-h": "ax", "axr": "er", "em": "m", "eng": "ng", "hv": "hh", "nx": "n", "ux": "uw"},
}
_FOLD_TO_39 = {
    **dict.fromkeys(("cl", "vcl", "epi"), SILENCE),
    **{"ao": "aa", "ax": "ah", "el": "l", "en": "n", "ix": "ih", "zh": "sh"},
}

TO_48: dict[str, str | None] = {
    phone: None if phone == GLOTTAL_STOP else _FOLD_TO_48.get(phone, phone) for phone in PHONES_61
}
"""Each of the 61 phones among the 48; None for the glottal stop."""

TO_39: dict[str, str | None] = {
    phone: None if folded is None else _FOLD_TO_39.get(folded, folded) for phone, folded in TO_48.items()
}
"""Each of the 61 phones among the 39; None for the glottal stop."""

_MAPS: dict[int, dict[str, str | None]] = {61: {phone: phone for phone in PHONES_61}, 48: TO_48, 39: TO_39}


def class_names(classes: int) -> tuple[str, ...]:
    """Return the names of the 61, 48 or 39 classes, sorted: the label of a phone is its place among them.

    Raises:
        UserError: Another number of classes.
    """
    return tuple(sorted({phone for phone in _map(classes).values() if phone is not None}))


def label_of(
    classes: int, glottal_stop: Literal["silence", "unlabelled"] = "silence"
) -> dict[str, int | None]:
    """Return the label of each of the 61 phones among 61, 48 or 39 classes.

    Args:
        classes: 61, 48 or 39.
        glottal_stop: With 48 and 39 classes ``q`` has none of its own. ``"silence"`` counts it as ``sil``, as A.
            Graves and the LSNN and e-prop authors do for framewise scores; ``"unlabelled"`` leaves it out, as
            Kaldi does.

    Returns:
        Labels from 0, None for an unlabelled phone.

    Raises:
        UserError: Another number of classes, or another word for the glottal stop.
    """
    if glottal_stop not in ("silence", "unlabelled"):
        raise UserError(f"glottal_stop is {glottal_stop!r}, expected 'silence' or 'unlabelled'")
    place = {name: label for label, name in enumerate(class_names(classes))}
    instead = place[SILENCE] if glottal_stop == "silence" and classes != 61 else None
    return {phone: instead if name is None else place[name] for phone, name in _map(classes).items()}


def _map(classes: int) -> dict[str, str | None]:
    if classes not in _MAPS:
        raise UserError(f"classes is {classes!r}, expected 61, 48 or 39")
    return _MAPS[classes]
