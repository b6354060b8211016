"""The compiled kernels of neurons equal their plain forms."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lsnn_gym.rules import compiled
from lsnn_gym.rules.antlr.neuron import AntlrNeuron, AntlrRule, NeuronRecord, NeuronState
from lsnn_gym.rules.bptt import SurrogateNeuron
from lsnn_gym.rules.tssl_bp import neuron as tssl_bp
from lsnn_gym.rules.tssl_bp.layers import window_sum
from lsnn_gym.rules.tssl_bp.neuron import TSSLNeuron

pytestmark = pytest.mark.skipif(bool(compiled.unavailable), reason=str(compiled.unavailable))

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}


def drawn(shape: tuple[int, ...], kind: torch.dtype, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=kind)


def close(found: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[expected.dtype]
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


NEURONS = [
    TSSLNeuron(5, 3, 1),
    TSSLNeuron(8, 2, 0.4),
    TSSLNeuron(1, 1, 0.3),
    SurrogateNeuron(5, 3, 1),
    SurrogateNeuron(8, 2, 0.4, width=0.7, resets=False),
]


def fired(
    neuron: TSSLNeuron, drive: Tensor, gains: Tensor | None, by_trace: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return spikes, traces and the error of the drive."""
    below = drive.clone().requires_grad_()
    trace, spikes = neuron.fire(below, gains)
    trace.backward(by_trace)
    assert below.grad is not None
    assert not spikes.requires_grad
    return spikes, trace.detach(), below.grad


# More lanes than are taken up at once, and no multiple of any vector; more steps than stay in a cache.
@pytest.mark.parametrize("shape", [(7, 3, 401), (5, 2, 3, 13, 11), (1, 1, 1), (211, 3, 67)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("neuron", NEURONS)
def test_tssl(
    neuron: TSSLNeuron, kind: torch.dtype, shape: tuple[int, ...], isa: int, monkeypatch: pytest.MonkeyPatch
):
    drive, by_trace = 0.6 * drawn(shape, kind) + 0.2, drawn(shape, kind, 2)
    gains = drawn(shape[:1], kind, 3).abs() + 0.2
    for given in ((drive, None, by_trace), (drive[:1], gains, by_trace)):
        spikes, trace, error = fired(neuron, *given)
        with monkeypatch.context() as plain:
            plain.setenv("LSNN_GYM_ENGINE", "reference")
            its_spikes, its_trace, its_error = fired(neuron, *given)
        assert torch.equal(spikes, its_spikes)
        close(trace, its_trace)
        close(error, its_error)


@dataclass(frozen=True)
class Backwards(TSSLNeuron):
    """A neuron whose error is one that no kernel knows."""

    def drive_error(self, record: tssl_bp.NeuronRecord, by_trace: Tensor) -> Tensor:
        return -by_trace


def test_an_error_of_ones_own_is_the_one_that_is_used():
    drive, by_trace = drawn((7, 3, 5), torch.float32), drawn((7, 3, 5), torch.float32, 2)
    assert torch.equal(fired(Backwards(), drive, None, by_trace)[2], -by_trace)


@dataclass(frozen=True)
class Silent(SurrogateNeuron):
    """A neuron whose dynamics are none that a kernel knows."""

    def run(self, drive: Tensor) -> tssl_bp.NeuronRecord:
        return super().run(torch.zeros_like(drive))


def test_dynamics_of_ones_own_are_those_that_are_used():
    assert not Silent().fire(torch.full((3, 2, 4), 5.0))[1].any()
    assert SurrogateNeuron().fire(torch.full((3, 2, 4), 5.0))[1].all()


def test_neurons_keep_their_drive_alone(monkeypatch: pytest.MonkeyPatch):
    drive = drawn((7, 3, 5), torch.float32).requires_grad_()
    kept = []
    for engine in ("native", "reference"):
        monkeypatch.setenv("LSNN_GYM_ENGINE", engine)
        sizes: list[int] = []

        def note(each: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(each.numel())
            return each

        with torch.autograd.graph.saved_tensors_hooks(note, lambda each: each):
            TSSLNeuron().fire(drive)
        kept.append(sum(sizes))
    assert kept == [drive.numel(), 4 * drive.numel()]


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("side", "image"), [(1, (3, 5)), (2, (8, 14)), (2, (7, 31)), (3, (10, 17)), (5, (10, 9))]
)
def test_pools(
    side: int, image: tuple[int, int], kind: torch.dtype, isa: int, monkeypatch: pytest.MonkeyPatch
):
    values = drawn((4, 3, 2, *image), kind)
    found = []
    for engine in ("native", "reference"):
        monkeypatch.setenv("LSNN_GYM_ENGINE", engine)
        below = values.clone().requires_grad_()
        sums = window_sum(below, side, 1.1)
        (sums * drawn(tuple(sums.shape), kind, 2)).sum().backward()
        assert below.grad is not None
        found.append((sums.detach(), below.grad))
    for mine, its in zip(*found, strict=True):
        assert mine.shape == its.shape
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("shape", [(9, 3, 601), (6, 2, 3, 13, 17)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_antlr_runs(kind: torch.dtype, shape: tuple[int, ...], isa: int):
    neuron = AntlrNeuron(0.9, 0.8, 1.3, 0.7, 0.5)
    drive = drawn(shape, kind)
    bias = drawn(shape[2:3], kind, 3).view(-1, *[1] * (len(shape) - 3))
    voltage, current, rest = (
        drawn(shape[1:], kind, 5),
        drawn(shape[1:], kind, 4),
        torch.zeros(shape[1:], dtype=kind),
    )
    state = NeuronState(current, voltage, rest)
    state.spikes[0] = 1
    expected, after = neuron.run_plainly(drive, bias, state)
    assert 0.01 < expected.spikes.mean() < 0.6
    found, found_after = neuron.run(drive, bias, state)
    assert torch.equal(found.spikes, expected.spikes)
    for mine, its in zip((*found, *found_after), (*expected, *after), strict=True):
        close(mine, its)
    # The state before is the caller's.
    assert torch.equal(state.voltage, drawn(shape[1:], kind, 5))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "rule", [AntlrRule(), AntlrRule(timing=0), AntlrRule(activation=0), AntlrRule(0.5, 2, height=0.7)]
)
def test_antlr_errors(rule: AntlrRule, kind: torch.dtype, isa: int):
    shape = (11, 3, 203)
    neuron = AntlrNeuron(0.9, 0.8, 1.3, 0.7, 0.5)
    zeros = NeuronState(*(torch.zeros(shape[1:], dtype=kind) for _ in range(3)))
    record, _ = neuron.run_plainly(drawn(shape, kind), torch.zeros(203, dtype=kind), zeros)
    by_spike, by_time = drawn(shape, kind, 6), drawn(shape, kind, 7)
    for given in ((by_spike, by_time), (by_spike, None), (None, by_time), (None, None)):
        error = rule.voltage_error(record, *given)
        by_voltage, by_current = neuron.accumulate(error, record.spikes)
        found = neuron.errors(rule, record, *given, delays=True)
        assert found.delayed is not None
        close(found.by_current, by_current)
        close(found.by_bias, by_voltage.sum(0))
        close(found.delayed, neuron.delay_error(error, record.spikes))
    assert neuron.errors(rule, record, by_spike, by_time, delays=False).delayed is None


def test_many_threads_give_the_same(monkeypatch: pytest.MonkeyPatch):
    shape = (40, 8, 501)
    given = (TSSLNeuron(), drawn(shape, torch.float32), None, drawn(shape, torch.float32, 2))
    alone = fired(*given)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    for mine, its in zip(fired(*given), alone, strict=True):
        assert torch.equal(mine, its)
    images = drawn((40, 8, 3, 20, 31), torch.float32)
    sums = window_sum(images, 2, 1.1)
    monkeypatch.undo()
    assert torch.equal(sums, window_sum(images, 2, 1.1))


def test_memory_that_is_not_contiguous_is_read_right():
    drive, by_trace = (drawn((3, 5, 7), torch.float32, seed).transpose(1, 2) for seed in (1, 2))
    found = fired(TSSLNeuron(), drive, None, by_trace)
    for mine, its in zip(
        found, fired(TSSLNeuron(), drive.contiguous(), None, by_trace.contiguous()), strict=True
    ):
        assert torch.equal(mine, its)
    images = drawn((2, 3, 2, 6, 8), torch.float32).transpose(-1, -2)
    assert torch.equal(window_sum(images, 2, 1.0), window_sum(images.contiguous(), 2, 1.0))
    record = NeuronRecord(*(each.transpose(1, 2) for each in _record((4, 5, 7))))
    whole = NeuronRecord(*(each.contiguous() for each in record))
    by_spike = drawn((4, 7, 1), torch.float32).expand(4, 7, 5)
    found = AntlrNeuron().errors(AntlrRule(), record, by_spike, None, delays=False)
    expected = AntlrNeuron().errors(AntlrRule(), whole, by_spike.contiguous(), None, delays=False)
    assert torch.equal(found.by_current, expected.by_current)


def _record(shape: tuple[int, ...]) -> NeuronRecord:
    rest = NeuronState(*(torch.zeros(shape[1:]) for _ in range(3)))
    return AntlrNeuron().run_plainly(drawn(shape, torch.float32), torch.zeros(shape[2]), rest)[0]


def test_another_engine_means_the_plain_form(monkeypatch: pytest.MonkeyPatch):
    drive = drawn((3, 2, 4), torch.float32)
    assert compiled.fits(drive)
    assert not compiled.fits(drive.half())
    assert not compiled.fits(drive, drive.double())
    monkeypatch.setenv("LSNN_GYM_ENGINE", "reference")
    assert not compiled.fits(drive)


def test_a_compiled_part_of_another_version_says_so():
    kernels = compiled.Kernels({"of_no_version": ()})
    with pytest.raises(ImportError, match="no kernel of_no_version: expected it built from this version"):
        kernels.call("of_no_version", torch.float32, what="nothing")


def test_a_kernel_that_finds_no_memory_says_for_what(monkeypatch: pytest.MonkeyPatch):
    functions = tssl_bp.kernels._KERNELS._functions
    monkeypatch.setitem(functions, ("tssl_run", torch.float32), lambda *_: 1)
    monkeypatch.setitem(functions, ("window_sums", torch.float32), lambda *_: 1)
    with pytest.raises(MemoryError, match=r"^no memory for 15 neurons in 7 steps$"):
        TSSLNeuron().fire(drawn((7, 3, 5), torch.float32))
    with pytest.raises(MemoryError, match=r"^no memory for 24 images$"):
        window_sum(drawn((4, 3, 2, 8, 8), torch.float32), 2, 1.1)
