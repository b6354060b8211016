"""The commands and configs of README and documentation are ones that there are; none is run."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click
import pytest

from lsnn_gym import data, pretrained
from lsnn_gym.cli import cli
from lsnn_gym.comparison import load_comparison
from lsnn_gym.errors import UserError
from lsnn_gym.experiment import config_names, experiment_from, load_experiment
from lsnn_gym.inventory import INVENTORY
from lsnn_gym.plain_yaml import parse_yaml, read_yaml
from lsnn_gym.tasks.registry import TASKS
from tests.docs.pages import PAGES, blocks, commands, name_of, spans

COMMANDS = [(name_of(page), command) for page in PAGES for command in dict.fromkeys(commands(page))]
YAML = [(name_of(page), text) for page in PAGES for language, text in blocks(page) if language == "yaml"]
KINDS = {"env", "task", "regression", "rule"}
PLACEHOLDERS = {"CONFIG", "RUN", "NAME"}


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return which command is meant, and its arguments, as the command line would understand them."""
    command: click.Command = cli
    context: click.Context | None = None
    names: list[str] = []
    while True:
        if not words:
            return " ".join(names), {}  # only named, as in "`lsnn-gym list` says"
        context = command.make_context(names[-1] if names else "lsnn-gym", list(words), parent=context)
        if not isinstance(command, click.Group):
            return " ".join(names), context.params
        rest = [*context._protected_args, *context.args]
        name, found, words = command.resolve_command(context, rest)
        assert found is not None
        names.append(str(name))
        command = found


def is_name(config: str) -> bool:
    """Return whether a config is meant to be one of the package's."""
    return config not in PLACEHOLDERS and not config.endswith(".yaml")


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_is_one_that_there_is(page, command):
    words = shlex.split(command)
    name, given = parsed(words)
    overrides = tuple(given.get("overrides") or ())
    if name in ("train", "sweep", "bench training") and isinstance(given.get("config"), str):
        config = str(given["config"])
        if is_name(config):
            load_experiment(config, overrides)
    if name == "compare":
        configs = given.get("configs") or ()
        assert isinstance(configs, tuple)
        if configs and all(map(is_name, configs)):
            load_comparison(configs, overrides, ())
    if name == "list" and given.get("what") is not None:
        assert given["what"] in INVENTORY
    if name.startswith("data ") and given.get("name", "NAME") != "NAME":
        assert given["name"] in data.names()


def test_a_wrong_command_is_noticed():
    with pytest.raises(UserError, match="did you mean 'train'"):
        parsed(["trian", "water-maze"])
    with pytest.raises(click.UsageError, match="No such option"):
        parsed(["render", "RUN", "--sed", "3"])


@pytest.mark.parametrize(("page", "text"), YAML)
def test_settings_are_ones_that_there_are(page, text):
    mapping = parse_yaml(text, page)
    assert isinstance(mapping, dict)
    if "parameters" in mapping:  # ranges of a sweep
        return
    needed = {} if KINDS & mapping.keys() else {"env": {"id": "lsnn_gym/WaterMaze-v0"}}
    experiment_from({"name": "page", **needed, **mapping}, page)


def test_configs_named_in_a_line_are_ones_that_there_are():
    looks_like_one = re.compile(
        r"(antlr|bptt|mlp|st-rsbp|tssl-bp|rules|sequential|water-maze|digits)-[a-z0-9-]+"
    )
    named = {span for page in PAGES for span in spans(page) if looks_like_one.fullmatch(span)}
    assert len(named) > 20
    assert named - TASKS.keys() - variants_of_comparisons() - set(pretrained.names()) <= config_names().keys()


def variants_of_comparisons() -> set[str]:
    contents = [read_yaml(path) for path in config_names().values()]
    return {name for each in contents if "base" in each for name in each.get("variants", {})}
