"""The scaling benchmark: its shape, and that its exponents follow from its seconds."""

from __future__ import annotations

import json
import math

import pytest

from lsnn_gym.benchmarks import scaling
from lsnn_gym.benchmarks.problem import Problem
from lsnn_gym.benchmarks.reports import scaling_markdown, write_scaling_report
from lsnn_gym.benchmarks.scaling import SWEEPS, Sweep, benchmark_scaling, exponents
from lsnn_gym.engine import native
from lsnn_gym.errors import UserError
from tests.command_line import run

needs_native = pytest.mark.skipif(native.unavailable is not None, reason=str(native.unavailable))

TINY_SWEEPS = {
    "neurons": Sweep("neurons", "neurons", (Problem(9, 6, 4, 20, 2), Problem(9, 12, 8, 20, 2))),
    "batch": Sweep("samples", "batch", (Problem(9, 6, 4, 20, 1), Problem(9, 6, 4, 20, 4))),
}


@needs_native
def test_every_point_is_measured():
    results = json.loads(json.dumps(benchmark_scaling(repetitions=3, sweeps=TINY_SWEEPS)))
    assert set(results["sweeps"]) == {"neurons", "batch"}
    neurons, batch = results["sweeps"]["neurons"], results["sweeps"]["batch"]
    assert [point["problem"]["neurons"] for point in neurons["points"]] == [10, 20]
    assert [point["problem"]["batch"] for point in batch["points"]] == [1, 4]
    for point in neurons["points"]:
        assert point["seconds"] == sorted(point["all_seconds"])[1] > 0
        assert point["firing_rate_hz"] > 0
    first, last = (point["seconds"] for point in batch["points"])
    assert batch["exponents"] == [pytest.approx(math.log(last / first) / math.log(4))]


def test_exponents_tell_how_time_grows():
    assert exponents([10, 20, 80], [1.0, 4.0, 16.0]) == pytest.approx([2.0, 1.0])


def test_sweeps_vary_what_they_say():
    for sweep in SWEEPS.values():
        sizes = [getattr(problem, sweep.axis) for problem in sweep.problems]
        assert sizes == sorted(set(sizes))
        for other in {"neurons", "steps", "batch"} - {sweep.axis}:
            assert len({getattr(problem, other) for problem in sweep.problems}) == 1
    growing = SWEEPS["neurons_at_constant_connectivity"].problems
    assert (growing[0].neurons, growing[-1].neurons) == (100, 4000)
    assert {problem.connectivity for problem in growing} == {0.12}
    constant = SWEEPS["neurons_with_constant_synapses"].problems
    assert {round(problem.connectivity * problem.neurons, 6) for problem in constant} == {12}


def test_without_the_native_engine_there_is_nothing_to_measure(monkeypatch):
    monkeypatch.setattr(native, "unavailable", "it is not compiled")
    with pytest.raises(UserError, match="the native engine cannot be used here: it is not compiled"):
        benchmark_scaling(sweeps=TINY_SWEEPS)


@needs_native
def test_the_command_prints_and_writes(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(scaling, "SWEEPS", TINY_SWEEPS)
    assert run("bench", "scaling", "--repetitions", "1", "--out", str(tmp_path)) == 0
    table = capsys.readouterr().out
    assert "Against samples" in table
    results = json.loads((tmp_path / "scaling.json").read_text())
    assert table == scaling_markdown(results) == (tmp_path / "scaling.md").read_text()
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in write_scaling_report(tmp_path, results)][-1] == "scaling.png"
