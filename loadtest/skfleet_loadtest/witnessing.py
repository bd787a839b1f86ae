"""Running the witness from a shell: its doors from the client's environment, its end, its record."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

from skfleet.artifacts.store import Store
from skfleet.declared import declared
from skfleet.errors import ConfigurationError
from skfleet.files import replace_file
from skfleet.settings import Settings
from skfleet_loadtest.witness import Door, Expected, Witness, record
from skfleet_operator.client import tokens

# How far the rate may be from what was asked for a run that counts.
HELD = 0.02


def run(
    rate: float, seconds: float, until_file: Path | None, listeners: list[str], output: Path
) -> dict[str, Any]:
    """One run; its record is written to `output` and returned."""
    doors = [door(name) for name in listeners]
    with tempfile.TemporaryDirectory(prefix="skfleet-witness-") as cache:
        expected = Expected(
            Store(Settings.from_environ().storage_endpoint),
            "gs://" + _variable("SKFLEET_BUCKET").removeprefix("gs://").strip("/"),
            Path(cache),
            _variable("SKFLEET_FLEET"),
        )
        witness = Witness(doors, os.environ.get("SKFLEET_CA_FILE", ""), expected, rate)
        stopped = False

        def stop(so_far: float) -> bool:
            ended = until_file is not None and until_file.exists()
            return stopped or ended or bool(seconds and so_far >= seconds)

        def end(*_: object) -> None:
            nonlocal stopped
            stopped = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        asyncio.run(witness.run(stop))
    found = record(witness.tally, rate)
    replace_file(output, json.dumps(found, indent=1).encode(), mode=0o644)
    return found


def door(name: str) -> Door:
    """A load balancer as the client's environment knows it."""
    if name == "iap":
        token = tokens.id_token(_variable("SKFLEET_IAP_AUDIENCE"))
        return Door(name, _variable("SKFLEET_URL"), f"Bearer {token}")
    if name == "internal":
        token = tokens.id_token(_variable("SKFLEET_INTERNAL_AUDIENCE"))
        return Door(name, _variable("SKFLEET_INTERNAL_URL"), f"Bearer {token}")
    raise ConfigurationError(
        f"There is no listener '{name}'.", where="--listeners", hint="Known: iap, internal."
    )


def exit_code(found: dict[str, Any]) -> int:
    """0 for a clean run that held its rate, 1 for one that is not clean, 3 for one that says nothing."""
    latency = declared().slo.objectives.latency
    reached = found[f"p{latency.percentile:g}_ms"] or 0
    if found["failed"] or found["wrong"] or reached >= latency.threshold_ms:
        return 1
    held = abs(found["rate"] / found["rate_asked"] - 1) <= HELD
    return 0 if held and found["requests"] else 3


def line(found: dict[str, Any]) -> str:
    """One line for a person."""
    return (
        f"{found['requests']} requests at {found['rate']}/s, {found['failed']} failed, "
        f"{found['wrong']} wrong, p90 {found['p90_ms']} ms, p99.9 {found['p99.9_ms']} ms, "
        f"{found['late']} sent late, {found['cpu_s']} s CPU"
    )


def _variable(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ConfigurationError(
            f"{name} is not set.", where=name, hint='Locally: eval "$(skfleet-local env)".'
        )
    return value
