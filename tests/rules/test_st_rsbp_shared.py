"""ST-RSBP's compiled kernels for convolutions and pools: the numbers of the plain form, whatever the shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lsnn_gym.engine import native
from lsnn_gym.rules.layers import ConvolutionSynapses, LayeredNetwork, Signal, Synapses
from lsnn_gym.rules.st_rsbp import compiled, shared
from lsnn_gym.rules.st_rsbp.continuous import continuous_responses
from lsnn_gym.rules.st_rsbp.layers import SpikingLayer
from lsnn_gym.rules.st_rsbp.network import ConvolutionLayer, HiddenLayer, PoolLayer, st_rsbp_network
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron
from lsnn_gym.rules.st_rsbp.pooling import SpikingPool
from lsnn_gym.rules.st_rsbp.random_layers import convolution
from lsnn_gym.rules.st_rsbp.rule import RSBPRule
from tests.rules.st_rsbp_networks import gradients, random_spikes

pytestmark = pytest.mark.skipif(compiled.unavailable is not None, reason=str(compiled.unavailable))


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(steps: int, batch: int, *shape: int, rate: float = 0.2, seed: int = 1) -> Tensor:
    """Return spikes, some of them stronger than others, of which one neuron has none."""
    spikes = random_spikes(seed, steps, batch, *shape, rate=rate)
    spikes[:, :, 0, 0, 0] = 0
    return spikes * torch.rand(shape, generator=source(seed), dtype=torch.float64).round(decimals=1)


def network(rule: RSBPRule, kind: torch.dtype = torch.float64) -> LayeredNetwork:
    """Return 3C3-P2-17C2-6-4 for images of 2 x 9 x 8; the pool leaves a row and a column out."""
    hidden = (ConvolutionLayer(2, 3, 3, 1.5, 1), PoolLayer(2, 1.5), ConvolutionLayer(3, 17, 2, 1.5))
    whole = (*hidden, HiddenLayer(6, 2.0))
    made = st_rsbp_network(17 * 3 * 3, whole, 4, output_threshold=1.0, rule=rule, generator=source())
    return made.to(kind)


def test_images_are_what_the_tests_need():
    found = images(30, 2, 2, 9, 8)
    assert 0 < found.count_nonzero() < found.numel() // 4
    assert len(found.unique()) > 5


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("continuous", [False, True])
def test_a_network_of_convolutions_and_pools_equals_the_plain_form(continuous: bool, threads: int):
    inputs, labels = images(80, 3, 2, 9, 8), torch.tensor([3, 1, 0])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = []
        for by_kernels in (True, False):
            made = network(RSBPRule(continuous_psp=continuous, compiled=by_kernels))
            found.append(([each.values for each in made(inputs)], gradients(made, inputs, labels)))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(found[0][0], found[1][0], strict=True):
        assert one.sum() > 0
        assert torch.equal(one, other)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))


def test_kernels_serve_for_it(monkeypatch: pytest.MonkeyPatch):
    called: list[str] = []
    whole = compiled.KERNELS.call

    def counted(name: str, *arguments: Any, what: str) -> None:
        called.append(name)
        whole(name, *arguments, what=what)

    monkeypatch.setattr(compiled.KERNELS, "call", counted)
    for by_kernels, calls in ((True, 3), (False, 0)):
        called.clear()
        gradients(network(RSBPRule(compiled=by_kernels)), images(40, 2, 2, 9, 8), torch.tensor([3, 1]))
        by_shape = [each for each in called if each.startswith("shared")]
        assert by_shape == ["shared_forward"] * calls + ["shared_sums"] * calls
        assert by_kernels or not called


def test_kernels_of_every_processor_give_the_same_numbers():
    inputs, labels = images(60, 2, 2, 9, 8), torch.tensor([3, 1])
    made, found = network(RSBPRule(continuous_psp=True)), []
    try:
        for isa in range(native.kernels().choose_isa(-1) + 1):
            assert native.kernels().choose_isa(isa) == isa
            found.append(gradients(made, inputs, labels))
    finally:
        native.kernels().choose_isa(-1)
    for each in found[1:]:
        for one, other in zip(found[0], each, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_numbers_of_single_precision_are_near():
    inputs, labels = images(60, 2, 2, 9, 8).float(), torch.tensor([3, 1])
    found = [
        gradients(network(RSBPRule(continuous_psp=True, compiled=each), torch.float32), inputs, labels)
        for each in (True, False)
    ]
    for one, other in zip(*found, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


CONVOLUTIONS = [
    # channels in, channels out, kernel, stride, padding, dilation
    (1, 1, (1, 1), 1, 0, 1),
    (1, 15, (5, 5), 1, 0, 1),
    (3, 16, (3, 2), (2, 1), (1, 2), 1),
    (2, 8, (2, 3), 1, 0, (3, 2)),
    (2, 40, (3, 3), 3, 4, 2),
    (4, 70, (7, 9), 1, 1, 1),
]


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("inputs", "outputs", "kernel", "stride", "padding", "dilation"), CONVOLUTIONS)
def test_convolutions_of_any_shape_equal_the_plain_form(
    inputs, outputs, kernel, stride, padding, dilation, continuous
):
    values = images(40, 3, inputs, 9, 11)
    found = []
    for by_kernels in (True, False):
        layer = convolution(
            inputs,
            outputs,
            kernel,
            RSBPNeuron(0.2, 10.0, 3.0),
            RSBPRule(continuous_psp=continuous, compiled=by_kernels),
            stride=stride,
            padding=padding,
            dilation=dilation,
            generator=source(2),
        ).double()
        below = values.clone().requires_grad_()
        spikes = layer(Signal(below)).values
        by_spikes = torch.rand(spikes.shape, generator=source(5), dtype=torch.float64)
        by_spikes[:, 2] = 0  # a sample without error, which is passed over
        spikes.backward(by_spikes)
        found.append((spikes, below.grad, layer.weight.grad))
    assert found[0][0].sum() > 0
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("window", [1, 2, 3])
def test_pools_of_any_window_equal_the_plain_form(window: int, continuous: bool):
    values = images(40, 3, 5, 7, 9)
    found = []
    for by_kernels in (True, False):
        pool = SpikingPool(window, RSBPNeuron(0.3), RSBPRule(continuous_psp=continuous, compiled=by_kernels))
        below = values.clone().requires_grad_()
        spikes = pool(Signal(below)).values
        spikes.backward(torch.rand(spikes.shape, generator=source(5), dtype=torch.float64))
        found.append((spikes, below.grad))
    assert found[0][0].sum() > 0
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_pools_that_fire_without_input_do_so_wherever_nothing_comes():
    found = []
    for by_kernels in (True, False):
        pool = SpikingPool(2, RSBPNeuron(0.5, slack=1.0), RSBPRule(compiled=by_kernels))
        found.append(pool(Signal(torch.zeros(9, 2, 3, 5, 4))).values)
    assert torch.equal(*found)
    assert found[0].sum() == 2 * 3 * 2 * 2 * 8  # of every pool at every step but the first


@pytest.mark.parametrize("steps", [1, 2, 7, 60])
@pytest.mark.parametrize(
    ("tau_membrane", "tau_synapse", "period"),
    [(64.0, 8.0, 2), (5.0, 2.0, 0), (3.0, 1.0, 1), (2.0, 6.0, 4), (1.0, 3.0, 9), (8.0, 1.5, 70)],
)
def test_responses_are_the_plain_form_for_any_trains(steps, tau_membrane, tau_synapse, period):
    # Trains need not keep the refractory period, as forced ones do not, and may fire in step 0; gaps go from none to
    # more than the oldest spike that counts.
    neuron = RSBPNeuron(1.0, tau_membrane, tau_synapse, period)
    trains = torch.cat([images(steps, 2, 1, 5, 5, rate=rate).sign() for rate in (0.02, 0.3, 1.0)], dim=2)
    values = images(steps, 2, 3, 5, 5, rate=0.4, seed=8)
    z = torch.rand(2, 3, 5, 5, generator=source(), dtype=torch.float64)
    links = shared.pool_map((3, 5, 5), 1)
    for form, continuous in ((RSBPNeuron.responses, False), (continuous_responses, True)):
        fired = compiled.pack(trains)
        assert fired is not None
        received = compiled.Received.of(values)
        _, below = shared.sums(neuron, received, None, links, fired, (None, z), continuous=continuous)
        expected = (form(neuron, trains) * values).sum(0) * z
        torch.testing.assert_close(below, expected, rtol=1e-9, atol=1e-11)


def test_what_does_not_fit_is_refused_as_in_the_plain_form():
    for by_kernels in (True, False):
        rule = RSBPRule(compiled=by_kernels, continuous_psp=True)
        layer = convolution(2, 3, 3, RSBPNeuron(1.0), rule)
        with pytest.raises(ValueError, match=r"expected \[T, B, 2, height, width\]"):
            layer(Signal(torch.zeros(5, 1, 3, 6, 6)))
        with pytest.raises(ValueError, match="2 x 6: expected at least the kernel's 3 x 3"):
            layer(Signal(torch.zeros(5, 1, 2, 2, 6)))
        equal = convolution(1, 1, 1, RSBPNeuron(0.1, 8.0, 8.0), rule)
        spikes = equal(Signal(torch.ones(5, 1, 1, 2, 2))).values
        with pytest.raises(ValueError, match="tau_membrane and tau_synapse are both 8"):
            spikes.sum().backward()


class OneToOne(Synapses):
    """Synapses that no kernel knows: a neuron for each value."""

    def drive(self, values: Tensor, weight: Tensor) -> Tensor:
        return values * weight

    def by_values(self, by_drive: Tensor, weight: Tensor, like: Tensor) -> Tensor:
        return (by_drive * weight).view_as(like)

    def by_weight(self, by_drive: Tensor, values: Tensor, weight: Tensor) -> Tensor:
        return (by_drive * values).sum((0, 1))


def test_synapses_that_no_kernel_knows_take_the_plain_form():
    found = []
    for by_kernels in (True, False):
        weight = torch.rand(7, generator=source(), dtype=torch.float64)
        layer = SpikingLayer(
            OneToOne(), weight, RSBPNeuron(0.2), RSBPRule(compiled=by_kernels, own_effect=False)
        )
        spikes = layer(Signal(random_spikes(3, 40, 2, 7))).values
        spikes.sum().backward()
        found.append((spikes, layer.weight.grad))
    assert found[0][0].sum() > 0
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_a_map_of_a_convolution_is_its_matrix():
    synapses = ConvolutionSynapses((2, 1), (1, 0), (1, 2))
    weight = torch.rand(4, 3, 2, 3, generator=source(), dtype=torch.float64)
    links = shared.convolution_map((3, 5, 8), tuple(weight.shape), synapses)
    each = torch.eye(3 * 5 * 8, dtype=torch.float64).view(1, -1, 3, 5, 8)
    expected = synapses.drive(each, weight)[0]
    for table in (links.by_input, links.by_place):
        here = torch.arange(len(table.first) - 1).repeat_interleave(table.first.diff())
        pre, place = (here, table.other) if table is links.by_input else (table.other, here)
        matrix = torch.zeros_like(expected)
        matrix.flatten(2).transpose(1, 2)[pre.long(), place.long()] += weight.flatten(1).T[table.row.long()]
        torch.testing.assert_close(matrix, expected)
    assert links.rows == 3 * 2 * 3
