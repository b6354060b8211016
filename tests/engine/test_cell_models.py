"""One cell holds all published models: each is its equations, and they differ where they should."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lsnn_gym.engine import ENGINES, reference
from lsnn_gym.neurons import CELL_MODELS, EPROP_A, LSNN, CellModel, NeuronParameters, SpikingState
from tests.engine import obvious_cell
from tests.engine.test_engines_agree import random_case

MODELS = pytest.mark.parametrize("model", CELL_MODELS.values(), ids=list(CELL_MODELS))


def one_neuron(threshold: float, beta: float, period: int, alpha: float = 0.5, rho: float = 0.5):
    """Return the constants of a single neuron."""
    values = (alpha, rho, threshold, beta, period)
    return NeuronParameters(*(torch.tensor([float(each)], dtype=torch.float64) for each in values))


def drive(
    neurons: NeuronParameters, model: CellModel, currents: list[float]
) -> tuple[list[float], list[float]]:
    """Return the spikes and voltages of a single neuron, without synapse onto itself, driven by ``currents``."""
    state = SpikingState.zeros(1, 1, 1, dtype=torch.float64)
    weight = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    spikes, voltages = [], []
    for current in currents:
        inputs = torch.tensor([[current]], dtype=torch.float64)
        state, _ = reference.step(
            neurons, weight, inputs, state, None, dt=1.0, dampening_factor=0.3, model=model
        )
        spikes.append(state.spikes.item())
        voltages.append(state.voltage.item())
    return spikes, voltages


@MODELS
@pytest.mark.parametrize(("seed", "delays", "period", "dt"), [(1, 1, 0, 1.0), (2, 3, 3, 1.0), (3, 2, 2, 0.5)])
def test_reference_is_the_obvious_form(model, seed, delays, period, dt):
    neurons, weight, inputs, state, _, noise = random_case(seed, delays, period, dt, False, torch.float64)
    spikes, after = reference.run(
        neurons, weight, inputs, state, None, noise, dt=dt, dampening_factor=0.3, model=model
    )
    expected, voltages, adaptations = obvious_cell.run(
        neurons, weight, inputs, state, noise, dt=dt, model=model
    )
    assert 0 < spikes.count_nonzero() < spikes.numel()
    assert torch.equal(spikes, expected)
    torch.testing.assert_close(after.voltage, voltages[-1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after.adaptation, adaptations[-1], rtol=1e-12, atol=1e-12)


def test_the_models_differ():
    neurons, weight, inputs, state, _, noise = random_case(2, 1, 3, 1.0, False, torch.float64)
    options: dict[str, Any] = {"dt": 1.0, "dampening_factor": 0.3}
    voltages = [
        reference.run(neurons, weight, inputs, state, None, noise, **options, model=model)[1].voltage
        for model in CELL_MODELS.values()
    ]
    for n, one in enumerate(voltages):
        assert not any(torch.allclose(one, other) for other in voltages[n + 1 :])


@MODELS
def test_steps_one_by_one_give_the_sequence_bit_for_bit(model):
    neurons, weight, inputs, state, _, noise = random_case(5, 3, 2, 1.0, False, torch.float32)
    options: dict[str, Any] = {"dt": 1.0, "dampening_factor": 0.3, "model": model}
    whole, after = reference.run(neurons, weight, inputs, state, None, noise, **options)
    for t in range(len(inputs)):
        step = slice(t, t + 1)
        spikes, state = reference.run(neurons, weight, inputs[step], state, None, noise[step], **options)
        assert torch.equal(spikes[0], whole[t])
    assert all(torch.equal(one, other) for one, other in zip(state, after, strict=True))


def test_lsnn_fires_a_step_late_and_is_reset_by_the_raised_threshold():
    # alpha = rho = 1/2: v = 1.5 > 1 fires in the next step; b then is 1/2, so the reset is 1 + 1/2 * 1.
    spikes, voltages = drive(one_neuron(1.0, 1.0, 0), LSNN, [3.0, 0.0, 0.0])
    assert spikes == [0, 1, 0]
    assert voltages == [1.5, 0.75, 0.375 - 1.5]


def test_paper_cell_fires_at_once_and_is_reset_by_the_threshold_it_crossed():
    spikes, voltages = drive(one_neuron(1.0, 1.0, 0), CELL_MODELS["lsnn-paper"], [3.0, 0.0, 0.0])
    assert spikes == [1, 0, 0]
    assert voltages == [1.5, 0.75 - 1.0, -0.125]


@pytest.mark.parametrize(("name", "silent"), [("lsnn", 3), ("lsnn-paper", 3), ("eprop-a", 2), ("eprop-c", 2)])
def test_refractory_period_of_three_silences(name, silent):
    spikes, _ = drive(one_neuron(1.0, 0.0, 3), CELL_MODELS[name], [100.0] * 30)
    times = [t for t, spike in enumerate(spikes) if spike]
    assert {late - early for early, late in itertools.pairwise(times)} == {silent + 1}


def test_blocked_neuron_above_threshold_adapts_in_model_c_only():
    neurons = one_neuron(1.0, 0.25, 4)
    inputs = torch.full((3, 1, 1), 9.0, dtype=torch.float64)
    state = SpikingState.zeros(1, 1, 1, dtype=torch.float64)
    weight = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    adaptations = [
        reference.run(
            neurons, weight, inputs, state, None, None, dt=1.0, dampening_factor=0.3, model=CELL_MODELS[name]
        )[1].adaptation.item()
        for name in ("eprop-a", "eprop-c")
    ]
    assert adaptations == [0.5, 1.5]


def test_conversion_between_scaled_and_unscaled_currents():
    neurons, weight, inputs, _, _, noise = random_case(11, 1, 3, 1.0, False, torch.float64)
    alpha, rho = torch.tensor(0.9, dtype=torch.float64), neurons.adaptation_decay
    size = len(neurons.beta)
    scaled = neurons._replace(membrane_decay=alpha.expand(size))
    unscaled = scaled._replace(
        threshold=neurons.threshold / (1 - alpha), beta=neurons.beta * (1 - rho) / (1 - alpha)
    )
    rest = SpikingState.zeros(inputs.shape[1], size, 1, dtype=torch.float64)
    options: dict[str, Any] = {"dt": 1.0, "dampening_factor": 0.3}
    model = replace(EPROP_A, scaled_current=True, scaled_adaptation=True)
    spikes, after = reference.run(scaled, weight, inputs, rest, None, noise, **options, model=model)
    others, after_others = reference.run(
        unscaled, weight, inputs, rest, None, noise, **options, model=EPROP_A
    )
    assert 0 < spikes.sum() < spikes.numel()
    assert torch.equal(spikes, others)
    torch.testing.assert_close(after.voltage / (1 - alpha), after_others.voltage)


def gradients(engine, case, model: CellModel, dt: float) -> list[Tensor]:
    """Return the gradients of a loss on spikes and final state by weights, inputs, noise and start."""
    neurons, weight, inputs, state, reset, noise = case
    before = SpikingState(*(each.clone().requires_grad_() for each in state))._replace(
        refractory=state.refractory
    )
    leaves = [each.clone().requires_grad_() for each in (weight, inputs, noise)]
    spikes, after = engine.run(
        neurons, *leaves[:2], before, reset, leaves[2], dt=dt, dampening_factor=0.3, model=model
    )
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (each * torch.randn(each.shape, generator=generator, dtype=each.dtype)).sum()
        for each in (spikes, after.voltage, after.spikes, after.adaptation, after.currents)
    )
    starts = [before.voltage, before.spikes, before.adaptation, before.currents]
    assert isinstance(loss, Tensor)
    return list(torch.autograd.grad(loss, leaves + starts))


BY_EITHER_RULE = [
    replace(model, stops_spike_gradient=stops) for model in CELL_MODELS.values() for stops in (False, True)
]


@pytest.mark.parametrize("model", BY_EITHER_RULE, ids=str)
@pytest.mark.parametrize("name", sorted(set(ENGINES) - {"reference", "triton"}))
@pytest.mark.parametrize(("seed", "delays", "period", "dt"), [(1, 1, 0, 1.0), (2, 3, 2, 1.0), (3, 2, 1, 0.5)])
def test_engines_give_the_reference_gradients_of_the_models_they_have(name, model, seed, delays, period, dt):
    engine = ENGINES[name]
    if engine.unavailable:
        pytest.skip(engine.unavailable)
    case = random_case(seed, delays, period, dt, True, torch.float64)
    if not engine.supports(model):
        with pytest.raises(ValueError, match="use the reference engine"):
            gradients(engine, case, model, dt)
        return
    found = gradients(engine, case, model, dt)
    for value, expected in zip(found, gradients(reference, case, model, dt), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-11)


def test_engines_have_the_models_they_should():
    found = {
        name: [key for key in CELL_MODELS if engine.supports(CELL_MODELS[key])]
        for name, engine in ENGINES.items()
    }
    assert found == {
        "native": ["lsnn", "lsnn-paper", "eprop-a", "eprop-b"],
        "triton": ["lsnn"],
        "unrolled": ["lsnn"],
        "reference": list(CELL_MODELS),
    }


def test_stopping_the_spike_gradient_changes_gradients_but_no_spike():
    case = random_case(2, 2, 2, 1.0, False, torch.float64)
    stopped = replace(LSNN, stops_spike_gradient=True)
    neurons, weight, inputs, state, reset, noise = case
    options: dict[str, Any] = {"dt": 1.0, "dampening_factor": 0.3}
    spikes, _ = reference.run(neurons, weight, inputs, state, reset, noise, **options)
    same, _ = reference.run(neurons, weight, inputs, state, reset, noise, **options, model=stopped)
    assert torch.equal(spikes, same)
    assert not torch.allclose(
        gradients(reference, case, LSNN, 1.0)[0], gradients(reference, case, stopped, 1.0)[0]
    )


def test_impossible_models_are_refused():
    with pytest.raises(ValueError, match="reset_by is 'zero': expected 'current', 'crossed' or 'baseline'"):
        CellModel(reset_by="zero")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for cells with fires_on_new_voltage only"):
        CellModel(adapts_while_refractory=True)
