"""`skfleet-local`: the local fleet's switch, window and hammer.

Commands import what they need when they run: `down` and `logs` need none of Google's libraries.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from skfleet.errors import ConfigurationError, SkfleetError
from skfleet_local import down as downs
from skfleet_local import logs as log_files
from skfleet_local.failing import failing_well
from skfleet_local.run import current, repository
from skfleet_operator.cli.plan import planning_options, print_plan


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Google Cloud on one machine. The run is in $SKFLEET_RUN_DIR, or .skfleet/run of the checkout."""


@main.command()
@click.option(
    "--vms",
    type=click.IntRange(1, 200),
    default=3,
    show_default=True,
    help="Size of the group, where there is none yet.",
)
@click.option(
    "--runtime",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A ready made environment for the VMs instead of a baked one.",
)
@click.option(
    "--time-scale",
    type=click.FloatRange(min=1),
    default=5.0,  # the load balancers look every second instead of every 5 s
    show_default=True,
    help="How much faster than in the cloud health checks and delays are.",
)
@click.option(
    "--layer",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Make every VM a real systemd host, its disk of this baked layer (see skfleet_local.hosts).",
)
@click.option(
    "--trust",
    "trusted",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="KEY.pub",
    help="New VMs take only releases that this key signed; may be repeated.",
)
@failing_well
def up(
    vms: int,
    runtime: Path | None,
    time_scale: float,
    layer: Path | None,
    trusted: tuple[Path, ...],
) -> None:
    """Start what does not run, and wait until every VM is live."""
    from skfleet_local.up import Up, trust

    run = current()
    with run.lock():
        trust(run, trusted, layer)
        prepared = Up.prepare(
            run,
            repository(),
            vms,
            str(runtime.resolve()) if runtime else "",
            time_scale,
            click.echo,
            layer,
        )
        prepared(vms)


@main.command()
@click.option("--keep", is_flag=True, help="Keep the files; `up` starts the same fleet again.")
@failing_well
def down(keep: bool) -> None:
    """End the fleet and delete its files, the bucket included."""
    run = current()
    began = time.monotonic()
    ended = downs.down(run, keep=keep)
    if not ended.processes and not ended.files:
        click.echo(f"nothing to end in {run.root}")
        return
    seconds = time.monotonic() - began
    killed = f", {ended.killed} by SIGKILL" if ended.killed else ""
    click.echo(f"ended {ended.processes} processes{killed} ({seconds:.1f} s)")
    if ended.files:
        click.echo(
            f"deleted {run.root}: the bucket with its models, builds and releases, keys, disks and logs "
            "(`down --keep` keeps them)"
        )
    else:
        click.echo(f"kept {run.root}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Again and again, with traffic, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Of --watch.",
)
@failing_well
def status(as_json: bool, watch: bool, interval: float) -> None:
    """What the VMs, the load balancers and the cloud say of themselves."""
    if watch:
        from skfleet_local import watch as watching

        if as_json:
            raise click.UsageError("Say either --json or --watch.")
        watching.show(current(), interval)
        return
    from skfleet_local import status as states
    from skfleet_operator.cli.context import print_table

    fleet = states.fleet(current())
    if as_json:
        click.echo(json.dumps(fleet, indent=2))
        return
    header = ["name", "zone", "address", "state", "release", "livez", "readyz", "lb ext/int", "why"]
    print_table(header, [_row(vm) for vm in fleet["vms"]])
    click.echo()
    for name, balancer in fleet["load_balancers"].items():
        counts = ", ".join(f"{n} {state}" for state, n in balancer.items() if state != "url")
        click.echo(f"{name}  {balancer['url']}  {counts or 'no VMs'}")
    if any(vm["signatures"] == "not required" for vm in fleet["vms"]):
        click.echo("signatures  not required: no trusted key (skfleet-local up --trust KEY.pub)")
    gone = [name for name, process in fleet["processes"].items() if not process["alive"]]
    if gone:
        click.echo(f"not running: {', '.join(gone)} (`skfleet-local up` starts them)", err=True)


def _row(vm: dict[str, Any]) -> tuple[str, ...]:
    action = "" if vm["action"] == "NONE" else f" {vm['action'].lower()}"
    why = vm["why_not_ready"] or (
        vm["reason"] if vm["action"] in ("RECREATING", "DELETING") else ""
    )
    return (
        vm["name"],
        vm["zone"],
        vm["address"],
        vm["phase"] + action,
        vm["release"] or "-",
        vm["livez"],
        vm["readyz"],
        f"{(vm['external'] or '-').lower()}/{(vm['internal'] or '-').lower()}",
        why,
    )


@main.command()
@click.argument("what", default="")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines.")
@click.option("-n", "--lines", default=40, show_default=True, help="Last lines of each file.")
@failing_well
def logs(what: str, follow: bool, lines: int) -> None:
    """Logs of a VM, or of cloud, envoy, events; without a name, of everything."""
    run = current()
    run.require_state()
    for path in log_files.files(run, what):
        if text := log_files.tail(path, lines):
            click.echo(f"--- {path.relative_to(run.root)}\n{text}")
    if follow:
        for path, line in log_files.follow(run, what):
            click.echo(f"{path.relative_to(run.root)}: {line}")


@main.command()
@click.argument("size", type=click.IntRange(0, 200))
@failing_well
def scale(size: int) -> None:
    """Set the autoscaler's minimum and the group's size; VMs come and go in the background."""
    from skfleet_local import client
    from skfleet_local.accounts import ACCOUNTS
    from skfleet_local.compute.project import AUTOSCALER, GROUP

    run = current()
    addresses = run.require_state().addresses
    compute = client.Compute(addresses, client.access_token(run, ACCOUNTS["operator"]))
    most = max(size, compute.policy(AUTOSCALER)["maxNumReplicas"])
    compute.set_policy(AUTOSCALER, {"minNumReplicas": size, "maxNumReplicas": most})
    compute.change(f"{compute.links.manager(GROUP)}/resize?size={size}")
    click.echo(f"target size {size}")


@main.command()
@click.argument("name")
@failing_well
def image(name: str) -> None:
    """Bake another image from the checkout, with an instance template NAME for playbooks/replace.yml."""
    from skfleet_local import client, terraform
    from skfleet_local import image as images
    from skfleet_local.accounts import ACCOUNTS

    run = current()
    state = run.require_state()
    if state.layers:
        raise SkfleetError("VMs that are real hosts have the layer that was given.", where="image")
    compute = client.Compute(state.addresses, client.access_token(run, ACCOUNTS["terraform"]))
    if compute.find(compute.links.template(name)) is not None:
        raise SkfleetError(f"There is a template '{name}' already.", where="image")
    images.bake(run, repository(), run.image_named(name))
    templates = f"{compute.links.project}/global/instanceTemplates"
    compute.change(templates, terraform.template(name, name))
    click.echo(name)


@main.group(name="break")
def break_() -> None:
    """Break something, to see it mended."""


@break_.command()
@click.argument("vm")
@failing_well
def kill(vm: str) -> None:
    """SIGKILL every process of a VM, init included."""
    run = current()
    run.require_state()
    count = downs.kill_vm(run, vm)
    click.echo(f"killed {count} processes of {vm}")


@break_.command()
@click.argument("vms", type=click.IntRange(0), required=False)
@click.option("--end", is_flag=True, help="As many VMs as anybody wants again.")
@failing_well
def quota(vms: int | None, end: bool) -> None:
    """The project may have so many VMs in the region, and not one more."""
    from skfleet_local import breaks

    _one_of(vms is not None, end, "VMS")
    breaks.compute(current(), lambda faults: setattr(faults, "quota", vms))
    click.echo("quota: none" if end else f"quota: {vms} VMs")


@break_.command()
@click.argument("zone", default="")
@click.option("--share", default=1.0, show_default=True, help="Of the attempts that find no VM.")
@click.option("--seed", default=1, show_default=True, help="Of which attempts these are.")
@click.option("--end", is_flag=True, help="The zone, or every zone, has machines again.")
@failing_well
def stockout(zone: str, share: float, seed: int, end: bool) -> None:
    """A zone has no machines to give; the group tries again and again."""
    from skfleet_local import breaks
    from skfleet_local.compute.faults import Faults, Stockout

    def change(faults: Faults) -> None:
        others = [item for item in faults.stockouts if zone and item.zone != zone]
        faults.stockouts = others if end else [*others, _stockout()]

    def _stockout() -> Stockout:
        try:
            return Stockout(zone=zone, share=share, seed=seed)
        except ValueError as error:
            raise SkfleetError(f"{error}".capitalize() + ".", where="break stockout") from None

    if not end:
        _one_of(bool(zone), end, "ZONE")
    left = breaks.compute(current(), change).stockouts
    click.echo(f"stockouts: {', '.join(item.zone for item in left) or 'none'}")


@break_.command()
@click.argument("seconds", type=click.FloatRange(0), required=False)
@click.option("--error", help="Google's code: QUOTA_EXCEEDED, ZONE_RESOURCE_POOL_EXHAUSTED, …")
@click.option("--times", default=1, show_default=True, help="Operations that end in the error.")
@click.option("--end", is_flag=True, help="As long as usual, and without errors.")
@failing_well
def operations(seconds: float | None, error: str | None, times: int, end: bool) -> None:
    """Operations take so many seconds of the cloud's time, or end in an error."""
    from skfleet_local import breaks
    from skfleet_local.compute.faults import Slow

    _one_of(seconds is not None or error is not None, end, "SECONDS or --error")
    slow = None if end else Slow(seconds=seconds, error=error, times=times)  # type: ignore[arg-type]
    breaks.compute(current(), lambda faults: setattr(faults, "operations", slow))
    click.echo("operations: as usual" if end else f"operations: {slow}")


@break_.command()
@click.argument("status", type=click.Choice(["429", "500", "502", "503"]), required=False)
@click.option("--times", default=1, show_default=True, help="Calls that are answered so.")
@click.option("--late", is_flag=True, help="After what they ask for is done.")
@click.option("--end", is_flag=True, help="The API answers again.")
@failing_well
def api(status: str | None, times: int, late: bool, end: bool) -> None:
    """The Compute API is in trouble."""
    from skfleet_local import breaks
    from skfleet_local.compute.faults import Trouble

    _one_of(status is not None, end, "STATUS")
    trouble = None if end else Trouble(status=int(status or 0), times=times, late=late)  # type: ignore[arg-type]
    breaks.compute(current(), lambda faults: setattr(faults, "api", trouble))
    click.echo("api: as usual" if end else f"api: {status}, {times} times")


def _one_of(given: bool, end: bool, what: str) -> None:
    if given == end:
        raise click.UsageError(f"Say either {what} or --end.")


@break_.command()
@click.argument("vm")
@failing_well
def reboot(vm: str) -> None:
    """Cut a VM's power; it boots again from its own disk."""
    from skfleet_local import client
    from skfleet_local.accounts import ACCOUNTS
    from skfleet_local.compute.project import ZONES

    run = current()
    addresses = run.require_state().addresses
    compute = client.Compute(addresses, client.access_token(run, ACCOUNTS["operator"]))
    zone = next((found for found in ZONES if compute.find(compute.links.instance(found, vm))), None)
    if zone is None:
        raise SkfleetError(
            f"No VM '{vm}' runs.", where=str(run.vms), hint="`skfleet-local status` names them."
        )
    compute.change(f"{compute.links.instance(zone, vm)}/reset")
    click.echo(f"{vm} boots again")


@break_.command()
@click.option("--end", is_flag=True, help="Mend it.")
@failing_well
def retries(end: bool) -> None:
    """Let the load balancers try nothing again."""
    from skfleet_local.envoy_admin import AdminUnavailable, ask_now

    run = current()
    run.require_state()
    share = 100 if end else 0  # % of requests that may be retried
    try:
        ask_now(run.envoy_admin_socket, f"/runtime_modify?upstream.use_retry={share}", "POST")
    except AdminUnavailable as error:
        raise SkfleetError(
            f"Envoy's admin interface failed because {error}.",
            where=str(run.envoy_admin_socket),
            hint="`skfleet-local up` starts what does not run.",
        ) from None
    click.echo(f"retries {'on' if end else 'off'}")


@main.command()
@click.argument("evidence")
@click.option(
    "--seed", type=int, help="Of the moments that mishaps strike at; else the record's own."
)
@click.option("--as", "stand_ins", multiple=True, metavar="RECORDED=LOCAL", help="Releases.")
@failing_well
def replay(evidence: str, seed: int | None, stand_ins: tuple[str, ...]) -> None:
    """Run a recorded rollout (a file, or gs://…) again; exit code 1 where it comes out differently."""
    from skfleet import documents
    from skfleet.artifacts.store import Store
    from skfleet_local.replay_fleet import ReplayFleet
    from skfleet_operator.replay.run import Replay
    from skfleet_operator.rollouts.evidence import Evidence

    run = current()
    run.require_state()
    if evidence.startswith("gs://"):
        data = Store(os.environ.get("SKFLEET_STORAGE_ENDPOINT", "")).read(evidence).data
    elif Path(evidence).is_file():
        data = Path(evidence).read_bytes()
    else:
        raise SkfleetError(f"There is no file '{evidence}'.", where="EVIDENCE")
    record = documents.read(Evidence, data, where=evidence)
    releases = dict(item.split("=", 1) for item in stand_ins if "=" in item)
    again = Replay(
        ReplayFleet(run),
        repository(),
        record,
        record.seed if seed is None else seed,
        click.echo,
        releases,
    )
    found = again()
    for line in found:
        click.echo(f"differs   {line}")
    if found:
        sys.exit(1)
    click.echo(f"same      {record.verdict}, step by step")


@main.command()
@planning_options
@click.option("--measure", is_flag=True, help="Run that load test on the local fleet first.")
@click.option(
    "--measure-rate", type=click.IntRange(8), default=400, show_default=True, help="Its last step."
)
@click.option("--measure-seconds", type=click.IntRange(40), default=160, show_default=True)
@failing_well
def plan(
    measure: bool,
    measure_rate: int,
    measure_seconds: int,
    evidence: tuple[Path, ...],
    **asked: Any,
) -> None:
    """VMs, zones, autoscaler and cost for a load, from measured capacity: `skfleet plan`, with --measure.

    Exit code 1: the simulated day does not hold. 2: no fleet does what is asked, and why.
    """
    from skfleet_local import measure as measuring

    if measure == bool(evidence):
        raise ConfigurationError(
            "A plan needs to know what a VM takes, from one source.",
            where="--from, --measure",
            hint="--from loadtest/results/RUN of `make loadtest PROFILE=steps VMS=N`, or --measure on "
            "the fleet of `make up`.",
        )
    checkout = repository()

    def load_tests() -> tuple[Path, ...]:
        if measure:
            return (measuring.measure(current(), checkout, measure_rate, measure_seconds),)
        return evidence

    print_plan(checkout, load_tests, **asked)


@main.command()
@failing_well
def env() -> None:
    """The client's environment, for: eval "$(skfleet-local env)"."""
    run = current()
    run.require_state()
    if not run.client_env.exists():
        raise SkfleetError("The fleet is not up yet.", where=str(run.root), hint="make up")
    for line in run.client_env.read_text().splitlines():
        click.echo(f"export {line}")


if __name__ == "__main__":
    main()
