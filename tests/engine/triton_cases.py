"""The Triton engine in Triton's interpreter; ``test_triton.py`` runs this where there is no GPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from lsnn_gym.engine import ENGINES, triton
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN
from tests.engine.test_cell_models import gradients
from tests.engine.test_engines_agree import outcome, random_case
from tests.vectors.lsnn import check

VECTORS = Path(os.environ.get("LSNN_GYM_VECTORS", "nowhere"))


def test_the_engine_is_there():
    assert triton.unavailable is None


@pytest.mark.parametrize(
    ("seed", "delays", "period", "dt", "resets"),
    [(0, 1, 0, 1.0, False), (1, 3, 2, 1.0, True), (2, 4, 3, 0.5, True), (3, 1, 2, 0.5, False)],
)
def test_engine_equals_reference(seed, delays, period, dt, resets):
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        case = random_case(seed, delays, period, dt, resets, dtype)
        spikes, after, found = outcome("triton", case, dt)
        expected_spikes, expected_after, expected = outcome("reference", case, dt)
        assert spikes.any()
        assert torch.equal(spikes, expected_spikes)
        for value, wanted in zip(after, expected_after, strict=True):
            torch.testing.assert_close(value, wanted, rtol=tolerance, atol=tolerance)
        for value, wanted in zip(found, expected, strict=True):
            assert (value - wanted).abs().max() <= tolerance * wanted.abs().max()


SETTINGS = NetworkSettings(
    regular_neurons=23, adaptive_neurons=17, threshold=0.05, delay=(1, 2), noise_std=0.05, rule="eprop"
)


def test_stopped_spike_gradients():
    model = SETTINGS.cell_model
    assert model.stops_spike_gradient
    case = random_case(4, 2, 2, 1.0, True, torch.float64)
    found, expected = (gradients(ENGINES[name], case, model, 1.0) for name in ("triton", "reference"))
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-11)


def test_more_samples_and_neurons_than_a_tile_and_a_block_hold():
    found = []
    for engine in ("triton", "reference"):
        settings = SETTINGS.model_copy(update={"engine": engine, "rule": "bptt"})
        network = SpikingRNN(settings, 5, torch.Generator().manual_seed(0)).double()
        generator = torch.Generator().manual_seed(1)
        inputs = torch.rand(12, 19, 5, generator=generator, dtype=torch.float64)
        noise = torch.randn(12, 19, 40, generator=generator, dtype=torch.float64)
        spikes, state = network(inputs, network.initial_state(19), None, noise)
        (spikes.sum() + state.voltage.square().sum()).backward()
        found.append([spikes.detach(), *(each.grad for each in network.parameters())])
    assert found[0][0].any()
    assert torch.equal(found[0][0], found[1][0])
    for value, wanted in zip(found[0][1:], found[1][1:], strict=True):
        assert value is not None
        torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("path", sorted(VECTORS.glob("lsnn_04*.npz")), ids=lambda path: path.stem)
def test_recorded_case(path):
    results = [each for each in check(path) if "triton" in each.name]
    assert results
    assert [each for each in results if not each.ok] == []
