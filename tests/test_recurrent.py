"""The spiking network as users meet it: shapes, state, resets, delays, refractoriness, messages."""

from __future__ import annotations

import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.neurons import SpikingState
from lsnn_gym.recurrent import NetworkSettings, SpikingRNN
from lsnn_gym.settings import validate

SETTINGS = NetworkSettings(
    regular_neurons=6, adaptive_neurons=5, threshold=0.05, delay=(1, 3), noise_std=0.05
)


def network(settings: NetworkSettings = SETTINGS, inputs: int = 4, seed: int = 0) -> SpikingRNN:
    return SpikingRNN(settings, inputs, torch.Generator().manual_seed(seed))


def currents(steps: int, batch: int = 3, inputs: int = 4, seed: int = 1) -> torch.Tensor:
    return 2 * torch.rand(steps, batch, inputs, generator=torch.Generator().manual_seed(seed))


def test_same_seed_same_network():
    one, same, other = network(), network(), network(seed=1)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
    assert not torch.equal(one.input_synapses.weight, other.input_synapses.weight)


def test_acting_step_by_step_gives_the_spikes_of_learning_bit_for_bit():
    rnn, inputs = network(), currents(40)
    noise = rnn.draw_noise(40, 3, torch.Generator().manual_seed(3))
    assert noise is not None
    learnt, after = rnn(inputs, rnn.initial_state(3), noise=noise)
    assert learnt.requires_grad
    assert 0 < learnt.mean() < 1
    state = rnn.initial_state(3)
    with torch.no_grad():
        for t in range(40):
            acted, state = rnn(inputs[t : t + 1], state, noise=noise[t : t + 1])
            assert torch.equal(acted[0], learnt[t])
    assert all(torch.equal(one, other) for one, other in zip(state, after, strict=True))


def test_weights_changed_between_steps_are_used():
    rnn, inputs = network(), currents(1)
    with torch.no_grad():
        state = rnn.initial_state(3)
        _, before = rnn(inputs, state)
        rnn.input_synapses.weight.mul_(2)
        _, after = rnn(inputs, state)
    arriving = before.voltage.abs().sum()
    assert arriving > 0
    torch.testing.assert_close(after.voltage, 2 * before.voltage)


class _Kept:
    """Counts the bytes that autograd keeps, each tensor's memory once."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}

    def __enter__(self) -> _Kept:
        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            self.sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        self._hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.__exit__(*exception)

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())


@pytest.mark.parametrize("engine", [None, "unrolled", "reference"])
def test_checkpointing_keeps_less_and_gives_the_same_numbers(engine):
    def run(*, checkpointing: bool):
        rnn = network(SETTINGS.model_copy(update={"checkpointing": checkpointing, "engine": engine}))
        inputs = currents(600).requires_grad_()
        noise = rnn.draw_noise(600, 3, torch.Generator().manual_seed(3))
        reset = (torch.arange(600 * 3).reshape(600, 3) % 37 == 5).float()
        with _Kept() as kept:
            spikes, after = rnn(inputs, rnn.initial_state(3), reset, noise)
        (spikes.sum() + after.voltage.sum()).backward()
        gradients = [each.grad for each in (inputs, *rnn.parameters())]
        return spikes, after, gradients, kept.bytes

    spikes, after, gradients, kept = run(checkpointing=True)
    expected, expected_after, expected_gradients, all_kept = run(checkpointing=False)
    assert torch.equal(spikes, expected)
    assert all(torch.equal(one, other) for one, other in zip(after, expected_after, strict=True))
    for value, wanted in zip(gradients, expected_gradients, strict=True):
        assert value is not None
        torch.testing.assert_close(value, wanted)
    # Inputs and noise, which are kept either way, are much of it in so small a network.
    assert kept < 0.7 * all_kept


def test_pack_and_unpack_are_inverse():
    rnn = network()
    _, state = rnn(currents(7), rnn.initial_state(3))
    packed = state.pack()
    assert packed.shape == (3, (4 + 3) * 11)
    again = SpikingState.unpack(packed, 11)
    assert all(torch.equal(one, other) for one, other in zip(state, again, strict=True))
    with pytest.raises(ValueError, match="packed state of width 78 does not hold 11 neurons"):
        SpikingState.unpack(torch.zeros(3, 78), 11)


def test_zeros_are_the_rest_state():
    rnn = network(NetworkSettings(regular_neurons=4, adaptive_neurons=4))
    spikes, state = rnn(torch.zeros(10, 2, 4), rnn.initial_state(2))
    assert not spikes.any()
    assert not state.pack().any()


def test_no_neuron_fires_within_its_refractory_period_and_some_right_after():
    settings = NetworkSettings(regular_neurons=8, adaptive_neurons=0, threshold=0.01, refractory_period=4.0)
    spikes, _ = (rnn := network(settings))(5 * currents(200), rnn.initial_state(3))
    gaps = []
    for batch in range(3):
        for neuron in range(8):
            times = spikes[:, batch, neuron].nonzero()[:, 0]
            gaps += (times[1:] - times[:-1]).tolist()
    assert min(gaps) == 5


def test_a_synapse_delays_by_its_own_index():
    settings = NetworkSettings(regular_neurons=1, adaptive_neurons=0, delay=(1, 4), threshold=1e6)
    rnn = network(settings, inputs=4)
    rnn.input_synapses.delay_index.copy_(torch.tensor([[0, 1, 2, 3]]))
    with torch.no_grad():
        rnn.input_synapses.weight.fill_(1.0)
    for channel in range(4):
        state, pulse = rnn.initial_state(1), torch.zeros(1, 1, 4)
        pulse[0, 0, channel] = 1.0
        voltages = []
        for t in range(5):
            _, state = rnn(pulse if t == 0 else torch.zeros_like(pulse), state)
            voltages.append(state.voltage[0, 0].item())
        assert voltages.index(next(v for v in voltages if v > 0)) == channel


def test_no_neuron_drives_itself():
    rnn = network()
    spikes, _ = rnn(currents(30), rnn.initial_state(3))
    (gradient,) = torch.autograd.grad(spikes.sum(), rnn.recurrent_synapses.weight)
    assert gradient.abs().sum() > 0
    assert not gradient.diagonal().any()


def test_adaptation_lowers_the_rate_over_time():
    def late_and_early(beta: float) -> tuple[float, float]:
        settings = NetworkSettings(
            regular_neurons=0, adaptive_neurons=20, beta=beta, tau_adaptation=100.0, recurrent_scale=0.0
        )
        rnn = network(settings)
        spikes, _ = rnn(torch.ones(300, 1, 4) * 0.3, rnn.initial_state(1))
        return spikes[-100:].mean().item(), spikes[:100].mean().item()

    late, early = late_and_early(1.8)
    assert late < 0.8 * early
    late, early = late_and_early(0.0)
    assert late == pytest.approx(early, rel=0.1)


def test_noise_strength_is_trained():
    rnn = network()
    noise = rnn.draw_noise(30, 3, torch.Generator().manual_seed(0))
    spikes, _ = rnn(currents(30), rnn.initial_state(3), noise=noise)
    assert rnn.noise_std is not None
    (gradient,) = torch.autograd.grad(spikes.sum(), rnn.noise_std)
    assert gradient != 0
    fixed = network(SETTINGS.model_copy(update={"train_noise": False}))
    assert "noise_std" not in dict(fixed.named_parameters())
    assert network(SETTINGS.model_copy(update={"noise_std": 0.0})).draw_noise(1, 1, torch.Generator()) is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"inputs": torch.zeros(5, 3, 9)}, r"inputs are \(5, 3, 9\): expected \[T > 0, B, 4\]"),
        ({"inputs": torch.zeros(0, 3, 4)}, r"inputs are \(0, 3, 4\)"),
        ({"reset": torch.zeros(4, 3)}, r"reset is \(4, 3\): expected \(5, 3\)"),
        ({"noise": torch.zeros(5, 3, 2)}, r"noise is \(5, 3, 2\): expected \(5, 3, 11\)"),
    ],
)
def test_wrong_shapes_are_named(wrong, message):
    rnn = network()
    arguments = {"inputs": torch.zeros(5, 3, 4), "state": rnn.initial_state(3)} | wrong
    with pytest.raises(ValueError, match=message):
        rnn(**arguments)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"regular_neurons": 0, "adaptive_neurons": 0}, "expected at least one neuron"),
        ({"tau_membrane": [30.0, 10.0]}, "expected the lower value first"),
        ({"delay": [0, 3]}, "at least 1 simulation step"),
        ({"threshold": 0.0}, "threshold"),
        ({"tau_adaption": 3.0}, "did you mean 'tau_adaptation'"),
    ],
)
def test_settings_that_make_no_network_are_refused(mapping, message):
    with pytest.raises(UserError, match=message):
        validate(NetworkSettings, mapping, "test")


@pytest.mark.parametrize("cell", ["lsnn", "lsnn-paper", "eprop-a", "eprop-b", "eprop-c"])
def test_every_published_cell_runs_and_eprop_stops_what_spikes_carry_on(cell):
    def gradients(rule: str) -> tuple[torch.Tensor, torch.Tensor]:
        changes = {"cell": cell, "rule": rule, "threshold": 0.3, "noise_std": 0.0}
        rnn = network(SETTINGS.model_copy(update=changes))
        spikes, _ = rnn(currents(40), rnn.initial_state(3))
        assert 0 < spikes.mean() < 1
        (gradient,) = torch.autograd.grad(
            (spikes * torch.arange(40)[:, None, None]).sum(), rnn.input_synapses.weight
        )
        return spikes.detach(), gradient

    spikes, exact = gradients("bptt")
    same_spikes, online = gradients("eprop")
    assert torch.equal(spikes, same_spikes)
    assert online.abs().sum() > 0
    assert not torch.allclose(exact, online, rtol=1e-3)
