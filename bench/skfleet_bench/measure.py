"""One server, one round: start it, prove its answers, load it, end it."""

from __future__ import annotations

import functools
import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from skfleet.polling import wait_until
from skfleet_bench import wrk
from skfleet_bench.cases import Case
from skfleet_bench.contenders import Command, Contender, Place
from skfleet_bench.models import Trained
from skfleet_bench.processes import Server
from skfleet_bench.protocols import Protocol, choose, protocols
from skfleet_operator.ports import free_ports

READY_S = 60.0
WARM_S = 1.0
BODIES = 16  # distinct requests of a case
HOST = "127.0.0.1"
Ask = Callable[[bytes], tuple[int, bytes]]  # body → status, answer


class Failed(Exception):
    """A contender that does not start, or answers wrong."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What callers saw of one round. Times in ms."""

    rps: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    errors: int


@dataclass(frozen=True, slots=True)
class Sample(Figures):
    """One round of one case. CPU in µs a request, memory in MiB."""

    cpu_us: float
    pss_mib: float | None
    ready_s: float | None


def round_of(
    contender: Contender, model: Trained, cases: Sequence[Case], bin_directory: Path,
    directory: Path, seconds: float,
) -> Iterator[tuple[Case, Sample]]:  # fmt: skip
    """Measure these cases of one model; raises Failed."""
    directory.mkdir(parents=True, exist_ok=True)
    place = Place(bin_directory, directory, tuple(free_ports(4)))
    command = contender.start(place, model)
    asked = [(case, protocol_of(contender, case)) for case in cases]
    if contender.inside:
        for case, protocol in asked:
            yield case, _inside(command, protocol, model, case, directory, seconds)
        return
    server = Server(command.arguments, command.environ, directory, directory / "server.log")
    port = command.port or place.ports[0]
    try:
        ready_s = wait(server, port, command, asked[0][1], model, asked[0][0].rows)
        for case, protocol in asked:
            bodies = prove(asking(port, command, protocol), protocol, model, case)
            headers = headers_of(command, protocol, bodies[0])
            for name, values in command.turns.items():
                file = directory / name
                file.write_text("\n".join(values))
                headers[name] = f"@{file}"
            load = functools.partial(
                wrk.run, f"http://{HOST}:{port}", protocol.path, headers, bodies,
                connections=case.connections, directory=directory / "bodies" / case.name,
            )  # fmt: skip
            load(seconds=WARM_S)
            before = server.cpu_seconds()
            found = load(seconds=seconds)
            cpu = server.cpu_seconds() - before
            yield case, Sample(
                found.rps, found.p50_ms, found.p90_ms, found.p99_ms, found.p999_ms, found.errors,
                cpu / max(found.requests, 1) * 1e6, server.pss_mib(), ready_s,
            )  # fmt: skip
    finally:
        server.stop()


def protocol_of(contender: Contender, case: Case) -> Protocol:
    found = choose(protocols(contender.server, case.model), case.encoding, case.rows)
    if found is None:
        raise AssertionError(f"{contender.name} has no way to ask {case.name}")
    return found


def wait(
    server: Server, port: int, command: Command, protocol: Protocol, model: Trained, size: int
) -> float:
    """Seconds from exec to the first right answer."""
    rows, labels = model.batch(size)
    body = protocol.body(rows)
    problem = "no answer"

    def answers() -> bool:
        nonlocal problem
        if server.ended is not None:
            raise Failed(f"did not start: {server.tail()}")
        status, answer = _ask(port, protocol, headers_of(command, protocol, body), body)
        problem = f"{status}: {answer[:200].decode(errors='replace')}"
        return status == 200 and protocol.labels(answer) == labels

    try:
        wait_until(
            answers,
            READY_S,
            "the server",
            interval_s=0.01,
            ignore=(OSError, http.client.HTTPException),
        )
    except TimeoutError:
        raise Failed(f"not ready in {READY_S:.0f} s ({problem}): {server.tail()}") from None
    return time.monotonic() - server.started


def prove(ask: Ask, protocol: Protocol, model: Trained, case: Case) -> list[bytes]:
    """The bodies of a case, each answered right; raises Failed."""
    bodies = []
    for index in range(BODIES):
        rows, labels = model.batch(case.rows, index * len(model.rows) // BODIES)
        body = protocol.body(rows)
        status, answer = ask(body)
        if status != 200:
            raise Failed(f"{case.name} answers {status}: {answer[:300].decode(errors='replace')}")
        if protocol.labels(answer) != labels:
            raise Failed(f"{case.name} is answered wrong")
        bodies.append(body)
    return bodies


def asking(port: int, command: Command, protocol: Protocol) -> Ask:
    """Asks a server on this port."""
    return lambda body: _ask(port, protocol, headers_of(command, protocol, body), body)


def headers_of(command: Command, protocol: Protocol, body: bytes) -> dict[str, str]:
    return {"Content-Type": protocol.content_type, **protocol.headers(body), **command.headers}


def _ask(port: int, protocol: Protocol, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("POST", protocol.path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _inside(
    command: Command, protocol: Protocol, model: Trained, case: Case, directory: Path, seconds: float
) -> Sample:  # fmt: skip
    bodies = directory / "bodies" / case.name
    bodies.mkdir(parents=True, exist_ok=True)
    for index in range(BODIES):
        rows, _ = model.batch(case.rows, index * len(model.rows) // BODIES)
        (bodies / f"{index:02}").write_bytes(protocol.body(rows))
    headers = headers_of(command, protocol, (bodies / "00").read_bytes())
    done = subprocess.run(
        [*command.arguments, protocol.path, json.dumps(headers), str(bodies), str(seconds)],
        env=command.environ, capture_output=True, text=True, check=False, timeout=seconds + READY_S,
    )  # fmt: skip
    line = next((x for x in done.stdout.splitlines() if x.startswith('{"requests"')), None)
    if done.returncode != 0 or line is None:
        raise Failed((done.stderr.strip().splitlines() or ["no result"])[-1][-300:])
    found = json.loads(line)
    count = found["requests"]
    return Sample(
        count / found["seconds"], found["p50"], found["p90"], found["p99"], found["p999"], 0,
        found["cpu"] / count * 1e6, None, None,
    )  # fmt: skip
