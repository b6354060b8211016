"""The compiled kernels of neurons equal their plain forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lsnn_gym.rules import compiled
from lsnn_gym.rules.antlr.neuron import AntlrNeuron, AntlrRule, NeuronRecord, NeuronState
from lsnn_gym.rules.tssl_bp.neuron import TSSLNeuron

pytestmark = pytest.mark.skipif(bool(compiled.unavailable), reason=str(compiled.unavailable))

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}


def drawn(shape: tuple[int, ...], kind: torch.dtype, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=kind)


def close(found: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE[expected.dtype]
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


# More lanes than are taken up at once, and no multiple of any vector.
@pytest.mark.parametrize("shape", [(7, 3, 401), (5, 2, 3, 13, 11), (1, 1, 1)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("neuron", [TSSLNeuron(5, 3, 1), TSSLNeuron(8, 2, 0.4), TSSLNeuron(1, 1, 0.3)])
def test_tssl(neuron: TSSLNeuron, kind: torch.dtype, shape: tuple[int, ...], isa: int):
    drive, by_trace = 0.6 * drawn(shape, kind) + 0.2, drawn(shape, kind, 2)
    expected = neuron.run_plainly(drive)
    found = neuron.run(drive)
    assert torch.equal(found.spikes, expected.spikes)
    for mine, its in zip(found, expected, strict=True):
        close(mine, its)
    close(neuron.drive_error(expected, by_trace), neuron.drive_error_plainly(expected, by_trace))


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
    neuron, drive = TSSLNeuron(), drawn((40, 8, 501), torch.float32)
    alone = neuron.run(drive)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    for mine, its in zip(neuron.run(drive), alone, strict=True):
        assert torch.equal(mine, its)


def test_memory_that_is_not_contiguous_is_read_right():
    neuron, drive = TSSLNeuron(), drawn((3, 5, 7), torch.float32).transpose(1, 2)
    assert torch.equal(neuron.run(drive).membrane, neuron.run(drive.contiguous()).membrane)
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
