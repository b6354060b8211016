"""Who computes a recurrent layer: our engines, other people's libraries, gated networks, bare matrix products.

Other people's libraries are imported only when a layer of theirs is made; the extra ``bench`` has them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

import lsnn_gym
from lsnn_gym.benchmarks.layers import DenseProducts, DifferentiatedLayer, Layer
from lsnn_gym.benchmarks.problem import (
    BETA,
    TAU_ADAPTATION,
    TAU_MEMBRANE,
    THRESHOLD,
    Problem,
    draw_sparse_weights,
    draw_weights,
)
from lsnn_gym.engine import ENGINES
from lsnn_gym.recurrent import SpikingRNN


@dataclass(frozen=True)
class Library:
    """A way to compute a recurrent layer.

    Attributes:
        model: What is computed, in a line.
        role: "ours"; "peer", somebody else's spiking layer; "gated"; "floor", less than any layer does.
        make: Makes the layer of a problem, its weights having the gain given; what does not spike ignores the gain.
        distribution: What has to be installed, and whose version counts.
        module: What of it is imported.
    """

    model: str
    role: Literal["ours", "peer", "gated", "floor"]
    make: Callable[[Problem, float], Layer]
    distribution: str = "torch"
    module: str = "torch"

    @property
    def spiking(self) -> bool:
        """Return whether the outputs are spikes, so that there is a firing rate."""
        return self.role in ("ours", "peer")

    @property
    def version(self) -> str:
        """Return the installed version."""
        if self.role == "ours":
            return lsnn_gym.__version__
        return importlib.metadata.version(self.distribution)


def why_missing(name: str, library: Library) -> str | None:
    """Return why a library cannot be measured here, or None."""
    if library.role == "ours":
        return ENGINES[name].unavailable
    try:
        importlib.import_module(library.module)
    except ImportError as error:
        return f"{error}; see docs/benchmarks.md"
    return None


def make_ours(
    engine: str, problem: Problem, gain: float, dtype: torch.dtype = torch.float32
) -> DifferentiatedLayer:
    """Return our network, computed by ``engine``, with a share ``connectivity`` of all synapses."""
    settings = problem.settings.model_copy(update={"engine": engine})
    network = SpikingRNN(settings, problem.inputs, problem.generator("network")).to(dtype)
    weights = [network.input_synapses.weight, network.recurrent_synapses.weight]
    _set(weights, draw_sparse_weights(problem, gain))
    return DifferentiatedLayer(
        lambda inputs: network(inputs, network.initial_state(inputs.shape[1]))[0], weights
    )


def make_norse(problem: Problem, gain: float) -> DifferentiatedLayer:
    """Return norse's LSNN, its adaptation made comparable to ours.

    Its own constant for the adaptation, 1/800, is in units of 1/s: 800 s. And a spike raises its threshold by
    all of beta, where ours is raised by beta (1 - rho); neurons without adaptation have a beta of 0.
    """
    norse = importlib.import_module("norse.torch")
    adaptive = torch.arange(problem.neurons) >= problem.regular_neurons
    raised_by = BETA * (1 - math.exp(-1 / TAU_ADAPTATION)) / THRESHOLD
    parameters = norse.LSNNParameters(
        tau_mem_inv=torch.tensor(1000 / TAU_MEMBRANE),
        tau_adapt_inv=torch.tensor(1000 / TAU_ADAPTATION),
        beta=raised_by * adaptive,
    )
    layer = norse.LSNNRecurrent(problem.inputs, problem.neurons, p=parameters, dt=0.001)
    weights = [layer.input_weights, layer.recurrent_weights]
    _set(weights, draw_weights(problem, gain))
    return DifferentiatedLayer(lambda inputs: layer(inputs)[0], weights)


def make_snntorch(problem: Problem, gain: float) -> DifferentiatedLayer:
    """Return snnTorch's recurrent leaky neurons behind one product of all inputs with their weights."""
    snntorch = importlib.import_module("snntorch")
    entry = nn.Linear(problem.inputs, problem.neurons, bias=False)
    leaky = snntorch.RLeaky(beta=math.exp(-1 / TAU_MEMBRANE), linear_features=problem.neurons)
    weights = [entry.weight, leaky.recurrent.weight]
    _set(weights, draw_weights(problem, gain))
    nn.init.zeros_(leaky.recurrent.bias)  # drawn otherwise, it would make up for the gain

    def forward(inputs: Tensor) -> Tensor:
        currents = entry(inputs)
        spikes = voltage = torch.zeros_like(currents[0])
        outputs = []
        for current in currents.unbind():
            spikes, voltage = leaky(current, spikes, voltage)
            outputs.append(spikes)
        return torch.stack(outputs)

    return DifferentiatedLayer(forward, weights)


def make_spikingjelly(problem: Problem, gain: float) -> DifferentiatedLayer:
    """Return SpikingJelly's recurrent container of LIF neurons behind one product of all inputs with their weights.

    The container maps inputs and spikes side by side to as many currents as it has inputs. So that its
    recurrence is not narrower than ours it is given N currents.
    """
    layers = importlib.import_module("spikingjelly.activation_based.layer")
    neurons = importlib.import_module("spikingjelly.activation_based.neuron")
    functional = importlib.import_module("spikingjelly.activation_based.functional")
    size = problem.neurons
    entry = nn.Linear(problem.inputs, size, bias=False)
    container = layers.LinearRecurrentContainer(
        neurons.LIFNode(tau=TAU_MEMBRANE), in_features=size, out_features=size, bias=False, step_mode="m"
    )
    by_input, recurrent = draw_weights(problem, gain)
    weights = [entry.weight, container.rc.weight]
    _set(weights, (by_input, torch.cat([torch.eye(size), recurrent], dim=1)))

    def forward(inputs: Tensor) -> Tensor:
        functional.reset_net(container)
        return container(entry(inputs))

    return DifferentiatedLayer(forward, weights)


def make_gated(kind: type[nn.LSTM] | type[nn.GRU], problem: Problem, gain: float) -> DifferentiatedLayer:
    """Return PyTorch's LSTM or GRU of N units."""
    del gain
    layer = kind(problem.inputs, problem.neurons)
    weights = list(layer.parameters())
    bound = 1 / math.sqrt(problem.neurons)  # as PyTorch draws them
    generator = problem.generator("gated weights")
    for weight in weights:
        nn.init.uniform_(weight, -bound, bound, generator=generator)
    return DifferentiatedLayer(lambda inputs: layer(inputs)[0], weights)


def make_products(at_once: bool, problem: Problem, gain: float) -> DenseProducts:
    """Return the matrix products of a dense layer of N neurons."""
    del gain
    return DenseProducts(*draw_weights(problem, 1.0), at_once=at_once)


def _set(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)


_OURS = "LSNN (LIF and ALIF neurons, refractory period)"

LIBRARIES: Mapping[str, Library] = MappingProxyType(
    {
        "native": Library(f"{_OURS}, C++", "ours", partial(make_ours, "native")),
        "unrolled": Library(f"{_OURS}, gradient written out", "ours", partial(make_ours, "unrolled")),
        "reference": Library(f"{_OURS}, autograd", "ours", partial(make_ours, "reference")),
        "norse": Library(
            "LSNNRecurrent: adaptive LIF neurons with filtered currents",
            "peer",
            make_norse,
            "norse",
            "norse.torch",
        ),
        "snntorch": Library(
            "RLeaky: LIF neurons without adaptation", "peer", make_snntorch, "snntorch", "snntorch"
        ),
        "spikingjelly": Library(
            "LinearRecurrentContainer of LIFNode: LIF neurons without adaptation",
            "peer",
            make_spikingjelly,
            "spikingjelly",
            "spikingjelly.activation_based.layer",
        ),
        "lstm": Library("torch.nn.LSTM", "gated", partial(make_gated, nn.LSTM)),
        "gru": Library("torch.nn.GRU", "gated", partial(make_gated, nn.GRU)),
        "dense_products": Library(
            "matrix products alone, step by step", "floor", partial(make_products, False)
        ),
        "dense_products_at_once": Library(
            "matrix products alone, over all steps at once where they can be",
            "floor",
            partial(make_products, True),
        ),
    }
)
"""By name, in the order in which they are shown."""
