"""Bandits: find out which arm pays best, while pulling them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .actions import checked_choices
from .bandits_drawing import draw_bandit
from .bandits_lanes import (
    BanditFamily,
    BanditLanes,
    BanditOptions,
    action_space,
    observation_space,
    start_from,
)
from .frames import Frame
from .lane_single import LaneEnv
from .lane_vector import FloatArray


class BanditsEnv(LaneEnv[FloatArray | None]):
    """Arms that pay differently, drawn anew in every episode, are to be told apart while they are pulled.

    ## Description
    Each episode is about one bandit, drawn from a family. The agent pulls an arm a step. One that has learnt what the
    family's bandits have in common tries the arms no more than is worth it, and then keeps to the best.

    `lsnn_gym/BernoulliBandits-v0` has 5 independent arms and 100 pulls; `lsnn_gym/BernoulliBanditsRL2-v0` is the
    same without the last arm and reward in the observation, which `lsnn_gym.envs.MetaRL` adds.

    | `family`      | arms | means                                                          | a pull pays        |
    | ------------- | ---- | -------------------------------------------------------------- | ------------------ |
    | `independent` | 5    | uniform in [0, 1]                                              | 1 or 0             |
    | `dependent`   | 2    | p of one arm, 1 - p of the others, p uniform in [0.5, 1]       | 1 or 0             |
    | `informative` | 11   | 5 of the target, 1 of the others; the last tells which it is   | the mean           |
    | `gaussian`    | 10   | standard normal, cut off at 4                                  | mean + N(0, 1), as well |

    Another number of `arms` may be asked for. `lsnn_gym.envs.bandits_lanes.draw_means` has the definitions.

    ## Action Space
    `Discrete(arms)`: the arm.

    ## Observation Space
    `Box((arms + 1,), float32)`: the arm pulled last, one-hot, and its reward, 0 to 1, 0 to 5 (`informative`) or
    -8 to 8 (`gaussian`); all 0 at first. Without
    `show_previous`, `Box(0, 1, (1,), float32)`, always 0: there is nothing to see.

    ## Rewards
    What the arm pays.

    ## Starting State
    The means are drawn, then the chance of each pull. `reset(options=…)` takes:

    - `means`: what the arms pay on average, `[arms]`, instead of drawn ones.

    ## Episode End
    Never terminated; truncated after `pulls` steps.

    ## Info
    - `means`: what the arms pay on average, float64 `[arms]`;
    - `regret`: what the best arm would have paid more on average, summed over the pulls so far.

    ## Version History
    - v0: first version.

    Source: Duan et al., "RL²", 2016; Wang et al., "Learning to reinforcement learn", 2016.

    Args:
        render_mode: None, `"rgb_array"` (`render()` returns a frame, uint8 `[render_size, render_size, 3]`)
            or `"human"` (a window that shows every pull; on a machine without a screen, nothing).
        arms: How many arms there are; None: as the table has it.
        pulls: Pulls an episode lasts.
        family: How the bandit is drawn.
        show_previous: Whether the last arm and its reward are observed.
        render_size: Pixels along each side of a frame.

    Raises:
        ValueError: If an argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or past the end of an episode.
        gymnasium.error.DependencyNotInstalled: If a frame is to be drawn and pygame is not there.
    """

    caption = "bandits"

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        arms: int | None = None,
        pulls: int = 100,
        family: BanditFamily = "independent",
        show_previous: bool = True,
        render_size: int = 512,
    ) -> None:
        self.options: BanditOptions = BanditOptions(arms, pulls, family, show_previous)
        self.lasts: str = f"pulls={self.options.pulls}"
        self._lanes = BanditLanes(self.options, 1)
        spaces = action_space(self.options), observation_space(self.options)
        super().__init__(self._lanes, render_mode, render_size, *spaces)

    def _start(self, options: dict[str, Any] | None) -> FloatArray | None:
        return start_from(options, self.options, 1)

    def _checked(self, action: Any) -> npt.NDArray[np.int64]:
        return checked_choices(action, (), self.options.number)

    def _frame(self) -> Frame:
        return lane_frame(self._lanes, 0, self.render_size)


def lane_frame(lanes: BanditLanes, lane: int, size: int) -> Frame:
    """Draw one of ``lanes``: its arms and its pulls so far."""
    steps = int(lanes.steps[lane])
    return draw_bandit(lanes.means[lane], lanes.chosen[lane, :steps], lanes.rewards[lane, :steps], size=size)
