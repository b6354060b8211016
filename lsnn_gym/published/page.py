"""``docs/results.md``: the table of all rows, then a section each, from the rows and the summaries alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lsnn_gym import pretrained
from lsnn_gym.atomic import write_atomically
from lsnn_gym.errors import UserError
from lsnn_gym.published.drawing import curve_picture
from lsnn_gym.published.measures import figure_in, measure_of
from lsnn_gym.published.repeating import command_of
from lsnn_gym.published.rows import PublishedFigure, Row, read_rows
from lsnn_gym.published.summaries import Summary, read_summaries

PAGE = Path("results.md")
PICTURES = Path("results", "curves")
_NONE = "–"
_HEAD = """\
<!-- Written by `lsnn-gym results` from docs/results/: edit the rows there, not this file. -->
# Results

Every figure here follows from a run whose summary is committed in [results/summaries](results/summaries), and this
page from those and from [results/rows.yaml](results/rows.yaml), by `lsnn-gym results`. Figures are the mean over seeds
± their standard deviation; of two seeds the range, of one the figure. *Difference* is ours less the published figure of
the same kind. A best epoch on the test part is chosen by what it is judged by, and too good by that: it stands here
beside the figure at the end of training, for papers report it. Times are by the clock, on machines that had other work
to do beside. What was tried on the way is told in [findings.md](findings.md), and what policies of Stable-Baselines3
reach, which `lsnn-gym train` does not train; speed and memory in [benchmarks.md](benchmarks.md) and
[rules.md](rules.md).
"""


class Entry(NamedTuple):
    """A row and what was run of it.

    Attributes:
        row: As it is claimed.
        summaries: By seed; none where nothing was run.
    """

    row: Row
    summaries: list[Summary]


class Compared(NamedTuple):
    """A figure of a row that others published as a number.

    Attributes:
        key: Which figure.
        published: Theirs.
        ours: The mean of our runs.
    """

    key: str
    published: float
    ours: float

    @property
    def is_short(self) -> bool:
        """Return whether ours is worse."""
        return measure_of(self.key).falls_short(self.ours, self.published)

    @property
    def difference(self) -> str:
        """Return ours less theirs, as it is written."""
        return measure_of(self.key).difference(self.ours, self.published)


def entries(documents: Path) -> list[Entry]:
    """Read rows and summaries, in the order of the table.

    Raises:
        UserError: Something cannot be used, a row is neither run nor says why not, or one that falls short does not
            say what was tried and what is suspected.
    """
    found = [Entry(row, read_summaries(documents, row.name)) for row in read_rows(documents)]
    for entry in found:
        _check(entry)
    return found


def _check(entry: Entry) -> None:
    row, summaries = entry
    if not summaries:
        if not row.not_run:
            raise UserError(
                f"row {row.name}: there is no summary of it: expected `lsnn-gym results add RUN --row {row.name}`, "
                "or the reason in its not_run"
            )
        return
    for each in _compared(entry):
        if each.is_short and not (row.tried and row.suspected):
            raise UserError(
                f"row {row.name}: its {each.key} falls short of what was published: expected what was tried and what "
                "is suspected, in its tried and suspected"
            )


def _compared(entry: Entry) -> Iterator[Compared]:
    for key, published in entry.row.figures.items():
        mean = _mean(entry.summaries, key)
        if published is not None and published.value is not None and mean is not None:
            yield Compared(key, published.value, mean)


def pages(documents: Path) -> dict[Path, str]:
    """Return the text of every file that is generated, by its path within ``documents``: page and pictures.

    Raises:
        UserError: As of ``entries``.
    """
    found = entries(documents)
    run = [entry for entry in found if entry.summaries]
    pictures = {
        PICTURES / f"{entry.row.name}.svg": curve_picture(entry.row, entry.summaries) for entry in run
    }
    drawn = {path: picture for path, picture in pictures.items() if picture}
    blocks = [_HEAD, _beside_published(run), _table(run), *(_section(entry, drawn) for entry in run)]
    blocks.append(_not_run([entry.row for entry in found if not entry.summaries]))
    return {PAGE: "\n".join(block for block in blocks if block), **drawn}


def write_pages(documents: Path) -> list[Path]:
    """Write page and pictures, and remove pictures of rows that are gone; return what was written.

    Raises:
        UserError: As of ``entries``, or a file cannot be written.
    """
    found = pages(documents)
    (documents / PICTURES).mkdir(parents=True, exist_ok=True)
    for path, text in found.items():
        write_atomically(documents / path, text)
    for path in _superfluous(documents, found):
        path.unlink()
    return [documents / path for path in found]


def differing(documents: Path) -> list[Path]:
    """Return the generated files that are not what rows and summaries say (errors as of ``entries``)."""
    found = pages(documents)
    wrong = [documents / path for path, text in found.items() if _text(documents / path) != text]
    return wrong + _superfluous(documents, found)


def _superfluous(documents: Path, found: dict[Path, str]) -> list[Path]:
    pictures = sorted((documents / PICTURES).glob("*.svg"))
    return [path for path in pictures if path.relative_to(documents) not in found]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _beside_published(run: Sequence[Entry]) -> str:
    """Return the table of what others state as a number, with what is short of it."""
    compared = [(entry, each) for entry in run for each in _compared(entry)]
    if not compared:
        return ""
    reached = sum(not each.is_short for _, each in compared)
    lines = [
        "## Beside what is published",
        "",
        f"Figures that others state as a number: {len(compared)}; reached: {reached}. Of those that fall short the "
        "sections below say what was tried and what is suspected.",
        "",
        "| experiment | figure | published | ours | difference | length | |",
        "|" + " --- |" * 7,
    ]
    for entry, each in compared:
        row, summaries = entry
        cells = [f"{row.system}: [{row.what}](#{row.name})", measure_of(each.key).label]
        cells += [_published(each.key, row.figures[each.key]), _ours(summaries, each.key), each.difference]
        cells += [_length(summaries), "short" if each.is_short else "reached"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _table(run: Sequence[Entry]) -> str:
    lines = [
        "## All that was run",
        "",
        "| experiment | figure | published | ours | difference | seeds | length | time a seed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    system = None
    for entry in run:
        if entry.row.system != system:
            system = entry.row.system
            lines.append(f"| **{system}** |" + " |" * 7)
        lines += _lines(entry)
    return "\n".join(lines) + "\n"


def _lines(entry: Entry) -> Iterator[str]:
    row, summaries = entry
    seeds = ", ".join(str(each.seed) for each in summaries)
    whole = [f"[{row.what}](#{row.name})", seeds, _length(summaries), _times(summaries)]
    differences = {each.key: each.difference for each in _compared(entry)}
    for number, (key, published) in enumerate(row.figures.items()):
        first, *rest = whole if number == 0 else [""] * 4
        mean = _mean(summaries, key)
        if published is None and mean is None:
            continue
        cells = [measure_of(key).label, _published(key, published), _ours(summaries, key)]
        yield f"| {' | '.join([first, *cells, differences.get(key, _NONE), *rest])} |"


def _published(key: str, published: PublishedFigure | None) -> str:
    if published is None:
        return _NONE
    measure, parts = measure_of(key), []
    if published.value is not None:
        spread = "" if published.spread is None else f" ± {measure.number(published.spread)}"
        parts.append(f"{measure.number(published.value)}{spread}{measure.unit}")
    return ", ".join([*parts, *([published.text] if published.text else [])]) or _NONE


def _values(summaries: Sequence[Summary], key: str) -> list[float]:
    found = [figure_in(each.figures, key) for each in summaries]
    return [value for value in found if value is not None]


def _mean(summaries: Sequence[Summary], key: str) -> float | None:
    values = _values(summaries, key)
    return statistics.fmean(values) if len(values) == len(summaries) else None


def _ours(summaries: Sequence[Summary], key: str) -> str:
    mean = _mean(summaries, key)
    if mean is None:
        return _NONE
    measure, values = measure_of(key), _values(summaries, key)
    if len(values) == 1:
        return f"**{measure.written(mean)}**"
    if len(values) == 2:
        return f"**{measure.number(mean)}** ({measure.number(min(values))} to {measure.written(max(values))})"
    return f"**{measure.number(mean)}** ± {measure.number(statistics.stdev(values))}{measure.unit}"


def _length(summaries: Sequence[Summary]) -> str:
    lengths = dict.fromkeys(_length_of(each) for each in summaries)
    return "; ".join(lengths)


def _length_of(summary: Summary) -> str:
    if summary.epochs is not None:
        length, planned, unit = f"{summary.epochs:g}", str(summary.of_epochs), "epochs"
    else:
        length, planned, unit = f"{summary.iterations:,}", f"{summary.of_iterations:,}", "iterations"
    return f"{length} {unit}" if summary.finished else f"**stopped after {length}** of {planned} {unit}"


def _times(summaries: Sequence[Summary]) -> str:
    seconds = [each.seconds for each in summaries]
    shortest, longest = _duration(min(seconds)), _duration(max(seconds))
    return shortest if shortest == longest else f"{shortest} to {longest}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _section(entry: Entry, drawn: dict[Path, str]) -> str:
    row, summaries = entry
    picture = PICTURES / f"{row.name}.svg"
    lines = [
        f"## {row.name}",
        "",
        f"{row.system}: {row.what}.{f' Published: {row.source}.' if row.source else ''}",
    ]
    lines += ["", "```", *dict.fromkeys(command_of(row, each) for each in summaries), "```", ""]
    lines += _by_seed(entry)
    for summary in summaries:
        lines.append(f"- Seed {summary.seed}: {_circumstances(summary)}.")
    for heading, text in (("Tried", row.tried), ("Suspected", row.suspected), ("Notes", row.notes)):
        if text:
            lines.append(f"- {heading}: {text.strip()}")
    lines += [*_pretrained(row), "", *_by_epoch(entry)]
    if picture in drawn:
        lines += [f"![the course of {row.name}]({picture.as_posix()})", ""]
    return "\n".join(lines)


def _pretrained(row: Row) -> list[str]:
    """Return a line about each network of the package that is of this row."""
    lines = []
    for card in map(pretrained.card, pretrained.names()):
        if card.row == row.name:
            figures = (
                f"{measure_of(key).label} {measure_of(key).number(each.value)} ± "
                f"{measure_of(key).written(each.spread)}"
                for key, each in card.figures.items()
            )
            lines.append(
                f"- The network of seed {card.seed} comes with the package: "
                f"`lsnn-gym evaluate --pretrained {card.name}`; ± is twice the standard deviation over {card.sets} "
                f"sets of {card.episodes} episodes: {', '.join(figures)}."
            )
    return lines


def _by_seed(entry: Entry) -> list[str]:
    row, summaries = entry
    keys = [key for key in (*row.figures, *row.beside) if _values(summaries, key)]
    head = ["figure", *(f"seed {each.seed}" for each in summaries)]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " --- |" * len(summaries)]
    for key in keys:
        measure = measure_of(key)
        cells = [figure_in(each.figures, key) for each in summaries]
        written = [_NONE if value is None else measure.written(value) for value in cells]
        lines.append(f"| {' | '.join([measure.label, *written])} |")
    return [*lines, ""]


def _circumstances(summary: Summary) -> str:
    found = summary.environment
    processor = found.get("gpu") or found.get("cpu") or "processor not recorded"
    threads = found.get("torch_threads")
    told = [_length_of(summary).replace("**", ""), f"{_duration(summary.seconds)} by the clock"]
    if summary.processor_seconds is not None:
        told.append(f"{_duration(summary.processor_seconds)} of processor time")
    told.append(
        f"{threads} thread{'s' if threads != 1 else ''} of {found.get('cpu_count')} cores ({processor})"
    )
    versions = f"PyTorch {found.get('torch')}, NumPy {found.get('numpy')}, Python {found.get('python')}"
    commit = found.get("git_commit")
    changed = " with changes" if found.get("git_modified") else ""
    told += [versions, f"commit {commit[:12]}{changed}" if commit else f"lsnn_gym {found.get('lsnn_gym')}"]
    return ", ".join(told)


def _by_epoch(entry: Entry) -> list[str]:
    row, summaries = entry
    if not row.by_epoch:
        return []
    measure = measure_of("accuracy")
    head = ["test accuracy after epoch", "published", *(f"seed {each.seed}" for each in summaries)]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for epoch, published in row.by_epoch.items():
        ours = [_at_epoch(each, int(epoch)) for each in summaries]
        cells = [_NONE if value is None else measure.written(value) for value in (published, *ours)]
        lines.append(f"| {' | '.join([epoch, *cells])} |")
    return [*lines, ""]


def _at_epoch(summary: Summary, epoch: int) -> float | None:
    epochs = summary.curve.get("epoch", [])
    accuracies = summary.curve.get("test_accuracy", [])
    return dict(zip(epochs, accuracies, strict=True)).get(epoch) if accuracies else None


def _not_run(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = ["## Not run", "", "Of these there is no summary, and so no figure.", ""]
    lines += ["| experiment | published | command | why |", "| --- | --- | --- | --- |"]
    for row in rows:
        published = "; ".join(
            f"{_published(key, figure)} ({measure_of(key).label})"
            for key, figure in row.figures.items()
            if figure
        )
        cells = [
            f"{row.system}: {row.what}",
            published or _NONE,
            f"`{command_of(row, None)}`",
            row.not_run.strip(),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
