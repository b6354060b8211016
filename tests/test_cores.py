"""Recurrent cores behind one interface: sizes, states as one tensor, and input synapses of further tasks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lsnn_gym.cores import CoreSettings, GatedCore, LSNNCore, RecurrentCore, make_core
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN
from lsnn_gym.wiring import WiringSettings

SETTINGS = NetworkSettings(
    regular_neurons=6, adaptive_neurons=5, threshold=0.02, delay=(2, 4), noise_std=0.01
)
INPUTS, OUTPUTS = 7, 3


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def core(name: Any, settings: NetworkSettings = SETTINGS, **changes: Any) -> RecurrentCore:
    given = {"steps_per_observation": 1, "generator": source(), **changes}
    own = {key: given.pop(key) for key in CoreSettings.model_fields if key in given}
    return make_core(
        CoreSettings(core=name, **{"tau_readout": 10.0, **own}), settings, INPUTS, OUTPUTS, **given
    )


def spiking(name: str = "lsnn", **changes: Any) -> LSNNCore:
    made = core(name, **changes)
    assert isinstance(made, LSNNCore)
    return made


def gated(name: str, **changes: Any) -> GatedCore:
    made = core(name, **changes)
    assert isinstance(made, GatedCore)
    return made


def observed(steps: int, batch: int = 4, per_step: int = 1, seed: int = 1) -> Tensor:
    return torch.rand(steps, per_step, batch, INPUTS, generator=source(seed))


def flat(state: Any) -> list[Tensor]:
    """Return the tensors of a state, however it is nested."""
    return [state] if isinstance(state, Tensor) else [each for part in state for each in flat(part)]


# States as one tensor ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tau_readout", "width"),
    [
        # Four values and D = 4 currents of each of 11 neurons, and a filter of each output or of each neuron.
        ("lsnn", 10.0, (4 + 4) * 11 + OUTPUTS),
        ("lsnn", (5.0, 10.0), (4 + 4) * 11 + 11),
        ("lstm", 10.0, 2 * 11),
        ("gru", 10.0, 11),
    ],
)
def test_packing_and_unpacking_a_state_changes_nothing(name, tau_readout, width):
    made = core(name, tau_readout=tau_readout)
    never = torch.zeros(9, 4)
    noise = made.draw_noise(9, 4, source(2))
    with torch.no_grad():
        _, state = made(observed(9), made.initial_state(4), never, noise)
        packed = made.pack(state)
        assert packed.shape == (4, width)
        assert len(packed.unique(dim=0)) == 4
        again = made.unpack(packed)
        assert type(again) is type(state)
        tensors = list(zip(flat(again), flat(state), strict=True))
        assert all(torch.equal(one, other) for one, other in tensors)
        assert any(each.abs().sum() > 0 for each, _ in tensors)
        assert torch.equal(made.pack(again), packed)
        # What was unpacked goes on as the state itself does.
        expected, _ = made(observed(3, seed=5), state, never[:3], None)
        found, _ = made(observed(3, seed=5), again, never[:3], None)
    assert torch.equal(found.values, expected.values)


@pytest.mark.parametrize("name", ["lsnn", "lstm", "gru"])
def test_zeros_are_the_packed_rest_state(name):
    made = core(name)
    rest = made.pack(made.initial_state(2))
    assert not rest.any()
    assert all(not each.any() for each in flat(made.unpack(torch.zeros_like(rest))))


# Sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps_per_observation", [1, 3])
def test_a_spiking_core_runs_so_many_steps_an_observation(steps_per_observation):
    made = spiking(steps_per_observation=steps_per_observation)
    assert made.network.num_neurons == 11
    assert made.network.input_size == INPUTS
    assert made.readout.weight.shape == (OUTPUTS, 11)
    noise = made.draw_noise(5, 4, source())
    assert noise is not None
    assert noise.shape == (5 * steps_per_observation, 4, 11)
    inputs = observed(5, per_step=steps_per_observation)
    with torch.no_grad():
        output, _ = made(inputs, made.initial_state(4), torch.zeros(5, 4), noise)
        assert output.values.shape == (5, 4, OUTPUTS)
        assert output.spikes is not None
        assert output.spikes.shape == (5 * steps_per_observation, 4, 11)
        # The readouts at the end of each observation, of all steps.
        every, _ = made.readout(output.spikes, made.readout.initial_state(4))
    assert torch.equal(output.values, every[steps_per_observation - 1 :: steps_per_observation])


@pytest.mark.parametrize(("name", "gates"), [("lstm", 4), ("gru", 3)])
@pytest.mark.parametrize(("hidden_size", "units"), [(None, 11), (5, 5)])
def test_a_gated_core_has_as_many_units_as_neurons_unless_told(name, gates, hidden_size, units):
    made = gated(name, hidden_size=hidden_size)
    assert made.cell.weight_ih.shape == (gates * units, INPUTS)
    assert made.readout.weight.shape == (OUTPUTS, units)
    assert made.draw_noise(5, 4, source()) is None
    assert made.wired_matrices() == []
    output, state = made(observed(5), made.initial_state(4), torch.zeros(5, 4), None)
    assert output.values.shape == (5, 4, OUTPUTS)
    assert output.spikes is None
    assert [each.shape for each in state] == [(4, units)] * (2 if name == "lstm" else 1)


def test_an_lstm_may_begin_with_open_forget_gates():
    plain, open_gates = gated("lstm"), gated("lstm", forget_bias=3.0)
    units = plain.cell.hidden_size
    added = open_gates.cell.bias_hh - plain.cell.bias_hh
    torch.testing.assert_close(added, torch.tensor([0.0, 3.0, 0.0, 0.0]).repeat_interleave(units))
    state = (torch.zeros(4, units), torch.ones(4, units))
    kept = []
    for each in (plain, open_gates):
        _, (_, cells) = each(observed(1), state, torch.zeros(1, 4), None)
        kept.append(cells.mean().item())
    assert kept[1] > kept[0] + 0.3


@pytest.mark.parametrize("name", ["lsnn", "lstm", "gru"])
def test_initial_weights_follow_from_the_generator_alone(name):
    before = torch.get_rng_state()
    one, same, other = (core(name, generator=source(seed)).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(torch.get_rng_state(), before), "the caller's draws stay the caller's"


@pytest.mark.parametrize("name", ["lsnn", "lstm", "gru"])
def test_an_episode_that_starts_is_put_to_rest(name):
    made = core(name)
    starts = torch.zeros(6, 4)
    starts[3, 1] = 1
    inputs = observed(6)
    with torch.no_grad():
        whole, _ = made(inputs, made.initial_state(4), starts, None)
        unbroken, _ = made(inputs, made.initial_state(4), torch.zeros(6, 4), None)
        anew, _ = made(inputs[3:], made.initial_state(4), torch.zeros(3, 4), None)
    assert torch.equal(whole.values[3:, 1], anew.values[:, 1])
    others = [0, 2, 3]
    assert torch.equal(whole.values[:, others], unbroken.values[:, others])
    assert not torch.equal(whole.values[5, 1], unbroken.values[5, 1])


@pytest.mark.parametrize(
    ("wiring", "count"),
    [
        ({}, 0),
        ({"dale": True}, 3),
        ({"kind": "deep_r", "connectivity": 0.3, "l1": 0.2, "temperature": 0.1}, 3),
    ],
)
def test_managed_matrices_are_inputs_recurrence_and_readout(wiring, count):
    settings = SETTINGS.model_copy(update={"wiring": WiringSettings(**wiring)})
    made = spiking(settings=settings)
    matrices = made.wired_matrices()
    expected = (made.network.input_synapses, made.network.recurrent_synapses, made.readout)
    assert len(matrices) == count
    for matrix, part in zip(matrices, expected, strict=False):
        assert matrix.weight is part.weight
        assert matrix.keep_signs == bool(wiring.get("dale"))
        assert (matrix.connectivity, matrix.l1, matrix.temperature) == (
            wiring.get("connectivity", 1.0),
            wiring.get("l1", 0.01),
            wiring.get("temperature", 0.0),
        )
        assert matrix.wiring is not None
        assert torch.equal(matrix.wiring.weight(), part.weight)


# Input synapses of further tasks -----------------------------------------------------------------


def network(**wiring: Any) -> SpikingRNN:
    settings = SETTINGS.model_copy(update={"wiring": WiringSettings(**wiring)})
    return SpikingRNN(settings, INPUTS, source())


def test_further_input_synapses_have_the_delays_of_the_network():
    further = network().further_input_synapses(40, source(3))
    assert further.weight.shape == (11, 40)
    assert further.sign is None
    # Delays of 2 to 4 steps are entries 1 to 3 of the buffer.
    assert further.delay_index.unique().tolist() == [1, 2, 3]
    assert further.max_delay == 4
    assert further.weight.std().item() == pytest.approx(40**-0.5, rel=0.1)


def test_further_input_synapses_do_not_touch_the_network():
    rnn = network()
    before = {name: tensor.clone() for name, tensor in rnn.state_dict().items()}
    further = rnn.further_input_synapses(40, source(3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in rnn.state_dict().items())
    assert not any(each is further for each in rnn.modules())


@pytest.mark.parametrize("connectivity", [1.0, 0.3])
def test_under_dales_law_each_further_channel_has_one_sign(connectivity):
    further = network(dale=True, kind="deep_r", connectivity=connectivity).further_input_synapses(
        40, source(3)
    )
    sign = further.sign
    assert sign is not None
    # A channel's synapses are a column of [post, pre].
    assert torch.equal(sign, sign[:1].expand(11, 40))
    assert int((sign[0] > 0).sum()) == 31  # int(0.75 * 40) + 1
    assert (further.weight * sign >= 0).all()
    share = float((further.weight != 0).double().mean())
    # Drawn with replacement: 1 - exp(-c) of the synapses, at the start.
    assert share == pytest.approx(1 - math.exp(-connectivity), abs=0.06)


def test_without_dales_law_rewired_channels_have_both_signs():
    sign = network(kind="deep_r", connectivity=0.3).further_input_synapses(40, source(3)).sign
    assert sign is not None
    assert ((sign > 0).any(dim=0) & (sign < 0).any(dim=0)).all()


@pytest.mark.parametrize("with_gradient", [False, True])
def test_the_network_own_input_synapses_can_be_named(with_gradient):
    rnn = network()
    inputs = 2 * observed(30)[:, 0]
    noise = rnn.draw_noise(30, 4, source(2))
    with torch.set_grad_enabled(with_gradient):
        expected, after = rnn(inputs, rnn.initial_state(4), noise=noise)
        found, again = rnn(inputs, rnn.initial_state(4), noise=noise, input_synapses=rnn.input_synapses)
    assert 0 < expected.mean() < 1
    assert torch.equal(found, expected)
    assert all(torch.equal(one, other) for one, other in zip(again, after, strict=True))


@pytest.mark.parametrize("with_gradient", [False, True])
def test_tasks_that_take_turns_each_have_their_own_input_synapses(with_gradient):
    # Stacked weights are kept while they do not change, and must not be those of the other task.
    rnn = network()
    further = rnn.further_input_synapses(INPUTS, source(3))
    inputs = 2 * observed(30)[:, 0]

    def run(entry: Any) -> Tensor:
        with torch.set_grad_enabled(with_gradient):
            spikes, _ = rnn(inputs, rnn.initial_state(4), input_synapses=entry)
        return spikes.detach()

    own, others = run(None), run(further)
    assert not torch.equal(own, others)
    assert torch.equal(run(None), own)
    with torch.no_grad():
        further.weight.copy_(rnn.input_synapses.weight)
        further.delay_index.copy_(rnn.input_synapses.delay_index)
    assert torch.equal(run(further), own)


def test_inputs_have_to_fit_the_synapses_they_come_by():
    rnn = network()
    further = rnn.further_input_synapses(9, source(3))
    with pytest.raises(ValueError, match=r"^inputs are \(5, 2, 7\): expected \[T > 0, B, 9\]$"):
        rnn(torch.zeros(5, 2, INPUTS), rnn.initial_state(2), input_synapses=further)
    spikes, _ = rnn(torch.zeros(5, 2, 9), rnn.initial_state(2), input_synapses=further)
    assert spikes.shape == (5, 2, 11)
