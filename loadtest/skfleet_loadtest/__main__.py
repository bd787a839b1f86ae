"""`python -m skfleet_loadtest`: what `make loadtest` and the playbook run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from skfleet.errors import ConfigurationError, SkfleetError
from skfleet_loadtest import local, profiles, verdict
from skfleet_loadtest.plan import Plan
from skfleet_loadtest.show import print_verdict

_RESULTS = Path("loadtest/results")
_MODELS = (".skfleet/models/flight-delay",)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Does the fleet keep its SLOs at this load?"""


def asks_for(command: Callable[..., None]) -> Callable[..., None]:
    """The options that make a plan."""
    options = (
        click.option(
            "--profile",
            type=click.Choice(list(profiles.DEFAULTS)),
            default="constant",
            show_default=True,
            help="; ".join(f"{name}: {d.meaning}" for name, d in profiles.DEFAULTS.items()) + ".",
        ),
        click.option(
            "--rate", type=int, default=0, help="Requests a second; default: the profile's."
        ),
        click.option("--duration", type=int, default=0, help="Seconds after the warm-up."),
        click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True),
        click.option(
            "--target", default="iap", show_default=True, help="iap, internal, or an address."
        ),
        click.option(
            "--warm-up", type=int, default=10, show_default=True, help="Seconds left out."
        ),
        click.option(
            "--arrivals",
            type=click.Choice(["poisson", "constant"]),
            default="poisson",
            show_default=True,
            help="Independent callers, or a metronome.",
        ),
        click.option("--slots", type=int, default=0, help="Requests in flight a worker at most."),
        click.option(
            "--vms", type=int, default=0, help="VMs behind the target, for their capacity."
        ),
        click.option("--canary", default="", help="Release that is also judged by itself."),
        click.option(
            "--abort",
            type=click.Choice(["burn", "never"]),
            default="burn",
            show_default=True,
            help="End a run whose error budget burns.",
        ),
        click.option("--run", "name", default="", help="Name of the run; default: the time."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def make_plan(asked: dict[str, Any], results: Path = _RESULTS) -> Plan:
    """The plan of these options."""
    profile, target, name = asked.pop("profile"), asked.pop("target"), asked.pop("name")
    return Plan(
        run=name or local.new_name(profile),
        load_profile=profile,
        results=str(results),
        **{**asked, **local.door(target)},
    )


@main.command()
@asks_for
@click.option("--baseline", default="", help="Run to compare with.")
@click.option("--events", default="", help="JSON lines for the report's marks and bands.")
@click.option("--results", type=click.Path(path_type=Path), default=_RESULTS, show_default=True)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=_MODELS,
    show_default=True,
    help="Directory of the artefact whose answers are right; RELEASE=DIRECTORY for one release's.",
)
@click.option("--flights", "rows", type=click.Path(path_type=Path), help="A prepared file instead.")
@click.option("--web", is_flag=True, help="Locust's own web page instead of a run at once.")
def run(models: tuple[str, ...], rows: Path | None, web: bool, results: Path, **asked: Any) -> None:
    """A leader and workers on this machine, then verdict and report."""
    plan = make_plan(asked, results)
    if rows is None:
        rows = local.prepared(local.parse_models(models))
    sys.exit(local.run(plan, rows, web))


@main.command("plan")
@asks_for
def plan_command(**asked: Any) -> None:
    """Print a plan for generators elsewhere: its name, seconds, and Locust's arguments."""
    plan = make_plan(asked)
    seconds = plan.warm_up + plan.profile.duration_s
    click.echo(json.dumps({"run": plan.run, "seconds": seconds, "arguments": plan.arguments()}))


@main.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True, default=_MODELS)
def prepare(output: Path, models: tuple[str, ...]) -> None:
    """Write the flights and their right answers to OUTPUT, for generators elsewhere."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(local.prepared(local.parse_models(models)).read_bytes())


@main.command()
@click.argument("run_directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--baseline", default="", help="Run to compare with.")
@click.option("--events", default="", help="JSON lines for the report's marks and bands.")
def report(run_directory: Path, baseline: str, events: str) -> None:
    """Judge a run's record again and write its report; ends with the verdict's exit code."""
    judged = local.conclude(run_directory, baseline, events)
    print_verdict(judged, run_directory)
    sys.exit(verdict.EXIT_CODES[judged.verdict])


@main.command()
@click.option("--rate", type=float, default=200.0, show_default=True, help="Requests a second.")
@click.option("--seconds", type=float, default=0.0, help="How long; default: until SIGTERM.")
@click.option("--until-file", type=click.Path(path_type=Path), help="End when this file is there.")
@click.option(
    "--listeners", default="iap,internal", show_default=True, help="Load balancers, in turn."
)
@click.option("--record", "output", type=click.Path(path_type=Path), required=True)
@click.option(
    "--require-clean",
    is_flag=True,
    help="Exit code 1 for a failed, wrong or slow run, 3 where the rate was not held.",
)
def witness(
    rate: float,
    seconds: float,
    until_file: Path | None,
    listeners: str,
    output: Path,
    require_clean: bool,
) -> None:
    """Predictions at a steady rate while a fleet changes: an open loop, answers checked, no retries."""
    from skfleet_loadtest import witnessing

    found = witnessing.run(rate, seconds, until_file, listeners.split(","), output)
    click.echo(witnessing.line(found))
    if require_clean:
        sys.exit(witnessing.exit_code(found))


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--target-rate", type=float, required=True, help="Requests a second to hold.")
@click.option(
    "--growth",
    type=float,
    default=0.1,
    show_default=True,
    help="Share by which the load may grow in a minute.",
)
@click.option(
    "--boot",
    "boot_s",
    type=float,
    default=60.0,
    show_default=True,
    help="Seconds until a new VM serves.",
)
@click.option("--output", type=click.Path(path_type=Path), help="capacity.json to write.")
def capacity(
    runs: tuple[Path, ...], target_rate: float, growth: float, boot_s: float, output: Path | None
) -> None:
    """How many VMs a load needs, from the steps of RUNS (PROFILE=steps, VMS= of each set)."""
    from skfleet_loadtest import capacity as fitting
    from skfleet_loadtest.show import print_capacity

    found = fitting.of_runs([verdict.read(path) for path in runs], target_rate, growth, boot_s)
    if output:
        fitting.write(found, output)
    print_capacity(found)


def command() -> None:
    """Run; a failure is one message and an exit code."""
    try:
        main()
    except SkfleetError as error:
        click.echo(f"loadtest: {error}", err=True)
        sys.exit(error.exit_code if error.exit_code != 1 else ConfigurationError.exit_code)


if __name__ == "__main__":
    command()
