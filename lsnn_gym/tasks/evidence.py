"""Evidence accumulation: cues left and right, a delay, then the question on which side there were more.

Source: Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein, Maass: A solution to the learning dilemma for
recurrent networks of spiking neurons, Nature Communications 11:3625, 2020, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from lsnn_gym.settings import Settings
from lsnn_gym.tasks.task import IGNORED, Batch, Split, Task, generator_for, joined, slices

NUM_GROUPS = 4


class Timing(NamedTuple):
    """When things happen, in simulation steps.

    Attributes:
        num_cues: C, an odd number for there to be a majority.
        cue: How long a cue is shown.
        interval: From cue to cue, the pause first.
        delay: From the last cue's end to the question.
        recall: How long the question is shown, at the end.
    """

    num_cues: int = 7
    cue: int = 100
    interval: int = 150
    delay: int = 1050
    recall: int = 150

    @property
    def steps(self) -> int:
        """Return T, the length of a trial: 2250 in the authors' code."""
        return self.num_cues * self.interval + self.delay + self.recall


class EvidenceBatch(NamedTuple):
    """B trials: cues ``[C, B]`` (0 left, 1 right), majority ``[B]``, input spikes ``[T, B, 4 G]`` (0 or 1/dt)."""

    cues: Tensor
    targets: Tensor
    spikes: Tensor


def majority(cues: Tensor) -> Tensor:
    """Return the side ``[B]`` of most of the cues ``[C, B]``: 1 if more than half are 1."""
    return (2 * cues.sum(dim=0) > len(cues)).to(torch.int64)


def draw_cues(batch_size: int, num_cues: int, generator: torch.Generator, probability: float = 0.3) -> Tensor:
    """Draw cues ``[C, B]``: in each trial one side, either alike, has each cue with ``probability``."""
    by_trial = torch.where(torch.rand(batch_size, generator=generator) < 0.5, probability, 1 - probability)
    return (torch.rand(num_cues, batch_size, generator=generator) < by_trial).to(torch.int64)


def spike_probabilities(
    cues: Tensor,
    group_size: int = 10,
    timing: Timing | None = None,
    rate: float = 40.0,
    noise_rate: float = 10.0,
    dt: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the probability ``[T, B, 4 G]`` that an input neuron fires in a step.

    Args:
        cues: ``[C, B]``.
        group_size: G; the groups are left, right, question, noise.
        timing: Of the trial; by default the authors'.
        rate: Of an active group in Hz; it is silent otherwise.
        noise_rate: Of the last group, at all times.
        dt: Simulation step in ms.
        dtype: Of the result.

    Raises:
        ValueError: If the timing is of another number of cues, or impossible.
    """
    timing = timing or Timing()
    if timing.num_cues != len(cues) or timing.cue > timing.interval or min(timing) < 0:
        raise ValueError(f"{timing} is impossible, or not of {len(cues)} cues")
    active = torch.zeros(timing.steps, cues.shape[1], NUM_GROUPS, dtype=dtype, device=cues.device)
    for number, side in enumerate(cues):
        end = (number + 1) * timing.interval
        active[end - timing.cue : end, :, :2] = F.one_hot(side, 2).to(dtype)
    active[timing.steps - timing.recall :, :, 2] = 1
    rates = active * rate
    rates[:, :, 3] = noise_rate
    return rates.repeat_interleave(group_size, dim=2) * (dt / 1000)


def draw_batch(
    batch_size: int,
    generator: torch.Generator,
    *,
    group_size: int = 10,
    timing: Timing | None = None,
    dt: float = 1.0,
) -> EvidenceBatch:
    """Draw B trials and the spikes of their 4 G input neurons, G = ``group_size``; ``generator`` is on the CPU."""
    timing = timing or Timing()
    cues = draw_cues(batch_size, timing.num_cues, generator)
    probability = spike_probabilities(cues, group_size, timing, dt=dt)
    spikes = (torch.rand(probability.shape, generator=generator) < probability).to(probability.dtype) / dt
    return EvidenceBatch(cues, majority(cues), spikes)


def decision_loss(outputs: Tensor, targets: Tensor, recall: int = 150) -> Tensor:
    """Return the cross-entropy of readouts ``[T, B, 2]``, averaged over the last ``recall`` steps and B trials."""
    asked = outputs[-recall:]
    return F.cross_entropy(asked.flatten(0, 1), targets.repeat(len(asked)))


def decision_error(outputs: Tensor, targets: Tensor, recall: int = 150) -> float:
    """Return the fraction of trials whose mean readout over the last ``recall`` steps picks the wrong side."""
    return (outputs[-recall:].mean(dim=0).argmax(dim=1) != targets).double().mean().item()


class EvidenceSettings(Settings):
    """Cues left and right, a delay, then the question on which side there were more."""

    kind: Literal["evidence-accumulation"] = "evidence-accumulation"
    group_size: int = Field(default=10, ge=1, description="neurons of each of the four input groups")
    num_cues: int = Field(default=7, ge=1, description="an odd number, for there to be a majority")
    cue: int = Field(default=100, ge=1, description="steps a cue is shown")
    interval: int = Field(default=150, ge=1, description="steps from cue to cue, the pause first")
    delay: int = Field(default=1050, ge=0, description="steps from the last cue to the question")
    recall: int = Field(default=150, ge=1, description="steps the question is shown; divides the trial")
    evaluation_sequences: int = Field(default=512, ge=1, description="trials of validation and of test")

    @property
    def timing(self) -> Timing:
        """Return when things happen."""
        return Timing(self.num_cues, self.cue, self.interval, self.delay, self.recall)

    @model_validator(mode="after")
    def _check(self) -> EvidenceSettings:
        if self.num_cues % 2 == 0:
            raise ValueError(
                f"num_cues is {self.num_cues}: expected an odd number, for there to be a majority"
            )
        if self.cue > self.interval:
            raise ValueError(f"cue is {self.cue}: expected at most the interval, {self.interval}")
        if self.timing.steps % self.recall:
            raise ValueError(
                f"recall is {self.recall}: expected to divide the trial's {self.timing.steps} steps"
            )
        return self

    def make(self) -> EvidenceTask:
        """Return the task."""
        return EvidenceTask(self)


class EvidenceTask(Task):
    """Evidence accumulation as ``draw_batch`` draws it; the last window asks."""

    num_classes = 2
    input_range: tuple[float, float] = (0.0, 1.0)
    figure = "decision_error"

    def __init__(self, settings: EvidenceSettings) -> None:
        self.settings = settings
        self.input_size: int = NUM_GROUPS * settings.group_size

    def training_batch(self, size: int, number: int, seed: int) -> Batch:
        """Draw a batch."""
        return self._draw(size, generator_for(seed, "evidence-accumulation", number))

    def batches(self, split: Split, size: int) -> Iterator[Batch]:
        """Draw the trials of a split."""
        for part in slices(self.settings.evaluation_sequences, size):
            # Each from a generator of its own, so that a trial does not depend on the size of the batches.
            drawn = (
                self._draw(1, generator_for(0, f"evidence-accumulation {split}", each))
                for each in range(part.start, part.stop)
            )
            yield joined(drawn)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return ``decision_loss``, whose cross-entropy is of each step of the question, not of their mean."""
        return decision_loss(outputs, batch.targets[-1], self.settings.recall)

    def _draw(self, size: int, generator: torch.Generator) -> Batch:
        timing = self.settings.timing
        drawn = draw_batch(size, generator, group_size=self.settings.group_size, timing=timing)
        targets = torch.full((timing.steps // timing.recall, size), IGNORED)
        targets[-1] = drawn.targets
        return Batch(drawn.spikes, targets)
