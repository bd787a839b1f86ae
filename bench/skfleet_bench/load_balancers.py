"""`make bench-lb`: one row straight to a VM, and through the load balancers, in the VPC and with IAP.

A local fleet of one VM with two workers serves the bench's linear model. Rounds are interleaved, so that a
busy moment of the machine hits all alike. Envoy, the stand-ins and wrk are on the same two cores as the
VM: throughput is what is left for it, and the CPU a request of each part is what can be compared.
"""

from __future__ import annotations

import functools
import io
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import requests

from skfleet.declared import read_edge
from skfleet.errors import SkfleetError
from skfleet_bench import environments, measure, models, results, run, wrk
from skfleet_bench.cases import CASES, LINEAR
from skfleet_bench.contenders import CONTENDERS
from skfleet_bench.measure import WARM_S, Figures
from skfleet_local import processes
from skfleet_local.compute.cpu import TICKS, cpu_ticks
from skfleet_local.demo.fleet import Fleet, serves
from skfleet_local.demo.report import Report
from skfleet_local.run import Run

CASE = next(case for case in CASES if case.name == "single-linear")
READY_S = 180.0
RELEASE = "bench"
INTERNAL = read_edge(environments.REPO / "edge.yml").listeners.internal.port


@dataclass(frozen=True, slots=True)
class Door:
    """Where the fleet is asked, and as whom."""

    name: str
    url: str
    option: str  # of `skfleet token`


@dataclass(frozen=True, slots=True)
class Sample(Figures):
    """One round of one door. CPU in µs a request."""

    vm_cpu_us: float
    envoy_cpu_us: float
    stand_ins_cpu_us: float


FIELDS = tuple(Sample.__dataclass_fields__)


@contextmanager
def one_vm(directory: Path, model: models.Trained) -> Iterator[tuple[Fleet, dict[str, Any]]]:
    """A fleet whose one VM serves the model, and that VM; ended whatever happens."""
    fleet = Fleet(Run(directory), environments.REPO, Report(0, io.StringIO()))
    try:
        for command in (
            ("skfleet-local", "up", "--vms", "1", "--time-scale", "10"),
            ("skfleet", "model", "publish", str(model.artefact)),
            ("skfleet", "app", "publish"),
            ("skfleet", "release", "create", "--model", model.name, "--id", RELEASE),
            ("skfleet", "release", "desire", RELEASE),
        ):
            run.say(" ".join(command[:3]))
            fleet.command(*command, show=False)
        if not fleet.wait(RELEASE, lambda vms: all(serves(vm, RELEASE) for vm in vms), READY_S):
            raise SkfleetError(
                f"The VM does not serve after {READY_S:.0f} s.",
                where=str(directory),
                hint=fleet.command("skfleet-local", "logs", show=False)[-2000:],
            )
        yield fleet, fleet.status()[0]
    finally:
        fleet.command("skfleet-local", "down", show=False)


def doors(environment: Mapping[str, str], address: str) -> list[Door]:
    """The VM itself, and both load balancers."""
    return [
        Door("vm", f"http://{address}:{INTERNAL}", "--internal"),
        Door("internal", environment["SKFLEET_INTERNAL_URL"], "--internal"),
        Door("external-iap", environment["SKFLEET_URL"], "--iap"),
    ]


def cpu_seconds(root: Path, vm: str) -> tuple[float, float, float]:
    """Of the VM, of Envoy and of all else that stands in for Google, so far."""
    running = processes.by_vm(root)
    cloud: dict[bool, float] = {True: 0.0, False: 0.0}
    for process in running.get("", []):
        cloud[_is_envoy(process.pid)] += cpu_ticks(process) / TICKS
    return sum(map(cpu_ticks, running.get(vm, []))) / TICKS, cloud[True], cloud[False]


def _is_envoy(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("envoy")
    except OSError:
        return False


def measured(
    door: Door, fleet: Fleet, vm: dict[str, Any], model: models.Trained, seconds: float, place: Path
) -> Sample:
    """One round: the answers proven first, then the load."""
    protocol = measure.protocol_of(CONTENDERS["skfleet"], CASE)
    token = fleet.command("skfleet", "token", door.option, show=False)
    headers = {"Content-Type": protocol.content_type, "Authorization": f"Bearer {token}"}
    with requests.Session() as session:
        session.trust_env = False
        session.verify = fleet.environment["SKFLEET_CA_FILE"]

        def ask(body: bytes) -> tuple[int, bytes]:
            answer = session.post(door.url + protocol.path, body, headers=headers, timeout=10)
            return answer.status_code, answer.content

        bodies = measure.prove(ask, protocol, model, CASE)
    load = functools.partial(
        wrk.run, door.url, protocol.path, headers, bodies,
        connections=CASE.connections, directory=place,
    )  # fmt: skip
    load(seconds=WARM_S)
    before = cpu_seconds(fleet.run.root, vm["name"])
    found = load(seconds=seconds)
    after = cpu_seconds(fleet.run.root, vm["name"])
    cpu = [(b - a) / max(found.requests, 1) * 1e6 for a, b in zip(before, after, strict=True)]
    return Sample(
        found.rps, found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms, found.errors, *cpu
    )


@click.command()
@click.option("--rounds", default=3, type=click.IntRange(1, 100), help="Rounds; medians are told.")
@click.option("--duration", default=5.0, type=click.FloatRange(1, 600), help="Seconds a door.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("bench/results/load_balancers.json")
)
def main(rounds: int, duration: float, output: Path) -> None:
    """Measure a VM by itself and through its load balancers."""
    wrk.find()
    model = models.prepare(environments.REPO / ".skfleet/bench/models")[LINEAR]
    samples: dict[str, list[Sample]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="skfleet-bench-") as temporary,
        one_vm(Path(temporary) / "run", model) as (fleet, vm),
    ):
        for number in range(1, rounds + 1):
            for door in doors(fleet.environment, vm["address"]):
                run.say(f"round {number}/{rounds}: {door.name}")
                sample = measured(door, fleet, vm, model, duration, Path(temporary) / "bodies")
                samples.setdefault(door.name, []).append(sample)
    rows = [{"door": name, **results.median(found, Sample)} for name, found in samples.items()]
    document = {
        "schema_version": 1,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"make bench-lb ROUNDS={rounds} DURATION={duration:g}",
        "machine": run.machine(),
        "rows": rows,
    }
    run.write(document, output)
    click.echo("| door | " + " | ".join(FIELDS) + " |")
    click.echo("|---|" + "---:|" * len(FIELDS))
    for row in rows:
        click.echo(f"| {row['door']} | " + " | ".join(f"{row[name]:g}" for name in FIELDS) + " |")


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except (SkfleetError, measure.Failed) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
