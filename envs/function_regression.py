"""Function regression: say what an unknown function is at each point, having seen it at the points before."""

from __future__ import annotations

from typing import Any

import numpy as np

from .actions import checked_actions
from .frames import Frame
from .function_regression_drawing import draw_regression
from .function_regression_lanes import (
    InputDistribution,
    RegressionLanes,
    RegressionOptions,
    action_space,
    observation_space,
    start_from,
)
from .functions import Parameters
from .lane_single import LaneEnv
from .lane_vector import FloatArray


class FunctionRegressionEnv(LaneEnv[Parameters | None]):
    """An unknown function is to be predicted, point by point, while its values come to light.

    ## Description
    Each episode is about one function, drawn from a family. In each trial the agent sees an input, and the value
    that it should have said in the trial before, and answers with its prediction. An agent that has learnt what the
    family's functions have in common needs but a few points to know which one it has before it. The task is the
    regression experiment of Bellec et al., "Long short-term memory and learning-to-learn in networks of spiking
    neurons" (NeurIPS 2018).

    `lsnn_gym/FunctionRegression-v0` has 500 trials, `lsnn_gym/FunctionRegressionQuick-v0` 50.

    | `family`            | functions                                    | inputs D       | targets   |
    | ------------------- | -------------------------------------------- | -------------- | --------- |
    | `two_layer_network` | networks 2-10-1 of sigmoid units             | 2 in `[-1, 1]` | `[0, 1]`  |
    | `sinusoid`          | amplitude · sin(x + phase)                   | 1 in `[-5, 5]` | `[-5, 5]` |
    | `polynomial`        | cubic polynomials                            | 1 in `[-1, 1]` | `[-4, 4]` |
    | `gaussian_process`  | smooth functions of various length scales    | 1 in `[-1, 1]` | `[-4, 4]` |
    | `linear`            | planes                                       | 2 in `[-1, 1]` | `[-3, 3]` |

    They are defined in `lsnn_gym.envs.functions`; `register_family` adds another.

    ## Action Space
    `Box(-1, 1, (1,), float32)`: the prediction in units of the family's greatest target (1, 5, 4, 4 or 3). A finite
    action outside the box counts as it is.

    ## Observation Space
    `Box((D + 1,), float32)`, or `(D,)` without `show_target`:

    | index     | meaning                                  | min and max                               |
    | --------- | ---------------------------------------- | ----------------------------------------- |
    | 0 … D - 1 | the input of this trial                  | the family's inputs                       |
    | D         | the target of the trial before; 0 at first | the family's targets, ± 4 `noise_std`   |

    ## Rewards
    Minus the squared error, `-(prediction - target)²`, in units of the targets, noise included.

    ## Starting State
    The function is drawn, then the inputs of all trials, then their noise. `reset(options=…)` takes:

    - `function`: parameters of the function by name, as `info["function"]` has them, instead of drawn ones.

    ## Episode End
    Never terminated; truncated after `trials` steps. The last observation shows one more input.

    ## Arguments
    `gymnasium.make("lsnn_gym/FunctionRegression-v0", family="sinusoid", noise_std=0.1)`; all are below.

    ## Info
    - `function`: parameters of the episode's function by name, float64 arrays;
    - `target`: right answer to the input that is shown now, noise included;
    - `value`: the function there, without noise.

    ## Version History
    - v0: first version.

    Args:
        render_mode: None, `"rgb_array"` (`render()` returns a frame, uint8 `[render_size, render_size, 3]`)
            or `"human"` (a window that shows every trial; on a machine without a screen, nothing).
        family: Name of a family of functions.
        input_distribution: `"uniform"` over the family's inputs, or `"normal"`: about their middle, with a quarter
            of their range as standard deviation, cut off at its ends.
        noise_std: Standard deviation of the noise on targets, in their units; the noise is cut off at 4 of them.
        trials: Trials an episode lasts.
        show_target: Whether the target of the trial before is observed.
        render_size: Pixels along each side of a frame.

    Raises:
        ValueError: If an argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or past the end of an episode.
        gymnasium.error.DependencyNotInstalled: If a frame is to be drawn and pygame is not there.
    """

    caption = "function regression"

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        family: str = "two_layer_network",
        input_distribution: InputDistribution = "uniform",
        noise_std: float = 0.0,
        trials: int = 500,
        show_target: bool = True,
        render_size: int = 512,
    ) -> None:
        self.options: RegressionOptions = RegressionOptions(
            family, input_distribution, noise_std, trials, show_target
        )
        self.lasts: str = f"trials={trials}"
        self._lanes = RegressionLanes(self.options, 1)
        spaces = action_space(), observation_space(self.options)
        super().__init__(self._lanes, render_mode, render_size, *spaces)

    def _start(self, options: dict[str, Any] | None) -> Parameters | None:
        return start_from(options, self.options, 1)

    def _checked(self, action: Any) -> FloatArray:
        return checked_actions(action, (1,))

    def _frame(self) -> Frame:
        return lane_frame(self._lanes, 0, self.render_size)

    def _info(self) -> dict[str, Any]:
        info = self._lanes.info()
        function = {name: each[0] for name, each in info["function"].items()}
        return {
            # Arrays also where a parameter is one number: what is handed out is handed in again alike.
            "function": {name: np.asarray(each) for name, each in function.items()},
            "target": float(info["target"][0]),
            "value": float(info["value"][0]),
        }


def lane_frame(lanes: RegressionLanes, lane: int, size: int) -> Frame:
    """Draw one of ``lanes``: its function and its predictions so far."""
    steps = int(lanes.steps[lane])
    return draw_regression(
        lanes.family,
        {name: each[lane] for name, each in lanes.parameters.items()},
        lanes.inputs[lane, : steps + 1],
        lanes.predictions[lane, :steps],
        size=size,
    )
