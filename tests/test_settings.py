from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError, field_validator, model_validator

from lsnn_gym.errors import UserError
from lsnn_gym.plain_yaml import read_yaml
from lsnn_gym.settings import Settings, apply_overrides, to_yaml, validate


class Shape(Enum):
    DISC = "disc"
    SQUARE = "square"


class Lsnn(Settings):
    kind: Literal["lsnn"] = "lsnn"
    neurons: int = Field(default=64, gt=0)
    """Number of neurons."""
    beta: float = 0.1
    mode: Literal["lstm", "plain"] = "plain"  # a Literal field with the other section's tag


class Lstm(Settings):
    kind: Literal["lstm"] = "lstm"
    units: int = 32


class Agent(Settings):
    core: Annotated[Lsnn | Lstm, Field(discriminator="kind")] = Lsnn()
    gamma: float = 0.99


class Train(Settings):
    learning_rate: float = Field(default=1e-3, gt=0)
    iterations: int = 10
    sizes: tuple[int, ...] = (1, 2)
    span: tuple[float, float] = (0.0, 1.0)
    arena: Shape = Shape.DISC
    out: Path = Path("runs")
    rule: Literal["bptt", "eprop"] = "bptt"
    log: bool = True
    note: str | None = None
    limit: int | str = 3

    @field_validator("iterations")
    @classmethod
    def even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value

    @model_validator(mode="after")
    def ordered(self) -> Train:
        if self.span[0] > self.span[1]:
            raise ValueError("span: the first\nmust not exceed the second")
        return self


class Run(Settings):
    name: str
    seed: int = 0
    agent: Agent = Agent()
    fallback: Agent | None = None
    layers: list[Lsnn] = Field(default_factory=list)
    named: dict[str, Lsnn] = Field(default_factory=dict)
    train: Train = Train()


def message(mapping: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        validate(Run, {"name": "x", **mapping}, "run.yaml")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("run.yaml: ")
    return text.removeprefix("run.yaml: ")


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Settings ----------------------------------------------------------------------------------------


def test_settings_are_immutable_and_described():
    run = Run(name="x")
    with pytest.raises(ValidationError, match="frozen"):
        run.seed = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert Lsnn.model_fields["neurons"].description == "Number of neurons."


def test_plain_data_becomes_typed_values():
    found = validate(
        Run,
        {
            "name": "x",
            "agent": {"core": {"kind": "lstm", "units": 8}, "gamma": 1},
            "train": {"sizes": [3], "span": [0, 2], "arena": "square", "out": "there"},
        },
        "run.yaml",
    )
    assert found.agent.core == Lstm(units=8)
    assert found.agent.gamma == 1.0
    assert type(found.agent.gamma) is float
    assert found.train.sizes == (3,)
    assert found.train.arena is Shape.SQUARE
    assert found.train.out == Path("there")


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"seed": "3"}, "seed is '3', expected a whole number"),
        ({"seed": True}, "seed is true, expected a whole number"),
        ({"seed": 1.0}, "seed is 1.0, expected a whole number"),
        ({"seed": None}, "seed is null, expected a whole number"),
        ({"name": 3}, "name is 3, expected text"),
        ({"agent": {"gamma": True}}, "agent.gamma is true, expected a number"),
        ({"agent": {"gamma": "high"}}, "agent.gamma is 'high', expected a number"),
        ({"agent": {"gamma": math.nan}}, "agent.gamma is NaN, expected a finite number"),
        ({"agent": {"gamma": -math.inf}}, "agent.gamma is -Infinity, expected a finite number"),
        ({"train": {"learning_rate": -1}}, "train.learning_rate is -1, expected greater than 0"),
        ({"train": {"log": 1}}, "train.log is 1, expected true or false"),
        ({"train": {"log": "yes"}}, "train.log is 'yes', expected true or false"),
        ({"train": {"sizes": 3}}, "train.sizes is 3, expected a list"),
        ({"train": {"sizes": [1, "a"]}}, "train.sizes.1 is 'a', expected a whole number"),
        ({"train": {"span": [1]}}, "train.span.1 is missing"),
        ({"train": 3}, "train is 3, expected a section with keys"),
        ({"train": {"limit": [1]}}, "train.limit is [1], expected a whole number or text"),
        ({"train": {"iterations": 3}}, "train.iterations is 3: must be even"),
        ({"train": {"span": [2, 1]}}, "train: span: the first must not exceed the second"),
        (
            {"train": {"rule": "eprob"}},
            "unknown train.rule 'eprob': did you mean 'eprop'? there is bptt, eprop",
        ),
        (
            {"train": {"arena": "disk"}},
            "unknown train.arena 'disk': did you mean 'disc'? there is disc, square",
        ),
        (
            {"sede": 3},
            "unknown key 'sede': did you mean 'seed'? there is agent, fallback, layers, name, named,",
        ),
        (
            {"train": {"iteration": 4}},
            "unknown key 'train.iteration': did you mean 'train.iterations'? train has arena, iterations,",
        ),
        (
            {"agent": {"core": {"kind": "lsnn", "neuron": 4}}},
            "unknown key 'agent.core.neuron': did you mean 'agent.core.neurons'? "
            "agent.core has beta, kind, mode, neurons",
        ),
        (
            {"agent": {"core": {"kind": "lstm", "unit": 4}}},
            "unknown key 'agent.core.unit': did you mean 'agent.core.units'? agent.core has kind, units",
        ),
        (
            {"fallback": {"core": {"kind": "lsnn", "bata": 4}}},
            "unknown key 'fallback.core.bata': did you mean 'fallback.core.beta'?",
        ),
        ({"layers": [{}, {"neurns": 1}]}, "unknown key 'layers.1.neurns': did you mean 'layers.1.neurons'?"),
        ({"named": {"a": {"bet": 1}}}, "unknown key 'named.a.bet': did you mean 'named.a.beta'?"),
        # the right name, in the wrong section
        ({"learning_rate": 1}, "unknown key 'learning_rate': did you mean 'train.learning_rate'?"),
        (
            {"agent": {"core": {"kind": "lsn"}}},
            "unknown agent.core.kind 'lsn': did you mean 'lsnn'? there is lsnn, lstm",
        ),
        ({"agent": {"core": {"beta": 1}}}, "agent.core.kind is missing: there is lsnn, lstm"),
        ({"agent": {"core": "lsnn"}}, "agent.core is 'lsnn', expected a section with keys"),
        # unknown keys come first, and the rest is counted
        (
            {"seed": "3", "agent": {"gama": 1}, "train": {"log": 1}},
            "unknown key 'agent.gama': did you mean 'agent.gamma'? agent has core, gamma"
            " (and 2 more problems)",
        ),
        ({"seed": "3", "name": 3}, "name is 3, expected text (and 1 more problem)"),
    ],
)
def test_one_line_says_what_is_wrong(mapping: dict[str, Any], expected: str):
    found = message(mapping)
    assert found.startswith(expected)
    if not expected.endswith(("?", ",")):
        assert found == expected


def test_missing_key():
    with pytest.raises(UserError, match=r"^c: name is missing$"):
        validate(Run, {}, "c")


def test_long_values_are_cut():
    assert len(message({"seed": "x" * 1000})) < 120


def test_deep_nesting_is_one_line():
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert message({"seed": deep}) == "nested too deeply"


# YAML --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000", 1000),
        ("010", 10),
        ("-3", -3),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("no", False),
        ("~", None),
        (".inf", math.inf),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("e3", "e3"),
    ],
)
def test_scalars(tmp_path: Path, text: str, value: object):
    found = read_yaml(written(tmp_path, f"a: {text}\n"))["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ", line 3: the key 'a' appears twice"),
        ("a:\n  b: 1\n  b: 1\n", ", line 3: the key 'b' appears twice"),
        ("a: 1\n3: 2\n", ", line 2: the key '3' is not text (quote it)"),
        ("on: 2\n", ", line 1: the key 'on' is not text (quote it)"),
        ("? [a]\n: 1\n", ", line 1: the key (a list or mapping) is not text (quote it)"),
        ("a: !!python/object/apply:os.system ['echo hi']\n", ", line 1: the tag "),
        ("a: !!set {b}\n", ", line 1: the tag 'tag:yaml.org,2002:set' is not allowed"),
        ("a: !own 3\n", ", line 1: the tag '!own' is not allowed"),
        ("a: &x 1\nb: *x\n", ", line 1: anchors are not allowed"),
        ("a: *x\n", ", line 1: anchors are not allowed"),
        ("- 1\n", ": expected a mapping of keys at the top level, found list [1]"),
        ("", ": expected a mapping of keys at the top level, found nothing"),
        ("text", ": expected a mapping of keys at the top level, found str 'text'"),
        ("a: [1\n", ", line "),
        ("a: 1\n---\nb: 2\n", ", line 2: but found another document"),
        ("a: \x01\n", ": unacceptable character"),
        (b"a: \xff\xfe\n", ": not a text file in UTF-8"),
        ("a: " + "[" * 5000, ": nested too deeply"),
        ("a: " + "9" * 5000 + "\n", ", line 1: the number 99"),
    ],
)
def test_bad_yaml_is_one_line(tmp_path: Path, text: str | bytes, expected: str):
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}{expected}")
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path):
    (tmp_path / "water-maze.yaml").write_text("a: 1")
    with pytest.raises(UserError) as caught:
        read_yaml(tmp_path / "watermaze.yaml")
    assert str(caught.value) == (
        f"no such file: {tmp_path}/watermaze.yaml; did you mean {tmp_path}/water-maze.yaml?"
    )
    with pytest.raises(UserError, match=r"^no such file: /no/such/place/at/all.yaml$"):
        read_yaml("/no/such/place/at/all.yaml")
    with pytest.raises(UserError, match=r"^cannot read .*: Is a directory$"):
        read_yaml(tmp_path)
    with pytest.raises(UserError, match=r"^cannot read .*: embedded null byte$"):
        read_yaml("a\0b")


# Overrides ---------------------------------------------------------------------------------------


def test_overrides():
    before = {"train": {"sizes": [1, 2], "log": True}, "agent": None, "name": "x"}
    after = apply_overrides(
        before,
        [
            "train.sizes=[3]",
            " train.learning_rate = 1e-3",
            "agent.core.kind=lsnn",
            "name='3'",
            "seed=1",
            "seed=2",
            "new={a: {b: 1}}",
            "note=a=b",
            "train.log=null",
        ],
    )
    assert after == {
        "train": {"sizes": [3], "log": None, "learning_rate": 1e-3},
        "agent": {"core": {"kind": "lsnn"}},
        "name": "3",
        "seed": 2,
        "new": {"a": {"b": 1}},
        "note": "a=b",
    }
    assert before == {"train": {"sizes": [1, 2], "log": True}, "agent": None, "name": "x"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("a..b=3", "expected section.key=value"),
        (".a=3", "expected section.key=value"),
        ("", "expected section.key=value"),
        ("seed=", "there is no value after '='"),
        ("name.x=3", "name is 'x', not a section with keys"),
        ("name.x.y=3", "name is 'x', not a section with keys"),
        ("seed=[1", "expected ',' or ']'"),
        ("seed=!!set {a}", "the tag 'tag:yaml.org,2002:set' is not allowed"),
        ("seed={a: 1, a: 2}", "the key 'a' appears twice"),
    ],
)
def test_bad_overrides(override: str, expected: str):
    with pytest.raises(UserError) as caught:
        apply_overrides({"name": "x"}, [override])
    assert str(caught.value).startswith(f"--set {override!r}: {expected}")


# The resolved copy -------------------------------------------------------------------------------


def test_resolved_copy_shows_every_default_and_reads_back(tmp_path: Path):
    run = validate(Run, {"name": "x", "layers": [{}, {"beta": 1e-7}], "named": {"on": {}}}, "c")
    text = to_yaml(run)
    plain = read_yaml(written(tmp_path, text))
    assert validate(Run, plain, "c") == run
    assert plain["train"] == {
        "learning_rate": 1e-3,
        "iterations": 10,
        "sizes": [1, 2],
        "span": [0.0, 1.0],
        "arena": "disc",
        "out": "runs",
        "rule": "bptt",
        "log": True,
        "note": None,
        "limit": 3,
    }
    assert plain["fallback"] is None
    assert plain["agent"]["core"]["kind"] == "lsnn"
    assert text.index("name:") < text.index("seed:") < text.index("agent:")
    # an ordinary YAML reader sees the same
    assert yaml.safe_load(text) == plain


class Free(Settings):
    text: str
    number: float
    whole: int
    either: int | str
    table: dict[str, str]


@hypothesis_settings(deadline=None)  # a busy machine is no failure
@given(
    st.builds(
        Free,
        text=st.one_of(
            st.text(st.characters(exclude_categories=["Cs"])),
            st.sampled_from(
                ["1e-3", "on", "null", "~", "", "010", "1:30", "- a", "<<", "=", "!a", "&b", " x "]
            ),
        ),
        number=st.floats(allow_nan=False, allow_infinity=False),
        whole=st.integers(min_value=-(2**63), max_value=2**63 - 1),
        either=st.integers(-5, 5) | st.sampled_from(["3", "1_0", "no", "a"]),
        table=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text("ab1e-:# \n'\"")),
    )
)
def test_any_settings_survive_the_round_trip(tmp_path_factory: pytest.TempPathFactory, free: Free):
    path = tmp_path_factory.getbasetemp() / "free.yaml"
    path.write_text(to_yaml(free), encoding="utf-8", newline="")
    assert validate(Free, read_yaml(path), "c") == free
