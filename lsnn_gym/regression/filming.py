"""Episodes of regression to look at: what the network believes of the function, trial by trial, its spikes below."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lsnn_gym.envs.frames import Frame, Window
from lsnn_gym.envs.function_regression_drawing import draw_belief, draw_regression
from lsnn_gym.envs.functions import FunctionFamily
from lsnn_gym.film import FilmWriter, RasterStrip, stack_frames
from lsnn_gym.regression.probing import ProbedEpisode

_SIDE = 512
_RASTER_HEIGHT = 192
_MOST_FRAMES = 250
_SHOWN_TRIALS = 20  # in the raster
_SECONDS = 10.0  # that a film takes if neither speed below is passed
_SLOWEST, _FASTEST = 2.0, 20.0  # frames a second


def film_regression(
    probed: ProbedEpisode, family: FunctionFamily, path: Path, groups: Mapping[str, int], dt: float
) -> None:
    """Record an episode as a film (.mp4, .gif): a frame a trial, or every so many trials of long episodes.

    Of a function of one input there is one panel, with the function, what is believed of it and the examples seen.
    Of two inputs there are two: the function with the predictions, and the belief with the examples. Of more there
    are the predictions.

    Args:
        probed: The episode, with the beliefs after each number of examples.
        family: Of its function.
        path: Of the film; an existing file is replaced.
        groups: Names and sizes of groups of consecutive neurons.
        dt: Simulation step in ms.

    Raises:
        UserError: If the file cannot be written.
    """
    with FilmWriter(path, fps=_frames_per_second(probed)) as film:
        for frame in _frames(probed, family, groups, dt):
            film.add(frame)


def show_regression(
    probed: ProbedEpisode, family: FunctionFamily, groups: Mapping[str, int], dt: float
) -> None:
    """Show the film of ``film_regression`` in a window."""
    window = Window("function regression")
    for frame in _frames(probed, family, groups, dt):
        window.show(frame, _frames_per_second(probed))
    window.close()


def _stride(probed: ProbedEpisode) -> int:
    return math.ceil(len(probed.predictions) / _MOST_FRAMES)


def _frames_per_second(probed: ProbedEpisode) -> float:
    frames = len(probed.predictions) / _stride(probed)
    return min(_FASTEST, max(_SLOWEST, frames / _SECONDS))


def _frames(
    probed: ProbedEpisode, family: FunctionFamily, groups: Mapping[str, int], dt: float
) -> Iterator[Frame]:
    trials = len(probed.predictions)
    strip, steps = None, 0
    width = _SIDE * (2 if family.input_size == 2 else 1)
    if probed.spikes is not None:
        steps = len(probed.spikes) // trials
        strip = RasterStrip(
            probed.spikes,
            window=min(trials, _SHOWN_TRIALS) * steps,
            width=width,
            height=_RASTER_HEIGHT,
            groups={name: size for name, size in groups.items() if size},
            dt=dt,
        )
    for trial in range(0, trials, _stride(probed)):
        frame = _frame(probed, family, trial)
        yield frame if strip is None else stack_frames(frame, strip.frame((trial + 1) * steps - 1))


def _frame(probed: ProbedEpisode, family: FunctionFamily, trial: int) -> Frame:
    """Draw what is known in a trial, counted from 0: as many examples have been seen."""
    function = {name: each[0] for name, each in probed.parameters.items()}
    inputs, targets = probed.episodes.inputs[: trial + 1, 0], probed.episodes.targets[:trial, 0]
    panels = []
    if family.input_size != 1:
        panels.append(draw_regression(family, function, inputs, probed.predictions[:trial], size=_SIDE))
    if family.input_size <= 2:
        believed = probed.believed[probed.seen.index(trial)]
        side = round(len(believed) ** (1 / family.input_size))
        square = believed.reshape((side,) * family.input_size)
        panels.append(draw_belief(family, function, inputs, targets, square, size=_SIDE))
    return np.concatenate(panels, axis=1)
