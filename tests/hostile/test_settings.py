"""Configs and command lines of any kind: of use, or one line and exit status 2."""

from __future__ import annotations

import copy
import re
import string
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lsnn_gym.command_line.starting
import lsnn_gym.comparison
import lsnn_gym.data
import lsnn_gym.sweep
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import config_names, experiment_from
from lsnn_gym.plain_yaml import parse_yaml, read_yaml
from tests.command_line import run

FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
EXPERIMENTS = [name for name, path in config_names().items() if "base" not in read_yaml(path)]

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([0, 1, -1, 2**63, 10**400, 10**12]),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(
            ["lsnn", "adam", "digits", "store-recall", "deep_r", "cuda", "\ud800", "\0", "a" * 5000, "../x"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["kind", "a", ""]), inner, max_size=2)
    ),
    max_leaves=5,
)


def paths(section: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the places of all keys, nested ones too."""
    found = [(*before, key) for key in section]
    for key, value in section.items():
        if isinstance(value, dict):
            found += paths(value, (*before, key))
    return found


@FEW
@given(st.data())
def test_settings_are_of_use_or_refused_in_a_line(data: st.DataObject):
    mapping = copy.deepcopy(read_yaml(config_names()[data.draw(st.sampled_from(EXPERIMENTS))]))
    for _ in range(data.draw(st.integers(1, 3))):
        *sections, key = data.draw(st.sampled_from(paths(mapping)))
        section: Any = mapping
        for name in sections:
            section = section[name]
        what = data.draw(st.sampled_from(["value", "remove", "rename"]))
        value = section.pop(key)
        if what == "value":
            section[key] = data.draw(values)
        elif what == "rename":
            section[data.draw(st.text(max_size=8))] = value
        if not mapping:
            break
    try:
        experiment_from(mapping, "here")
    except UserError as error:
        told = str(error)
    else:
        return
    assert "\n" not in told
    assert told.startswith("here")
    assert len(told) < 3000


@pytest.fixture
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what comes before the work is of interest here."""

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise UserError("this would be work")

    monkeypatch.setattr(lsnn_gym.command_line.starting, "train_or_go_on", refuse)
    monkeypatch.setattr(lsnn_gym.comparison, "plan", refuse)
    monkeypatch.setattr(lsnn_gym.sweep, "run_sweep", refuse)
    monkeypatch.setattr(lsnn_gym.data, "fetch", refuse)


words = st.one_of(
    st.sampled_from(
        [
            "water-maze-smoke",
            "digits-rows",
            "digits-ablation",
            "envs",
            "data",
            "digits",
            "mnist",
            "nowhere",
            "nowhere.yaml",
            "",
            "-",
            "--",
            "-x",
            "--quiet",
            "--json",
            "--help",
            "--version",
            "--set",
            "--set=a",
            "--set=train.iterations=x",
            "--set=a.b.c=1",
            "--set==",
            "--set=network={",
            "--set=name=!!python/object:os.system",
            "--seeds",
            "--seeds=1,x",
            "--seeds=1",
            "--out",
            "--resume",
            "--episodes",
            "--episodes=0",
            "--episodes=99999999999999999999",
            "--seed=-1",
            "--jobs=0",
            "--trials=1",
            "--storage=x://y",
            "/",
            "/dev/null",
            "/etc",
            ".",
            "~",
            "\udcff",
            "é" * 300,
            "list",
            "check",
            "2",
        ]
    ),
    st.text(string.printable, max_size=6),
)
commands = st.sampled_from(
    ["list", "train", "evaluate", "render", "compare", "sweep", "data", "bench", "tain", "--help"]
)


@pytest.mark.usefixtures("_nothing_runs")
@FEW
@given(command=commands, rest=st.lists(words, max_size=4))
def test_command_lines_end_with_a_line(
    tmp_path: Path, command: str, rest: list[str], capfd: pytest.CaptureFixture[str]
):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        if command == "bench":
            rest = ["--help", *rest]  # else it measures
        status = run(command, *rest)
    told = capfd.readouterr().err
    assert status in (0, 2) or (status == 1 and command == "data")
    assert "Traceback" not in told
    if status == 2 and told.startswith("lsnn-gym: "):
        assert len(told.splitlines()) == 1


BOMB = "a: &a [1, 1]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 1: anchors are not allowed"),
        (
            "name: !!python/object/apply:os.system [touch here]",
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not",
        ),
        ("name: !x y", "the tag '!x' is not allowed"),
        ("name: a\nname: b", "line 2: the key 'name' appears twice"),
        ("name: x\nseed: " + "9" * 100_000, "line 2: the number 999.*... does not fit into 64 bits"),
        ("seed: -9223372036854775809", "does not fit into 64 bits"),
        ("[" * 100_000, "nested too deeply"),
        ("a: " * 3000, "mapping values are not allowed here"),
        ('name: "\\UFFFFFFFF"', "too large to convert|chr"),
        ("? [a, b]\n: 1", r"the key \(a list or mapping\) is not text"),
        ("<<: {a: 1}", "unknown key '<<'"),
        ("a: 1\n--- \nb: 2", "found another document"),
        ("x" * (1 << 20) + "y", "longer than 1,048,576 bytes"),
    ],
)
def test_yaml_of_any_kind_is_one_line(
    tmp_path: Path, text: str, message: str, capfd: pytest.CaptureFixture[str]
):
    path = tmp_path / "hostile.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.perf_counter()
    assert run("train", str(path)) == 2
    (line,) = capfd.readouterr().err.splitlines()

    assert line.startswith(f"lsnn-gym: {path}")
    assert re.search(message, line), line
    assert len(line) < 1000
    assert time.perf_counter() - began < 10
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hostile.yaml"]


def test_comparisons_are_limited(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    axes = {str(axis): {str(choice): {} for choice in range(10)} for axis in range(30)}
    path = tmp_path / "many.yaml"
    path.write_text(yaml.safe_dump({"name": "many", "base": "digits-rows", "axes": axes}), encoding="utf-8")
    assert run("compare", str(path)) == 2
    assert "expected at most 10,000 runs" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["..", "a/b", "a\\b", "a\0b", ".hidden", "", "a" * 300, "a:b"])
def test_names_of_variants_are_folders_below(tmp_path: Path, name: str):
    path = tmp_path / "variants.yaml"
    path.write_text(
        yaml.safe_dump({"name": "x", "base": "digits-rows", "variants": {name: {}}}), encoding="utf-8"
    )
    with pytest.raises(UserError, match="expected a plain folder name"):
        lsnn_gym.comparison.load_comparison([str(path)], (), ())


def test_what_does_not_fit_into_memory_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    changed = ("--set=network.regular_neurons=1000000000000", "--out", str(tmp_path))
    assert run("train", "water-maze-smoke", *changed) == 1
    assert capfd.readouterr().err == "lsnn-gym: there is not enough memory for an experiment of this size\n"
    assert list(tmp_path.iterdir()) == []


def test_numbers_are_read_as_they_are():
    assert parse_yaml("[9223372036854775807, -9223372036854775808]", "here") == [2**63 - 1, -(2**63)]
