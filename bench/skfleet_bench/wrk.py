"""Load by wrk: closed loop, two threads, as many callers as connections."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skfleet.errors import ConfigurationError

SCRIPT = Path(__file__).with_name("wrk.lua")
THREADS = 2
TIMEOUT_S = 5
ERRORS = ("connect", "read", "write", "status", "timeout")


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw; times in ms."""

    rps: float
    requests: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    errors: int


def find() -> str:
    """wrk's path; raises ConfigurationError that says how to get it."""
    path = shutil.which("wrk")
    if path is None:
        raise ConfigurationError(
            "The load generator wrk is not installed.",
            where="PATH",
            hint="On Debian and Ubuntu: apt-get install wrk. Without root: its package holds one program.",
        )
    return path


def parse(output: str) -> Load:
    """The line that wrk.lua prints, from all that wrk says."""
    line = next((line for line in output.splitlines() if line.startswith("{")), None)
    if line is None:
        raise ValueError(f"wrk printed no result: {output[:500]}")
    found = json.loads(line)
    return Load(
        rps=found["requests"] / (found["duration_us"] / 1e6),
        requests=found["requests"],
        p50_ms=found["p50"] / 1e3,
        p90_ms=found["p90"] / 1e3,
        p99_ms=found["p99"] / 1e3,
        p999_ms=found["p999"] / 1e3,
        errors=sum(found[name] for name in ERRORS),
    )


def run(
    address: str,
    path: str,
    headers: Mapping[str, str],
    bodies: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    directory: Path,
) -> Load:
    """Ask for so many seconds; `address` is `http://host:port`, `directory` takes the bodies."""
    directory.mkdir(parents=True, exist_ok=True)
    for index, body in enumerate(bodies):
        (directory / str(index)).write_bytes(body)
    flat = [part for pair in headers.items() for part in pair]
    command = [
        find(), "--threads", str(min(THREADS, connections)), "--connections", str(connections),
        "--duration", f"{max(1, round(seconds))}s", "--timeout", f"{TIMEOUT_S}s",
        "--script", str(SCRIPT), address, "--", path, str(len(bodies)), str(directory), *flat,
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    if done.returncode != 0:
        raise ValueError(f"wrk ended with {done.returncode}: {done.stderr[-500:]}")
    return parse(done.stdout)
