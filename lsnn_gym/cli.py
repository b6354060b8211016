"""The command line, ``lsnn-gym``: it parses, calls, prints.

PyTorch and the pictures are imported by the commands that need them, so that ``--help`` is quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import gymnasium

from lsnn_gym import __version__
from lsnn_gym.benchmarks.command import bench
from lsnn_gym.command_line.group import CommandGroup
from lsnn_gym.errors import NotFiniteError, UserError, unknown
from lsnn_gym.published.command import results
from lsnn_gym.report.command import report


@click.group(
    cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__)
def cli() -> None:
    """Train, judge and watch spiking recurrent agents that learn within an episode."""


@cli.command("list")
@click.argument("what", required=False)
def list_command(what: str | None) -> None:
    """List what there is, of one kind WHAT.

    Kinds: envs, functions, tasks, rules, configs, cores, engines, data, policies, pretrained.
    """
    from lsnn_gym.inventory import INVENTORY

    if what is not None and what not in INVENTORY:
        raise UserError(unknown("list", what, INVENTORY))
    for kind in INVENTORY if what is None else [what]:
        if what is None:
            click.echo(f"{kind}:")
        for name, description in INVENTORY[kind]().items():
            click.echo(f"{'' if what else '  '}{name:<30} {description}")


@cli.command()
@click.argument("config", required=False)
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change a setting; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for run folders; runs/ by default.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a stopped run.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The run's folder itself: begun if there is no run in it, else gone on with.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train(
    config: str | None,
    overrides: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    folder: Path | None,
    quiet: bool,
) -> None:
    """Train the experiment CONFIG: a name from `lsnn-gym list configs`, or a YAML file.

    Under torchrun, the processes share each batch: `torchrun --nproc-per-node=4 -m lsnn_gym train CONFIG`.
    """
    from lsnn_gym.command_line.starting import Place, planned_experiment, train_or_go_on
    from lsnn_gym.training.distributed import leave

    place = Place(out=out, resume=resume, folder=folder)
    experiment = planned_experiment(config, overrides, place)
    trained = train_or_go_on(experiment, place, show_progress=not quiet)
    if not trained.writes:
        leave({None: 0, "SIGINT": 130}.get(trained.stopped_by, 143))
    if trained.stopped_by is not None:
        click.echo(
            f"Stopped by {trained.stopped_by}, saved. To go on: lsnn-gym train --resume {trained.run.path}"
        )
        sys.exit(130 if trained.stopped_by == "SIGINT" else 143)
    run = trained.run
    from lsnn_gym.experiment import family_of
    from lsnn_gym.training.results import write_results

    family = family_of(experiment)
    figures = family.evaluate(run, experiment)
    write_results(run, figures)
    click.echo(family.table(figures))
    pictures = family.default_pictures(run)
    try:
        family.draw_learning_curve(run, figures)
        for picture in pictures:
            family.draw(run, experiment, picture)
    except (UserError, gymnasium.error.Error) as error:
        # The training is done and safe; pictures can be made later.
        click.echo(f"No pictures: {error}. Later: lsnn-gym render {run.path}", err=True)
        return
    click.echo(f"{run.path}: {', '.join(each.name for each in (run.learning_curve, *pictures))}")


_pretrained = click.option(
    "--pretrained", metavar="NAME", help="Instead of a RUN: see `lsnn-gym list pretrained`."
)


@cli.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@_pretrained
@click.option("--episodes", type=click.IntRange(min=1), help="By default as many as the config says.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(run: Path | None, pretrained: str | None, episodes: int | None, as_json: bool) -> None:
    """Print the figures of a trained RUN and, of an agent, of the reference policies on as many episodes."""
    from lsnn_gym.experiment import experiment_of, family_of
    from lsnn_gym.pretrained import opened

    with opened(run, pretrained) as folder:
        experiment = experiment_of(folder)
        family = family_of(experiment)
        figures = family.evaluate(folder, experiment, episodes)
    click.echo(json.dumps(figures, indent=2) if as_json else family.table(figures))


@cli.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@_pretrained
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A .mp4, .gif or .png file; by default RUN/episode.mp4, of regression also RUN/episode.png, "
    "of a task RUN/sequence.png; of --pretrained NAME, NAME-episode.mp4 and so on, here.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the episode, or number of the sequence.",
)
@click.option("--human", is_flag=True, help="Show the episode in a window instead.")
def render(run: Path | None, pretrained: str | None, out: Path | None, seed: int, human: bool) -> None:
    """Show or film an episode of a trained RUN with its spikes; of a task, draw a sequence."""
    from lsnn_gym.experiment import experiment_of, family_of
    from lsnn_gym.pretrained import opened

    with opened(run, pretrained) as folder:
        experiment = experiment_of(folder)
        family = family_of(experiment)
        if human:
            family.show(folder, experiment, seed)
            return
        targets = [out] if out else family.default_pictures(folder)
        if pretrained and not out:
            targets = [Path(f"{pretrained}-{target.name}") for target in targets]
        for target in targets:
            family.draw(folder, experiment, target, seed)
            click.echo(str(target))


@cli.command()
@click.argument("configs", nargs=-1)
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change a setting of all variants.")
@click.option("--seeds", help="Instead of the comparison's own, e.g. 1,2,3.")
@click.option(
    "--variant", "variants", multiple=True, metavar="NAME", help="Only this one, and others named so."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the comparison; runs/ by default.")
@click.option(
    "--resume", type=click.Path(path_type=Path), metavar="DIR", help="Go on with a stopped comparison."
)
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings at once.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def compare(
    configs: tuple[str, ...],
    overrides: tuple[str, ...],
    seeds: str | None,
    variants: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Train variants of an experiment, several seeds each, and set them side by side.

    CONFIGS is one comparison (see `lsnn-gym list configs`), or several experiments.
    """
    from tqdm import tqdm

    from lsnn_gym.comparison import load_comparison, markdown_table, plan, planned, train_all, write_report

    if resume is not None:
        if configs or overrides or seeds or variants or out:
            raise UserError("--resume goes on with the comparison's own plan: leave out the rest")
        folder, runs = resume, planned(resume)
    elif not configs:
        raise UserError(
            "expected a comparison or several CONFIGs (see `lsnn-gym list configs`), or --resume DIR"
        )
    else:
        comparison = load_comparison(configs, overrides, _seeds(seeds))
        chosen = comparison.only(variants) if variants else comparison
        folder, runs = plan(chosen, out or Path("runs"))
    click.echo(
        f"{folder}: {len(runs)} trainings; to go on after a stop: lsnn-gym compare --resume {folder}",
        err=True,
    )
    with tqdm(total=len(runs), disable=as_json, unit="run") as bar:
        bar.update(sum(each.run.results.is_file() for each in runs))
        for _ in train_all(runs, jobs):
            bar.update()
    found = write_report(folder, runs)
    click.echo(json.dumps(found, indent=2) if as_json else markdown_table(found))
    click.echo(f"{folder}: results.md, results.json, comparison.png", err=True)


@cli.command()
@click.argument("config")
@click.argument("space", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Change a setting of all trials.")
@click.option(
    "--trials", type=click.IntRange(min=1), default=20, show_default=True, help="In all, by all processes."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("sweep"), show_default=True, help="Folder."
)
@click.option("--storage", metavar="URL", help="Optuna's; by default an SQLite file in the folder.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the proposals; another one for each process.")
def sweep(
    config: str,
    space: Path,
    overrides: tuple[str, ...],
    trials: int,
    out: Path,
    storage: str | None,
    seed: int | None,
) -> None:
    """Try settings of the experiment CONFIG from the ranges in the YAML file SPACE; print the best trial's config.

    The same command goes on with a stopped sweep, and works beside others on the same one.
    """
    from lsnn_gym.sweep import make_plan, run_sweep

    plan = make_plan(config, str(space), overrides, out, storage)

    def told(number: int, figure: float | None) -> None:
        click.echo(f"trial {number}: {'failed' if figure is None else f'{plan.figure} {figure:g}'}", err=True)

    best = run_sweep(plan, trials, seed, told)
    click.echo(f"best: {best.path}", err=True)
    click.echo(best.config.read_text(), nl=False)


def _seeds(text: str | None) -> tuple[int, ...]:
    try:
        return () if text is None else tuple(int(each) for each in text.split(","))
    except ValueError:
        raise UserError(f"--seeds is {text!r}: expected whole numbers, e.g. 1,2,3") from None


cli.add_command(report)
cli.add_command(bench)
cli.add_command(results)


@cli.group(cls=CommandGroup)
def data() -> None:
    """Data sets: where they are, and whether they are whole."""


@data.command("list")
def data_list() -> None:
    """List the data sets, their licences and where they are."""
    from lsnn_gym.data import describe, names, status

    for name in names():
        about = describe(name)
        click.echo(f"{name:<14} {about.summary}; {about.licence}; {status(name)}")


@data.command("fetch")
@click.argument("name")
def data_fetch(name: str) -> None:
    """Download the data set NAME to the cache, or mend it there."""
    from lsnn_gym.data import fetch

    click.echo(f"{name}: {fetch(name)}")


@data.command("check")
@click.argument("name")
def data_check(name: str) -> None:
    """Read the data set NAME and name every file that is missing or damaged."""
    from lsnn_gym.data import check, status

    problems = check(name)
    for problem in problems[:20]:
        click.echo(str(problem))
    if problems:
        click.echo(f"{name}: {len(problems):,} files missing or damaged")
        sys.exit(1)
    click.echo(f"{name}: whole, {status(name)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; bad input is one line on stderr and exit status 2."""
    try:
        cli.main(args=arguments, prog_name="lsnn-gym", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):  # Abort is a RuntimeError
        click.echo("interrupted", err=True)
        sys.exit(130)
    except (UserError, gymnasium.error.Error) as error:
        _fail(str(error))
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        _fail("there is not enough memory for an experiment of this size", status=1)
    except (OSError, NotFiniteError) as error:
        # A disk that is full, a loss of NaN: nothing the caller of the command could have spelt better.
        _fail(str(error), status=1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else str(error))
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    sys.exit(0)


def _fail(message: str, status: int = 2) -> None:
    click.echo(f"lsnn-gym: {' '.join(message.split())}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
