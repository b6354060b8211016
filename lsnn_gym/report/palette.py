"""Colours of a report by what they stand for, in light and in dark."""

from __future__ import annotations

from lsnn_gym.pictures.style import BACKGROUND, GOAL_COLOR, GREY, GROUP_COLORS, Color, css


def _paler(color: Color) -> str:
    """Return a colour fit for a dark ground: as before, more than half way to white."""
    red, green, blue = (part + (255 - part) * 11 // 20 for part in color)
    return css((red, green, blue))


PALETTE: dict[str, tuple[str, str]] = {
    "ground": (css(BACKGROUND), "#14171c"),
    "card": ("#fffefb", "#1d2229"),
    "ink": ("#22252a", "#e8e6e1"),
    "quiet": (GREY, "#a8abb0"),
    "rule": ("#dcd8ce", "#3a414b"),
    "water": ("#dde9ef", "#22313a"),
    "rim": ("#6c8694", "#7f9dac"),
    "goal": (css(GOAL_COLOR), "#3f6b4c"),
    "goal-rim": ("#3a7a4c", "#8fd1a2"),
    "wall": ("#c43a48", "#ff8d96"),
    "kept": ("#bdb7aa", "#59616c"),
    "accent": ("#1d4f91", "#9cc3f5"),
    **{f"group-{index}": (css(color), _paler(color)) for index, color in enumerate(GROUP_COLORS)},
}
"""Name to its light and its dark colour. The light ones differ: charts turn dark by replacing one by the other."""


def light(name: str) -> str:
    """Return the light colour of that name."""
    return PALETTE[name][0]


def group(index: int) -> str:
    """Return the name of the colour of a group's or line's number."""
    return f"group-{index % len(GROUP_COLORS)}"
