"""TSSL-BP: equal to its obvious form, at its thresholds and bounds too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lsnn_gym.lanes import LaneDraws
from lsnn_gym.rules.layers import LayeredNetwork, Signal
from lsnn_gym.rules.tssl_bp.layers import (
    InputTraces,
    LineDropout,
    SumPool,
    clip_weights_,
    convolution,
    dense,
)
from lsnn_gym.rules.tssl_bp.losses import (
    class_scores,
    count_loss,
    kernel_loss,
    published_target,
    softmax_loss,
)
from lsnn_gym.rules.tssl_bp.neuron import TSSLNeuron, filter_spikes
from tests.rules import obvious_tssl
from tests.vectors.tssl import check


def steps_of(*values: float) -> Tensor:
    """Return one neuron's values over time, ``[T, 1, 1]``."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


def random_drive(seed: int, steps: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(steps, 2, 9, generator=generator, dtype=torch.float64) + 0.15


@pytest.mark.parametrize(
    "neuron", [TSSLNeuron(5, 3, 1), TSSLNeuron(6, 3.5, 0.8), TSSLNeuron(8, 4, 0.5), TSSLNeuron(1, 1, 0.3)]
)
def test_neuron_and_error_are_the_obvious_ones(neuron: TSSLNeuron):
    drive = random_drive(1).requires_grad_()
    by_trace = torch.randn(drive.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    trace, spikes = neuron.fire(drive)
    trace.backward(by_trace)
    record = neuron.run(drive.detach())
    assert drive.grad is not None
    assert 0 < spikes.sum() < spikes.numel() / 2
    assert not spikes.requires_grad
    if neuron.tau_membrane > 1:
        assert (record.increment[spikes == 1] < 1 / 8).any()
    for b in range(2):
        for n in range(9):
            slow = obvious_tssl.Neuron(neuron.tau_membrane, neuron.tau_synapse, neuron.threshold)
            slow.run(drive[:, b, n].tolist())
            error = slow.drive_error(by_trace[:, b, n].tolist())
            assert spikes[:, b, n].tolist() == slow.s
            assert trace[:, b, n].tolist() == pytest.approx(slow.r, abs=1e-12)
            assert record.membrane[:, b, n].tolist() == pytest.approx(slow.u, abs=1e-12)
            assert record.increment[:, b, n].tolist() == pytest.approx(slow.du, abs=1e-12)
            assert drive.grad[:, b, n].tolist() == pytest.approx(error, abs=1e-12)


def test_reaching_the_threshold_is_no_spike_passing_it_is():
    neuron = TSSLNeuron(5, 3, 1.0)
    assert neuron.run(steps_of(1.0)).spikes.item() == 0
    assert neuron.run(steps_of(math.nextafter(1.0, 2.0))).spikes.item() == 1


def test_fallback_ends_where_the_trace_is_just_its_bound():
    # tau_s = 2: the trace of a spike is 1/2, 1/4, 1/8, 1/16, ... and the bound is 1/8. A later spike, at step 6
    # by an increment of 2, sends its error back: phi H = 1/2 * 1/2, leaking by 4/5 a step.
    neuron = TSSLNeuron(5, 2, 1.0)
    record = neuron.run(steps_of(2, 0, 0, 0, 0, 0, 2))
    assert record.trace[:4].flatten().tolist() == [0.5, 0.25, 0.125, 0.0625]
    error = neuron.drive_error(record, steps_of(0, 0, 0, 0, 0, 0, 1)).flatten().tolist()
    assert error[6] == 0.25
    assert error[2] == pytest.approx(0.25 * 0.8**4)
    z = math.exp(5)
    assert error[3] == pytest.approx(z / (0.2 * (1 + z) ** 2) / 2**4)
    assert error[3] != pytest.approx(0.25 * 0.8**3)


def test_spike_that_crept_up_has_its_sensitivity_cut_at_eight():
    neuron = TSSLNeuron(1e9, 2, 1.0)
    for increment, expected in ((0.0625, 8.0), (0.25, 4.0)):
        record = neuron.run(steps_of(0.96, increment))
        assert record.spikes.flatten().tolist() == [0, 1]
        error = neuron.drive_error(record, steps_of(0, 1))
        assert error[1].item() == pytest.approx(expected / 2)


def test_error_goes_on_through_the_reset_of_a_spike():
    # Two spikes, by increments 2 and 4, and a loss on the second's trace: phi H is 1/4 / 3 there. The first one's
    # own future is H = 2/9 by its trace, and 1/5 of u phi = 1 of the second's error by the reset.
    neuron = TSSLNeuron(5, 3, 1.0)
    record = neuron.run(steps_of(2, 4))
    error = neuron.drive_error(record, steps_of(0, 1)).flatten().tolist()
    assert error == pytest.approx([0.5 * 2 / 9 + (1 / 12) * 2 * 0.5 / 5, 1 / 12])


def test_error_is_linear_in_what_arrives_and_knows_no_past():
    neuron = TSSLNeuron()
    record = neuron.run(random_drive(3))
    first, second = (random_drive(seed) for seed in (4, 5))
    both = neuron.drive_error(record, 2 * first - 3 * second)
    apart = 2 * neuron.drive_error(record, first) - 3 * neuron.drive_error(record, second)
    torch.testing.assert_close(both, apart, rtol=1e-12, atol=1e-12)
    first[10:] = 0
    assert not neuron.drive_error(record, first)[10:].any()


def test_trace_is_the_filtered_spike_train():
    neuron = TSSLNeuron(5, 3.7, 0.6)
    record = neuron.run(random_drive(6))
    torch.testing.assert_close(record.trace, filter_spikes(record.spikes, 3.7), rtol=1e-13, atol=1e-13)
    assert (record.trace[record.spikes == 1] >= 1 / 3.7 - 1e-12).all()


LINEAR = {"type": "linear", "weight_scale": 1, "threshold": 1.0}
CONV = {"type": "conv", "weight_scale": 1, "threshold": 0.9}
STACKS: list[tuple[list[dict[str, Any]], tuple[int, int, int], dict[str, Any]]] = [
    (
        [
            LINEAR | {"n_inputs": 8, "n_outputs": 7},
            LINEAR | {"n_inputs": 7, "n_outputs": 3, "threshold": 0.7},
        ],
        (8, 1, 1),
        {"loss": "count", "steps": 12, "tau_s": 2.0},
    ),
    (
        [
            CONV
            | {
                "in_channels": 2,
                "out_channels": 3,
                "kernel_size": 3,
                "stride": 2,
                "padding": 2,
                "dilation": 2,
            },
            {"type": "pooling", "kernel_size": 2, "theta": 0.9},
            LINEAR | {"n_inputs": 12, "n_outputs": 5},
            LINEAR | {"n_inputs": 5, "n_outputs": 3},
        ],
        (2, 8, 7),
        {"loss": "softmax", "tau_m": 8.0, "tau_s": 4.0, "scale": 2.0},
    ),
    (
        [
            {"type": "pooling", "kernel_size": 2},
            CONV | {"in_channels": 1, "out_channels": 2, "kernel_size": 2, "dilation": 2, "padding": 1},
            CONV | {"in_channels": 2, "out_channels": 3, "kernel_size": 3},
        ],
        (1, 6, 6),
        {"loss": "kernel", "steps": 8},
    ),
]


@pytest.mark.parametrize(("layers", "image", "settings"), STACKS, ids=["dense", "convolution", "all-conv"])
def test_network_is_the_obvious_one(layers, image, settings, tmp_path: Path):
    arrays = obvious_tssl.record(tmp_path / "tssl_99.npz", layers, image, **settings)
    spikes = [array for name, array in arrays.items() if name.startswith("spk")]
    assert all(0 < each.sum() < each.size for each in spikes)
    assert all(arrays[name].any() for name in arrays if name.startswith("dW"))
    assert [result for result in check(tmp_path / "tssl_99.npz") if not result.ok] == []


def random_traces(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_()


def test_losses_are_what_their_gradients_say():
    traces, labels = random_traces(6, 3, 4), torch.tensor([0, 3, 1])
    target = (random_traces(6, 3, 4) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: kernel_loss(x, target, 3.0), traces)
    assert torch.autograd.gradcheck(lambda x: softmax_loss(x, labels), traces)
    assert torch.autograd.gradcheck(lambda x: count_loss(x, labels, 4.0, 1.0), traces)
    assert torch.autograd.gradcheck(lambda x: filter_spikes(x, 3.0), traces)
    images = random_traces(2, 1, 2, 4, 5)
    assert torch.autograd.gradcheck(lambda x: SumPool(2)(Signal(x)).values, images)


def test_count_loss_leaves_alone_who_did_enough():
    # Counts 5, 3, 0.5 of the classes; wanted 4 of the label, 1 of the others; T = 2.
    traces = torch.tensor([[[2.5, 1.5, 0.25]], [[2.5, 1.5, 0.25]]], requires_grad=True)
    count_loss(traces, torch.tensor([0]), 4.0, 1.0).backward()
    assert traces.grad is not None
    assert traces.grad[0, 0].tolist() == [0, 1, 0]
    traces.grad = None
    count_loss(traces, torch.tensor([2]), 4.0, 1.0).backward()
    assert traces.grad is not None
    assert traces.grad[0, 0].tolist() == [2, 1, -1.75]


def test_count_loss_is_a_sum_over_samples_and_softmax_loss_a_mean():
    traces, labels = random_traces(6, 1, 4).detach(), torch.tensor([2])
    twice, both = traces.repeat(1, 2, 1), labels.repeat(2)
    assert count_loss(twice, both, 4, 1).item() == pytest.approx(2 * count_loss(traces, labels, 4, 1).item())
    assert softmax_loss(twice, both).item() == pytest.approx(softmax_loss(traces, labels).item())


@pytest.mark.parametrize(("steps", "pattern"), [(5, [0, 1, 1, 1, 1]), (10, [0, 1] * 5), (30, [0, 1] * 15)])
def test_published_target_is_a_filtered_pattern_for_the_label(steps: int, pattern: list[int]):
    target = published_target(torch.tensor([2, 0]), 3, steps, 3.0)
    expected = filter_spikes(torch.tensor(pattern, dtype=torch.float32)[:, None], 3.0)[:, 0]
    assert target.shape == (steps, 2, 3)
    assert torch.equal(target[:, 0, 2], expected)
    assert torch.equal(target[:, 1, 0], expected)
    assert target.sum() == pytest.approx(2 * expected.sum().item())


def test_sum_pool_sums_whole_windows_and_raises_the_sum():
    values = torch.arange(10.0).view(1, 1, 1, 2, 5)
    pooled = SumPool(2)(Signal(values)).values
    assert pooled.flatten().tolist() == pytest.approx([1.1 * (0 + 1 + 5 + 6), 1.1 * (2 + 3 + 7 + 8)])


def test_dropout_drops_lines_for_all_steps_and_only_in_training():
    layer = LineDropout(0.25, LaneDraws(torch.Generator().manual_seed(0)))
    values = torch.ones(3, 50, 4, 8, 5)
    dropped = layer(Signal(values)).values
    lines = dropped[0, :, :, :, 0]
    assert torch.equal(dropped, lines[None, ..., None].expand_as(values))
    assert sorted(set(lines.flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert lines.mean().item() == pytest.approx(1, abs=0.05)
    assert lines.std(dim=0).min() > 0  # samples differ
    neurons = layer(Signal(torch.ones(3, 50, 8))).values
    assert torch.equal(neurons, neurons[:1].expand_as(neurons))
    assert 0.1 < (neurons[0] == 0).double().mean() < 0.4
    assert layer.eval()(Signal(values)).values is values


def test_same_generator_drops_the_same():
    values = torch.ones(2, 3, 20)
    draws = [LaneDraws(torch.Generator().manual_seed(1)) for _ in range(2)]
    found = [LineDropout(0.5, each)(Signal(values)).values for each in draws]
    assert torch.equal(*found)


def test_weights_are_cut_at_four():
    weight = torch.nn.Parameter(torch.tensor([-5.0, -4.0, 3.9, 4.1]))
    clip_weights_([weight])
    assert weight.tolist() == pytest.approx([-4, -4, 3.9, 4])


def test_initial_weights_have_the_published_spread():
    generator = torch.Generator().manual_seed(0)
    weight = dense(400, 300, TSSLNeuron(), weight_scale=2.0, generator=generator).weight
    assert weight.std().item() == pytest.approx(2 * math.sqrt(2 / 400), rel=0.02)
    kernels = convolution(20, 30, 3, TSSLNeuron(), weight_scale=5.0, generator=generator).weight
    assert kernels.abs().max().item() == pytest.approx(5 / math.sqrt(20 * 9), rel=0.01)


@pytest.mark.parametrize(("optimiser", "rate"), [(torch.optim.AdamW, 0.01), (torch.optim.SGD, 0.05)])
def test_network_learns_with_any_optimiser(optimiser, rate):
    generator = torch.Generator().manual_seed(0)
    neuron = TSSLNeuron()
    network = LayeredNetwork(
        [
            InputTraces(3.0),
            convolution(1, 4, 3, neuron, padding=1, weight_scale=3.0, generator=generator),
            SumPool(2),
            LineDropout(0.1, LaneDraws(generator)),
            dense(16, 20, neuron, generator=generator),
            dense(20, 3, neuron, generator=generator),
        ]
    )
    inputs = torch.randn(1, 12, 1, 4, 4, generator=generator).expand(5, -1, -1, -1, -1)
    labels = torch.arange(12) % 3
    optimizer, losses = optimiser(network.parameters(), lr=rate), []
    for _ in range(120):
        optimizer.zero_grad()
        loss = kernel_loss(network(inputs)[-1].values, published_target(labels, 3, 5, 3.0), 3.0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        clip_weights_(network.parameters())
        losses.append(loss.item())
    network.eval()
    decided = class_scores(network(inputs)[-1].values).argmax(1)
    assert losses[-1] < 0.6 * losses[0]
    assert (decided == labels).sum() >= 9


def test_bad_input_is_named():
    neuron = TSSLNeuron()
    with pytest.raises(ValueError, match=r"^tau_synapse is 0.5: expected at least 1 step$"):
        TSSLNeuron(5, 0.5)
    with pytest.raises(ValueError, match=r"^tau_synapse is 0: expected at least 1 step$"):
        InputTraces(0)
    with pytest.raises(ValueError, match=r"^dropout probability is 1: expected from 0 to below 1$"):
        LineDropout(1)
    with pytest.raises(ValueError, match=r"^images 5 high: expected a multiple of the pool's 2$"):
        SumPool(2)(Signal(torch.zeros(1, 1, 2, 5, 4)))
    with pytest.raises(ValueError, match=r"^images 1 wide: expected at least the pool's 2$"):
        SumPool(2)(Signal(torch.zeros(1, 1, 2, 4, 1)))
    with pytest.raises(ValueError, match=r"^sum pooling of values \(1, 1, 2\): expected \[T, B, channels, "):
        SumPool(2)(Signal(torch.zeros(1, 1, 2)))
    with pytest.raises(ValueError, match=r"expected 3 as the weight is \(2, 3\)$"):
        dense(3, 2, neuron)(Signal(torch.zeros(4, 1, 5)))
    with pytest.raises(
        ValueError, match=r"expected \[T, B, 3, height, width\] as the weight is \(2, 3, 3, 3\)$"
    ):
        convolution(3, 2, 3, neuron)(Signal(torch.zeros(4, 1, 2, 5, 5)))
    with pytest.raises(ValueError, match=r"^inputs are \(0, 1, 3\): expected \[steps, samples, ...\]"):
        LayeredNetwork([InputTraces(3)])(torch.zeros(0, 1, 3))
    with pytest.raises(ValueError, match=r"^a network of no layers: expected at least one$"):
        LayeredNetwork([])
    traces = torch.zeros(5, 2, 3)
    with pytest.raises(ValueError, match=r"^labels go from 0 to 3: expected 0 to 2$"):
        softmax_loss(traces, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"^labels are \(1,\): expected \(2,\) as the output is$"):
        count_loss(traces, torch.tensor([0]), 4, 1)
    with pytest.raises(ValueError, match=r"^target is \(5, 2\): expected \(5, 2, 3\) as the traces are$"):
        kernel_loss(traces, torch.zeros(5, 2), 3.0)
