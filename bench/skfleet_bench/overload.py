"""`make overload`: more than the service can answer. Is what it admits fast, and is its health?

For each case the capacity is measured first (wrk, a closed loop), then `--factor` times as much is asked
in an open loop, while another process looks at `/livez` and `/readyz` ten times a second. All on one
machine: what the generator takes is missing from the capacity, so that the overload is larger than said.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from skfleet_bench import environments, measure, models, run, wrk
from skfleet_bench.cases import CASES, Case
from skfleet_bench.contenders import CONTENDERS, Place
from skfleet_bench.measure import HOST, WARM_S
from skfleet_bench.open_loop import Load
from skfleet_bench.processes import Server
from skfleet_operator.ports import free_ports

CONTENDER = CONTENDERS["skfleet"]
USUAL = "rows-1000-linear,rows-100-forest,rows-1000-boosting"
CONNECTIONS = 600  # more than the service admits at once
# Its own process: a generator at its limit would find health late.
PROBE = """
import http.client, json, sys, time
port, seconds = int(sys.argv[1]), float(sys.argv[2])
end, times = time.monotonic() + seconds, {"/livez": [], "/readyz": []}
while time.monotonic() < end:
    for path, found in times.items():
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        status = connection.getresponse().status
        found.append((time.monotonic() - began) * 1e3 if status == 200 else 1e9)
        connection.close()
    time.sleep(0.1)
print(json.dumps(times))
"""


def request(protocol: Any, headers: dict[str, str], body: bytes) -> bytes:
    """The bytes of a request."""
    lines = [f"POST {protocol.path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def one(
    case: Case, model: models.Trained, bins: Path, cache: Path, factor: float, seconds: float
) -> Any:
    """What came of one case, as a row of the table."""
    directory = cache / "overload" / case.name
    directory.mkdir(parents=True, exist_ok=True)
    place = Place(bins, directory, tuple(free_ports(4)))
    command = CONTENDER.start(place, model)
    protocol = measure.protocol_of(CONTENDER, case)
    server = Server(command.arguments, command.environ, directory, directory / "server.log")
    port = command.port or place.ports[0]
    try:
        measure.wait(server, port, command, protocol, model, case.rows)
        bodies = measure.prove(measure.asking(port, command, protocol), protocol, model, case)
        headers = measure.headers_of(command, protocol, bodies[0])
        for duration in (WARM_S, seconds):
            closed = wrk.run(
                f"http://{HOST}:{port}", protocol.path, headers, bodies,
                connections=case.connections, seconds=duration, directory=directory / "bodies",
            )  # fmt: skip
        rate = closed.rps * factor
        run.say(
            f"{case.name}: {closed.rps:,.0f}/s answered in a closed loop; {rate:,.0f}/s asked now"
        )
        probe = subprocess.Popen(
            [sys.executable, "-c", PROBE, str(place.ports[2]), str(seconds)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        load = Load(
            rate, seconds, CONNECTIONS, [request(protocol, headers, body) for body in bodies]
        )
        heard = asyncio.run(load.run(HOST, port))
        health = {
            path: times for path, times in json.loads(probe.communicate()[0]).items() if times
        }
    finally:
        server.stop()
    counts = {status: len(times) for status, times in heard.seconds.items()}
    return {
        "case": case.name,
        "capacity_rps": closed.rps,
        "asked_rps": rate,
        "sent_rps": heard.held,
        "admitted_rps": counts.get(200, 0) / seconds,
        "refused_rps": counts.get(429, 0) / seconds,
        "others": sum(counts.values()) - counts.get(200, 0) - counts.get(429, 0) + heard.unanswered,
        "admitted_ms": {f"p{percent}": heard.ms(200, percent) for percent in (50, 90, 99)},
        "refused_ms": {f"p{percent}": heard.ms(429, percent) for percent in (50, 90, 99)},
        "health_ms": {
            path: {"p50": statistics.median(times), "max": max(times), "looks": len(times)}
            for path, times in health.items()
        },
    }


@click.command()
@click.option("--factor", default=2.0, type=click.FloatRange(0.1, 10), help="Times the capacity.")
@click.option("--duration", default=20.0, type=click.FloatRange(2, 600), help="Seconds a case.")
@click.option("--cases", "wanted", default=USUAL, show_default=True, help="Cases by commas.")
@click.option("--output", type=click.Path(path_type=Path), default="bench/results/overload.json")
def main(factor: float, duration: float, wanted: str, output: Path) -> None:
    """Ask for more than can be answered."""
    wrk.find()
    cache = environments.REPO / ".skfleet/bench"
    trained = models.prepare(cache / "models")
    bins = environments.make(CONTENDER.environment, cache / "environments")
    known = {case.name: case for case in CASES}
    rows = []
    for name in wanted.split(","):
        if name not in known:
            raise click.UsageError(f"There is no '{name}'. Known: {', '.join(known)}.")
        case = known[name]
        rows.append(one(case, trained[case.model], bins, cache, factor, duration))
        click.echo(json.dumps(rows[-1], indent=1))
    run.write({"schema_version": 1, "factor": factor, "duration_s": duration, "rows": rows}, output)


if __name__ == "__main__":
    main()
