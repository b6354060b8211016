"""The recurrent benchmark: what it says follows from what it measured, and wrong engines are found out."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lsnn_gym.benchmarks import memory, recurrent
from lsnn_gym.benchmarks.equality import check_engines
from lsnn_gym.benchmarks.firing import find_gain, firing_rate_hz
from lsnn_gym.benchmarks.layers import DenseProducts, DifferentiatedLayer
from lsnn_gym.benchmarks.libraries import LIBRARIES, make_ours
from lsnn_gym.benchmarks.memory import growth_during
from lsnn_gym.benchmarks.problem import (
    SIZES,
    Problem,
    draw_inputs,
    draw_output_gradient,
    draw_sparse_weights,
    draw_weights,
)
from lsnn_gym.benchmarks.recurrent import benchmark_recurrent, problem_of, ratios
from lsnn_gym.benchmarks.reports import recurrent_markdown, write_recurrent_report
from lsnn_gym.benchmarks.timing import time_in_turns
from lsnn_gym.engine import ENGINES, native, reference
from lsnn_gym.errors import UserError
from tests.command_line import run

TINY = Problem(inputs=12, regular_neurons=12, adaptive_neurons=8, steps=60, batch=3)
PEERS = [name for name, library in LIBRARIES.items() if library.role == "peer"]


def quick_peak(library, *arguments):
    """Start one process instead of one a library."""
    return memory.peak_of_layer(library, *arguments) if library is LIBRARIES["gru"] else 1000


@contextmanager
def quick_and_alone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurrent, "peak_of_layer", quick_peak)
        for name in PEERS:
            patch.setitem(sys.modules, LIBRARIES[name].module, None)
        yield


@pytest.fixture
def no_peers():
    with quick_and_alone():
        yield


@pytest.fixture(scope="module")
def measured():
    with quick_and_alone():
        return json.loads(json.dumps(benchmark_recurrent(replace(TINY, connectivity=0.5), repetitions=3)))


def test_every_library_that_is_here_is_measured(measured):
    found = measured["libraries"]
    expected = {name for name, each in LIBRARIES.items() if each.role != "peer"}
    if native.unavailable:
        expected -= {"native"}
    assert set(found) == expected
    for name, one in found.items():
        assert len(one["all_seconds"]) == 3
        assert one["seconds"] == sorted(one["all_seconds"])[1] > 0
        assert (one["firing_rate_hz"] is not None) == LIBRARIES[name].spiking
        assert one["model"]
        assert one["version"]
    assert found["gru"]["peak_memory_bytes"] != 1000
    assert found["unrolled"]["firing_rate_hz"] == pytest.approx(found["reference"]["firing_rate_hz"])
    assert measured["problem"]["connectivity"] == 0.5
    assert measured["problem"]["input_density"] == 0.02
    assert measured["machine"]["threads"] == torch.get_num_threads()


def test_missing_peers_are_told(measured):
    assert {"norse", "snntorch", "spikingjelly"} <= set(measured["missing"])
    assert "docs/benchmarks.md" in measured["missing"]["norse"]
    assert measured["fastest_peer"] is None
    assert measured["ratio_to_fastest_peer"] is None
    assert measured["peak_memory_ratio_to_norse"] is None
    text = recurrent_markdown(measured)
    assert "- norse was left out: " in text
    assert "fastest peer (none) over native: not measured" in text


@pytest.mark.skipif(native.unavailable is not None, reason=str(native.unavailable))
def test_the_floor_ratio_follows_from_the_seconds(measured):
    found = measured["libraries"]
    ratio = found["native"]["seconds"] / found["dense_products"]["seconds"]
    assert measured["ratio_to_dense_products"] == pytest.approx(ratio)


def test_ratios_follow_from_the_figures():
    found = {
        "native": {"seconds": 0.5, "peak_memory_bytes": 10},
        "norse": {"seconds": 4.0, "peak_memory_bytes": 40},
        "snntorch": {"seconds": 3.0, "peak_memory_bytes": None},
        "lstm": {"seconds": 0.1, "peak_memory_bytes": 1},
        "dense_products": {"seconds": 0.25, "peak_memory_bytes": 0},
    }
    assert ratios(found, ["norse", "snntorch", "spikingjelly"]) == {
        "fastest_peer": "snntorch",
        "ratio_to_fastest_peer": 6.0,
        "ratio_to_dense_products": 2.0,
        "peak_memory_ratio_to_norse": 0.25,
    }


def test_a_long_reference_is_measured_on_request_only(monkeypatch, no_peers):
    monkeypatch.setattr(recurrent, "_QUICK_ENOUGH", 0)
    few = only("unrolled", "reference")
    unasked = benchmark_recurrent(TINY, repetitions=1, libraries=few)
    assert "reference" not in unasked["libraries"]
    assert "on request" in unasked["missing"]["reference"]
    asked = benchmark_recurrent(TINY, repetitions=1, libraries=few, reference=True)
    assert set(asked["libraries"]) == {"unrolled", "reference"}


def only(*names):
    return {name: LIBRARIES[name] for name in names}


def test_a_library_that_wants_too_much_memory_is_left_out(monkeypatch):
    # exec takes the place of a layer's maker, and a dictionary that of the problem it is made for.
    killed: Any = partial(exec, "import os; os._exit(9)")
    nothing: Any = {}
    with pytest.raises(memory.OutOfMemoryError, match="its process was ended"):
        memory.peak_of_layer(replace(LIBRARIES["gru"], make=killed), nothing, nothing, 1)

    def lost(library, *arguments):
        raise memory.OutOfMemoryError("its process was ended")

    monkeypatch.setattr(recurrent, "peak_of_layer", lost)
    results = benchmark_recurrent(TINY, repetitions=1, libraries=only("gru"))
    assert results["libraries"] == {}
    assert results["missing"] == {"gru": "its process was ended"}


def without_refractoriness(neurons, *arguments, **options):
    never = torch.zeros_like(neurons.refractory_period)
    return reference.run(neurons._replace(refractory_period=never), *arguments, **options)


def with_another_slope(*arguments, dampening_factor, **options):
    return reference.run(*arguments, dampening_factor=1.001 * dampening_factor, **options)


def wrong_in_the_last_sample(*arguments, **options):
    spikes, state = reference.run(*arguments, **options)
    return torch.cat([spikes[:, :-1], 1 - spikes[:, -1:]], dim=1), state


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (without_refractoriness, "equal torch.float64 spikes in 0% of the samples"),
        (with_another_slope, "torch.float64 gradients by 1"),
        (wrong_in_the_last_sample, "equal torch.float64 spikes in 67% of the samples"),
    ],
)
def test_a_wrong_engine_is_found_out(wrong, message, monkeypatch, no_peers):
    broken = SimpleNamespace(run=wrong, supports=lambda model: True, unavailable=None, __doc__="")
    monkeypatch.setitem(ENGINES, "unrolled", broken)
    with pytest.raises(UserError, match=f"the unrolled engine differs from the reference: .*{message}"):
        benchmark_recurrent(TINY, repetitions=1, libraries=only("unrolled", "gru"))


def test_equal_engines_pass_on_samples_that_fire():
    found = check_engines(["unrolled"], replace(TINY, steps=500, batch=30), gain=1.0)
    assert (found["steps"], found["batch"]) == (200, 18)
    assert found["unrolled"]["float64"]["equal_samples"] == 1
    assert found["unrolled"]["float64"]["spikes"] > 100
    assert found["unrolled"]["float32"]["largest_gradient_error"] < 1e-5


@pytest.mark.parametrize("connectivity", [1.0, 0.3])
def test_weights_are_scaled_until_the_network_fires_at_30_to_50_hz(connectivity):
    problem = replace(TINY, inputs=40, steps=300, connectivity=connectivity)
    gain = find_gain(LIBRARIES["unrolled"], problem)
    spikes = make_ours("unrolled", problem, gain).forward(draw_inputs(replace(problem, batch=30)))
    assert 30 < firing_rate_hz(spikes) < 50


def test_inputs_and_weights_are_what_the_problem_says():
    problem = Problem(300, 200, 100, steps=100, batch=16, connectivity=0.12)
    inputs = draw_inputs(problem)
    assert inputs.shape == (100, 16, 300)
    assert set(inputs.unique().tolist()) == {0.0, 1.0}
    assert float(inputs.mean()) == pytest.approx(0.02, rel=0.05)
    assert draw_output_gradient(problem).shape == (100, 16, 300)
    for weight in draw_sparse_weights(problem, 1.0):
        assert float((weight != 0).float().mean()) == pytest.approx(0.12, rel=0.05)
    assert not draw_weights(problem, 1.0)[1].diagonal().any()
    assert torch.equal(draw_weights(problem, 2.0)[0], 2 * draw_weights(problem, 1.0)[0])


@pytest.mark.parametrize("at_once", [False, True])
def test_the_matrix_products_are_those_of_a_linear_network(at_once):
    problem = replace(TINY, steps=20)
    by_input, recurrent_weight = (each.double() for each in draw_weights(problem, 1.0))
    inputs, by_outputs = draw_inputs(problem).double(), draw_output_gradient(problem).double()

    def forward(inputs):
        outputs = [torch.zeros(problem.batch, problem.neurons, dtype=torch.float64)]
        for each in inputs:
            outputs.append(each @ leaves[0].T + outputs[-1] @ leaves[1].T)
        return torch.stack(outputs[1:])

    leaves = [by_input.clone().requires_grad_(), recurrent_weight.clone().requires_grad_()]
    expected = DifferentiatedLayer(forward, leaves).learn(inputs, by_outputs)
    products = DenseProducts(by_input, recurrent_weight, at_once=at_once)
    torch.testing.assert_close(products.learn(inputs, by_outputs), expected)
    for weight, leaf in zip(products.weights, leaves, strict=True):
        torch.testing.assert_close(weight.grad, leaf.grad)


def test_learning_again_gives_the_same_gradients():
    layer = make_ours("unrolled", TINY, 1.0)
    inputs, by_outputs = draw_inputs(TINY), draw_output_gradient(TINY)
    layer.learn(inputs, by_outputs)
    once = [weight.grad.clone() for weight in layer.weights if weight.grad is not None]
    layer.learn(inputs, by_outputs)
    assert len(once) == 2
    assert all(torch.equal(weight.grad, each) for weight, each in zip(layer.weights, once, strict=True))  # type: ignore[arg-type]


def test_turns_are_taken_one_after_the_other():
    order: list[str] = []
    seconds = time_in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3
    assert {name: len(each) for name, each in seconds.items()} == {"a": 3, "b": 3}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell as exactly")
def test_memory_that_is_held_for_a_moment_counts():
    def hold() -> None:
        torch.ones(50 << 20, dtype=torch.uint8)

    torch.ones(200 << 20, dtype=torch.uint8)  # an earlier peak does not
    for _ in range(2):
        grown = growth_during(hold)
        assert grown is not None
        assert 45e6 < grown < 70e6


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.filterwarnings("ignore")
def test_a_peer_fires_like_ours_and_learns(name):
    library = LIBRARIES[name]
    pytest.importorskip(library.module)
    problem = replace(TINY, inputs=40, steps=200)
    layer = library.make(problem, find_gain(library, problem))
    spikes = layer.learn(draw_inputs(problem), draw_output_gradient(problem))
    assert spikes.shape == (200, 3, 20)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    assert 25 < firing_rate_hz(spikes) < 55
    for weight in layer.weights:
        assert weight.grad is not None
        assert torch.isfinite(weight.grad).all()
        assert weight.grad.any()
    assert torch.equal(layer.learn(draw_inputs(problem), draw_output_gradient(problem)), spikes)


def test_the_sizes_are_the_published_ones():
    sizes = {name: (p.inputs, p.neurons, p.steps, p.batch) for name, p in SIZES.items()}
    assert sizes == {
        "sequential-mnist": (80, 220, 784, 256),
        "navigation": (160, 400, 2000, 10),
        "regression": (300, 300, 1000, 16),
    }
    assert problem_of("navigation", 0.2) == replace(SIZES["navigation"], connectivity=0.2)
    with pytest.raises(ValueError, match="connectivity must be greater than 0 and at most 1, not 0"):
        problem_of("navigation", 0.0)


def test_reports_are_written(measured, tmp_path):
    pytest.importorskip("matplotlib")
    paths = write_recurrent_report(tmp_path / "new" / "folder", "recurrent-tiny-50", measured)
    assert [path.name for path in paths] == [f"recurrent-tiny-50.{each}" for each in ("json", "md", "png")]
    assert json.loads(paths[0].read_text()) == measured
    assert paths[1].read_text() == recurrent_markdown(measured)
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_and_writes(monkeypatch, no_peers, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(recurrent, "SIZES", {"regression": TINY})
    command = ["bench", "recurrent", "--size", "regression", "--connectivity", "0.5", "--repetitions", "1"]
    assert run(*command, "--json", "--threads", "1", "--out", str(tmp_path)) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["size"] == "regression"
    assert results["problem"]["connectivity"] == 0.5
    assert {path.name for path in tmp_path.iterdir()} == {
        f"recurrent-regression-50.{suffix}" for suffix in ("json", "md", "png")
    }
