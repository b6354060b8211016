"""``lsnn-gym report``: the command."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE.html", help="By default RUN/report.html."
)
@click.option(
    "--episodes", type=click.IntRange(min=1), default=3, show_default=True, help="To replay, or sequences."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the first episode, or number of the first sequence.",
)
def report(run: Path, out: Path | None, episodes: int, seed: int) -> None:
    """Write a page about a trained RUN: episodes to replay, curves, spikes, connections, settings, in one file."""
    from lsnn_gym.atomic import write_atomically
    from lsnn_gym.errors import UserError
    from lsnn_gym.experiment import experiment_of, family_of
    from lsnn_gym.report.charts import need_bokeh
    from lsnn_gym.report.gather import gather
    from lsnn_gym.report.page import page
    from lsnn_gym.training.run_folder import RunFolder

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{out}: a report is a page: expected a name that ends in .html")
    need_bokeh()
    folder = RunFolder.open(run)
    experiment = experiment_of(folder)
    html = page(gather(folder, experiment, family_of(experiment), episodes, seed))
    target = out or folder.report
    write_atomically(target, html)
    click.echo(f"{target}: {len(html.encode()) / 1e6:.1f} MB")
