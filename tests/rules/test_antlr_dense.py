"""ANTLR's dense layers by their compiled kernels equal the plain form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lsnn_gym.rules import compiled
from lsnn_gym.rules.antlr import compiled_dense as kernels
from lsnn_gym.rules.antlr.layers import AntlrLayer, convolution, dense
from lsnn_gym.rules.antlr.losses import count_loss, latency_loss
from lsnn_gym.rules.antlr.network import AntlrNetwork
from lsnn_gym.rules.antlr.neuron import ACTIVATION, COMBINED, TIMING, AntlrNeuron, AntlrRule
from lsnn_gym.rules.antlr.pooling import AveragePool
from lsnn_gym.rules.layers import Signal
from tests.rules.antlr_networks import random_spikes

pytestmark = pytest.mark.skipif(bool(compiled.unavailable), reason=str(compiled.unavailable))

NEURON = AntlrNeuron(0.9, 0.8, 1.3, 0.7, 0.5)
RULES = [COMBINED, ACTIVATION, TIMING, AntlrRule(0.5, 2.0, 3.0, height=0.7)]


def network(rule: AntlrRule = COMBINED, *, stops_early: bool = False, hidden: int = 37) -> AntlrNetwork:
    generator = torch.Generator().manual_seed(0)
    layers = [dense(20, hidden, NEURON, rule, generator=generator), dense(hidden, 5, NEURON, rule)]
    made = AntlrNetwork(layers, stops_early=stops_early).double()
    with torch.no_grad():
        for each in made.parameters():
            noise = torch.rand(each.shape, generator=generator, dtype=torch.float64)
            each.copy_(noise / 2 - (0.05 if each.ndim == 2 else 0.3))
        made.get_parameter("layers.1.weight").mul_(6 / hidden)  # its inputs are more active
    return made


def learnt(layers: AntlrNetwork, inputs: Tensor, labels: Tensor) -> tuple[tuple[Signal, ...], list[Tensor]]:
    """Return signals, and the gradients of parameters and inputs."""
    inputs = inputs.detach().requires_grad_()
    timing = torch.zeros_like(inputs).requires_grad_()
    signals = [Signal(inputs, timing)]
    for layer in layers.layers:
        signals.append(layer(signals[-1]))
    loss = latency_loss(signals[-1], labels) + count_loss(
        signals[-1], torch.ones(len(labels), 5, dtype=inputs.dtype)
    )
    sought = [each for each in (*layers.parameters(), inputs, timing) if each.requires_grad]
    return tuple(signals[1:]), list(torch.autograd.grad(loss, sought, materialize_grads=True))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("hidden", [37, 601])
def test_they_do_and_learn_what_the_plain_form_does(
    rule: AntlrRule, kind: torch.dtype, hidden: int, isa: int, monkeypatch: pytest.MonkeyPatch
):
    layers, inputs = network(rule, hidden=hidden).to(kind), random_spikes(60, 6, 20, density=0.1).to(kind)
    inputs *= torch.rand(20, generator=torch.Generator().manual_seed(1)) + 0.5  # values of any size
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    signals, gradients = learnt(layers, inputs, labels)
    monkeypatch.setenv("LSNN_GYM_ENGINE", "reference")
    expected, gradients_expected = learnt(layers, inputs, labels)
    for mine, its in zip(signals, expected, strict=True):
        assert 0.02 < its.values.mean() < 0.7
        assert torch.equal(mine.values, its.values)
        assert mine.spikes is not None
        assert torch.equal(mine.spikes, its.values)
    # The neurons' errors are summed in another order, some of which cancel.
    tolerance = 1e-11 if kind == torch.float64 else 2e-4
    for mine, its in zip(gradients, gradients_expected, strict=True):
        assert mine.shape == its.shape
        torch.testing.assert_close(mine, its, rtol=tolerance, atol=tolerance * float(its.abs().max()))
    assert sum(bool(each.any()) for each in gradients) >= 4


@pytest.mark.parametrize("steps", [20, 64, 75])
def test_a_network_that_stops_early_is_cut_as_the_plain_one(steps: int, monkeypatch: pytest.MonkeyPatch):
    layers, inputs = network(stops_early=True), random_spikes(steps, 3, 20, density=0.05)
    found = []
    for engine in ("native", "reference"):
        monkeypatch.setenv("LSNN_GYM_ENGINE", engine)
        signals = layers(inputs)
        loss = latency_loss(signals[-1], torch.tensor([0, 1, 2]))
        found.append((signals, torch.autograd.grad(loss, list(layers.parameters()))))
    (mine, gradients), (its, expected) = found
    assert len(mine[0].values) == len(its[0].values)
    assert [torch.equal(a.values, b.values) for a, b in zip(mine, its, strict=True)] == [True, True]
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


def test_what_does_not_learn_gets_no_gradient():
    part, whole = network(), network()
    part.get_parameter("layers.0.weight").requires_grad_(False)
    inputs, labels = random_spikes(40, 4, 20), torch.tensor([0, 1, 2, 3])
    for each in (part, whole):
        latency_loss(each(inputs)[-1], labels).backward()
    expected = {name: each.grad for name, each in whole.named_parameters()}
    expected["layers.0.weight"] = None
    for name, each in part.named_parameters():
        mine, its = each.grad, expected[name]
        assert (mine is None) == (its is None)
        assert mine is None or its is None or torch.equal(mine, its)


def test_images_come_into_a_dense_layer_as_numbers_in_a_row(monkeypatch: pytest.MonkeyPatch):
    generator = torch.Generator().manual_seed(3)
    layers: list[AntlrLayer] = [
        convolution(1, 3, 3, NEURON, COMBINED, generator=generator),
        AveragePool(2),
        dense(3 * 4 * 3, 5, NEURON, COMBINED, generator=generator),
    ]
    made, inputs = AntlrNetwork(layers).double(), random_spikes(30, 4, 1, 8, 6, density=0.4)
    with torch.no_grad():
        for each in made.parameters():
            each += 0.1
    found = []
    for engine in ("native", "reference"):
        monkeypatch.setenv("LSNN_GYM_ENGINE", engine)
        output = made(inputs)[-1]
        assert output.values.any()
        loss = latency_loss(output, torch.tensor([0, 1, 2, 3]))
        found.append(torch.autograd.grad(loss, list(made.parameters())))
    for mine, its in zip(*found, strict=True):
        assert its.any()
        torch.testing.assert_close(mine, its, rtol=1e-10, atol=1e-13)


def test_values_may_lie_in_memory_in_any_order():
    made = network()
    inputs, labels = random_spikes(40, 4, 20), torch.tensor([0, 1, 2, 3])
    same = inputs[:1].expand(40, 4, 20)
    for one, other in (
        (inputs, inputs.transpose(0, 1).contiguous().transpose(0, 1)),
        (inputs, inputs.permute(2, 0, 1).contiguous().permute(1, 2, 0)),
        (same, same.contiguous()),
    ):
        found, expected = (learnt(made, each, labels)[1] for each in (one, other))
        for mine, its in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-14)


def test_many_threads_give_the_same(monkeypatch: pytest.MonkeyPatch):
    layers, inputs, labels = network(), random_spikes(40, 4, 20), torch.tensor([0, 1, 2, 3])
    _, alone = learnt(layers, inputs, labels)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    for mine, its in zip(learnt(layers, inputs, labels)[1], alone, strict=True):
        assert torch.equal(mine, its)


def test_what_does_not_fit_is_refused():
    layer = network().layers[0]
    with pytest.raises(
        ValueError, match=r"^values are \(5, 2, 19\), 19 a step: expected 20 as the weight is"
    ):
        layer(Signal(torch.zeros(5, 2, 19, dtype=torch.float64)))
    with pytest.raises(RuntimeError, match="dtype"):
        layer(Signal(torch.zeros(5, 2, 20)))


def test_a_kernel_that_finds_no_memory_says_for_what(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(kernels._KERNELS._functions, ("antlr_dense_run", torch.float64), lambda *_: 1)
    with pytest.raises(MemoryError, match=r"^no memory for what 20 inputs send to 37 neurons in 9 steps$"):
        network()(random_spikes(9, 2, 20))


def test_they_need_less_memory_than_the_plain_form(monkeypatch: pytest.MonkeyPatch):
    layers, inputs, labels = network(hidden=601), random_spikes(60, 6, 20), torch.tensor([0, 1, 2, 3, 4, 0])
    kept = []
    for engine in ("native", "reference"):
        monkeypatch.setenv("LSNN_GYM_ENGINE", engine)
        sizes: dict[int, int] = {}

        def note(each: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            storage = each.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return each

        with torch.autograd.graph.saved_tensors_hooks(note, lambda each: each):
            latency_loss(layers(inputs)[-1], labels)
        kept.append(sum(sizes.values()))
    assert kept[0] < 0.7 * kept[1]
