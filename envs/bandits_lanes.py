"""Rules and bookkeeping of bandits, many episodes side by side, one lane each.

Both environments stand on this one definition: the single one is a batch of one lane. All that is random in an
episode (what the arms pay, and the chance of each pull) is drawn when it begins, so that a pull is only looked up.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from gymnasium.spaces import Box, Discrete

from lsnn_gym.errors import unknown

from .lane_vector import BoolArray, Float32Array, FloatArray, IntArray

BanditFamily = Literal["independent", "dependent", "informative", "gaussian"]

TARGET_PAYS, OTHERS_PAY = 5.0, 1.0  # in the family "informative"
_CUTOFF = 4.0  # standard deviations, in the family "gaussian"
_RESET_OPTIONS = ("means",)


@dataclass(frozen=True)
class BanditOptions:
    """What bandits are like.

    Args:
        arms: How many there are; None: as the family has them in its source.
        pulls: Pulls an episode lasts.
        family: How the arms' means are drawn and what a pull pays, see ``draw_means`` and ``payments``.
        show_previous: Whether the last arm and its reward are observed.

    Raises:
        ValueError: If a value is of the wrong type or out of range; the message names it.
    """

    arms: int | None = None
    pulls: int = 100
    family: BanditFamily = "independent"
    show_previous: bool = True

    def __post_init__(self) -> None:
        families = get_args(BanditFamily)
        if self.family not in families:
            raise ValueError(unknown("bandit family", self.family, families))
        usual = {"independent": 5, "dependent": 2, "informative": 11, "gaussian": 10}[self.family]
        object.__setattr__(self, "arms", usual if self.arms is None else self.arms)
        least = {"arms": 3 if self.family == "informative" else 2, "pulls": 1}
        for name, lowest in least.items():
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < lowest:
                raise ValueError(f"{name} must be a whole number of at least {lowest}, not {value!r}")
            object.__setattr__(self, name, int(value))
        if not isinstance(self.show_previous, (bool, np.bool_)):
            raise ValueError(f"show_previous must be True or False, not {self.show_previous!r}")

    @property
    def number(self) -> int:
        """Return how many arms there are."""
        assert self.arms is not None  # since __post_init__
        return self.arms

    @property
    def pays_one_or_nothing(self) -> bool:
        """Return whether an arm's mean is the probability that it pays 1."""
        return self.family in ("independent", "dependent")

    @property
    def mean_range(self) -> tuple[float, float]:
        """Return between what an arm's mean is."""
        return {"gaussian": (-_CUTOFF, _CUTOFF), "informative": (0.0, TARGET_PAYS)}.get(
            self.family, (0.0, 1.0)
        )

    @property
    def reward_range(self) -> tuple[float, float]:
        """Return between what a pull pays."""
        low, high = self.mean_range
        return (low - _CUTOFF, high + _CUTOFF) if self.family == "gaussian" else (low, high)


def draw_means(options: BanditOptions, generator: np.random.Generator) -> FloatArray:
    """Draw what the arms pay on average, ``[arms]``.

    - ``independent``: uniformly in [0, 1] (Duan et al. 2016).
    - ``dependent``: one arm, drawn, has a mean p, uniform in [0.5, 1], and all others 1 - p. Of two arms, one's mean
      is so uniform in [0, 1], and the other's what is missing to 1 (Wang et al. 2016).
    - ``informative``: one arm, drawn, but not the last, is worth 5, the others 1; the last is worth the target's
      number divided by the number of the arms before the last, so that it is wise to pull it first
      (in the manner of Wang et al. 2016).
    - ``gaussian``: standard normal, cut off at 4 (after the ten-armed testbed of Sutton and Barto, Reinforcement
      Learning, 2018, section 2.3).
    """
    arms = options.number
    if options.family == "independent":
        return generator.random(arms)
    if options.family == "gaussian":
        return np.clip(generator.standard_normal(arms), -_CUTOFF, _CUTOFF)
    if options.family == "dependent":
        best, mean = generator.integers(arms), 0.5 + 0.5 * generator.random()
        return np.where(np.arange(arms) == best, mean, 1.0 - mean)
    target = generator.integers(arms - 1)
    means = np.where(np.arange(arms) == target, TARGET_PAYS, OTHERS_PAY)
    means[-1] = (target + 1) / (arms - 1)
    return means


def draw_chances(options: BanditOptions, generator: np.random.Generator) -> FloatArray:
    """Draw the chance of each pull of an episode, ``[pulls]``, the same whichever arm is pulled."""
    if options.pays_one_or_nothing:
        return generator.random(options.pulls)
    if options.family == "gaussian":
        return np.clip(generator.standard_normal(options.pulls), -_CUTOFF, _CUTOFF)
    return np.zeros(options.pulls)


def payments(options: BanditOptions, means: FloatArray, chances: FloatArray) -> FloatArray:
    """Return what pulls of arms of these means pay, ``[n]``.

    1 or 0, with the mean for a probability; of the family ``gaussian`` the mean and standard normal noise,
    cut off at 4; of ``informative`` the mean.
    """
    if options.pays_one_or_nothing:
        return (chances < means).astype(np.float64)
    return means + chances


def action_space(options: BanditOptions) -> Discrete:
    """Return the space of actions: the arm."""
    return Discrete(options.number)


def observation_space(options: BanditOptions) -> Box:
    """Return the space of observations ``[arms + 1]``, the last arm one-hot and its reward, or only ``[1]``, 0."""
    if not options.show_previous:
        return Box(0.0, 1.0, (1,), np.float32)
    bounds = [
        np.array([end] * options.number + [reward], np.float32)
        for end, reward in zip((0, 1), options.reward_range, strict=True)
    ]
    return Box(bounds[0], bounds[1], dtype=np.float32)


def start_from(options: dict[str, Any] | None, bandit: BanditOptions, num_lanes: int) -> FloatArray | None:
    """Return the means ``[n, arms]`` that a reset's options give, or None: draw them.

    Raises:
        ValueError: If an option is not known, or its value is of no use; the message names it.
    """
    given = {} if options is None else options
    for name in given:
        if name not in _RESET_OPTIONS:
            raise ValueError(unknown("reset option", name, _RESET_OPTIONS))
    if given.get("means") is None:
        return None
    try:
        means = np.array(given["means"], np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"means must be numbers, one an arm, not {given['means']!r}") from None
    shapes = (bandit.number,), (num_lanes, bandit.number)
    if means.shape not in shapes:
        raise ValueError(f"means must have the shape {shapes[0]} or {shapes[1]}, not {means.shape}")
    low, high = bandit.mean_range
    usable = (means >= low) & (means <= high)  # False for NaN
    if not usable.all():
        raise ValueError(f"means must be from {low:g} to {high:g}, not {means[~usable][0]}")
    return np.array(np.broadcast_to(means, shapes[1]))


class BanditLanes:
    """``n`` episodes of bandits and what has happened in them.

    Attributes:
        means: What the arms pay on average, ``[n, arms]``.
        chances: Of the pulls, ``[n, pulls]``.
        chosen: Arms pulled so far, 0 elsewhere, ``[n, pulls]``.
        rewards: What they paid, 0 elsewhere, ``[n, pulls]``.
        regret: What the best arm would have paid more on average, summed over the pulls, ``[n]``.
        steps: Pulls since the start of the episode, ``[n]``.
        started: Which lanes have begun an episode at all, ``[n]``.
    """

    def __init__(self, options: BanditOptions, num_lanes: int) -> None:
        self.options = options
        self.num_lanes = num_lanes
        self.means: FloatArray = np.zeros((num_lanes, options.number))
        self.chances: FloatArray = np.zeros((num_lanes, options.pulls))
        self.chosen: IntArray = np.zeros((num_lanes, options.pulls), np.int64)
        self.rewards: FloatArray = np.zeros((num_lanes, options.pulls))
        self.regret: FloatArray = np.zeros(num_lanes)
        self.steps: IntArray = np.zeros(num_lanes, np.int64)
        self.started: BoolArray = np.zeros(num_lanes, np.bool_)
        self._rows = np.arange(num_lanes)

    def begin(
        self, lanes: IntArray, generators: Sequence[np.random.Generator], start: FloatArray | None
    ) -> None:
        """Begin a new episode in ``lanes``; the means are drawn first, then the chances.

        Args:
            lanes: Indices of the lanes.
            generators: One a lane, for all ``num_lanes``.
            start: Means ``[n, arms]``; None: draw them.
        """
        for lane in lanes:
            generator = generators[lane]
            self.means[lane] = draw_means(self.options, generator) if start is None else start[lane]
            self.chances[lane] = draw_chances(self.options, generator)
        for counter in (self.chosen, self.rewards, self.regret, self.steps):
            counter[lanes] = 0
        self.started[lanes] = True

    def advance(
        self,
        actions: IntArray,
        generators: Sequence[np.random.Generator],
        active: BoolArray | None = None,
    ) -> FloatArray:
        """Pull one arm.

        Args:
            actions: Arms ``[n]``.
            generators: Not drawn from.
            active: Lanes that pull ``[n]``; None: all do. The others are to begin an episode next.

        Returns:
            The rewards, ``[n]``; 0 where a lane is not active.
        """
        rows = self._rows if active is None else np.flatnonzero(active)
        pulls, arms = self.steps[rows], actions[rows]
        means = self.means[rows, arms]
        paid = payments(self.options, means, self.chances[rows, pulls])
        self.chosen[rows, pulls] = arms
        self.rewards[rows, pulls] = paid
        self.regret[rows] += self.means[rows].max(axis=1) - means
        self.steps += 1
        rewards = np.zeros(self.num_lanes)
        rewards[rows] = paid
        return rewards

    def finished(self) -> BoolArray:
        """Return which episodes have had all their pulls, ``[n]``."""
        return self.steps >= self.options.pulls

    def observations(self) -> Float32Array:
        """Return new observations ``[n, arms + 1]``: the last arm one-hot and its reward, 0 at first; or ``[n, 1]``."""
        if not self.options.show_previous:
            return np.zeros((self.num_lanes, 1), np.float32)
        observations = np.zeros((self.num_lanes, self.options.number + 1), np.float32)
        rows = np.flatnonzero(self.steps)
        last = self.steps[rows] - 1
        observations[rows, self.chosen[rows, last]] = 1.0
        observations[rows, -1] = self.rewards[rows, last]
        return observations

    def info(self) -> dict[str, Any]:
        """Return new arrays of what is not observed, one row a lane."""
        return {"means": self.means.copy(), "regret": self.regret.copy()}
