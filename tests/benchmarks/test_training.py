"""The benchmark of a training iteration: its shape, not its figures."""

import json

import pytest

from lsnn_gym.benchmarks.stable_baselines import benchmark_stable_baselines
from lsnn_gym.benchmarks.training import benchmark_iteration
from lsnn_gym.errors import UserError

SMALL = (
    "train.episodes_per_iteration=2",
    "network.regular_neurons=4",
    "network.adaptive_neurons=3",
    "train.ppo.epochs=2",
    "env.options.max_steps=20",
)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_both_do_the_same_work():
    pytest.importorskip("sb3_contrib")
    found = json.loads(json.dumps(benchmark_iteration("water-maze-quick", 1, SMALL)))
    seconds = found["seconds_per_iteration"]
    assert set(seconds) == {"lsnn_gym", "RecurrentPPO"}
    assert min(seconds.values()) > 0
    assert found["ratio_to_recurrent_ppo"] == pytest.approx(seconds["RecurrentPPO"] / seconds["lsnn_gym"])
    assert (found["environment_steps"], found["gradient_steps"], found["neurons"]) == (40, 2, 7)


def test_a_supervised_config_is_refused():
    with pytest.raises(UserError, match="store-recall has no env: expected a config of reinforcement"):
        benchmark_iteration("store-recall")


def test_stable_baselines():
    pytest.importorskip("sb3_contrib")
    found = json.loads(json.dumps(benchmark_stable_baselines(neurons=4, repetitions=1, iterations=1)))
    speeds = found["steps_per_second"]
    assert set(speeds) == {"SpikingRecurrentPPO", "RecurrentPPO, spiking", "RecurrentPPO, LSTM"}
    assert min(speeds.values()) > 0
    ratio = speeds["SpikingRecurrentPPO"] / speeds["RecurrentPPO, LSTM"]
    assert found["ratio_to_recurrent_ppo"] == pytest.approx(ratio)
