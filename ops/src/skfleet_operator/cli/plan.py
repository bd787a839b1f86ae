"""`skfleet plan`, and what `skfleet-local plan` shares with it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from skfleet import documents
from skfleet.errors import ConfigurationError
from skfleet_operator.cli.context import repo_option

FOLDER = click.Path(path_type=Path)
FILE = click.Path(path_type=Path)


Option = Callable[[Callable[..., None]], Callable[..., None]]
OPTIONS: tuple[Option, ...] = (
    click.option("--rps", type=float, required=True, help="Requests a second at the day's peak."),
    click.option("--p90", "p90_ms", type=float, required=True, metavar="MS", help="To be kept."),
    click.option("--zones", type=int, default=3, show_default=True),
    click.option(
        "--survive",
        type=click.Choice(["zone", "vm", "nothing"]),
        default="zone",
        show_default=True,
        help="What may be lost at the peak.",
    ),
    click.option(
        "--from",
        "evidence",
        type=FOLDER,
        multiple=True,
        help="Results of a load test with PROFILE=steps; several of the same fleet are taken together.",
    ),
    click.option(
        "--against", type=FOLDER, multiple=True, help="Other such runs, to hold the queue against."
    ),
    click.option("--prices", "table", type=FILE, help="Price table; see docs/planning.md."),
    click.option("--machine-type", default="", help="Of the price table, where it has several."),
    click.option(
        "--vcpus",
        type=click.IntRange(1, 512),
        help="Of the measured VMs.  [default: 2, or sampled]",
    ),
    click.option(
        "--cpu-ms", type=click.FloatRange(0, min_open=True), help="A VM's CPU for one request."
    ),
    click.option(
        "--boot",
        "boot_s",
        type=click.FloatRange(0, 3600),
        default=90.0,
        show_default=True,
        metavar="S",
        help="From a VM's boot until it serves.",
    ),
    click.option("--curve", "curve_file", type=FILE, help="A day's traffic, one number a line."),
    click.option(
        "--noise",
        type=click.FloatRange(0, 1),
        default=0.03,
        show_default=True,
        help="Standard deviation of a minute's traffic, as a share.",
    ),
    click.option("--seed", default=1, show_default=True, help="Of the noise and of what is lost."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)


def planning_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add every option that says what to plan for."""
    return functools.reduce(lambda inner, option: option(inner), reversed(OPTIONS), function)


@click.command()
@planning_options
@repo_option
def plan(repo: Path, evidence: tuple[Path, ...], **asked: Any) -> None:
    """VMs, zones, autoscaler and cost for a load, from measured capacity.

    Exit code 1: the simulated day does not hold. 2: no fleet does what is asked, and why.
    """
    if not evidence:
        raise ConfigurationError(
            "A plan needs to know what a VM takes.",
            where="--from",
            hint="--from loadtest/results/RUN of `make loadtest PROFILE=steps VMS=N`.",
        )
    print_plan(repo, lambda: evidence, **asked)


def print_plan(
    repository: Path,
    load_tests: Callable[[], tuple[Path, ...]],
    *,
    rps: float,
    p90_ms: float,
    zones: int,
    survive: str,
    against: tuple[Path, ...],
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
    """Make the plan and print it; `load_tests` gives the runs' directories once all else is checked."""
    from skfleet_operator.planner import curve, prices, show, sizing
    from skfleet_operator.planner import evidence as found
    from skfleet_operator.planner import plan as plans

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
    made = plans.make(
        ask,
        found.pooled([found.read(folder, vcpus, cpu_ms) for folder in load_tests()]),
        repository,
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
