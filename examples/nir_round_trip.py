"""Train a small network, write it as a NIR graph for neuromorphic tools, read it back, and compare the spikes.

* ``python examples/nir_round_trip.py``
"""

import argparse

import nir
import torch

from lsnn_gym.nir_export import from_nir, to_nir
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="gradient steps")
    parser.add_argument("--file", default="network.nir")
    options = parser.parse_args()

    # A cell whose reset is constant: NIR can express it exactly, adaptation, delays and refractory period included.
    settings = NetworkSettings(
        regular_neurons=20, adaptive_neurons=20, cell="eprop-b", delay=(1, 3), threshold=1.0
    )
    generator = torch.Generator().manual_seed(0)
    network = SpikingRNN(settings, input_size=8, generator=generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    inputs = torch.rand(100, 16, 8, generator=generator)
    for _ in range(options.steps):  # towards a rate of 20 Hz
        spikes, _ = network(inputs, network.initial_state(16))
        loss = ((spikes.mean((0, 1)) - 0.02) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    graph = to_nir(network)
    nir.write(options.file, graph)
    again = from_nir(nir.read(options.file))
    with torch.no_grad():
        before, _ = network(inputs, network.initial_state(16))
        after, _ = again(inputs, again.initial_state(16))
    print(f"{options.file}: {len(graph.nodes)} nodes, {int(before.sum())} spikes, as many differ: ", end="")
    print(int((before != after).sum()))
    assert torch.equal(before, after)


if __name__ == "__main__":
    main()
