"""Networks of ANTLR layers, one or several side by side, whose simulation may stop early."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from lsnn_gym.rules.antlr.layers import AntlrLayer, LayerSimulation, SpikingLayer
from lsnn_gym.rules.layers import Signal, check_sequence

PIECE = 32
"""Steps that are simulated before it is asked again whether to stop."""


class AntlrNetwork(nn.Module):
    """Layers one above the other, without recurrence and without delay between them.

    Args:
        layers: From the input up; the last one has neurons.
        stops_early: Whether the simulation ends at the step at which the last output neuron of the last sample
            fires for the first time, as latencies need no more.
    """

    def __init__(self, layers: Iterable[AntlrLayer], *, stops_early: bool = False) -> None:
        super().__init__()
        self.layers: nn.ModuleList = nn.ModuleList(layers)
        if not len(self.layers) or not isinstance(self.layers[-1], SpikingLayer):
            raise ValueError(
                "the last layer of a network has no neurons: expected a dense layer or a convolution"
            )
        self.stops_early = stops_early

    def forward(self, inputs: Tensor) -> tuple[Signal, ...]:
        """Return the signal of each layer, given inputs ``[T, B, ...]``; the last is the network's output.

        With ``stops_early`` they have n <= T steps.

        Raises:
            ValueError: If there is no step, or the inputs do not fit the first layer.
        """
        return run_together([self], [inputs])[0]


def run_together(networks: Sequence[AntlrNetwork], inputs: Sequence[Tensor]) -> list[tuple[Signal, ...]]:
    """Run several networks side by side; they stop early together, if they all do so.

    Args:
        networks: Independent of each other.
        inputs: ``[T, B, ...]`` of each, of as many steps.

    Returns:
        Of each network the signals of its layers.

    Raises:
        ValueError: If the inputs differ in their number of steps.
    """
    simulations = [_Simulation(*each) for each in zip(networks, inputs, strict=True)]
    lengths = {len(each) for each in inputs}
    if len(lengths) != 1:
        raise ValueError(f"inputs of {sorted(lengths)} steps: expected as many for all networks")
    (steps,) = lengths
    stops_early = all(network.stops_early for network in networks)
    piece = PIECE if stops_early else steps
    for start in range(0, steps, piece):
        for each in simulations:
            each.advance(start, start + piece)
        if stops_early and all(each.all_fired for each in simulations):
            steps = max(each.last_first_spike for each in simulations) + 1
            break
    return [each.signals(steps) for each in simulations]


class _Simulation:
    """One network's simulation as far as it has come."""

    def __init__(self, network: AntlrNetwork, inputs: Tensor) -> None:
        check_sequence(inputs)
        self.layers: list[AntlrLayer] = list(network.layers)  # type: ignore[arg-type]
        self.inputs = inputs
        self.parts: list[LayerSimulation] = []
        self.all_fired = False
        self.last_first_spike = -1
        self._fired: Tensor | None = None

    def advance(self, start: int, end: int) -> None:
        """Go on from step ``start`` to before step ``end``."""
        values = self.inputs[start:end]
        for depth, layer in enumerate(self.layers):
            if depth == len(self.parts):
                self.parts.append(layer.begin(values, len(self.inputs)))
            values = self.parts[depth].advance(values)
        self._watch(values.bool(), start)

    def _watch(self, spikes: Tensor, start: int) -> None:
        """Note whether all outputs have fired, and when the last one did so for the first time."""
        before = torch.zeros_like(spikes[0]) if self._fired is None else self._fired
        self._fired = before | spikes.any(0)
        self.all_fired = bool(self._fired.all())
        new = self._fired & ~before
        if bool(new.any()):
            self.last_first_spike = start + int(spikes.to(torch.uint8).argmax(0)[new].max())

    def signals(self, steps: int) -> tuple[Signal, ...]:
        """Return what the layers sent in the first ``steps`` steps, with its gradient."""
        signals = [Signal(self.inputs[:steps])]
        for part in self.parts:
            signals.append(part.attach(signals[-1]))
        return tuple(signals[1:])
