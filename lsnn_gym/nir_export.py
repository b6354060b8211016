"""Networks in NIR, the neuromorphic intermediate representation, and back.

NIR describes neurons in continuous time, in seconds, without a simulation step. Two forms are written:

- ``exact``: the network out of primitives. Stepped at the network's own ``dt``, with a current held for the step
  (``v <- alpha v + (1 - alpha) (v_leak + r I)``, ``alpha = exp(-dt / tau)``) and signals in the order of the edges, it
  emits the network's spikes. Its loops all lead through ``Delay`` nodes, so that nothing is left to the reader's
  discretisation. ``Threshold`` emits 1, where the network's spikes are 1/dt; the weights behind it make up for that.
- ``lif``: a ``LIF`` node and its recurrent weights in a graph of their own, which other libraries import as a recurrent
  layer. It is near the network, not equal: NIR's LIF resets its voltage to ``v_reset``, where the networks here take
  the threshold off it, and how a loop is stepped is the importer's choice.

The metadata ``lsnn`` holds what the graph itself does not say, for ``from_nir``; weights are read from the graph.

Source: Pedersen et al., "Neuromorphic intermediate representation", Nature Communications 15:8122, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import Tensor

from lsnn_gym.errors import UserError, one_line, shortened, unknown
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN
from lsnn_gym.synapses import Synapses

if TYPE_CHECKING:
    import nir

Form = Literal["exact", "lif"]
Array = npt.NDArray[Any]

METADATA = "lsnn"
METADATA_VERSION = 1

_GATE = 1e6  # thresholds that a refractory neuron is kept below its threshold
_WEIGHTS = ("input_synapses.weight", "recurrent_synapses.weight")


def to_nir(network: SpikingRNN, form: Form = "exact") -> nir.NIRGraph:
    """Return a network as a NIR graph from its input channels ``[I]`` to its neurons' spikes ``[N]``, 0 or 1.

    ``nir.write("network.nir", graph)`` makes a file of it. The readout is not part of it.

    Args:
        network: On any device.
        form: ``"exact"`` or ``"lif"``, see the module.

    Raises:
        UserError: If NIR cannot express the network; the message says why, and what could be.
    """
    if form not in get_args(Form):
        raise UserError(unknown("form", form, get_args(Form)))
    if network.noise_std is not None:
        raise UserError(
            "the network has a noise current (noise_std), of which NIR has none: expected noise_std 0"
        )
    return _Exact(network).graph() if form == "exact" else _lif(network)


def from_nir(graph: nir.NIRGraph) -> SpikingRNN:
    """Return the network of a graph that ``to_nir`` made, in whichever form, also after its weights have changed.

    Raises:
        UserError: If the graph is another's, or its weights do not fit what the metadata says.
    """
    told = (getattr(graph, "metadata", None) or {}).get(METADATA)
    if not isinstance(told, dict):
        raise UserError(
            f"the graph has no metadata {METADATA!r}: expected one that to_nir has made; a LIF node of NIR resets its "
            "voltage to a value, which no network here does"
        )
    if _whole_number(told.get("version")) != METADATA_VERSION:
        raise UserError(
            f"the metadata {METADATA!r} has version {one_line(told.get('version'), 60)}: expected {METADATA_VERSION}"
        )
    try:
        settings = NetworkSettings.model_validate_json(told["settings"])
    except (KeyError, ValidationError) as error:
        raise UserError(
            f"the settings in the metadata {METADATA!r} cannot be used: {one_line(error)}"
        ) from error
    if told.get("form") not in get_args(Form):
        raise UserError(
            f"the metadata {METADATA!r} has an {unknown('form', told.get('form'), get_args(Form))}"
        )
    state = _read_state(told.get("state"))
    delays = _read_delays(state, settings)
    read = _read_exact if told["form"] == "exact" else _read_lif
    dtype = torch.float64 if told.get("dtype") == "float64" else torch.float32
    weights = [
        torch.as_tensor(np.ascontiguousarray(each)).to(dtype) for each in read(graph, delays, settings.dt)
    ]
    state |= dict(zip(_WEIGHTS, weights, strict=True))
    try:
        network = SpikingRNN(settings, delays[0].shape[1], torch.Generator().manual_seed(0)).to(dtype)
        network.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"the graph does not fit its metadata {METADATA!r}: {one_line(error)}") from error
    return network


def _whole_number(value: Any) -> int | None:
    """Return a number as a file gives it back: also an array of one."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _read_state(told: Any) -> dict[str, Tensor]:
    """Return constants by name.

    Raises:
        UserError: They are no arrays of numbers.
    """
    if not isinstance(told, dict):
        raise UserError(f"the metadata {METADATA!r} has no 'state' of arrays by name")
    state = {}
    for name, values in told.items():
        try:
            array = np.asarray(values)
            state[name] = torch.as_tensor(array)
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"the metadata {METADATA!r} has {shortened(str(name))!r} that are no numbers: {one_line(error)}"
            ) from error
    return state


def _read_delays(state: Mapping[str, Tensor], settings: NetworkSettings) -> list[Array]:
    """Return the delays of input ``[N, I]`` and recurrent synapses ``[N, N]``.

    Raises:
        UserError: They are not there, or not of as many neurons as the settings say: no network is made then.
    """
    size = settings.regular_neurons + settings.adaptive_neurons
    delays = []
    for kind in ("input", "recurrent"):
        found = state.get(f"{kind}_synapses.delay_index")
        shape = None if found is None else tuple(found.shape)
        expected = (
            (size, size) if kind == "recurrent" else (size, shape[1] if shape and len(shape) == 2 else "any")
        )
        if found is None or found.dtype != torch.int64 or shape != expected:
            what = "none" if found is None else f"{found.dtype} {shape}"
            raise UserError(
                f"the metadata {METADATA!r} has {what} for the delays of {kind} synapses: expected whole numbers of "
                f"shape {shortened(str(expected))}"
            )
        delays.append(found.numpy())
    return delays


def _load_nir() -> Any:
    try:
        import nir
    except ImportError as error:
        raise ImportError(f"{error}: pip install 'lsnn-gym[nir]'") from None
    return nir


class _Exact:
    """Gathers the nodes and edges of a network's primitives."""

    def __init__(self, network: SpikingRNN) -> None:
        _refuse_changing_reset(network)
        self.network = network
        self.dt = network.settings.dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def graph(self) -> nir.NIRGraph:
        nir = _load_nir()
        network, model = self.network, self.network.settings.cell_model
        neurons = {name: _array(values) for name, values in network.neurons._asdict().items()}
        size, alpha = network.num_neurons, neurons["membrane_decay"]
        self.nodes["input"] = nir.Input({"input": np.array([network.input_size])})
        gain = np.ones(size) if model.scaled_current else 1.0 / (1.0 - alpha)
        self.nodes["membrane"] = self._leaky("membrane_decay", gain)
        self.nodes["spikes"] = nir.Threshold(neurons["threshold"])
        self.nodes["output"] = nir.Output({"output": np.array([size])})
        self.edges.append(("spikes", "output"))
        voltage = "membrane" if model.fires_on_new_voltage else self._delayed("membrane", 1, size)
        drives = ["spikes"]
        if model.adapts_while_refractory:  # what a spike would be, refractory or not
            self.nodes["crossings"] = nir.Threshold(neurons["threshold"])
            drives.append("crossings")
        self.edges += [(voltage, drive) for drive in drives]
        self._add_synapses(network.input_synapses, "input", 0, 1.0)
        self._add_synapses(network.recurrent_synapses, "recurrent", 1, 1.0 / self.dt)
        last = self._delayed("spikes", 1, size)
        self._add_scale("reset", last, -neurons["threshold"] / ((1.0 - alpha) * gain), ["membrane"])
        if neurons["beta"].any():
            scaled = np.ones(size) if model.scaled_adaptation else 1.0 / (1.0 - neurons["adaptation_decay"])
            self.nodes["adaptation"] = self._leaky("adaptation_decay", scaled / self.dt)
            self.edges.append((self._delayed(drives[-1], 1, size), "adaptation"))
            self._add_scale("threshold_rise", "adaptation", -neurons["beta"], drives)
        self._add_refractory_gate(neurons, model.spike_counts_as_refractory)
        return nir.NIRGraph(self.nodes, self.edges, metadata={METADATA: _metadata(network, "exact")})

    def _leaky(self, decay: str, gain: Array) -> nir.LI:
        nir = _load_nir()
        return nir.LI(tau=_tau(self.network, decay), r=gain, v_leak=np.zeros_like(gain))

    def _delayed(self, source: str, steps: int, size: int) -> str:
        """Return the node that hands on what ``source`` was ``steps`` before."""
        nir = _load_nir()
        if steps == 0:
            return source
        name = f"{source}_{steps}_before"
        if name not in self.nodes:
            self.nodes[name] = nir.Delay(np.full(size, steps * self.dt / 1000.0))
            self.edges.append((source, name))
        return name

    def _add_scale(self, name: str, source: str, scale: Array, targets: list[str]) -> None:
        nir = _load_nir()
        self.nodes[name] = nir.Scale(scale)
        self.edges += [(source, name), *((name, target) for target in targets)]

    def _add_synapses(self, synapses: Synapses, kind: str, extra_delay: int, scale: float) -> None:
        """Add a matrix a delay: ``extra_delay`` steps later than the synapses of the lowest delay."""
        nir = _load_nir()
        weight, delay_index = _array(synapses.effective_weight()) * scale, _array(synapses.delay_index)
        source = "input" if kind == "input" else "spikes"
        for delay in range(synapses.max_delay):
            if not (delay_index == delay).any():
                continue
            name = f"{kind}_weights_{delay}"
            self.nodes[name] = nir.Linear(np.where(delay_index == delay, weight, 0.0))
            self.edges += [
                (self._delayed(source, delay + extra_delay, weight.shape[1]), name),
                (name, "membrane"),
            ]

    def _add_refractory_gate(self, neurons: dict[str, Array], spike_counts: bool) -> None:
        periods = neurons["refractory_period"] - (1 if spike_counts else 0)
        for steps in range(1, int(periods.max()) + 1):
            gate = np.where(periods >= steps, -_GATE * neurons["threshold"], 0.0)
            source = self._delayed("spikes", steps, len(gate))
            self._add_scale(f"refractory_{steps}", source, gate, ["spikes"])


def _lif(network: SpikingRNN) -> nir.NIRGraph:
    nir = _load_nir()
    settings, model = network.settings, network.settings.cell_model
    neurons = {name: _array(values) for name, values in network.neurons._asdict().items()}
    size, dt = network.num_neurons, settings.dt
    obstacles = {
        "adaptive neurons": neurons["beta"].any(),
        f"delays up to {settings.delay[1]}": settings.delay[1] > 1,
        f"a refractory period of {settings.refractory_period:g} ms": neurons["refractory_period"].any(),
    }
    found = [name for name, there in obstacles.items() if there]
    if found:
        raise UserError(
            f"the network has {' and '.join(found)}, a LIF node of NIR none: expected form 'exact'"
        )
    alpha = neurons["membrane_decay"]
    gain = np.ones(size) if model.scaled_current else 1.0 / (1.0 - alpha)
    lif = nir.LIF(
        tau=_tau(network, "membrane_decay"),
        r=gain,
        v_leak=np.zeros(size),
        v_threshold=neurons["threshold"],
        v_reset=np.zeros(size),
    )
    layer = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([size])}),
            "lif": lif,
            "w_rec": nir.Linear(_array(network.recurrent_synapses.effective_weight()) / dt),
            "output": nir.Output({"output": np.array([size])}),
        },
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )
    return nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([network.input_size])}),
            "w_in": nir.Linear(_array(network.input_synapses.effective_weight())),
            "layer": layer,
            "output": nir.Output({"output": np.array([size])}),
        },
        [("input", "w_in"), ("w_in", "layer"), ("layer", "output")],
        metadata={METADATA: _metadata(network, "lif")},
    )


def _refuse_changing_reset(network: SpikingRNN) -> None:
    settings = network.settings
    if settings.cell_model.reset_by != "baseline" and network.beta.any():  # type: ignore[operator]
        raise UserError(
            f"the cell {settings.cell!r} is reset by its adapted threshold, a product of two signals (spike and "
            "threshold), which NIR cannot express: expected a cell that is reset by its baseline threshold "
            "('eprop-a', 'eprop-b', 'eprop-c'), or beta 0"
        )


def _tau(network: SpikingRNN, decay: str) -> Array:
    """Return time constants in seconds from a decay a step."""
    return -network.settings.dt / 1000.0 / np.log(_array(getattr(network, decay)))


def _metadata(network: SpikingRNN, form: Form) -> dict[str, Any]:
    """Return what the graph does not say; ``settings`` are those of the network, also within a policy."""
    # Which engine computes it is the reader's affair.
    known = set(NetworkSettings.model_fields) - {"engine"}
    return {
        "version": METADATA_VERSION,
        "form": form,
        "dtype": str(network.input_synapses.weight.dtype).removeprefix("torch."),
        "settings": network.settings.model_dump_json(include=known),
        "state": {
            name: values.detach().cpu().numpy()
            for name, values in network.state_dict().items()
            if name not in _WEIGHTS
        },
    }


def _read_exact(graph: nir.NIRGraph, delays: list[Array], dt: float) -> list[Array]:
    """Return input and recurrent weights ``[post, pre]``, put together from a matrix a delay."""
    weights = []
    for kind, delay_index, scale in zip(("input", "recurrent"), delays, (1.0, dt), strict=True):
        whole = np.zeros(delay_index.shape)
        for delay in np.unique(delay_index):
            part = _weight_of(graph, f"{kind}_weights_{delay}", delay_index.shape)
            whole = np.where(delay_index == delay, part, whole)
        weights.append(whole * scale)
    return weights


def _read_lif(graph: nir.NIRGraph, delays: list[Array], dt: float) -> list[Array]:
    layer: Any = graph.nodes.get("layer")
    recurrent = _weight_of(layer, "w_rec", delays[1].shape)
    return [_weight_of(graph, "w_in", delays[0].shape), recurrent * dt]


def _weight_of(graph: Any, name: str, shape: tuple[int, ...]) -> Array:
    node = getattr(graph, "nodes", {}).get(name)
    weight: Any = getattr(node, "weight", None)
    numbers = isinstance(weight, np.ndarray) and weight.dtype.kind in "fiu"
    if not numbers or weight.shape != shape:
        found = f"weights of shape {weight.shape}" if numbers else "none"
        raise UserError(
            f"the graph has {found} at {name!r}: expected weights of shape {shape}, as its metadata says"
        )
    return weight


def _array(values: Tensor) -> Array:
    """Return a copy; numbers in float64, so that time constants lose nothing."""
    array = values.detach().cpu().numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array.copy()
