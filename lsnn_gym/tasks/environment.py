"""Any supervised task as a Gymnasium environment: a simulation step is a step, an answer is an action."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakValueDictionary

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded

from lsnn_gym.errors import unknown
from lsnn_gym.tasks.registry import make_task
from lsnn_gym.tasks.task import IGNORED, Batch, Split, Task

Float32Array = npt.NDArray[np.float32]

NOTHING_ASKED = -1
"""``target`` in the info of a step that asks for nothing."""

_SPLITS = ("train", "validation", "test")
_RESET_OPTIONS = ("sequence",)

# The environments of a vector share their task, and with it the data that it has read.
_TASKS_IN_USE: WeakValueDictionary[str, Task] = WeakValueDictionary()


class SupervisedEnv(gym.Env[Float32Array, Any]):
    """A sequence of a supervised task is shown step by step, and the agent answers with actions.

    ## Description
    `lsnn_gym/Supervised-v0` makes an environment of any task of `lsnn_gym.tasks.registry.TASKS`, so that whatever
    learns from rewards can be compared with what learns from targets. An episode is one sequence, a step one
    simulation step. A sequence of T steps is divided into W equal windows of T / W steps, some of which ask for
    one of K classes. Where the task itself averages the readouts over a window to have one answer, here every
    step of the window is answered and paid for by itself.

    ## Action Space
    `Discrete(K)`: the class that is the answer. At steps that ask for nothing any action is as good as another.

    ## Observation Space
    `Box(low, high, (I,), float32)`: the inputs of the step, as the task defines them.

    | task                         | inputs                              | low    | high  | unit                |
    | ---------------------------- | ----------------------------------- | ------ | ----- | ------------------- |
    | `store-recall`               | spikes                              | 0      | 1     | spikes a step       |
    | `evidence-accumulation`      | spikes                              | 0      | 1     | spikes a step       |
    | `sequential-images`          | spikes, or grey values; cue         | 0      | 1     | spikes a step; ink  |
    | `few-shot`                   | grey values; label before, one-hot  | 0      | 1     | ink; flag           |
    | `spoken-digits`              | spikes                              | 0      | 1     | spikes a step       |
    | `spoken-digits`, as currents | standardised features               | `-inf` | `inf` | standard deviations |
    | `framewise-phones`           | standardised features               | `-inf` | `inf` | standard deviations |

    Ink is 0 for paper and 1 for the darkest that there can be.

    The action taken on observation t = 0 … T - 1 answers step t of the sequence. After the last answer there is
    nothing left to show: the observation of the step that terminates is all zeros.

    ## Rewards
    For the action on observation t, `W / T` (one over the steps of a window) if the window of step t asks for an
    answer and the action is its target, else 0. The return is therefore the number of right answers, where a
    window answered rightly for a part of its steps counts with that part.

    ## Starting State
    The state is the sequence and the step, 0 after a reset.

    | `split`      | sequence of an episode                                                               |
    | ------------ | ------------------------------------------------------------------------------------ |
    | `train`      | drawn anew, whatever came before, by one whole number from `np_random`               |
    | `validation` | the next one of the split, after the last the first: those that the task gives as batches of one |
    | `test`       | likewise                                                                             |

    In validation and test a seed given to `reset` begins with the first sequence, and has no other effect.
    `reset(options=…)` takes:

    - `sequence` (int, from 0): the sequence to begin with; the next episodes go on from there. Only for
      validation and test. What lies before it has to be read or drawn first, unless asked for in order.

    ## Episode End
    Terminated with the sequence's last step; never truncated.

    ## Arguments
    `gymnasium.make("lsnn_gym/Supervised-v0", task="sequential-images", options={"data": "digits"}, split="test")`;
    all are below. Data sets are looked for at the first reset.

    ## Info
    Both are about the observation that comes with them, thus about what the coming action is judged by:

    - `asked` (bool): the window of this step asks for an answer; False once the sequence is over;
    - `target` (int): the right answer, -1 where nothing is asked.

    ## Version History
    - v0: first version.

    Args:
        render_mode: None; there are no pictures.
        task: Name of the task, one of `TASKS`.
        options: Those of the task's settings that are to differ from their defaults.
        split: `"train"`, `"validation"` or `"test"`.

    Attributes:
        task: The task, shared by all environments that are made with the same arguments.
        split: As given.

    Raises:
        UserError: If there is no such task or setting, or a setting's value is of no use; at the first reset, if
            the task's data cannot be had.
        ValueError: If another argument, an action or a reset option is of no use; the message names it.
        gymnasium.error.ResetNeeded: If stepped before the first reset or past the end of an episode.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        task: str = "store-recall",
        options: Mapping[str, Any] | None = None,
        split: str = "train",
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode must be None, not {render_mode!r}")
        if split not in _SPLITS:
            raise ValueError(f"split must be 'train', 'validation' or 'test', not {split!r}")
        self.render_mode: str | None = None
        self.split = split
        self.task: Task = _shared_task(task, dict(options or {}))
        low, high = self.task.input_range
        self.observation_space: gym.Space[Any] = gym.spaces.Box(
            low, high, (self.task.input_size,), np.float32
        )
        self.action_space: gym.Space[Any] = gym.spaces.Discrete(self.task.num_classes)
        self._sequences = None if split == "train" else _Sequences(self.task, split)  # type: ignore[arg-type]
        self._following = 0
        self._inputs: Float32Array | None = None
        self._targets = np.zeros(0, np.int64)  # of each window
        self._now = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seeds the generator of what is drawn; None goes on from where it is.
            options: See "Starting State".

        Returns:
            Observation ``[I]`` and info.
        """
        super().reset(seed=seed)
        wanted = self._wanted_sequence(options)
        if wanted is None and seed is not None:
            self._following = 0
        batch = self._draw() if self._sequences is None else self._read(self._sequences, wanted)
        self._inputs = batch.inputs[:, 0].numpy()
        self._targets = batch.targets[:, 0].numpy()
        self._now = 0
        return self._observation(self._inputs), self._info(self._inputs)

    def step(self, action: Any) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """Answer the step that was observed last, and show the next one.

        Args:
            action: A class, 0 to K - 1.

        Returns:
            Observation ``[I]``, reward, terminated, truncated (never) and info.
        """
        inputs = self._inputs
        if inputs is None:
            raise ResetNeeded("call reset() before step()")
        steps = len(inputs)
        if self._now == steps:
            raise ResetNeeded(f"the sequence is over after {steps} steps: call reset()")
        if not self.action_space.contains(action):
            raise ValueError(
                f"an action must be a whole number from 0 to {self.task.num_classes - 1}, not {action!r}"
            )
        right = int(action) == self._target(steps)
        self._now += 1
        reward = len(self._targets) / steps if right else 0.0
        return self._observation(inputs), reward, self._now == steps, False, self._info(inputs)

    def _wanted_sequence(self, options: Mapping[str, Any] | None) -> int | None:
        """Return the sequence that reset options name; None for none."""
        given = options or {}
        for name in given:
            if name not in _RESET_OPTIONS:
                raise ValueError(unknown("reset option", name, _RESET_OPTIONS))
        if "sequence" not in given:
            return None
        number = given["sequence"]
        if self._sequences is None:
            raise ValueError("sequence is of use in the splits validation and test only: train draws its own")
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
            raise ValueError(f"sequence must be a whole number of at least 0, not {number!r}")
        return int(number)

    def _draw(self) -> Batch:
        return self.task.training_batch(1, 0, int(self.np_random.integers(2**31)))

    def _read(self, sequences: _Sequences, wanted: int | None) -> Batch:
        number = self._following if wanted is None else wanted
        batch = sequences.read(number)
        if batch is None and wanted is None:
            number = 0
            batch = sequences.read(number)
        if batch is None:
            raise ValueError(
                f"sequence must be at most {sequences.count - 1} in the split {self.split!r}, not {number}"
            )
        self._following = number + 1
        return batch

    def _target(self, steps: int) -> int:
        """Return the target of the present step, of so many; -1 where nothing is asked."""
        if self._now == steps:
            return NOTHING_ASKED
        target = int(self._targets[self._now * len(self._targets) // steps])
        return NOTHING_ASKED if target == IGNORED else target

    def _observation(self, inputs: Float32Array) -> Float32Array:
        """Return a new array, so that what is done to it touches neither the sequence nor the task's data."""
        if self._now == len(inputs):
            return np.zeros(inputs.shape[1], np.float32)
        return inputs[self._now].astype(np.float32)

    def _info(self, inputs: Float32Array) -> dict[str, Any]:
        target = self._target(len(inputs))
        return {"asked": target != NOTHING_ASKED, "target": target}


class _Sequences:
    """The sequences of a split, by number; quick to read in order.

    Attributes:
        count: How many there are; 0 until the end was met.
    """

    def __init__(self, task: Task, split: Split) -> None:
        self._task = task
        self._split: Split = split
        self._rest: Iterator[Batch] | None = None
        self._taken = 0
        self.count = 0

    def read(self, number: int) -> Batch | None:
        """Return a sequence as a batch of one; None past the last."""
        if self._rest is None or number < self._taken:
            self._rest, self._taken = self._task.batches(self._split, 1), 0
        for batch in self._rest:
            self._taken += 1
            if self._taken > number:
                return batch
        self._rest, self.count = None, self._taken
        return None

    def __getstate__(self) -> dict[str, Any]:
        # Generators cannot be copied; the copy begins anew and skips what was taken.
        return {**self.__dict__, "_rest": None}


def _shared_task(name: str, options: dict[str, Any]) -> Task:
    """Return the task that is in use under these settings, or a new one."""
    key = json.dumps([name, options], sort_keys=True)
    task = _TASKS_IN_USE.get(key)
    if task is None:
        task = _TASKS_IN_USE[key] = make_task(name, **options)
    return task
