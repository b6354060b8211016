"""Sequences that a network answered, to be replayed in a report."""

from __future__ import annotations

import itertools

from lsnn_gym.pictures import SequencePicture
from lsnn_gym.report_parts.parts import Channels, Lines, Question, Raster, Replay, View

_SECONDS = 12.0  # that a replay takes
_SLOWEST, _FASTEST = 4.0, 60.0  # steps a second


def sequence_replay(picture: SequencePicture, title: str) -> Replay:
    """Return a sequence to be replayed: inputs, spikes and the probabilities of the classes."""
    steps = len(picture.probabilities)
    questions = _questions(picture)
    views: list[View] = [
        Channels("input channels", picture.inputs),
        Lines(
            "probability of each class",
            {f"class {number}": each for number, each in enumerate(picture.probabilities.T)},
            (0.0, 1.0),
            [f"class {question.answer}" for question in questions],
        ),
    ]
    if picture.spikes is not None:
        groups = {name: size for name, size in picture.groups.items() if size}
        views.append(Raster(picture.spikes, groups, picture.dt))
    speed = min(_FASTEST, max(_SLOWEST, steps / _SECONDS))
    return Replay(title, steps, "step", speed, views, questions=questions)


def _questions(picture: SequencePicture) -> list[Question]:
    """Return the windows that ask for an answer, neighbours that ask for the same one as one."""
    width = len(picture.inputs) // len(picture.targets)
    found, first = [], 0
    for target, same in itertools.groupby(picture.targets):
        after = first + len(list(same))
        if target is not None:
            found.append(Question(first * width, after * width, str(target)))
        first = after
    return found
