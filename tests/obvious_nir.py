"""NIR graphs stepped node by node: slow and obvious, for the tests of what is written as a graph.

Signals go along the edges within a step; what a ``Delay`` hands on is older, so that it cuts the loops. A leaky
integrator holds its current for the step.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class NirStepper:
    """A graph of Input, Output, Linear, Scale, Threshold, Delay and LI nodes at a step ``dt`` in ms."""

    def __init__(self, graph: Any, dt: float) -> None:
        self.graph, self.dt = graph, dt / 1000.0
        self.sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            self.sources[target].append(source)
        self.voltages = dict.fromkeys(graph.nodes, 0.0)
        self.history: dict[str, list[Any]] = {name: [] for name in graph.nodes}

    def step(self, inputs: np.ndarray) -> np.ndarray:
        """Take a step with ``inputs`` ``[I]``; return what the node ``output`` gets."""
        values: dict[str, Any] = {}
        for name in self.graph.nodes:
            self._evaluate(name, inputs, values)
        for name, value in values.items():
            self.history[name].append(value)
        return values["output"]

    def _evaluate(self, name: str, inputs: np.ndarray, values: dict[str, Any]) -> Any:
        if name in values:
            return values[name]
        node = self.graph.nodes[name]
        kind = type(node).__name__
        if kind == "Input":
            values[name] = inputs
        elif kind == "Delay":
            values[name] = self._delayed(name, node)
        else:
            arriving = sum(self._evaluate(source, inputs, values) for source in self.sources[name])
            values[name] = self._react(name, node, kind, arriving)
        return values[name]

    def _delayed(self, name: str, node: Any) -> Any:
        (source,) = self.sources[name]
        (steps,) = np.unique(np.round(node.delay / self.dt).astype(int))
        np.testing.assert_allclose(node.delay, steps * self.dt, rtol=1e-12)
        past = self.history[source]
        return past[-steps] if len(past) >= steps else np.zeros_like(node.delay)

    def _react(self, name: str, node: Any, kind: str, arriving: Any) -> Any:
        if kind == "Linear":
            return node.weight @ arriving
        if kind == "Scale":
            return node.scale * arriving
        if kind == "Threshold":
            return (arriving > node.threshold).astype(float)
        if kind == "LI":
            alpha = np.exp(-self.dt / node.tau)
            held = node.v_leak + node.r * arriving
            self.voltages[name] = alpha * self.voltages[name] + (1 - alpha) * held
            return self.voltages[name]
        assert kind == "Output", kind
        return arriving
