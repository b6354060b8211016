"""What a network believes of a whole function, having seen some of it: asked everywhere, in copies of its state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsnn_gym.envs.functions import FunctionFamily, Parameters
from lsnn_gym.regression.episodes import Episodes, FloatArray, RegressionSettings, draw_functions
from lsnn_gym.regression.network import Draws, RegressionNetwork
from lsnn_gym.seeding import derived_seed

SEEN = (1, 5, 10, 20, 50)
"""Numbers of examples after which pictures show what is believed."""

_CURVE_POINTS = 128
_SURFACE_POINTS = 24  # along each side


class ProbedEpisode(NamedTuple):
    """One episode of T trials, and what the network would have said elsewhere.

    Attributes:
        parameters: Of the function.
        episodes: The one episode.
        grid: Inputs everywhere, as ``input_grid`` has them, ``[M, D]``.
        values: Of the function there ``[M]``.
        seen: Numbers of examples after which the network was asked, K of them.
        believed: What it said then ``[K, M]``, in units of the family's targets.
        predictions: What it said in the trials themselves ``[T]``, in the same units.
        spikes: In the trials, of a spiking core ``[T * S, N]``; else None.
    """

    parameters: Parameters
    episodes: Episodes
    grid: FloatArray
    values: FloatArray
    seen: tuple[int, ...]
    believed: FloatArray
    predictions: FloatArray
    spikes: npt.NDArray[np.bool_] | None


def input_grid(family: FunctionFamily) -> FloatArray | None:
    """Return inputs from one end of their range to the other, ``[M, D]``; None of more than two inputs.

    Of two inputs it is a square whose second input varies fastest.
    """
    if family.input_size > 2:
        return None
    points = _CURVE_POINTS if family.input_size == 1 else _SURFACE_POINTS
    along = np.linspace(family.input_low, family.input_high, points)
    mesh = np.meshgrid(*[along] * family.input_size, indexing="ij")
    return np.stack([each.ravel() for each in mesh], axis=1)


@torch.no_grad()
def probe_episode(
    network: RegressionNetwork, regression: RegressionSettings, seen: Iterable[int] | None, seed: int
) -> ProbedEpisode:
    """Run one episode and ask the network on the way what it believes of the function as a whole.

    Having seen k examples means to be in the trial that shows the k-th target, as the one before; after the last
    trial that is one more, which the environment shows too. It is this trial that is given with inputs from
    everywhere, each to a copy of the network's state of its own, and none of the copies goes on: nothing is learnt
    from being asked.

    Args:
        network: Not changed.
        regression: Says what the episode is like.
        seen: Numbers of examples after which to ask, in ascending order; those that the episode does not come to
            are left out. None: before each trial.
        seed: Of the episode, the input spikes and the noise.
    """
    parameters, episodes = draw_functions(regression, 1, seed)
    family = regression.functions
    shown = network.shown(episodes)
    generator = torch.Generator().manual_seed(derived_seed(seed, "draws"))
    draws = network.draw(shown, generator)
    trials = len(shown)
    grid = input_grid(family)
    asked = [k for k in (range(trials) if seen is None else seen) if k <= trials] if grid is not None else []
    before = torch.cat([shown[:, 0, -1], network.scaled_targets(episodes)[-1]])
    said, spikes, believed = [], [], []
    state = network.initial_state(1)
    for first, last in zip([0, *asked], [*asked, trials], strict=True):
        if last > first:
            part, state = network.advance(
                shown[first:last], state, _part(draws, first * network.steps, last * network.steps)
            )
            said.append(part.values)
            spikes.append(part.spikes)
        if grid is not None and len(believed) < len(asked):
            believed.append(_believed(network, grid, state, before[last], generator))
    units = network.in_targets_units
    places = np.zeros((0, family.input_size)) if grid is None else grid
    return ProbedEpisode(
        parameters,
        episodes,
        grid=places,
        values=family.values(parameters, places[None])[0].clip(family.target_low, family.target_high),
        seen=tuple(asked),
        believed=np.stack([units(each).cpu().double().numpy() for each in believed])
        if believed
        else np.zeros((0, len(places))),
        predictions=units(torch.cat(said))[:, 0].cpu().double().numpy(),
        spikes=_joined(spikes),
    )


def _believed(
    network: RegressionNetwork, grid: FloatArray, state: Any, before: Tensor, generator: torch.Generator
) -> Tensor:
    """Return what copies of a network in ``state`` answer to the inputs of ``grid``, ``[M]``, in scaled targets.

    Args:
        network: That answers.
        grid: Inputs in units of the family ``[M, D]``.
        state: Of one network.
        before: The scaled target that it would be shown next, a scalar.
        generator: Of input spikes and noise.
    """
    places = network.scaled_inputs(grid)[None]
    asked = torch.cat([places, before.expand(1, len(grid), 1)], dim=-1)
    copies = network.core.unpack(network.core.pack(state).repeat(len(grid), 1))
    answers, _ = network.advance(asked, copies, network.draw(asked, generator))
    return answers.values[0]


def _part(draws: Draws, first: int, last: int) -> Draws:
    return Draws(*(None if each is None else each[first:last] for each in draws))


def _joined(spikes: Sequence[Tensor | None]) -> npt.NDArray[np.bool_] | None:
    parts = [each for each in spikes if each is not None]
    return torch.cat(parts)[:, 0].cpu().numpy() > 0 if parts else None
