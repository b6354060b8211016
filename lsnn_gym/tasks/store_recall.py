"""Store-recall: keep a bit in memory from a store command to a recall command, past distracting bits.

A sequence is a row of symbols, each shown for a fixed time: the bits 0 and 1, store (2) and recall (3). With
the store command the bit to keep is shown; at the recall command the network has to say it.

Source: Bellec, Salaj, Subramoney, Legenstein, Maass: Long short-term memory and learning-to-learn in networks
of spiking neurons, NIPS 2018, and the authors' code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lsnn_gym.settings import Settings
from lsnn_gym.tasks.scoring import block_means
from lsnn_gym.tasks.task import IGNORED, Batch, Split, Task, generator_for, joined, slices

STORE, RECALL = 2, 3
NUM_GROUPS = 4


class StoreRecallBatch(NamedTuple):
    """B sequences of L symbols, each shown for D steps.

    Attributes:
        symbols: ``[L, B]``.
        targets: ``[L, B]``: at a recall the bit to be recalled, elsewhere the symbol itself.
        is_recall: ``[L, B]``: where an answer is asked for.
        spikes: Of the input neurons ``[L * D, B, I]``, 0 or 1/dt.
    """

    symbols: Tensor
    targets: Tensor
    is_recall: Tensor
    spikes: Tensor


def is_valid(symbols: Sequence[int]) -> bool:
    """Return whether a sequence of symbols poses the task.

    It does if it has a bit, a store and a recall; begins, as to commands, with a store and ends with a recall;
    stores and recalls alternate; and every store is followed by a bit.
    """
    commands = [each for each in symbols if each in (STORE, RECALL)]
    alternate = commands == [STORE, RECALL] * (len(commands) // 2)
    followed = all(after in (0, 1) for each, after in itertools.pairwise([*symbols, RECALL]) if each == STORE)
    return bool(commands) and alternate and followed


def draw_symbols(length: int, mean_delay: float, generator: torch.Generator) -> list[int]:
    """Draw a valid sequence of ``length`` symbols.

    Each position of a random bit string becomes a store, or after a store a recall, with probability
    ``1 / (1 + mean_delay)``; what is not valid is drawn again, then still waiting for what it waited for.

    Args:
        length: L, at least 3.
        mean_delay: In symbols; 6 in the authors' code.
        generator: Source of the draws.

    Raises:
        ValueError: If no valid sequence is so short, or ``mean_delay`` is negative or without end.
    """
    if length < 3:
        raise ValueError(f"length is {length}: a sequence with a store, its bit and a recall has at least 3")
    if not 0 < mean_delay < float("inf"):
        raise ValueError(f"mean_delay is {mean_delay}: expected a positive number of symbols")
    awaited = STORE
    while True:
        symbols = torch.randint(2, (length,), generator=generator).tolist()
        turns = (torch.rand(length, generator=generator) < 1 / (1 + mean_delay)).tolist()
        for position in itertools.compress(range(length), turns):
            symbols[position] = awaited
            awaited = RECALL if awaited == STORE else STORE
        if is_valid(symbols):
            return symbols


def recall_targets(symbols: Tensor) -> Tensor:
    """Return ``symbols`` ``[L, B]`` with every recall replaced by the bit that followed the last store."""
    targets = symbols.clone()
    kept = torch.zeros_like(symbols[0])
    for position, shown in enumerate(symbols):
        if position + 1 < len(symbols):
            kept = torch.where(shown == STORE, symbols[position + 1], kept)
        targets[position] = torch.where(shown == RECALL, kept, shown)
    return targets


def active_groups(symbols: Tensor, inverted: Tensor | None = None) -> Tensor:
    """Return which groups of input neurons are active ``[L, B, 4]``: bit 0, bit 1, store, recall.

    With a store its bit is shown, the symbol that follows; where that symbol stands itself it may be inverted,
    to distract.

    Args:
        symbols: Valid sequences ``[L, B]``.
        inverted: Boolean ``[L, B]``: where a bit that follows a store is shown inverted; None for nowhere.
    """
    stores = symbols == STORE
    bits = torch.where(stores, symbols.roll(-1, 0), symbols)
    if inverted is not None:
        after_store = torch.zeros_like(stores)
        after_store[1:] = stores[:-1]
        bits = torch.where(after_store & inverted, 1 - bits, bits)
    return torch.stack([bits == 0, bits == 1, stores, symbols == RECALL], dim=-1)


def spike_probabilities(
    active: Tensor,
    num_inputs: int,
    duration: int,
    rate: float = 50.0,
    dt: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the probability ``[L * duration, B, num_inputs]`` that an input neuron fires in a step.

    Args:
        active: ``[L, B, 4]`` from ``active_groups``.
        num_inputs: I; four groups of neurons side by side, the first ones larger if it is no multiple of 4.
        duration: Steps of a symbol.
        rate: Of a neuron in an active group, in Hz; the others are silent.
        dt: Simulation step in ms.
        dtype: Of the result.

    Raises:
        ValueError: If a group would be empty.
    """
    if num_inputs < NUM_GROUPS:
        raise ValueError(f"num_inputs is {num_inputs}: expected at least {NUM_GROUPS}, one a group")
    sizes = [len(each) for each in np.array_split(np.arange(num_inputs), NUM_GROUPS)]
    group = torch.repeat_interleave(torch.arange(NUM_GROUPS), torch.tensor(sizes)).to(active.device)
    probability = active[..., group].to(dtype) * (rate * dt / 1000)
    return probability.repeat_interleave(duration, dim=0)


def draw_batch(
    batch_size: int,
    generator: torch.Generator,
    *,
    num_inputs: int = 100,
    length: int = 12,
    mean_delay: float = 6.0,
    duration: int = 200,
    rate: float = 50.0,
    dt: float = 1.0,
) -> StoreRecallBatch:
    """Draw B sequences and the spikes of their input neurons.

    Args:
        batch_size: B.
        generator: Source of every draw, on the CPU.
        num_inputs: I.
        length: L, symbols of a sequence.
        mean_delay: In symbols.
        duration: Steps of a symbol.
        rate: Of the input neurons of an active group, in Hz.
        dt: Simulation step in ms.
    """
    drawn = [draw_symbols(length, mean_delay, generator) for _ in range(batch_size)]
    symbols = torch.tensor(drawn).T.contiguous()
    inverted = torch.rand(symbols.shape, generator=generator) < 0.5
    probability = spike_probabilities(active_groups(symbols, inverted), num_inputs, duration, rate, dt)
    spikes = (torch.rand(probability.shape, generator=generator) < probability).to(probability.dtype) / dt
    return StoreRecallBatch(symbols, recall_targets(symbols), symbols == RECALL, spikes)


def recall_logits(outputs: Tensor, batch: StoreRecallBatch) -> tuple[Tensor, Tensor]:
    """Return logits ``[R, 2]`` and bits ``[R]`` of the R recalls: readouts ``[T, B, 2]`` averaged over a symbol."""
    means = block_means(outputs, len(batch.symbols))
    return means[batch.is_recall], batch.targets[batch.is_recall]


def recall_loss(outputs: Tensor, batch: StoreRecallBatch) -> Tensor:
    """Return the mean cross-entropy at the recalls of readouts ``[T, B, 2]``."""
    return F.cross_entropy(*recall_logits(outputs, batch))


def recall_error(outputs: Tensor, batch: StoreRecallBatch) -> float:
    """Return the fraction of the recalls that readouts ``[T, B, 2]`` get wrong."""
    logits, bits = recall_logits(outputs, batch)
    return (logits.argmax(dim=1) != bits).double().mean().item()


class StoreRecallSettings(Settings):
    """Keep a bit in memory from a store command to a recall command."""

    kind: Literal["store-recall"] = "store-recall"
    num_inputs: int = Field(default=100, ge=NUM_GROUPS, description="input neurons, in four groups")
    length: int = Field(default=12, ge=3, description="symbols of a sequence")
    mean_delay: float = Field(default=6.0, gt=0, description="from a store to its recall, in symbols")
    duration: int = Field(default=200, ge=1, description="steps of a symbol")
    rate: float = Field(default=50.0, gt=0, description="of the input neurons of an active group, in Hz")
    evaluation_sequences: int = Field(default=512, ge=1, description="sequences of validation and of test")

    def make(self) -> StoreRecallTask:
        """Return the task."""
        return StoreRecallTask(self)


class StoreRecallTask(Task):
    """Store-recall as ``draw_batch`` draws it: a window is a symbol, and the recalls ask."""

    num_classes = 2
    input_range: tuple[float, float] = (0.0, 1.0)
    figure = "recall_error"

    def __init__(self, settings: StoreRecallSettings) -> None:
        self.settings = settings
        self.input_size: int = settings.num_inputs

    def training_batch(self, size: int, number: int, seed: int) -> Batch:
        """Draw a batch."""
        return self._draw(size, generator_for(seed, "store-recall", number))

    def batches(self, split: Split, size: int) -> Iterator[Batch]:
        """Draw the sequences of a split."""
        for part in slices(self.settings.evaluation_sequences, size):
            # Each from a generator of its own, so that a sequence does not depend on the size of the batches.
            numbers = range(part.start, part.stop)
            yield joined(self._draw(1, generator_for(0, f"store-recall {split}", each)) for each in numbers)

    def _draw(self, size: int, generator: torch.Generator) -> Batch:
        given = self.settings.model_dump(exclude={"kind", "evaluation_sequences"})
        drawn = draw_batch(size, generator, **given)
        return Batch(drawn.spikes, torch.where(drawn.is_recall, drawn.targets, IGNORED))
