"""Charts of a report, by Bokeh: as JSON that its script draws in the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsnn_gym.errors import UserError
from lsnn_gym.pictures import Panel
from lsnn_gym.pictures.curves import finite_points, running_mean
from lsnn_gym.report.palette import group, light
from lsnn_gym.report.parts import Confusions, ErrorLines, Floats
from lsnn_gym.report.weights import Change

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812

_MOST_POINTS = 600  # of a line: more than a screen can tell apart
_BINS = 40


def need_bokeh() -> None:
    """Make sure that reports can be made.

    Raises:
        UserError: Bokeh or Jinja2 is not installed.
    """
    try:
        import bokeh  # noqa: F401
        import jinja2  # noqa: F401
    except ImportError as error:
        raise UserError(f'reports need {error.name}: pip install "lsnn-gym[report]"') from None


def script() -> str:
    """Return Bokeh's script, the part that draws plots."""
    from bokeh.resources import Resources

    return "\n".join(Resources(mode="inline", components=["bokeh"], minified=True).js_raw)


def as_json(figure: Figure) -> Any:
    """Return a chart as JSON that ``Bokeh.embed.embed_item`` takes."""
    from bokeh.embed import json_item

    return json_item(figure)


def course_chart(metrics: Sequence[Mapping[str, Any]], panel: Panel) -> Figure:
    """Return figures over the iterations, smoothed as in the learning curve's picture, with references."""
    figure = _new_figure(panel.y_label, "iteration")
    for index, (label, key) in enumerate(panel.series.items()):
        x, y = finite_points(metrics, "iteration", key)
        smooth = running_mean(y, max(1, len(y) // 40))
        shown = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(int)) if len(x) else []
        source = {"x": x[shown], "y": y[shown], "smooth": smooth[shown]}
        if len(x) >= 80:
            figure.line("x", "y", source=source, color=group(index), alpha=0.25)
        _line(figure, "x", "smooth", source, label, index)
    for label, value in panel.references.items():
        _reference(figure, label, value)
    _start_at_zero(figure, [*panel.references.values()])
    return figure


def errors_chart(errors: ErrorLines) -> Figure:
    """Return errors by trial, on a logarithmic scale."""
    figure = _new_figure(errors.title, "examples seen", y_axis_type="log")
    for index, (name, values) in enumerate(errors.lines.items()):
        pairs = [(seen, value) for seen, value in enumerate(values) if value]
        source = {"x": [seen for seen, _ in pairs], "smooth": [value for _, value in pairs]}
        _line(figure, "x", "smooth", source, name, index, dash="solid" if index < 5 else "dashed")
    return figure


def confusions_chart(confusions: Confusions) -> Figure:
    """Return how often each class was taken for each, as shares of the true class."""
    counts = confusions.counts
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    true, decided = np.indices(counts.shape)
    figure = _new_figure(confusions.title, "decided class", height=380)
    source = {
        "decided": decided.ravel(),
        "true": true.ravel(),
        "count": counts.ravel(),
        "share": shares.ravel(),
        # Rare mistakes are to be seen beside what is right nearly always.
        "alpha": np.sqrt(shares.ravel()),
    }
    figure.rect("decided", "true", 0.94, 0.94, source=source, color=light("accent"), alpha="alpha")
    figure.y_range.flipped = True  # type: ignore[attr-defined]
    figure.yaxis.axis_label = "true class"
    _hover(figure, [("true", "@true"), ("decided", "@decided"), ("examples", "@count (@share{0.0 %})")])
    return figure


def rates_chart(rates: Mapping[str, Floats]) -> Figure:
    """Return how many neurons of each group have which mean firing rate."""
    return _histograms("neurons", "firing rate in the episodes above (Hz)", rates)


def change_charts(changes: Iterable[Change]) -> list[Figure]:
    """Return a chart for each matrix: which connections came and went, or the weights before and after."""
    return [_connections(each) if each.is_sparse else _weights(each) for each in changes]


def _connections(change: Change) -> Figure:
    figure = _new_figure(change.title, "from", height=380)
    post, pre = change.shown_states.shape
    states = {"kept": light("quiet"), "gone": light("group-1"), "new": light("group-0")}
    for state, (name, color) in enumerate(states.items(), start=1):
        to, source = np.nonzero(change.shown_states == state)
        figure.rect(
            "x", "y", 0.9, 0.9, source={"x": source, "y": to}, color=color, line_color=None,
            legend_label=f"{name} ({change.counts[name]:,})",
        )  # fmt: skip
    figure.x_range.update(start=-0.5, end=pre - 0.5)
    figure.y_range.update(start=post - 0.5, end=-0.5)
    figure.yaxis.axis_label = "to"
    figure.grid.visible = False
    _legend_above(figure)
    return figure


def _weights(change: Change) -> Figure:
    weights = {"before": change.before.ravel(), "after": change.after.ravel()}
    return _histograms(change.title, "weight", weights)


def _histograms(title: str, x_label: str, values: Mapping[str, Floats]) -> Figure:
    every = np.concatenate([*values.values()])
    edges = np.histogram_bin_edges(every, bins=_BINS)
    figure = _new_figure(title, x_label)
    for index, (name, each) in enumerate(values.items()):
        counts, _ = np.histogram(each, edges)
        source = {"left": edges[:-1], "right": edges[1:], "top": counts}
        figure.quad(
            "left", "right", "top", 0, source=source, color=group(index), fill_alpha=0.35, legend_label=name
        )
    figure.y_range.start = 0
    _hover(figure, [(x_label, "@left{0.00} to @right{0.00}"), ("number", "@top")])
    _legend_above(figure)
    return figure


def _line(
    figure: Figure, x: str, y: str, source: Mapping[str, Any], label: str, index: int, dash: str = "solid"
) -> None:
    color = group(index)
    if len(source[x]) == 1:  # a line through one point is invisible
        figure.scatter(x, y, source=source, color=color, size=8, legend_label=label)
        return
    line = figure.line(x, y, source=source, color=color, line_width=2.5, line_dash=dash, legend_label=label)
    _hover(figure, [(label, f"@{y}{{0.000}}"), (figure.xaxis.axis_label, f"@{x}{{0}}")], [line])
    _legend_above(figure)


def _reference(figure: Figure, label: str, value: float) -> None:
    from bokeh.models import Label, Span

    figure.add_layout(Span(location=value, dimension="width", line_color=light("quiet"), line_dash="dashed"))
    figure.add_layout(
        Label(
            x=8, y=value, x_units="screen", text=f"{label} {value:.3g}", y_offset=2,
            text_color=light("quiet"), text_font_size="11px",
        )
    )  # fmt: skip


def _start_at_zero(figure: Figure, references: Sequence[float]) -> None:
    """Show the references too, and zero where the figures are not far from it."""
    values = [*references]
    for renderer in figure.renderers:
        values += [each for each in renderer.data_source.data["smooth"]]  # type: ignore[attr-defined]
    if not values:
        return
    low, high = min(values), max(values)
    if 0 < low < 0.5 * high:
        low = 0.0
    margin = 0.06 * (high - low or 1.0)
    figure.y_range.update(start=low - margin * (low != 0), end=high + margin)


def _hover(figure: Figure, tooltips: list[tuple[str, str]], renderers: Any = "auto") -> None:
    from bokeh.models import HoverTool

    figure.add_tools(HoverTool(tooltips=tooltips, renderers=renderers, visible=False))


def _legend_above(figure: Figure) -> None:
    if not figure.legend:
        return
    legend = figure.legend[0]
    if legend not in figure.above:
        figure.add_layout(legend, "above")
    legend.update(
        orientation="horizontal", border_line_color=None, background_fill_color=None, padding=0, spacing=14,
        label_text_color=light("ink"), label_text_font_size="12px", nrows="auto", click_policy="hide",
    )  # fmt: skip


def _new_figure(title: str, x_label: str, *, height: int = 260, **options: Any) -> Figure:
    """Return an empty chart in the colours of a light page, as wide as its place."""
    from bokeh.plotting import figure as new

    figure = new(
        height=height, sizing_mode="stretch_width", min_width=200, title=title, toolbar_location="above",
        # Nothing is dragged unless a tool is chosen: a finger on a chart is to scroll the page.
        tools="box_zoom,pan,reset,save", active_drag=None, **options,
    )  # fmt: skip
    figure.toolbar.update(logo=None, autohide=True)
    figure.update(background_fill_color=None, border_fill_color=None, outline_line_color=None)
    figure.title.update(text_color=light("ink"), text_font_size="14px")  # type: ignore[union-attr]
    for axis in figure.axis:
        axis.update(
            axis_label_text_color=light("quiet"), major_label_text_color=light("quiet"),
            axis_line_color=light("rule"), major_tick_line_color=light("rule"), minor_tick_line_color=None,
            axis_label_text_font_style="normal",
        )  # fmt: skip
    figure.xaxis.axis_label = x_label
    figure.xgrid.visible = False
    figure.ygrid.grid_line_color = light("rule")
    return figure
