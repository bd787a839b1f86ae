"""A run with leader and workers on this machine: prepare, Locust, verdict, report."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from skfleet.declared import declared
from skfleet.errors import ConfigurationError, DocumentError
from skfleet_loadtest import TREE, compare, flights, gate, record, verdict
from skfleet_loadtest.plan import FLIGHTS_VARIABLE, Plan
from skfleet_loadtest.report import page
from skfleet_loadtest.show import print_verdict
from skfleet_loadtest.verdict import Verdict
from skfleet_operator.ports import free_ports

_WORKERS_WAIT_S = 60
_CACHE = Path(".skfleet/loadtest")
_LOCUSTFILE = TREE / "loadtest/locustfile.py"


def run(plan: Plan, rows: Path, web: bool = False) -> int:
    """The whole run; returns the verdict's exit code."""
    directory = Path(plan.results) / plan.run
    if (directory / record.FILE_NAME).exists():
        raise ConfigurationError(
            "There is a run of this name.", where=str(directory), hint="Name another with --run."
        )
    directory.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, FLIGHTS_VARIABLE: str(rows.resolve())}
    command = locust_command(plan, free_ports(1)[0], web)
    if web:
        return subprocess.run(command, env=environment, check=False).returncode
    with (directory / "locust.log").open("wb") as log:
        ended = subprocess.run(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    reason = f"Locust ended with {ended} (see locust.log)"
    judged = conclude(directory, plan.baseline, plan.events, reason)
    print_verdict(judged, directory)
    return verdict.EXIT_CODES[judged.verdict]


def locust_command(plan: Plan, port: int, web: bool) -> list[str]:
    """Locust with one leader and its workers as processes of this machine."""
    mode = ["--web-host", "127.0.0.1"] if web else ["--headless", "--only-summary"]
    return [
        sys.executable,
        "-m",
        "locust",
        "--locustfile",
        str(_LOCUSTFILE),
        "--processes",
        str(plan.workers),
        "--expect-workers-max-wait",
        str(_WORKERS_WAIT_S),
        "--master-bind-host",
        "127.0.0.1",
        "--master-bind-port",
        str(port),
        "--master-host",
        "127.0.0.1",
        "--master-port",
        str(port),
        "--host",
        plan.url,
        *mode,
        *plan.arguments(),
    ]


def conclude(directory: Path, baseline: str = "", events: str = "", reason: str = "") -> Verdict:
    """Judge the record, compare, write verdict.json and report.html. No record proves nothing."""
    if not (directory / record.FILE_NAME).exists():
        target = declared().slo.objectives.availability.target
        judged = verdict.invalid(
            directory.name, f"the run has no record: {reason or 'its leader left none'}", target
        )
        verdict.write(judged, directory)
        return judged
    kept = record.read(directory)
    judged = gate.judge(kept)
    judged = compare.with_baseline(
        judged, kept, _baseline(directory, baseline or kept.plan.baseline)
    )
    judged = compare.with_canary(judged, kept)
    verdict.write(judged, directory)
    marks = Path(events or kept.plan.events) if events or kept.plan.events else None
    (directory / "report.html").write_text(page.render(kept, judged, marks))
    return judged


def _baseline(directory: Path, name: str) -> record.Record | None:
    if not name:
        return None
    return record.read(Path(name) if Path(name).is_dir() else directory.parent / name)


def door(target: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The plan's address, token and audience for `iap`, `internal` or an address."""
    environ = os.environ if environ is None else environ
    if target.startswith(("http://", "https://")):
        return {"url": target.rstrip("/"), "token": "none"}
    names = {
        "iap": ("SKFLEET_URL", "SKFLEET_IAP_AUDIENCE"),
        "internal": ("SKFLEET_INTERNAL_URL", "SKFLEET_INTERNAL_AUDIENCE"),
    }
    if target not in names:
        raise ConfigurationError(
            f"'{target}' is no target.", where="TARGET", hint="iap, internal, or an address."
        )
    url, audience = (environ.get(name, "") for name in names[target])
    if not url:
        raise ConfigurationError(
            "No address of a fleet is given.",
            where=names[target][0],
            hint='For the local fleet: eval "$(.venv/bin/skfleet-local env)".',
        )
    # Without a client id the token for IAP is signed by the service account itself.
    kind = "id-token" if audience or target == "internal" else "signed-jwt"
    return {"url": url.rstrip("/"), "token": kind, "audience": audience}


def new_name(profile: str) -> str:
    """A run's name: time and profile."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{profile}"


def parse_models(texts: tuple[str, ...]) -> dict[str, Path]:
    """`DIRECTORY` or `RELEASE=DIRECTORY` → artefact directories by release."""
    models = {}
    for text in texts:
        release, equals, directory = text.rpartition("=")
        models[release if equals else flights.ANY_RELEASE] = Path(directory)
    return models


def prepared(models: Mapping[str, Path]) -> Path:
    """The flights' file for these models, made once for each version of them."""
    digest = hashlib.sha256()
    for release, directory in sorted(models.items()):
        manifest = directory / "manifest.json"
        content = manifest.read_bytes() if manifest.exists() else b""
        digest.update(f"{release}={len(content)}:".encode() + content)
    path = _CACHE / f"flights-{digest.hexdigest()[:16]}.json"
    try:
        flights.read(path)
    except DocumentError:
        from skfleet_loadtest.prepare import prepare  # needs the training environment

        flights.write(prepare(models), path)
    return path
