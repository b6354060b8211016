"""``lsnn-gym bench``: the benchmarks on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lsnn_gym.command_line.group import CommandGroup


@click.group(cls=CommandGroup)
def bench() -> None:
    """Measure speed and memory, as ratios in one run."""


@bench.command("environments")
@click.option("--num-envs", type=click.IntRange(min=1), default=1024, show_default=True, help="Lanes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def bench_environments(num_envs: int, as_json: bool) -> None:
    """Environment steps per second: single, SyncVectorEnv and natively vectorised."""
    from lsnn_gym.benchmarks.environments import benchmark_environments

    results = benchmark_environments(num_envs=num_envs)
    if as_json:
        click.echo(json.dumps(results, indent=2))
        return
    for env_id, result in results.items():
        speeds = ", ".join(f"{form} {speed:,.0f}" for form, speed in result["steps_per_second"].items())
        click.echo(f"{env_id}: {speeds} steps/s; {result['ratio_to_sync_vector_env']:.1f} x SyncVectorEnv")


@bench.command("recurrent")
@click.option("--size", required=True, help="sequential-mnist, navigation or regression.")
@click.option(
    "--connectivity",
    type=click.FloatRange(min=0, min_open=True, max=1),
    default=1.0,
    show_default=True,
    help="Share of synapses of our network; the others' are dense.",
)
@click.option("--reference", is_flag=True, help="Measure the reference engine also where it takes long.")
@click.option("--repetitions", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="PyTorch's; by default its own choice.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for a JSON, a Markdown and a PNG file.")
def bench_recurrent(
    size: str,
    connectivity: float,
    reference: bool,
    repetitions: int,
    threads: int | None,
    as_json: bool,
    out: Path | None,
) -> None:
    """One recurrent layer, forward and backward: our engines, other libraries, bare matrix products."""
    from lsnn_gym.benchmarks.recurrent import benchmark_recurrent, problem_of
    from lsnn_gym.benchmarks.reports import make_folder, recurrent_markdown, write_recurrent_report

    problem = problem_of(size, connectivity)
    if out is not None:
        make_folder(out)
    results = {"size": size} | benchmark_recurrent(
        problem, repetitions=repetitions, threads=threads, reference=reference
    )
    click.echo(json.dumps(results, indent=2) if as_json else recurrent_markdown(results), nl=as_json)
    if out is not None:
        paths = write_recurrent_report(out, f"recurrent-{size}-{100 * connectivity:g}", results)
        click.echo(f"{out}: {', '.join(path.name for path in paths)}", err=True)


@bench.command("scaling")
@click.option("--repetitions", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="PyTorch's; by default its own choice.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for a JSON, a Markdown and a PNG file.")
def bench_scaling(repetitions: int, threads: int | None, as_json: bool, out: Path | None) -> None:
    """How the native engine's time grows with neurons, steps and samples."""
    from lsnn_gym.benchmarks.reports import make_folder, scaling_markdown, write_scaling_report
    from lsnn_gym.benchmarks.scaling import benchmark_scaling

    if out is not None:
        make_folder(out)
    results = benchmark_scaling(repetitions=repetitions, threads=threads)
    click.echo(json.dumps(results, indent=2) if as_json else scaling_markdown(results), nl=as_json)
    if out is not None:
        paths = write_scaling_report(out, results)
        click.echo(f"{out}: {', '.join(path.name for path in paths)}", err=True)


@bench.command("training")
@click.argument("config", default="water-maze-paper")
@click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override a key of the config.")
@click.option("--repetitions", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a line.")
def bench_training(config: str, overrides: tuple[str, ...], repetitions: int, as_json: bool) -> None:
    """An iteration of CONFIG beside Stable-Baselines3's RecurrentPPO with an LSTM of equal size."""
    from lsnn_gym.benchmarks.training import benchmark_iteration

    results = benchmark_iteration(config, repetitions, overrides)
    if as_json:
        click.echo(json.dumps(results, indent=2))
        return
    seconds = ", ".join(f"{name} {each:.2f} s" for name, each in results["seconds_per_iteration"].items())
    click.echo(
        f"{config}: {seconds} an iteration; RecurrentPPO takes {results['ratio_to_recurrent_ppo']:.1f} x as long"
    )


@bench.command("stable-baselines")
@click.option("--env", default="CartPole-v1", show_default=True, help="Id of an environment.")
@click.option("--neurons", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--repetitions", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="PyTorch's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def bench_stable_baselines(env: str, neurons: int, repetitions: int, threads: int, as_json: bool) -> None:
    """SpikingRecurrentPPO beside RecurrentPPO, spiking and with LSTMs of equal width."""
    from lsnn_gym.benchmarks.stable_baselines import benchmark_stable_baselines

    results = benchmark_stable_baselines(env, neurons, repetitions, threads=threads)
    if as_json:
        click.echo(json.dumps(results, indent=2))
        return
    for name, steps in results["steps_per_second"].items():
        click.echo(f"{name}: {steps:,.0f} environment steps a second")
    click.echo(f"SpikingRecurrentPPO over RecurrentPPO with LSTMs: {results['ratio_to_recurrent_ppo']:.1f}")
