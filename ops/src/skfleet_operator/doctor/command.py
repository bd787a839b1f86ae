"""`skfleet doctor`: ask, print, and end with 1 when something fails."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from skfleet.errors import ConfigurationError
from skfleet_operator.cloud import ENDPOINTS, SCOPES, Cloud, RestCloud, parse_endpoints
from skfleet_operator.doctor.checks import CHECKS, look
from skfleet_operator.doctor.result import Result
from skfleet_operator.doctor.target import Target
from skfleet_operator.google_rest import authorize
from skfleet_operator.ssh.login import DIRECTORY

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@click.command()
@click.option(
    "--project", envvar="GOOGLE_CLOUD_PROJECT", default="", show_envvar=True, help="Project id."
)
@click.option("--region", default="", help="Region of the fleet; default: the end of its name.")
@click.option(
    "--fleet", envvar="SKFLEET_FLEET", default="", show_envvar=True, help="Name of the fleet."
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="For people or for programs.",
)  # fmt: skip
@click.option(
    "--url",
    envvar="SKFLEET_URL",
    default="",
    show_envvar=True,
    help="Outside address: make a call through IAP and compare audiences.",
)
@click.option(
    "--internal-url",
    envvar="SKFLEET_INTERNAL_URL",
    default="",
    show_envvar=True,
    help="Inside address: the same, where IAP guards it too.",
)
@click.option(
    "--iap-audience",
    envvar="SKFLEET_IAP_AUDIENCE",
    default="",
    show_envvar=True,
    help="IAP's OAuth client id, for these calls; default: a JWT signed for the address.",
)
@click.option(
    "--ca-file",
    envvar="SKFLEET_CA_FILE",
    default="",
    show_envvar=True,
    help="Certificate authority of these addresses; default: the system's.",
)
@click.option(
    "--ssh-directory",
    envvar="SKFLEET_SSH_DIRECTORY",
    default=DIRECTORY,
    show_default=True,
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="Where `skfleet ssh setup` wrote.",
)
@click.option(
    "--endpoint", "endpoints", multiple=True, metavar="SERVICE=URL",
    help=f"Another base URL for one of {', '.join(sorted(ENDPOINTS))}; may be repeated.",
)  # fmt: skip
def doctor(
    project: str,
    region: str,
    fleet: str,
    form: str,
    url: str,
    internal_url: str,
    iap_audience: str,
    ca_file: str,
    ssh_directory: Path,
    endpoints: tuple[str, ...],
) -> None:
    """Check what a fleet needs of its project.

    \b
    Example:
      skfleet doctor --project example-project --fleet skfleet-europe-west1 --url https://predict.example.com
    """
    target = replace(
        parse_target(project, region, fleet),
        logins=ssh_directory,
        host_keys=os.environ.get("SKFLEET_SSH_HOST_KEYS", ""),
        url=url,
        internal_url=internal_url,
        iap_client=iap_audience,
        ca_file=ca_file,
    )
    parsed = parse_endpoints(endpoints)
    cloud = RestCloud(authorize(SCOPES)[0], parsed)
    results = examine(cloud, target)
    if form == "json":
        click.echo(json.dumps([asdict(result) for result in results], indent=2))
    else:
        _print(results)
    if any(result.verdict == "fail" for result in results):
        raise SystemExit(1)


def examine(cloud: Cloud, target: Target) -> list[Result]:
    """All checks, in the order in which their causes depend on each other."""
    return [result for name, check in CHECKS.items() for result in look(name, check, cloud, target)]


def parse_target(project: str, region: str, fleet: str) -> Target:
    """What to look at; raises ConfigurationError."""
    if not project:
        raise ConfigurationError(
            "No project is named.", where="--project or GOOGLE_CLOUD_PROJECT", hint="Give its id."
        )
    if not fleet:
        raise ConfigurationError(
            "No fleet is named.",
            where="--fleet or SKFLEET_FLEET",
            hint="Terraform calls it <name>-<region>.",
        )
    named = re.search(r"-([a-z]+-[a-z]+[0-9]+)$", fleet)
    if not region and not named:
        raise ConfigurationError(
            "No region is named, and the fleet's name does not end with one.",
            where="--region",
            hint="For example --region europe-west1.",
        )
    return Target(project, region or (named.group(1) if named else ""), fleet, datetime.now(UTC))


def _print(results: list[Result]) -> None:
    for result in results:
        click.echo(_printable(f"{_MARKS[result.verdict]}  {result.name}: {result.seen}"))
        if result.mend:
            click.echo(_printable(f"      {result.mend}"))
    counts = {verdict: sum(r.verdict == verdict for r in results) for verdict in _MARKS}
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def _printable(text: str) -> str:
    """Without control characters: what others answered is part of it."""
    return "".join(char if char.isprintable() else " " for char in text)
