"""How a classifier is judged: accuracy, loss, and how many spikes it took."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsnn_gym.classification.examples import Examples
from lsnn_gym.lanes import Share
from lsnn_gym.rules.classifier import Classifier
from lsnn_gym.rules.decisions import count_spikes
from lsnn_gym.rules.layers import Signal
from lsnn_gym.tasks.task import slices
from lsnn_gym.training.denormals import flushed_denormals
from lsnn_gym.training.distributed import gather_json

_CODING_SEED = 0
_ALONE = Share.all_of(1)


class Judgement(NamedTuple):
    """Sums over examples.

    Attributes:
        examples: How many.
        right: Of them.
        loss: Sum over examples.
        steps: Simulated.
        decision_steps: Until the decision.
        spikes: Of all neurons.
        spikes_until_decision: Those up to the step of the decision.
        neurons: Of the network; 0 without spikes.
        operations: At synapses; 0 where they are not counted.
    """

    examples: int = 0
    right: int = 0
    loss: float = 0.0
    steps: int = 0
    decision_steps: int = 0
    spikes: int = 0
    spikes_until_decision: int = 0
    neurons: int = 0
    operations: float = 0.0

    def plus(self, other: Judgement) -> Judgement:
        """Return both together, of the same network."""
        sums = {name: mine + its for name, mine, its in zip(self._fields, self, other, strict=True)}
        return self._replace(**sums)._replace(neurons=max(self.neurons, other.neurons))

    def figures(self) -> dict[str, float]:
        """Return loss and accuracy, and for each sample: spikes, also a neuron, steps, and those until the decision."""
        if not self.examples:
            return {}
        found = {"loss": self.loss / self.examples, "accuracy": self.right / self.examples}
        if self.neurons:
            found["spikes"] = self.spikes / self.examples
            found["spikes_per_neuron"] = self.spikes / (self.examples * self.neurons)
            found["spikes_until_decision"] = self.spikes_until_decision / self.examples
            found["steps"] = self.steps / self.examples
            found["steps_until_decision"] = self.decision_steps / self.examples
        if self.operations:
            found["synaptic_operations"] = self.operations / self.examples
        return found


@torch.no_grad()
def judge_batch(network: Classifier, signals: tuple[Signal, ...], labels: Tensor, loss: Tensor) -> Judgement:
    """Judge what a network did with one batch.

    Args:
        network: Whose signals they are.
        signals: Of ``network.forward``.
        labels: True classes ``[B]``.
        loss: Of the batch ``[]``.
    """
    decision = network.decide(signals)
    counted = count_spikes(signals, decision)
    size = len(labels)
    return Judgement(
        size,
        int((decision.classes == labels).sum()),
        float(loss) * (1 if network.sums_loss else size),
        size * len(signals[-1].values),
        int(decision.steps.sum()),
        int(counted.total.sum()),
        int(counted.until_decision.sum()),
        neurons(signals),
    )


def neurons(signals: Sequence[Signal]) -> int:
    """Return how many spiking neurons all layers have together."""
    return sum(math.prod(each.spikes.shape[2:]) for each in signals if each.spikes is not None)


@torch.no_grad()
@flushed_denormals()
def judge(network: Classifier, examples: Examples, batch_size: int, ranks: Share = _ALONE) -> Judgement:
    """Judge a network, which is not changed, on examples, always coded the same.

    Args:
        network: To judge; dropout is off.
        examples: All of them.
        batch_size: Examples at once.
        ranks: How many share the batches, and which of them this process is.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    found = Judgement()
    for part in list(slices(len(examples), batch_size))[ranks.first :: ranks.total]:
        index = torch.arange(part.start, part.stop)
        inputs = examples.inputs(index, _CODING_SEED + part.start).to(device)
        labels = examples.labels[index].to(device)
        signals = network(inputs)
        judged = judge_batch(network, signals, labels, network.loss(signals, labels))
        operations = network.operations(inputs, signals)
        if operations is not None:
            judged = judged._replace(operations=float(operations.sum()))
        found = found.plus(judged)
    network.train(was_training)
    return found


def everywhere(judgement: Judgement) -> Judgement:
    """Return what all ranks judged together, on each of them."""
    found = [Judgement(*each) for each in gather_json(judgement)]
    return functools.reduce(Judgement.plus, found)


@torch.no_grad()
@flushed_denormals()
def confusions(
    network: Classifier, examples: Examples, num_classes: int, number: int, batch_size: int
) -> npt.NDArray[np.int64]:
    """Return how often each class was taken for each ``[K, K]``: true classes down, decided ones to the right.

    Args:
        network: In evaluation mode.
        examples: The first ``number`` count.
        num_classes: K.
        number: At most as many as there are.
        batch_size: Examples at once.
    """
    device = next(network.parameters()).device
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    for part in slices(number, batch_size):
        index = torch.arange(part.start, part.stop)
        signals = network(examples.inputs(index, _CODING_SEED + part.start).to(device))
        decided = network.decide(signals).classes.cpu().numpy()
        np.add.at(counts, (examples.labels[index].numpy(), decided), 1)
    return counts
