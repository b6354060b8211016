"""Charts of a report, by Bokeh: as JSON that its script draws in the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from lsnn_gym.errors import UserError
from lsnn_gym.pictures import Panel
from lsnn_gym.pictures.curves import finite_points, running_mean
from lsnn_gym.pictures.style import GROUP_COLORS
from lsnn_gym.report.palette import group, light
from lsnn_gym.report_parts.parts import Confusions, ErrorLines, Floats
from lsnn_gym.report_parts.weights import Change

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

_MOST_NAMED = 12  # classes
_MOST_POINTS = 600  # of a line: more than a screen can tell apart
_BINS = 40
_DASHES = ("solid", "dashed", "dotted")
_STATES = {"kept": "kept", "gone": "group-1", "new": "group-0"}
"""States of connections, and the names of their colours."""


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


class Key(NamedTuple):
    """What a line or kind of mark stands for, the name of its colour in ``palette``, and how the line is drawn."""

    name: str
    color: str
    dash: str = "solid"


class Chart(NamedTuple):
    """A chart; what names its colours stands in the page, where it can be read aloud and wraps.

    Attributes:
        title: What is drawn.
        keys: Of each line or kind of mark, if there are several.
        figure: Without title and legend.
    """

    title: str
    keys: Sequence[Key]
    figure: Figure

    def data(self) -> dict[str, Any]:
        """Return the drawing as JSON that ``Bokeh.embed.embed_item`` takes."""
        from bokeh.embed import json_item

        return cast("dict[str, Any]", json_item(self.figure))


def course_chart(metrics: Sequence[Mapping[str, Any]], panel: Panel) -> Chart:
    """Return figures over the iterations, smoothed as in the learning curve's picture, with references."""
    figure, values = _new_figure("iteration"), [*panel.references.values()]
    for index, (label, key) in enumerate(panel.series.items()):
        x, y = finite_points(metrics, "iteration", key)
        smooth = running_mean(y, max(1, len(y) // 40))
        shown = np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(int)
        if len(x) >= 80:
            figure.line(x[shown], y[shown], color=light(group(index)), alpha=0.25)
        _line(figure, x[shown], smooth[shown], label, group(index))
        values += y.tolist()
    for label, value in panel.references.items():
        _reference(figure, label, value)
    _choose_bounds(figure, values)
    keys = [Key(label, group(index)) for index, label in enumerate(panel.series)]
    return Chart(panel.y_label, keys if len(keys) > 1 else [], figure)


def errors_chart(errors: ErrorLines) -> Chart:
    """Return errors by trial, on a logarithmic scale."""
    figure, keys = _new_figure("examples seen", y_axis_type="log"), []
    for index, (name, values) in enumerate(errors.lines.items()):
        pairs = np.array([(seen, value) for seen, value in enumerate(values) if value]).reshape(-1, 2)
        dash = _DASHES[index // len(GROUP_COLORS) % len(_DASHES)]
        keys.append(Key(name, group(index), dash))
        _line(figure, pairs[:, 0], pairs[:, 1], *keys[-1])
    return Chart(errors.title, keys, figure)


def confusions_chart(confusions: Confusions) -> Chart:
    """Return how often each class was taken for each, as shares of the true class."""
    counts = confusions.counts
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    true, decided = np.indices(counts.shape)
    source = {
        "decided": decided.ravel(),
        "true": true.ravel(),
        "count": counts.ravel(),
        "share": shares.ravel(),
        # Rare mistakes are to be seen beside what is right nearly always.
        "alpha": np.sqrt(shares.ravel()),
    }
    figure = _new_figure("decided class", "true class", height=360)
    if len(counts) <= _MOST_NAMED:
        figure.xaxis.ticker = figure.yaxis.ticker = list(range(len(counts)))
    figure.rect(
        "decided", "true", 0.94, 0.94, source=source, color=light("accent"), line_color=None, alpha="alpha"
    )
    _bound_cells(figure, counts.shape)
    _hover(figure, [("true", "@true"), ("decided", "@decided"), ("examples", "@count (@share{0.0 %})")])
    return Chart(confusions.title, [], figure)


def rates_chart(rates: Mapping[str, Floats]) -> Chart:
    """Return how many neurons of each group have which mean firing rate."""
    return _histograms("mean firing rates in these episodes", "firing rate (Hz)", "neurons", rates)


def change_chart(change: Change) -> Chart:
    """Return which connections of a matrix came and went, or, where all are there, the weights before and after."""
    if not change.is_sparse:
        weights = {"before": change.before.ravel(), "after": change.after.ravel()}
        return _histograms(change.title, "weight", "synapses", weights)
    states = change.shown_states
    figure = _new_figure(
        "from", "to", height=60 + int(max(80, 300 * min(1, states.shape[0] / states.shape[1])))
    )
    keys = []
    for state, (name, number) in enumerate(change.counts.items(), start=1):
        place = dict(zip(("y", "x"), np.nonzero(states == state), strict=True))
        figure.rect("x", "y", 0.9, 0.9, source=place, color=light(_STATES[name]), line_color=None)
        keys.append(Key(f"{name} {number:,}", _STATES[name]))
    figure.grid.visible = False
    _bound_cells(figure, states.shape)
    return Chart(change.title, keys, figure)


def _histograms(title: str, x_label: str, y_label: str, values: Mapping[str, Floats]) -> Chart:
    edges = np.histogram_bin_edges(np.concatenate([*values.values()]), bins=_BINS)
    figure = _new_figure(x_label, y_label)
    for index, each in enumerate(values.values()):
        source = {"left": edges[:-1], "right": edges[1:], "top": np.histogram(each, edges)[0]}
        color = light(group(index))
        figure.quad("left", "right", "top", 0, source=source, color=color, fill_alpha=0.35)
    figure.y_range.start = 0  # type: ignore[attr-defined]
    _hover(figure, [(x_label, "@left{0.00} to @right{0.00}"), (y_label, "@top")])
    return Chart(title, [Key(name, group(index)) for index, name in enumerate(values)], figure)


def _line(figure: Figure, x: Floats, y: Floats, label: str, role: str, dash: str = "solid") -> None:
    if len(x) == 1:  # a line through one point is invisible
        figure.scatter(x, y, color=light(role), size=8)
        return
    line = figure.line(x, y, color=light(role), line_width=2.5, line_dash=dash)
    _hover(figure, [(label, "@y{0.000}"), (str(figure.xaxis[0].axis_label), "@x{0}")], [line])


def _reference(figure: Figure, label: str, value: float) -> None:
    from bokeh.models import Label, Span

    quiet = light("quiet")
    figure.add_layout(Span(location=value, dimension="width", line_color=quiet, line_dash="dashed"))
    place = {"x": 8, "y": value, "x_units": "screen", "y_offset": 2}
    figure.add_layout(Label(text=f"{label} {value:.3g}", text_color=quiet, text_font_size="11px", **place))


def _choose_bounds(figure: Figure, values: Sequence[float]) -> None:
    """Show all values with some room, and zero where they are not far from it."""
    if not values:
        return
    low, high = min(values), max(values)
    if 0 < low < 0.5 * high:
        low = 0.0
    room = high - low or 1.0
    figure.y_range.update(start=low - 0.04 * room * (low != 0), end=high + 0.12 * room)


def _bound_cells(figure: Figure, shape: tuple[int, ...]) -> None:
    """Put row 0 of a matrix at the top, and leave no room around it."""
    figure.x_range.update(start=-0.5, end=shape[1] - 0.5)
    figure.y_range.update(start=shape[0] - 0.5, end=-0.5)


def _hover(figure: Figure, tooltips: list[tuple[str, str]], renderers: Any = "auto") -> None:
    from bokeh.models import HoverTool

    figure.add_tools(HoverTool(tooltips=tooltips, renderers=renderers, visible=False))


def _new_figure(x_label: str, y_label: str = "", *, height: int = 240, **options: Any) -> Figure:
    """Return an empty chart in the colours of a light page, as wide as its place."""
    from bokeh.plotting import figure as new

    figure = new(
        height=height,
        sizing_mode="stretch_width",
        min_width=200,
        toolbar_inner=True,
        # Nothing is dragged unless a tool is chosen: a finger on a chart is to scroll the page.
        tools="box_zoom,pan,reset,save",
        active_drag=None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        **options,
    )
    figure.toolbar.update(logo=None, autohide=True)
    for axis, label in ((figure.xaxis[0], x_label), (figure.yaxis[0], y_label)):
        axis.update(
            axis_label=label or None,
            axis_label_text_font_style="normal",
            axis_label_text_color=light("quiet"),
            major_label_text_color=light("quiet"),
            axis_line_color=light("rule"),
            major_tick_line_color=light("rule"),
            minor_tick_line_color=None,
        )
    figure.xgrid.visible = False
    figure.ygrid.grid_line_color = light("rule")
    return figure
