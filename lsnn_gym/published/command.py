"""``lsnn-gym results``: the table of results on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lsnn_gym.command_line.group import CommandGroup
from lsnn_gym.errors import UserError

_docs = click.option(
    "--docs",
    type=click.Path(path_type=Path),
    help="Folder of documents; by default the checkout's that this is run from.",
)


@click.group(cls=CommandGroup, invoke_without_command=True)
@_docs
@click.option("--check", is_flag=True, help="Write nothing; exit with status 1 if a file would differ.")
@click.pass_context
def results(context: click.Context, docs: Path | None, check: bool) -> None:
    """Write docs/results.md from docs/results/rows.yaml and the summaries of runs beside it."""
    if context.invoked_subcommand is not None:
        if docs is not None or check:
            raise UserError(
                f"--docs and --check: expected them behind {context.invoked_subcommand}, if at all"
            )
        return
    from lsnn_gym.published.page import differing, write_pages
    from lsnn_gym.published.rows import documents_folder

    documents = documents_folder(docs)
    if not check:
        for path in write_pages(documents):
            click.echo(str(path))
        return
    wrong = differing(documents)
    for path in wrong:
        click.echo(f"{path}: not what rows and summaries say; lsnn-gym results writes it")
    if wrong:
        sys.exit(1)
    click.echo(f"{documents}: as rows and summaries say")


@results.command("add")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--row", "row_name", required=True, help="Of docs/results/rows.yaml; or those of a comparison.")
@click.option("--variant", help="Of a comparison: whose runs alone, one for each seed.")
@_docs
def add(runs: tuple[Path, ...], row_name: str, variant: str | None, docs: Path | None) -> None:
    """Make the summaries of RUNS, complete or stopped, or of a comparison's variants, and write the page anew."""
    from lsnn_gym.published.page import write_pages
    from lsnn_gym.published.rows import documents_folder, read_rows_file
    from lsnn_gym.published.runs import runs_of
    from lsnn_gym.published.summaries import summarise, write_summary

    documents = documents_folder(docs)
    for row, run in runs_of(read_rows_file(documents), row_name, runs, variant):
        click.echo(str(write_summary(documents, summarise(run, row))))
    write_pages(documents)


@results.command("publish")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("name")
@click.option(
    "--row", "row_name", required=True, help="Of docs/results/rows.yaml, to which the run was added."
)
@click.option(
    "--sets",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="Of episodes that it is judged on; the spread is over them.",
)
@_docs
def publish_command(run: Path, name: str, row_name: str, sets: int, docs: Path | None) -> None:
    """Make the network of RUN one that comes with the package, as NAME, and write the page anew."""
    from lsnn_gym.experiment import experiment_of
    from lsnn_gym.published.page import write_pages
    from lsnn_gym.published.publishing import publish
    from lsnn_gym.published.rows import documents_folder, read_rows, row_named
    from lsnn_gym.published.summaries import summary_of
    from lsnn_gym.training.run_folder import RunFolder

    documents = documents_folder(docs)
    row = row_named(read_rows(documents), row_name)
    folder = RunFolder.open(run)
    summary = summary_of(documents, row_name, experiment_of(folder).seed)
    click.echo(str(publish(folder, name, row, summary, sets)))
    write_pages(documents)
