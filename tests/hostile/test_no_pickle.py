"""Nothing that is loaded can run code: no source has a way to, and no run takes one."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import lsnn_gym
from lsnn_gym import agents, configs, envs, plain_yaml
from tests.command_line import SMALL_MAZE

ROOTS = [Path(str(package.__file__)).parent for package in (lsnn_gym, envs, agents, configs)]
MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "shelve",
    "marshal",
    "joblib",
    "jsonpickle",
    "code",
    "codeop",
    "runpy",
}
"""Not to be imported."""
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "np.load",
    "numpy.load",
    "np.fromregex",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.load_all",
    "pd.read_pickle",
    "torch.package.PackageImporter",
}
"""Not to be called, or even named."""
ARGUMENTS = {"allow_pickle", "shell"}
"""Not to be anything but False."""


def ways_to_run_code(source: str) -> Iterator[str]:
    """Yield what in Python source could run code that comes from a file."""
    aliases: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            aliases |= {each.asname: each.name for each in node.names if each.asname}
            yield from (each.name for each in node.names if each.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            full = {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
            aliases |= full
            yield from (name for name in full.values() if name.partition(".")[0] in MODULES or name in CALLS)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute | ast.Name):
            first, _, rest = ast.unparse(node).partition(".")
            for name in {
                f"{first}.{rest}" if rest else first,
                f"{aliases.get(first, first)}.{rest}".rstrip("."),
            }:
                if name in CALLS or name.partition(".")[0] in MODULES - {"code"}:
                    yield name
        elif isinstance(node, ast.Call):
            yield from _arguments(node, aliases)


def _arguments(call: ast.Call, aliases: dict[str, str]) -> Iterator[str]:
    for each in call.keywords:
        if each.arg in ARGUMENTS and not (isinstance(each.value, ast.Constant) and each.value.value is False):
            yield f"{each.arg}={ast.unparse(each.value)}"
        if each.arg == "weights_only" and ast.unparse(each.value) != "True":
            yield f"weights_only={ast.unparse(each.value)}"
    first, _, rest = ast.unparse(call.func).partition(".")
    if f"{aliases.get(first, first)}.{rest}" == "yaml.load":
        loaders = [ast.unparse(each.value) for each in call.keywords if each.arg == "Loader"]
        if loaders != ["_Loader"]:
            yield f"yaml.load with {loaders}"


def sources() -> list[Path]:
    return sorted({path for root in ROOTS for path in root.rglob("*.py")})


def test_no_source_has_a_way_to():
    found = sources()
    assert {path.name for path in found} >= {"checkpoint.py", "hub.py", "water_maze.py", "plain_yaml.py"}
    ways = {f"{path}: {way}" for path in found for way in ways_to_run_code(path.read_text(encoding="utf-8"))}
    assert not ways


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import a, dill",
        "from pickle import loads",
        "import cloudpickle as c",
        "import torch\ntorch.load(x)",
        "from torch import load\nload(x)",
        "import torch as th\nth.load(x)",
        "import numpy as np\nf = np.load",
        "from numpy import load",
        "g(x, allow_pickle=True)",
        "g(x, allow_pickle=y)",
        "eval(x)",
        "exec(x)",
        "import os\nos.system(x)",
        "from os import popen",
        "subprocess.run(x, shell=True)",
        "import yaml\nyaml.load(x, Loader=yaml.Loader)",
        "import yaml\nyaml.load(x)",
        "import yaml as y\ny.load(x, y.Loader)",
        "import yaml\nyaml.unsafe_load(x)",
        "f(x, weights_only=False)",
        "import joblib",
        "import shelve",
        "import marshal",
        "__import__(x)",
        "from yaml import unsafe_load",
    ],
)
def test_the_search_finds(source: str):
    assert list(ways_to_run_code(source))


@pytest.mark.parametrize(
    "source", ["import re\nre.compile(x)", "g(x, allow_pickle=False)", "import json\njson.load(x)"]
)
def test_the_search_lets_be(source: str):
    assert not list(ways_to_run_code(source))


def test_yaml_is_read_by_a_safe_loader():
    assert issubclass(plain_yaml._Loader, yaml.SafeLoader)


WATCHED = """
import sys
seen, watching = [], []

def hook(event, arguments):
    if watching and event == "pickle.find_class":
        seen.append(arguments)

sys.addaudithook(hook)
import lsnn_gym.cli
from pathlib import Path

def run(*arguments):
    try:
        lsnn_gym.cli.main(arguments)
    except SystemExit as ended:
        assert ended.code == 0, (arguments, ended.code)

watching.append(True)
out, *settings = sys.argv[1:]
run("train", "water-maze-smoke", "--out", out, "--quiet", "--set=train.iterations=4", *settings)
(folder,) = Path(out).iterdir()
newest = max((folder / "checkpoints").iterdir())
newest.rename(newest.with_name("gone"))
run("train", "--resume", str(folder), "--quiet")
run("evaluate", str(folder), "--json")
assert not seen, seen
import pickle
pickle.loads(pickle.dumps(Path("x")))
assert seen, "the hook sees nothing"
print("whole")
"""


def test_a_run_is_trained_resumed_and_judged_without_a_pickle(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path / "runs"), *SMALL_MAZE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "whole"
