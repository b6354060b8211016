"""The course of a row's runs as a small SVG: text that is the same on every machine, so that it can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from lsnn_gym.published.measures import Measure, measure_of
from lsnn_gym.published.rows import Row
from lsnn_gym.published.summaries import Summary

_WIDTH, _HEIGHT = 560, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 26, 36
_COLORS = ("#1f6f8b", "#c8553d", "#588b4c", "#8a5a9e", "#b58900")
_INK, _RULE = "#464646", "#cdcac2"

Points = list[tuple[float, float]]


class _Scale(NamedTuple):
    low: float
    high: float
    start: int  # pixel of ``low``
    end: int

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def curve_picture(row: Row, summaries: Sequence[Summary]) -> str:
    """Return the SVG of a row's figure over its training, a line a seed; empty where no run has its course.

    The figure is that on the test part, else on the validation part, else in training; what was published of it is a
    dashed line.
    """
    key = next(iter(row.figures))
    name, known = _name(key, summaries)
    if not name:
        return ""
    measure = measure_of(known)
    series = {each.seed: _points(each, name, measure) for each in summaries}
    series = {seed: points for seed, points in series.items() if len(points) > 1}
    if not series:
        return ""
    published = [
        figure.value * measure.factor
        for each, figure in row.figures.items()
        if figure is not None and figure.value is not None and measure_of(each).unit == measure.unit
    ]
    unit = "epoch" if "epoch" in summaries[0].curve else "iteration"
    return _svg(
        series, published[:1], f"{_title(name, measure)}{measure.unit and f' ({measure.unit.strip()})'}", unit
    )


def _name(key: str, summaries: Sequence[Summary]) -> tuple[str, str]:
    """Return the curve to draw, and the figure that it is of."""
    base = "accuracy" if key.endswith("accuracy") else "error" if key == "error_share" else key
    for name in (f"test_{base}", f"validation_{base}", base):
        if all(name in each.curve for each in summaries):
            return name, base
    return "", base


def _title(name: str, measure: Measure) -> str:
    part = name.partition("_")[0]
    plain = measure.label.partition(",")[0].removeprefix("test ")
    return f"{part} {plain}" if part in {"test", "validation"} else f"{plain} in training"


def _points(summary: Summary, name: str, measure: Measure) -> Points:
    at = summary.curve.get("epoch") or summary.curve["iteration"]
    pairs = zip(at, summary.curve[name], strict=True)
    return [(float(x), measure.factor * float(y)) for x, y in pairs if x is not None and y is not None]


def _svg(series: dict[int, Points], published: Sequence[float], title: str, unit: str) -> str:
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points] + list(published)
    across = _Scale(0.0, max(xs), _LEFT, _WIDTH - _RIGHT)
    ticks = _ticks(min(ys), max(ys))
    up = _Scale(ticks[0], ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="11" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#faf9f6"/>',
        _label(_LEFT, 16, title, "start"),
    ]
    for tick in ticks:
        lines.append(_rule(up(tick), _RULE))
        lines.append(_label(_LEFT - 6, up(tick) + 4, f"{tick:g}", "end"))
    below = _HEIGHT - _BOTTOM + 16
    shown = [tick for tick in _ticks(0.0, max(xs)) if tick <= max(xs)]
    lines += [_label(across(tick), below, f"{tick:g}", "middle") for tick in shown]
    lines.append(_label(_WIDTH - _RIGHT, _HEIGHT - 6, unit, "end"))
    for value in published:
        lines.append(_rule(up(value), _INK, ' stroke-dasharray="5 4"'))
        lines.append(_label(_WIDTH - _RIGHT, up(value) - 4, "published", "end"))
    for number, (seed, points) in enumerate(series.items()):
        color = _COLORS[number % len(_COLORS)]
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        lines.append(
            _label(_WIDTH - _RIGHT - 48 * (len(series) - 1 - number), 16, f"seed {seed}", "end", color)
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers around a range, some four of them."""
    span = high - low or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / 3))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= span / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12) for number in range(first, max(last, first + 1) + 1)]


def _rule(y: float, color: str, more: str = "") -> str:
    return f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{color}"{more}/>'


def _label(x: float, y: float, text: str, anchor: str, color: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'
