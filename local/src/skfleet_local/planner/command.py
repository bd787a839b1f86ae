"""The command `skfleet-local plan`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from skfleet import documents
from skfleet.errors import ConfigurationError
from skfleet_local.failing import failing_well

FOLDER = click.Path(path_type=Path)
FILE = click.Path(path_type=Path)


@click.command()
@click.option("--rps", type=float, required=True, help="Requests a second at the day's peak.")
@click.option("--p90", "p90_ms", type=float, required=True, metavar="MS", help="To be kept.")
@click.option("--zones", type=int, default=3, show_default=True)
@click.option(
    "--survive",
    type=click.Choice(["zone", "vm", "nothing"]),
    default="zone",
    show_default=True,
    help="What may be lost at the peak.",
)
@click.option(
    "--from",
    "evidence",
    type=FOLDER,
    multiple=True,
    help="Results of a load test with PROFILE=steps; several of the same fleet are taken together.",
)
@click.option(
    "--against", type=FOLDER, multiple=True, help="Other such runs, to hold the queue against."
)
@click.option("--measure", is_flag=True, help="Run that load test on the local fleet first.")
@click.option(
    "--measure-rate", type=click.IntRange(8), default=400, show_default=True, help="Its last step."
)
@click.option("--measure-seconds", type=click.IntRange(40), default=160, show_default=True)
@click.option("--prices", "table", type=FILE, help="Price table; see docs/planning.md.")
@click.option("--machine-type", default="", help="Of the price table, where it has several.")
@click.option(
    "--vcpus", type=click.IntRange(1, 512), help="Of the measured VMs.  [default: 2, or sampled]"
)
@click.option(
    "--cpu-ms", type=click.FloatRange(0, min_open=True), help="A VM's CPU for one request."
)
@click.option(
    "--boot",
    "boot_s",
    type=click.FloatRange(0, 3600),
    default=90.0,
    show_default=True,
    metavar="S",
    help="From a VM's boot until it serves.",
)
@click.option("--curve", "curve_file", type=FILE, help="A day's traffic, one number a line.")
@click.option(
    "--noise",
    type=click.FloatRange(0, 1),
    default=0.03,
    show_default=True,
    help="Standard deviation of a minute's traffic, as a share.",
)
@click.option("--seed", default=1, show_default=True, help="Of the noise and of what is lost.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@failing_well
def plan(
    rps: float,
    p90_ms: float,
    zones: int,
    survive: str,
    evidence: tuple[Path, ...],
    against: tuple[Path, ...],
    measure: bool,
    measure_rate: int,
    measure_seconds: int,
    table: Path | None,
    machine_type: str,
    vcpus: int | None,
    cpu_ms: float | None,
    boot_s: float,
    curve_file: Path | None,
    noise: float,
    seed: int,
    as_json: bool,
) -> None:
    """VMs, zones, autoscaler and cost for a load, from measured capacity.

    Exit code 1: the simulated day does not hold. 2: no fleet does what is asked, and why.
    """
    from skfleet_local.planner import curve, prices, show, sizing
    from skfleet_local.planner import evidence as found
    from skfleet_local.planner import measure as measuring
    from skfleet_local.planner import plan as plans
    from skfleet_local.run import current, repository

    if measure == bool(evidence):
        raise ConfigurationError(
            "A plan needs to know what a VM takes, from one source.",
            where="--from, --measure",
            hint="--from loadtest/results/RUN of `make loadtest PROFILE=steps VMS=N`, or --measure on "
            "the fleet of `make up`.",
        )
    ask = sizing.Ask(
        rps=rps,
        p90_ms=p90_ms,
        zones=zones,
        survive=sizing.Survive(survive),
        boot_s=boot_s,
        noise=noise,
        curve=curve.read(curve_file) if curve_file else curve.default(),
    )
    # What can be refused at once is, before minutes of load.
    sizing.check(ask)
    priced = prices.read(table) if table else None
    checkout = repository()
    if measure:
        evidence = (measuring.measure(current(), checkout, measure_rate, measure_seconds),)
    made = plans.make(
        ask,
        found.pooled([found.read(folder, vcpus, cpu_ms) for folder in evidence]),
        checkout,
        seed,
        priced,
        machine_type,
        found.pooled([found.read(folder) for folder in against]) if against else None,
    )
    if as_json:
        click.echo(documents.write(made), nl=False)
    else:
        click.echo("\n".join(show.lines(made)))
    if not made.holds:
        sys.exit(1)
