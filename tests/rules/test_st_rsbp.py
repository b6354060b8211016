"""ST-RSBP: equal to its obvious form, true to its identities, and its kernels equal to the plain form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lsnn_gym.rules.layers import DenseSynapses, Signal
from lsnn_gym.rules.st_rsbp.layers import SpikingLayer
from lsnn_gym.rules.st_rsbp.losses import count_loss
from lsnn_gym.rules.st_rsbp.network import PUBLISHED_IMAGES, HiddenLayer, st_rsbp_network
from lsnn_gym.rules.st_rsbp.neuron import RSBPNeuron, spike_psp
from lsnn_gym.rules.st_rsbp.random_layers import dense, grid_connections, output, reservoir
from lsnn_gym.rules.st_rsbp.recurrent import RecurrentLayer
from lsnn_gym.rules.st_rsbp.rule import Recurrence, RSBPRule, away_from_zero
from lsnn_gym.rules.st_rsbp.tables import EffectTable
from lsnn_gym.rules.tssl_bp.layers import dense as tssl_dense
from lsnn_gym.rules.tssl_bp.neuron import TSSLNeuron
from tests.rules import obvious_st_rsbp, recorded_st_rsbp
from tests.rules.obvious_st_rsbp import Settings
from tests.rules.st_rsbp_networks import PLAIN, gradients, random_spikes, small_network
from tests.vectors.strsbp import check

CASES = {
    "updates": Settings(
        ["ff", "rec", "out"],
        [6, 5, 5, 3],
        [2.0, 1.5, 1.0],
        extra={"lam": 10.0, "beta": 0.04, "limit": 8.0, "lr": 0.001, "epochs": 2},
    ),
    "unlike sizes": Settings(
        ["ff", "rec", "ff", "out"], [7, 5, 6, 4, 3], [2.0, 1.5, 1.0, 0.8], T=70, tau_m=128.0, seed=1
    ),
    "beyond the table": Settings(
        ["rec", "out"], [6, 6, 3], [1.5, 1.0], t_ref=0, lateral=0.25, poly_rows=5, seed=2, scale=2.0
    ),
    "no inhibition": Settings(
        ["ff", "rec", "out"],
        [6, 5, 5, 4],
        [1.0, 0.8, 0.5],
        T=40,
        B=4,
        t_ref=3,
        lateral=0.0,
        silent_ratio=0.0,
        desired=8,
        seed=3,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_network_is_the_obvious_one(case: Settings, tmp_path: Path):
    arrays = recorded_st_rsbp.record(tmp_path / "strsbp_99.npz", case)
    for k in range(len(case.kinds)):
        assert arrays[f"count{k}"].sum() > 0
        assert all(arrays[f"gWsum{k}_{variant}"].any() for variant in ("released", "intended", "full"))
    assert (arrays["count_out_bwd"] > 0).sum() > (arrays[f"count{len(case.kinds) - 1}"] > 0).sum()
    assert [result for result in check(tmp_path / "strsbp_99.npz") if not result.ok] == []


def test_worked_example_of_the_neuron():
    neuron = RSBPNeuron(3.0)
    drive = torch.zeros(20, 1, 1, dtype=torch.float64)
    drive[[1, 2]] = 10
    record = neuron.run(drive)
    assert record.spikes.flatten().nonzero().flatten().tolist() == [3, 8, 15]
    expected = [1.25, 3.574219, 0, 0, 1.570129, 2.919459, 4.075973, 0, 0, 0.805333]
    assert record.membrane[2:12].flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_who_fires_at_the_threshold():
    # A spike of weight 8 at step 0 lifts the membrane to 1 at step 1, by tau_s = 8.
    drive = torch.tensor([8.0, 0.0], dtype=torch.float64)[:, None, None]
    for threshold, slack, fires in ((1, 1e-6, 1), (1 + 9e-7, 1e-6, 1), (1, 0, 0), (1.00001, 1e-6, 0)):
        assert RSBPNeuron(threshold, slack=slack).run(drive).spikes.sum() == fires


@pytest.mark.parametrize(
    ("pre", "post", "psp"), [([2], [5], 0.324493408203125), ([2, 4], [5, 9], 0.7244091629981995)]
)
def test_worked_examples_of_the_psp(pre: list[int], post: list[int], psp: float):
    trains = torch.zeros(2, 12, 1, 1, dtype=torch.float64)
    trains[0, pre], trains[1, post] = 1, 1
    assert spike_psp(RSBPNeuron(1.0).responses(trains[1]), trains[0]).item() == pytest.approx(psp, rel=1e-14)


@pytest.mark.parametrize("neuron", [RSBPNeuron(1), RSBPNeuron(1, 20, 5, 0), RSBPNeuron(1, 128, 8, 4)])
def test_psp_is_the_obvious_and_the_closed_one(neuron: RSBPNeuron):
    # The post trains have spikes within refractory periods too, as forced ones may.
    pre, post = random_spikes(1, 40, 2, 3, rate=0.3), random_spikes(2, 40, 2, 4, rate=0.2)
    found = spike_psp(neuron.responses(post), pre)
    constants = (neuron.tau_membrane, neuron.tau_synapse, neuron.refractory_period)
    for b, o, i in np.ndindex(2, 4, 3):
        trains = pre[:, b, i].numpy(), post[:, b, o].numpy()
        assert found[b, o, i].item() == pytest.approx(
            obvious_st_rsbp.spike_psp(*constants, *trains), abs=1e-12
        )
        assert found[b, o, i].item() == pytest.approx(
            obvious_st_rsbp.closed_psp(*constants, *trains), abs=1e-12
        )


def test_weighted_psps_are_the_potential_at_the_spikes():
    network = small_network(PLAIN)
    below = random_spikes(3, 100, 3, 20)
    for layer, signal in zip(network.layers, network(below), strict=True):
        assert isinstance(layer, SpikingLayer | RecurrentLayer)
        record = layer.neuron.run(layer.synapses.drive(below, layer.weight), layer.same_layer())
        responses = layer.neuron.responses(record.spikes)
        potential = torch.einsum("oi,boi->bo", layer.weight, spike_psp(responses, below))
        within = layer.same_layer()
        if within is not None:
            potential = potential + torch.einsum("op,bop->bo", within, spike_psp(responses, record.spikes))
        at_spikes = (record.membrane * record.spikes).sum(0)
        torch.testing.assert_close(potential, at_spikes, rtol=0, atol=2e-12)
        # What a count is taken for is never below it by more than the slack.
        counts = record.spikes.sum(0)
        assert (at_spikes >= counts * layer.neuron.bound).all()
        assert counts.sum() > 5
        below = signal.values.detach()


def counts_by_fixed_point(layer: RecurrentLayer, parts: dict[str, Tensor], w: Tensor, pre: Tensor) -> Tensor:
    """Return counts ``[N]`` that solve the layer's equations, S-PSPs linear in the pre count around a run."""

    def excess(counts: Tensor) -> Tensor:
        def psp(start: Tensor, pre_now: Tensor, pre_then: Tensor) -> Tensor:
            own = [
                [polynomial(parts["table"], pre_then[i], counts[o]) for i in range(len(pre_now))]
                for o in range(len(counts))
            ]
            then = [
                [polynomial(parts["table"], pre_then[i], parts["counts"][o]) for i in range(len(pre_now))]
                for o in range(len(counts))
            ]
            return (
                start * pre_now / pre_then
                + torch.stack([torch.stack(row) for row in own])
                - torch.stack([torch.stack(row) for row in then])
            )

        arrived = (w * psp(parts["psp"], pre, parts["pre"])).sum(1)
        within = (layer.same_layer() * psp(parts["within"], counts, parts["counts"])).sum(1)
        return counts - (arrived + within - parts["offset"]) / layer.neuron.threshold

    counts = parts["counts"].clone()
    for _ in range(8):  # Newton
        slope = torch.autograd.functional.jacobian(excess, counts)
        counts = counts - torch.linalg.solve(slope, excess(counts))  # type: ignore[arg-type]
    return counts


def polynomial(table: Tensor, pre: Tensor, post: Tensor) -> Tensor:
    coefficients = table[int(pre) - 1]
    return sum(coefficients[k] * post ** (4 - k) for k in range(5))  # type: ignore[return-value]


def test_full_variant_is_the_derivative_of_the_counts_equations():
    generator = torch.Generator().manual_seed(5)
    values = random_spikes(6, 60, 1, 4, rate=0.4)
    table = torch.as_tensor(
        obvious_st_rsbp.random_table(Settings([], [], [], poly_rows=30), np.random.default_rng(0))
    )
    weight = torch.rand(3, 4, generator=generator, dtype=torch.float64) + 0.2
    within = torch.tensor([[0, 0.5, -0.3], [0.4, 0, 0], [0.2, 0.6, 0]], dtype=torch.float64)
    rule = RSBPRule(recurrence=Recurrence.FULL, table=EffectTable(table), compiled=False)
    layer = RecurrentLayer(weight, within, RSBPNeuron(1.5), rule)
    inputs = values.clone().requires_grad_()
    counts = layer(Signal(inputs)).values.sum(0)
    error = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    (counts * error).sum().backward()
    assert ((counts > 0) & (counts <= 30)).all()

    trains = layer.simulate(values)
    responses = layer.neuron.responses(trains)
    parts = {"table": table, "counts": trains.sum(0)[0], "pre": values.sum(0)[0]}
    parts |= {"psp": spike_psp(responses, values)[0], "within": spike_psp(responses, trains)[0]}
    total = (weight * parts["psp"]).sum(1) + (layer.same_layer() * parts["within"]).sum(1)
    parts["offset"] = (total - layer.neuron.threshold * parts["counts"]).detach()
    assert inputs.grad is not None
    assert layer.weight.grad is not None
    small = 1e-5
    with torch.no_grad():
        for i in range(4):
            step = small * torch.eye(4, dtype=torch.float64)[i]
            ends = [
                counts_by_fixed_point(layer, parts, weight, parts["pre"] + sign * step) for sign in (1, -1)
            ]
            slope = ((ends[0] - ends[1]) / (2 * small) * error[0]).sum()
            assert inputs.grad[0, 0, i].item() == pytest.approx(slope.item(), rel=1e-6)
        for o, i in np.ndindex(3, 4):
            step = torch.zeros_like(weight)
            step[o, i] = small
            ends = [
                counts_by_fixed_point(layer, parts, weight + sign * step, parts["pre"]) for sign in (1, -1)
            ]
            slope = ((ends[0] - ends[1]) / (2 * small) * error[0]).sum()
            assert layer.weight.grad[o, i].item() == pytest.approx(slope.item(), rel=1e-6)


@pytest.mark.parametrize("recurrence", list(Recurrence))
def test_gradient_of_a_batch_is_the_sum_over_samples(recurrence: Recurrence):
    network = small_network(RSBPRule(recurrence=recurrence))
    inputs, labels = random_spikes(7, 90, 5, 20), torch.tensor([0, 1, 2, 3, 0])
    together = gradients(network, inputs, labels)
    alone = [gradients(network, inputs[:, b : b + 1], labels[b : b + 1]) for b in range(5)]
    for k, each in enumerate(together):
        torch.testing.assert_close(each, torch.stack([found[k] for found in alone]).sum(0))


def test_divisors_are_kept_away_from_zero_with_their_sign():
    divisor = torch.tensor([0.0, 5e-5, -5e-5, 1e-4, -2e-4, 3.0])
    assert away_from_zero(divisor, 0.0) is divisor
    expected = [1e-4, 1e-4, -1e-4, 1e-4, -2e-4, 3.0]
    assert away_from_zero(divisor, 1e-4).tolist() == pytest.approx(expected)


def test_only_recurrent_divisors_are_kept_away_from_zero_unless_asked_for():
    # One synapse of weight 1 whose slope is the threshold: S = 0.
    table = EffectTable(torch.tensor([[0.0, 0, 0, 2, 0]], dtype=torch.float64))
    weight, counts = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    for smallest, expected in ((0.0, 0.0), (0.3, 0.3)):
        rule = RSBPRule(table=table, smallest_divisor=smallest)
        layer = SpikingLayer(DenseSynapses(), weight, RSBPNeuron(2.0), rule)
        assert layer.divisor(counts, counts, 10).item() == expected
    recurrent = RecurrentLayer(weight, torch.zeros_like(weight), RSBPNeuron(2.0), rule)
    assert recurrent.divisor(counts, counts, 10).item() == 1e-4


def test_counts_beyond_the_table_are_clipped_in_recurrent_layers_only():
    table = EffectTable(torch.tensor([[0.0, 0, 1, 0, 0], [0, 0, 2, 0, 0]], dtype=torch.float64))
    weight = torch.ones(1, 1, dtype=torch.float64)
    one_layer = SpikingLayer(DenseSynapses(), weight, RSBPNeuron(1.0), RSBPRule(table=table))
    recurrent = RecurrentLayer(weight, torch.zeros_like(weight), RSBPNeuron(1.0), RSBPRule(table=table))
    # Slopes are 2 c in the first row, 4 c in the second: by pre count, post count.
    for pre, post, expected, clipped in (
        (0, 1, 2, 2),
        (1, 1, 2, 2),
        (2, 1, 4, 4),
        (9, 5, 20, 8),
        (1, 0, 0, 2),
    ):
        counts = [torch.full((1, 1), float(each), dtype=torch.float64) for each in (pre, post)]
        assert 1 - one_layer.divisor(counts[0], counts[1], 10).item() == pytest.approx(expected)
        assert 1 - recurrent.divisor(counts[0], counts[1], 10).item() == pytest.approx(clipped)


def test_reservoir_has_the_published_density():
    fans = [
        int(grid_connections((5, 5, 16), torch.Generator().manual_seed(seed)).sum()) / 400
        for seed in range(20)
    ]
    assert np.mean(fans) == pytest.approx(11.0, abs=0.3)
    generator = torch.Generator().manual_seed(0)
    connected = grid_connections((10, 10, 5), generator)
    assert connected.sum() / 500 == pytest.approx(12.1, abs=0.6)
    assert 0.3 < connected.diagonal().double().mean() < 0.5
    layer = reservoir(7, (5, 5, 4), RSBPNeuron(1), generator=generator)
    assert layer.recurrent_weight.shape == (100, 100)
    assert layer.weight.abs().max() <= 1
    assert torch.equal(layer.mask, layer.recurrent_weight != 0)


def test_a_synapse_that_is_not_there_never_comes_and_one_at_zero_may_go_on():
    network = small_network(RSBPRule())
    layer = network.layers[1]
    assert isinstance(layer, RecurrentLayer)
    mask = layer.mask.clone()
    inputs, labels = random_spikes(12, 60, 4, 20), torch.tensor([0, 1, 2, 3])
    there = tuple(gradients(network, inputs, labels)[2].nonzero()[0].tolist())
    layer.recurrent_weight.data[there] = 0
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(3):
        gradients(network, inputs, labels)
        optimizer.step()
    assert not layer.recurrent_weight[~mask].any()
    assert layer.recurrent_weight[there] != 0
    layer.recurrent_weight.data[~mask] = 5.0  # whatever is written there has no effect
    assert torch.equal(layer.same_layer() != 0, mask & (layer.recurrent_weight != 0))
    for by_kernels in (True, False):
        layer.rule = replace(layer.rule, compiled=by_kernels)
        without = layer.neuron.run(layer.synapses.drive(inputs[..., :16], layer.weight), layer.same_layer())
        assert torch.equal(layer.simulate(inputs[..., :16]), without.spikes)


def test_reservoir_that_does_not_learn_has_no_gradient():
    hidden = (HiddenLayer((2, 2, 2), 1.0, learns_recurrence=False),)
    network = st_rsbp_network(6, hidden, 3, output_threshold=1.0)
    count_loss(network(random_spikes(14, 50, 2, 6).float())[-1], torch.tensor([0, 1])).backward()
    layer = network.layers[0]
    assert isinstance(layer, RecurrentLayer)
    assert layer.recurrent_weight.grad is None
    assert layer.weight.grad is not None


def test_published_network_has_the_published_sizes():
    network = st_rsbp_network(784, PUBLISHED_IMAGES, 10, output_threshold=15)
    shapes = [tuple(each.shape) for each in network.parameters()]
    assert shapes == [(400, 784), (400, 400), (400, 400), (10, 400)]
    thresholds = [layer.neuron.threshold for layer in network.layers]  # type: ignore[union-attr]
    assert thresholds == [20, 20, 15]
    assert network.layers[-1].inhibition == 1


@pytest.mark.parametrize(("optimiser", "rate"), [(torch.optim.Adam, 0.02), (torch.optim.SGD, 5e-5)])
def test_network_learns_with_any_optimiser(optimiser, rate):
    torch.manual_seed(0)
    network = small_network(RSBPRule()).float()
    chance = torch.rand(4, 20, generator=torch.Generator().manual_seed(1)) * 0.3
    labels = torch.arange(4).repeat(4)
    inputs = (torch.rand(80, 16, 20, generator=torch.Generator().manual_seed(2)) < chance[labels]).float()
    optimizer, losses = optimiser(network.parameters(), lr=rate), []
    for _ in range(100):
        optimizer.zero_grad()
        loss = count_loss(network(inputs)[-1], labels, desired=12, undesired=2, margin=1)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    decided = network(inputs)[-1].values.sum(0).argmax(1)
    assert losses[-1] < 0.5 * losses[0]
    assert (decided == labels).float().mean() >= 0.75


def test_layers_of_other_rules_and_of_none_fit_below_and_above():
    generator = torch.Generator().manual_seed(0)
    below = tssl_dense(20, 10, TSSLNeuron(), generator=generator)
    middle = dense(10, 12, RSBPNeuron(0.3), generator=generator)
    above = torch.nn.Linear(12, 3)
    inputs = random_spikes(15, 40, 4, 20).float()
    spikes = middle(below(Signal(inputs))).values
    assert spikes.sum() > 10
    torch.nn.functional.cross_entropy(above(spikes).mean(0), torch.tensor([0, 1, 2, 0])).backward()
    for layer in (below, middle, above):
        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().sum() > 0


def test_bad_input_is_named():
    neuron = RSBPNeuron(1.0)
    with pytest.raises(ValueError, match=r"^tau_synapse is 0.5: expected at least 1 step$"):
        RSBPNeuron(1.0, tau_synapse=0.5)
    with pytest.raises(ValueError, match=r"^threshold is 0: expected above 0$"):
        RSBPNeuron(0)
    with pytest.raises(ValueError, match=r"^refractory_period is 1.5: expected a whole number of steps, at"):
        RSBPNeuron(1.0, refractory_period=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^silent_ratio is -1: expected at least 0$"):
        RSBPRule(silent_ratio=-1)
    with pytest.raises(
        ValueError, match=r"^recurrent_weight is \(3, 2\): expected \(2, 2\) as the weight is \(2, 5\)$"
    ):
        RecurrentLayer(torch.zeros(2, 5), torch.zeros(3, 2), neuron)
    with pytest.raises(
        ValueError, match=r"^grid is \(2, 0, 3\): expected three sides of at least one neuron$"
    ):
        reservoir(3, (2, 0, 3), neuron)
    for rule in (RSBPRule(), PLAIN):
        with pytest.raises(ValueError, match=r"expected 3 as the weight is \(2, 3\)$"):
            dense(3, 2, neuron, rule)(Signal(torch.zeros(4, 1, 5)))
        with pytest.raises(ValueError, match=r"expected 3 as the weight is \(8, 3\)$"):
            reservoir(3, (2, 2, 2), neuron, rule)(Signal(torch.zeros(4, 1, 5)))


def test_output_alone_hears_who_should_fire():
    inputs = torch.zeros(40, 2, 6)
    assert output(6, 3, RSBPNeuron(1))(Signal(inputs)).timing is not None
    assert dense(6, 3, RSBPNeuron(1))(Signal(inputs)).timing is None
