"""Networks as NIR graphs: simulated equal, read back the same, refused where NIR cannot say them."""

from __future__ import annotations

from typing import Any

import nir
import numpy as np
import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.nir_export import from_nir, to_nir
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN
from lsnn_gym.wiring import WiringSettings
from tests.obvious_nir import NirStepper

INPUTS, STEPS = 7, 150
LIF: dict[str, Any] = {"adaptive_neurons": 0, "regular_neurons": 9}
SETTINGS: dict[str, dict[str, Any]] = {
    "lif": {**LIF, "cell": "lsnn"},
    "lif of the paper": {**LIF, "cell": "lsnn-paper"},
    "beta 0": {"cell": "lsnn", "beta": 0.0},
    "eprop-a": {"cell": "eprop-a"},
    "eprop-b": {"cell": "eprop-b"},
    "eprop-c": {"cell": "eprop-c"},
    "no refractory period": {"cell": "eprop-a", "refractory_period": 0.0},
    "delays": {"cell": "eprop-b", "delay": (1, 4)},
    "later delays": {"cell": "eprop-a", "delay": (3, 3)},
    "half milliseconds": {"cell": "eprop-b", "dt": 0.5, "delay": (1, 3)},
    "sparse, with signs": {
        "cell": "eprop-a", "delay": (1, 2), "wiring": WiringSettings(kind="deep_r", connectivity=0.4, dale=True)
    },
}  # fmt: skip


def make_network(**changes: Any) -> SpikingRNN:
    usual: dict[str, Any] = {
        "regular_neurons": 5, "adaptive_neurons": 4, "threshold": 0.3, "refractory_period": 3.0, "engine": "reference",
        "tau_membrane": (5.0, 20.0), "tau_adaptation": (30.0, 90.0), "recurrent_scale": 0.3,
    }  # fmt: skip
    settings = {**usual, **changes}
    if settings["cell"] in ("eprop-a", "eprop-c"):  # whose currents are not scaled by 1 - alpha
        settings["input_scale"] = 0.1
        settings["recurrent_scale"] = 0.03
        settings["beta"] = changes.get("beta", 0.05)
    return SpikingRNN(NetworkSettings(**settings), INPUTS, torch.Generator().manual_seed(3)).double()


def run(network: SpikingRNN) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs ``[T, I]`` and spikes ``[T, N]``, 0 or 1."""
    generator = torch.Generator().manual_seed(5)
    inputs = 2.0 * torch.rand(STEPS, 1, INPUTS, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        spikes, _ = network(inputs, network.initial_state(1))
    return inputs[:, 0].numpy(), spikes[:, 0].numpy() * network.settings.dt


@pytest.mark.parametrize("name", SETTINGS)
def test_the_graph_emits_the_networks_spikes(name):
    network = make_network(**SETTINGS[name])
    inputs, spikes = run(network)
    assert set(np.unique(spikes)) == {0.0, 1.0}
    assert 0.02 * STEPS < spikes.sum(axis=0).mean() < 0.8 * STEPS
    stepper = NirStepper(to_nir(network), network.settings.dt)
    np.testing.assert_array_equal([stepper.step(each) for each in inputs], spikes)


@pytest.mark.parametrize("name", ["eprop-a", "eprop-c", "delays"])
def test_every_part_of_the_graph_matters(name):
    network = make_network(**SETTINGS[name])
    inputs, spikes = run(network)
    kinds: dict[str, list[str]] = {}
    for each, node in to_nir(network).nodes.items():
        if type(node).__name__ in ("Linear", "Scale", "LI"):
            kinds.setdefault(each.split("_")[0] if each.startswith("refractory") else each, []).append(each)
    assert {"reset", "adaptation", "threshold_rise", "recurrent_weights_0", "refractory"} < set(kinds)
    for kind, parts in kinds.items():
        graph: Any = to_nir(network)
        for part in parts:
            for field in ("weight", "scale", "r"):
                if hasattr(graph.nodes[part], field):
                    setattr(graph.nodes[part], field, 0 * getattr(graph.nodes[part], field))
        stepper = NirStepper(graph, network.settings.dt)
        assert not np.array_equal([stepper.step(each) for each in inputs], spikes), kind


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_file_holds_the_network(tmp_path, name, dtype):
    network = make_network(**SETTINGS[name]).to(dtype)
    nir.write(tmp_path / "network.nir", to_nir(network))
    graph = nir.read(tmp_path / "network.nir")
    again = from_nir(graph)
    assert again.settings == network.settings.model_copy(update={"engine": None})
    effective = {"recurrent_synapses.weight": network.recurrent_synapses.effective_weight()}
    for key, value in (network.state_dict() | effective).items():
        assert torch.equal(again.state_dict()[key], value), key
        assert again.state_dict()[key].dtype == value.dtype
    inputs, spikes = run(network.double())
    stepper = NirStepper(graph, network.settings.dt)
    np.testing.assert_array_equal([stepper.step(each) for each in inputs], spikes)


def test_weights_changed_in_the_graph_are_read():
    network = make_network(cell="eprop-b", delay=(1, 3), dt=0.5)
    graph: Any = to_nir(network)
    for delay in range(3):
        graph.nodes[f"input_weights_{delay}"].weight *= 2.0
        graph.nodes[f"recurrent_weights_{delay}"].weight *= 4.0
    again = from_nir(graph)
    torch.testing.assert_close(again.input_synapses.weight, 2.0 * network.input_synapses.weight)
    torch.testing.assert_close(
        again.recurrent_synapses.weight, 4.0 * network.recurrent_synapses.effective_weight()
    )


def test_loops_lead_through_delays():
    network = make_network(**SETTINGS["eprop-c"])
    graph = to_nir(network)
    open_edges = [(a, b) for a, b in graph.edges if type(graph.nodes[b]).__name__ != "Delay"]
    settled: set[str] = set()
    while len(settled) < len(graph.nodes):
        ready = {
            name
            for name in graph.nodes
            if all(source in settled for source, target in open_edges if target == name)
        }
        assert ready > settled, "a loop without a delay"
        settled = ready
    assert graph.nodes["membrane"].tau == pytest.approx(-1e-3 / np.log(network.membrane_decay.numpy()))  # type: ignore[operator]


class TestLifForm:
    def network(self, **changes: Any) -> SpikingRNN:
        return make_network(**{**LIF, "cell": "eprop-b", "refractory_period": 0.0, **changes})

    def test_it_is_the_layer_that_others_import(self, tmp_path):
        network = self.network()
        nir.write(tmp_path / "network.nir", to_nir(network, "lif"))
        graph: Any = nir.read(tmp_path / "network.nir")
        layer = graph.nodes["layer"]
        assert sorted(graph.edges) == [("input", "w_in"), ("layer", "output"), ("w_in", "layer")]
        assert sorted(layer.edges) == [
            ("input", "lif"),
            ("lif", "output"),
            ("lif", "w_rec"),
            ("w_rec", "lif"),
        ]
        lif = layer.nodes["lif"]
        decays = np.exp(-1e-3 / lif.tau)
        np.testing.assert_allclose(decays, network.membrane_decay.numpy(), rtol=1e-12)  # type: ignore[operator]
        # Before a neuron's first spike there is nothing that the two could differ in.
        inputs, spikes = run(network)
        first = int(np.argmax(spikes.any(axis=1)))
        assert first > 0
        voltage = np.zeros(9)
        for time in range(first + 1):
            current = lif.r * (graph.nodes["w_in"].weight @ inputs[time])
            voltage = decays * voltage + (1 - decays) * current
            np.testing.assert_array_equal(voltage > lif.v_threshold, spikes[time] > 0)

    def test_it_is_read_back(self):
        network = self.network(cell="eprop-a", dt=0.5)
        again = from_nir(to_nir(network, "lif"))
        assert torch.equal(again.input_synapses.weight, network.input_synapses.weight)
        assert torch.equal(again.recurrent_synapses.weight, network.recurrent_synapses.effective_weight())
        assert torch.equal(again.membrane_decay, network.membrane_decay)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"adaptive_neurons": 2}, "adaptive neurons"),
            ({"delay": (1, 3)}, "delays up to 3"),
            ({"refractory_period": 2.0}, "a refractory period of 2 ms"),
            ({"adaptive_neurons": 2, "delay": (1, 3)}, "adaptive neurons and delays up to 3"),
        ],
    )
    def test_what_a_lif_node_lacks_is_refused(self, changes, what):
        with pytest.raises(
            UserError, match=rf"^the network has {what}, a LIF node of NIR none: expected form 'exact'"
        ):
            to_nir(self.network(**changes), "lif")


@pytest.mark.parametrize("cell", ["lsnn", "lsnn-paper"])
def test_a_reset_that_changes_is_refused(cell):
    message = (
        rf"^the cell '{cell}' is reset by its adapted threshold, .* which NIR cannot express: expected a cell"
    )
    with pytest.raises(UserError, match=message):
        to_nir(make_network(cell=cell))


def test_what_else_is_of_no_use_is_refused():
    with pytest.raises(UserError, match="unknown form 'exac': did you mean 'exact'"):
        to_nir(make_network(cell="eprop-a"), "exac")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has a noise current"):
        to_nir(make_network(cell="eprop-a", noise_std=0.1))
    foreign = nir.NIRGraph.from_list(nir.Linear(np.ones((2, 3))))
    with pytest.raises(
        UserError, match=r"the graph has no metadata 'lsnn': expected one that to_nir has made"
    ):
        from_nir(foreign)


def test_graphs_that_do_not_fit_their_metadata_are_refused():
    graph = to_nir(make_network(cell="eprop-a"))
    graph.metadata["lsnn"]["version"] = 9
    with pytest.raises(UserError, match="has version 9: expected 1"):
        from_nir(graph)
    graph.metadata["lsnn"]["version"] = {"a": np.zeros((2, 2))}
    with pytest.raises(
        UserError, match=r"has version \{'a': array\(\[\[0\., 0\.\], +\[0\., 0\.\]\]\)\}: expected 1"
    ):
        from_nir(graph)
    graph.metadata["lsnn"]["version"] = 1
    told = graph.metadata["lsnn"]["settings"]
    graph.metadata["lsnn"]["settings"] = told.replace('"regular_neurons":5', '"regular_neurons":6')
    with pytest.raises(UserError, match=r"\(9, 7\) for the delays of input synapses: .*\(10, 7\)"):
        from_nir(graph)
    graph.metadata["lsnn"]["settings"] = told.replace("regular", "irregular")
    with pytest.raises(
        UserError, match=r"settings in the metadata 'lsnn' cannot be used: .*irregular_neurons"
    ):
        from_nir(graph)
    graph.metadata["lsnn"]["settings"] = told
    graph.nodes["input_weights_0"] = nir.Linear(np.ones((9, 2)))
    with pytest.raises(
        UserError, match=r"has weights of shape \(9, 2\) at 'input_weights_0': expected .*\(9, 7\)"
    ):
        from_nir(graph)
    del graph.nodes["input_weights_0"]
    with pytest.raises(UserError, match="the graph has none at 'input_weights_0'"):
        from_nir(graph)


def test_the_network_of_a_policy_can_be_written():
    pytest.importorskip("sb3_contrib")
    from lsnn_gym.agents.sb3 import CoreSettings, SpikingCore

    core = SpikingCore(INPUTS, 6, 1, CoreSettings(cell="eprop-b", adaptive_share=0.5))
    network: Any = core.networks[0]
    again: Any = from_nir(to_nir(network))
    assert torch.equal(again.beta, network.beta)
    assert again.settings.adaptive_neurons == 3
