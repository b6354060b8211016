"""Auxiliary tasks: what they share with the main one and what not, their batches, budget, names, refusals."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from torch import Tensor

from lsnn_gym.agents.actor_critic import ActorCritic, AgentSettings, EncodingSettings
from lsnn_gym.agents.meta_rl import MetaRLTrainer, TrainSettings
from lsnn_gym.agents.ppo import PPOSettings
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.rewiring import DeepR
from lsnn_gym.seeding import derived_seed
from lsnn_gym.settings import validate
from lsnn_gym.tasks.sequential_mnist import SequentialImagesSettings
from lsnn_gym.tasks.store_recall import StoreRecallSettings
from lsnn_gym.tasks.task import answers, generator_for
from lsnn_gym.training.auxiliary import AuxiliaryHead, AuxiliarySettings, AuxiliaryTasks
from lsnn_gym.training.supervised import ModelSettings, TaskNetwork

ROWS = SequentialImagesSettings(data="digits", coding="rows", repeats=2)
RECALL = StoreRecallSettings(num_inputs=8, length=4, duration=5, rate=300.0, evaluation_sequences=6)
ENV = gym.make_vec("lsnn_gym/WaterMazeQuick-v0", num_envs=4, max_steps=15)


def make_agent(core: Any = "lsnn", **network: Any) -> ActorCritic:
    given = {"regular_neurons": 12, "adaptive_neurons": 8, "delay": [1, 3], **network}
    return ActorCritic(
        AgentSettings(
            core=core,
            encoding=EncodingSettings(
                events=(2, 3), neurons_per_value=6, neurons_per_event=4, spikes="expected"
            ),
        ),
        validate(NetworkSettings, given, "network"),
        ENV.single_observation_space,
        ENV.single_action_space,
        torch.Generator().manual_seed(0),
    )


def attached(*tasks: AuxiliarySettings, seed: int = 5, **network: Any) -> ActorCritic:
    agent = make_agent(**network)
    agent.attach(tasks, torch.Generator().manual_seed(1), seed)
    return agent


def tasks_of(agent: ActorCritic) -> AuxiliaryTasks:
    assert agent.auxiliary is not None
    return agent.auxiliary


def head_of(agent: ActorCritic, name: str) -> AuxiliaryHead:
    head = tasks_of(agent).heads[name]
    assert isinstance(head, AuxiliaryHead)
    return head


def gradients(agent: ActorCritic, number: int = 0) -> dict[str, Tensor | None]:
    """Return the gradient of the auxiliary loss by each parameter, None where there is none at all."""
    loss, _ = tasks_of(agent).loss(agent.spiking_network, number)
    names, parameters = zip(*agent.named_parameters(), strict=True)
    trained = [each for each in parameters if each.requires_grad]
    found = dict(zip(map(id, trained), torch.autograd.grad(loss, trained, allow_unused=True), strict=True))
    return {name: found.get(id(each)) for name, each in zip(names, parameters, strict=True)}


# What is shared ----------------------------------------------------------------------------------


def test_the_loss_reaches_the_shared_recurrent_weights_and_the_task_own_ends_only():
    agent = attached(AuxiliarySettings(task=ROWS, batch_size=4), noise_std=0.01)
    found = gradients(agent)
    own = "auxiliary.heads.sequential-images"
    reached = {name for name, gradient in found.items() if gradient is not None and gradient.abs().sum() > 0}
    assert reached == {
        "core.network.noise_std",
        "core.network.recurrent_synapses.weight",
        f"{own}.encoder.weight",
        f"{own}.readout.weight",
        f"{own}.readout.bias",
    }
    untouched = {name for name, gradient in found.items() if gradient is None}
    assert untouched == {
        "variance_logit",
        "core.network.input_synapses.weight",
        "core.readout.weight",
        "core.readout.bias",
    }
    # No copy of the network hides in the module.
    assert not [name for name in tasks_of(agent).state_dict() if "recurrent" in name]


def test_a_task_is_run_from_rest_through_its_own_encoder():
    agent = attached(AuxiliarySettings(task=ROWS, weight=0.5, batch_size=4), noise_std=0.01)
    network, head = agent.spiking_network, head_of(agent, "sequential-images")
    batch = head.task.training_batch(4, 3, derived_seed(5, "sequential-images"))
    noise = network.draw_noise(16, 4, generator_for(5, "noise of sequential-images", 3))
    with torch.no_grad():
        loss, figures = tasks_of(agent).loss(network, 3)
        # The encoder in the place of the network's own input synapses.
        network.input_synapses = head.encoder
        spikes, _ = network(batch.inputs, network.initial_state(4), noise=noise)
        outputs, _ = head.readout(spikes, head.readout.initial_state(4))
    logits, targets = answers(outputs, batch)
    expected = torch.nn.functional.cross_entropy(logits, targets).item()
    assert figures["auxiliary/sequential-images/loss"] == expected
    assert figures["auxiliary/sequential-images/accuracy"] == float(
        (logits.argmax(1) == targets).double().mean()
    )
    assert loss.item() == 0.5 * expected


def test_a_task_may_have_a_readout_of_a_time_constant_a_neuron():
    agent = attached(AuxiliarySettings(task=ROWS, batch_size=4, tau_readout=(2.0, 8.0)))
    taus = -1 / torch.as_tensor(head_of(agent, "sequential-images").readout.kappa).log()
    assert taus.shape == (agent.spiking_network.num_neurons,)
    assert 2 <= taus.min() < 4 < 6 < taus.max() <= 8
    loss, _ = tasks_of(agent).loss(agent.spiking_network, 0)
    assert loss.isfinite()


def test_the_weight_scales_the_gradient():
    one, two = (
        gradients(attached(AuxiliarySettings(task=ROWS, weight=w, batch_size=4))) for w in (0.25, 0.5)
    )
    compared = 0
    for name, gradient in one.items():
        other = two[name]
        assert (gradient is None) == (other is None)
        if gradient is not None and other is not None:
            assert torch.equal(2 * gradient, other), name
            compared += 1
    assert compared == 4


def test_losses_of_several_tasks_add_up():
    tasks = [
        AuxiliarySettings(task=ROWS, weight=0.5, batch_size=4),
        AuxiliarySettings(task=RECALL, weight=2.0, batch_size=3),
    ]
    agent = attached(*tasks)
    loss, figures = tasks_of(agent).loss(agent.spiking_network, 0)
    assert set(figures) == {
        "auxiliary/sequential-images/loss",
        "auxiliary/sequential-images/accuracy",
        "auxiliary/store-recall/loss",
        "auxiliary/store-recall/recall_error",
    }
    expected = 0.5 * figures["auxiliary/sequential-images/loss"] + 2 * figures["auxiliary/store-recall/loss"]
    assert loss.item() == pytest.approx(expected, rel=1e-6)


# Batches and names -------------------------------------------------------------------------------


def test_batches_and_noise_follow_from_seed_and_number():
    def losses(seed: int) -> list[float]:
        agent = attached(
            AuxiliarySettings(task=RECALL, batch_size=3),
            AuxiliarySettings(task=ROWS, batch_size=3),
            seed=seed,
            noise_std=0.05,
        )
        return [tasks_of(agent).loss(agent.spiking_network, number)[0].item() for number in (0, 1, 2, 1)]

    first = losses(5)
    assert losses(5) == first
    assert first[1] == first[3]
    assert len(set(first)) == 3
    assert all(one != other for one, other in zip(first, losses(6), strict=True))


def test_tasks_of_the_same_kind_are_numbered_from_the_second():
    rows = AuxiliarySettings(task=ROWS, batch_size=2)
    agent = attached(rows, AuxiliarySettings(task=RECALL, batch_size=2), rows, rows)
    names = ["sequential-images", "store-recall", "sequential-images#2", "sequential-images#3"]
    assert list(tasks_of(agent).heads) == names
    _, figures = tasks_of(agent).loss(agent.spiking_network, 0)
    assert [name for name in figures if name.endswith("/loss")] == [
        f"auxiliary/{name}/loss" for name in names
    ]
    # Each has weights of its own.
    encoders = [head_of(agent, name).encoder.weight for name in names if name.startswith("seq")]
    assert not torch.equal(encoders[0], encoders[1])
    assert not torch.equal(encoders[1], encoders[2])


def test_evaluation_counts_all_sequences_of_a_split():
    agent = attached(AuxiliarySettings(task=RECALL, batch_size=4))
    network, head = agent.spiking_network, head_of(agent, "store-recall")
    wrong, asked, sizes = 0, 0, []
    with torch.no_grad():
        for batch in head.task.batches("validation", 4):
            logits, targets = answers(head(network, batch, None), batch)
            wrong += int((logits.argmax(1) != targets).sum())
            asked += len(targets)
            sizes.append(batch.inputs.shape[1])
    assert sizes == [4, 2]
    found = tasks_of(agent).evaluate(network, "validation")
    assert found == {"store-recall": {"recall_error": pytest.approx(wrong / asked)}}


# Wiring ------------------------------------------------------------------------------------------


def test_encoders_and_readouts_join_the_budget_of_connections():
    wiring = {"kind": "deep_r", "connectivity": 0.2, "dale": True}
    plain, agent = (
        make_agent(wiring=wiring),
        attached(AuxiliarySettings(task=ROWS, batch_size=4), wiring=wiring),
    )
    head = head_of(agent, "sequential-images")
    shapes = [tuple(each.weight.shape) for each in agent.wired_matrices()]
    assert shapes == [*(tuple(each.weight.shape) for each in plain.wired_matrices()), (20, 8), (10, 20)]
    assert agent.wired_matrices()[-2].weight is head.encoder.weight
    assert agent.wired_matrices()[-1].weight is head.readout.weight
    trainer = make_trainer(agent)
    optimizer = trainer.ppo.optimizer
    assert isinstance(optimizer, DeepR)
    assert optimizer.budget == int((20 * 20 + 20 * 20 + 5 * 20 + 20 * 8 + 10 * 20) * 0.2) == 252
    signs = [each.sign.clone() for each in (head.encoder, head.readout) if each.sign is not None]
    for _ in range(4):
        assert trainer.run_iteration()["connections"] == 252
    for part, sign in zip((head.encoder, head.readout), signs, strict=True):
        assert (part.weight * sign >= 0).all()
    assert torch.equal(signs[1], agent.spiking_network.signs.expand(10, 20))  # type: ignore[union-attr]


# Beside an agent ---------------------------------------------------------------------------------


def make_trainer(agent: ActorCritic, **ppo: Any) -> MetaRLTrainer:
    settings = TrainSettings(ppo=PPOSettings(learning_rate=0.02, **ppo))
    return MetaRLTrainer(agent, ENV, settings, 3, lambda trajectory: {})


def of_agent(agent: ActorCritic) -> dict[str, Tensor]:
    """Return copies of all tensors that are not of the auxiliary tasks."""
    return {
        name: tensor.clone()
        for name, tensor in agent.state_dict().items()
        if not name.startswith("auxiliary.")
    }


@pytest.mark.parametrize("wiring", [{}, {"kind": "deep_r", "connectivity": 0.2, "dale": True}])
def test_the_agent_own_initial_weights_are_those_without_auxiliary_tasks(wiring):
    plain, agent = make_agent(wiring=wiring), attached(AuxiliarySettings(task=ROWS), wiring=wiring)
    before, after = of_agent(plain), of_agent(agent)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("minibatches", [1, 2])
def test_a_task_of_weight_0_leaves_the_main_task_alone(minibatches):
    plain = make_trainer(make_agent(), epochs=2, minibatches=minibatches)
    beside = make_trainer(
        attached(AuxiliarySettings(task=ROWS, weight=0.0, batch_size=4)), epochs=2, minibatches=minibatches
    )
    weighted = make_trainer(
        attached(AuxiliarySettings(task=ROWS, weight=1.0, batch_size=4)), epochs=2, minibatches=minibatches
    )
    figures = [trainer.run_iteration() for trainer in (plain, beside, weighted)]
    for name, value in figures[0].items():
        assert figures[1][name] == pytest.approx(value, rel=1e-5), name
    expected, found, other = (of_agent(trainer.agent) for trainer in (plain, beside, weighted))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-6)
    recurrent = "core.network.recurrent_synapses.weight"
    assert (other[recurrent] - expected[recurrent]).abs().max() > 1e-3


def test_every_optimiser_step_of_an_iteration_has_a_batch_of_its_own(monkeypatch):
    numbers: list[int] = []
    original = AuxiliaryTasks.loss

    def watched(self: AuxiliaryTasks, network: Any, number: int) -> Any:
        numbers.append(number)
        return original(self, network, number)

    monkeypatch.setattr(AuxiliaryTasks, "loss", watched)
    trainer = make_trainer(attached(AuxiliarySettings(task=RECALL, batch_size=2)), epochs=2, minibatches=2)
    trainer.run_iteration()
    trainer.run_iteration()
    assert numbers == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_an_agent_that_does_not_spike_has_nothing_to_share(core):
    agent = make_agent(core)
    with pytest.raises(ValueError, match=f"^core is '{core}': expected 'lsnn', which has a spiking network$"):
        agent.attach([AuxiliarySettings(task=ROWS)], torch.Generator(), 0)
    assert agent.auxiliary is None


def test_a_supervised_network_can_have_them_too():
    network = TaskNetwork(
        ModelSettings(),
        NetworkSettings(regular_neurons=6, adaptive_neurons=4),
        RECALL.make(),
        torch.Generator().manual_seed(0),
        (AuxiliarySettings(task=ROWS), AuxiliarySettings(task=RECALL)),
    )
    assert network.auxiliary is not None
    # The main task takes no name from them.
    assert list(network.auxiliary.heads) == ["sequential-images", "store-recall"]
