"""Agents whose connections are rewired, sparse or bound by Dale's law, through whole training iterations."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

from lsnn_gym.agents.actor_critic import ActorCritic, AgentSettings, EncodingSettings
from lsnn_gym.agents.meta_rl import MetaRLTrainer, TrainSettings
from lsnn_gym.agents.ppo import PPOSettings
from lsnn_gym.errors import UserError
from lsnn_gym.recurrent import NetworkSettings
from lsnn_gym.rewiring import DeepR, WiredOptimizer
from lsnn_gym.training.checkpoint import load_checkpoint, save_checkpoint
from lsnn_gym.wiring import WiringSettings

ENV = gym.make_vec("lsnn_gym/WaterMazeQuick-v0", num_envs=4, max_steps=15)


def make_trainer(core: Any = "lsnn", **wiring) -> MetaRLTrainer:
    agent = ActorCritic(
        AgentSettings(
            core=core,
            encoding=EncodingSettings(
                events=(2, 3), neurons_per_value=6, neurons_per_event=4, spikes="expected"
            ),
        ),
        NetworkSettings(
            regular_neurons=12,
            adaptive_neurons=8,
            threshold=0.01,
            delay=(1, 3),
            wiring=WiringSettings(**wiring),
        ),
        ENV.single_observation_space,
        ENV.single_action_space,
        torch.Generator().manual_seed(0),
    )
    settings = TrainSettings(ppo=PPOSettings(learning_rate=0.02, epochs=2))
    return MetaRLTrainer(agent, ENV, settings, 3, lambda trajectory: {})


def weights(trainer: MetaRLTrainer) -> dict[str, torch.Tensor]:
    """Return the wired weights by name."""
    return {
        name: parameter.detach()
        for name, parameter in trainer.agent.named_parameters()
        if name.endswith("synapses.weight") or name.endswith("readout.weight")
    }


def test_the_budget_of_connections_is_full_after_every_iteration():
    trainer = make_trainer(kind="deep_r", connectivity=0.2)
    optimizer = trainer.ppo.optimizer
    assert isinstance(optimizer, DeepR)
    sizes = [20 * 20, 20 * 20, 5 * 20]
    assert optimizer.budget == int(sum(sizes) * 0.2) == 180
    before = {name: weight != 0 for name, weight in weights(trainer).items()}
    for _ in range(5):
        assert trainer.run_iteration()["connections"] == 180
    assert sum(int((weight != 0).sum()) for weight in weights(trainer).values()) == 180
    assert any(not torch.equal(weight != 0, before[name]) for name, weight in weights(trainer).items())


@pytest.mark.parametrize("kind", ["deep_r", "fixed_sparse", "dense"])
def test_under_dales_law_every_neuron_keeps_its_sign(kind):
    trainer = make_trainer(kind=kind, connectivity=1.0 if kind == "dense" else 0.4, dale=True)
    for _ in range(5):
        trainer.run_iteration()
    core = trainer.agent.core
    signs = core.network.signs  # type: ignore[union-attr]
    assert isinstance(signs, torch.Tensor)
    assert signs.tolist() == [-1.0] * 4 + [1.0] * 16
    for name in ("core.network.recurrent_synapses.weight", "core.readout.weight"):
        weight = weights(trainer)[name]
        assert (weight * signs >= 0).all()
        assert (weight != 0).any()
    inputs = weights(trainer)["core.network.input_synapses.weight"]
    assert ((inputs >= 0).all(dim=0) | (inputs <= 0).all(dim=0)).all()


def test_fixed_sparse_connections_stay_where_they_were():
    trainer = make_trainer(kind="fixed_sparse", connectivity=0.3)
    before = {name: weight.clone() for name, weight in weights(trainer).items()}
    for _ in range(3):
        trainer.run_iteration()
    for name, weight in weights(trainer).items():
        assert torch.equal(weight != 0, before[name] != 0)
        assert not torch.equal(weight, before[name])


@pytest.mark.parametrize("kind", ["deep_r", "fixed_sparse"])
def test_a_resumed_training_is_the_undisturbed_one_bit_for_bit(kind, tmp_path):
    undisturbed = make_trainer(kind=kind, connectivity=0.2, dale=True, temperature=1e-4)
    figures = [undisturbed.run_iteration() for _ in range(6)]
    stopped = make_trainer(kind=kind, connectivity=0.2, dale=True, temperature=1e-4)
    assert [stopped.run_iteration() for _ in range(3)] == figures[:3]
    path = save_checkpoint(tmp_path, stopped.checkpoint())
    resumed = make_trainer(kind=kind, connectivity=0.2, dale=True, temperature=1e-4)
    resumed.restore(load_checkpoint(path))
    assert [resumed.run_iteration() for _ in range(3)] == figures[3:]
    for name, weight in weights(undisturbed).items():
        assert torch.equal(weight, weights(resumed)[name])


def test_a_checkpoint_without_wiring_is_refused(tmp_path):
    plain = make_trainer()
    assert not isinstance(plain.ppo.optimizer, WiredOptimizer)
    path = save_checkpoint(tmp_path, plain.checkpoint())
    with pytest.raises(UserError, match="checkpoint of another network"):
        make_trainer(kind="deep_r", connectivity=0.2).restore(load_checkpoint(path))


def test_cores_without_synapses_are_not_rewired():
    trainer = make_trainer(core="lstm", kind="deep_r", connectivity=0.2)
    assert not isinstance(trainer.ppo.optimizer, WiredOptimizer)
    assert "connections" not in trainer.run_iteration()
