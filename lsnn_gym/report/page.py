"""Lays a report out as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import base64
import gzip
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from lsnn_gym.report import charts
from lsnn_gym.report.gather import Report
from lsnn_gym.report.palette import PALETTE
from lsnn_gym.report_parts.parts import Confusions, Parts, Raster
from lsnn_gym.report_parts.weights import changes

if TYPE_CHECKING:
    from markupsafe import Markup

    from lsnn_gym.report_parts.parts import Floats

_SCRIPTS = ("views.js", "beliefs.js", "replay.js", "charts.js")


def page(report: Report) -> str:
    """Return the HTML.

    Raises:
        UserError: The extra ``report`` is not installed.
    """
    charts.need_bokeh()
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(_own_file),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = _safe_json
    sections = _sections(report)
    return environment.get_template("page.html.j2").render(
        report=report,
        sections=sections,
        drawings={name: [chart.data() for chart in each] for name, each in sections.items()},
        replays=[replay.data() for replay in report.parts.replays],
        palette=PALETTE,
        style=Markup(_own_file("page.css")),
        scripts=[Markup(_own_file(name)) for name in _SCRIPTS],
        # Packed it is a third as long; browsers unpack it themselves.
        bokeh=base64.b64encode(gzip.compress(charts.script().encode(), mtime=0)).decode(),
    )


def _sections(report: Report) -> dict[str, list[charts.Chart]]:
    """Return the charts of each section."""
    parts = report.parts
    rates = _rates(parts)
    return {
        "training": [charts.course_chart(report.metrics, panel) for panel in parts.panels],
        "results": [
            charts.confusions_chart(each) if isinstance(each, Confusions) else charts.errors_chart(each)
            for each in parts.charts
        ],
        "network": [
            *([charts.rates_chart(rates)] if rates else []),
            *map(charts.change_chart, changes(parts.before, parts.after)),
        ],
    }


def _rates(parts: Parts) -> dict[str, Floats]:
    """Return the mean firing rates of neurons by group, over all episodes."""
    rasters = [view for replay in parts.replays for view in replay.views if isinstance(view, Raster)]
    if not rasters:
        return {}
    lengths = [len(each.spikes) for each in rasters]
    every = [each.rates() for each in rasters]
    return {name: np.average([rates[name] for rates in every], axis=0, weights=lengths) for name in every[0]}


def _safe_json(value: Any) -> Markup:
    """Return JSON that cannot end the script element it stands in."""
    from markupsafe import Markup

    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _own_file(name: str) -> str:
    return resources.files("lsnn_gym.report").joinpath(name).read_text(encoding="utf-8")
