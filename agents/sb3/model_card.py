"""The card of an exported policy: what it is, how it was trained and how it is used, for people and hubs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stable_baselines3.common.policies import BasePolicy

_TAGS = ("reinforcement-learning", "stable-baselines3", "lsnn-gym")
_USE = """\
```python
from lsnn_gym.agents.sb3 import load_policy

policy = load_policy("path/to/this/folder")
action, state = policy.predict(observation)  # hand the state back in with the next observation
```"""


def model_card(config: Mapping[str, Any], policy: BasePolicy, description: str = "") -> str:
    """Return the card as Markdown, with the front matter that model hubs read.

    Args:
        config: Of the export.
        policy: For its size.
        description: Put below the title.
    """
    kind = config["policy"].rpartition(":")[2]
    trained_by = config["algorithm"] or "policy"
    title = f"{trained_by} with {kind}" if config["algorithm"] else kind
    on = f" on `{config['env_id']}`" if config["env_id"] else ""
    sizes = sum(parameter.numel() for parameter in policy.parameters())
    parts = [
        _front_matter(config, kind),
        f"# {title}{on}",
        *([description.strip()] if description.strip() else []),
        _table("Policy", {
            "class": f"`{config['policy']}`",
            "trained parameters": f"{sizes:,}",
            "observations": f"`{policy.observation_space}`",
            "actions": f"`{policy.action_space}`",
            "observations normalised": "yes" if config["normalization"] else "no",
        }),
        _table("Evaluation", {name: _number(value) for name, value in config["figures"].items()}),
        _table("Arguments of the policy", {
            name: f"`{json.dumps(value)}`"
            for name, value in config["arguments"].items()
            if value is not None and not name.endswith("_space")
        }),
        _table("Settings", {
            "learning_rate": f"`{_schedule(config['learning_rate'])}`",
            **{name: f"`{_schedule(value)}`" for name, value in config["settings"].items()},
        }),
        "## Use\n\n" + _USE,
        _table("Packages", config["packages"]),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(config: Mapping[str, Any], kind: str) -> str:
    tags = [*_TAGS, kind, *([config["env_id"]] if config["env_id"] else [])]
    lines = ["---", "library_name: lsnn-gym", "pipeline_tag: reinforcement-learning", "tags:"]
    return "\n".join([*lines, *(f"- {json.dumps(tag)}" for tag in tags), "---"])


def _table(title: str, rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    # A bar would end the cell, in code, too.
    lines = [f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in rows.items()]
    return "\n".join([f"## {title}", "", "| | |", "| --- | --- |", *lines])


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (int, float)) else str(value)


def _schedule(value: Any) -> str:
    """Return a schedule, or a plain value, in short."""
    if not isinstance(value, Mapping) or "kind" not in value:
        return json.dumps(value)
    if value["kind"] == "constant":
        return _number(value["value"])
    if value["kind"] == "linear":
        start, end, share = (_number(value[name]) for name in ("start", "end", "end_fraction"))
        return f"{start} to {end} over {share} of the training"
    return f"{_number(value['values'][-1])} to {_number(value['values'][0])}, by schedule"
