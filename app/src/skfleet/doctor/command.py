"""`skfleet doctor`: ask, print, and end with 1 when something fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

import click
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from skfleet.doctor.checks import CHECKS, Target, look
from skfleet.doctor.cloud import ENDPOINTS, Cloud, RestCloud
from skfleet.doctor.result import Result
from skfleet.errors import ConfigurationError

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"  # the one that all five APIs take
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
    "--endpoint", "endpoints", multiple=True, metavar="SERVICE=URL",
    help=f"Another base URL for one of {', '.join(sorted(ENDPOINTS))}; may be repeated.",
)  # fmt: skip
def doctor(project: str, region: str, fleet: str, form: str, endpoints: tuple[str, ...]) -> None:
    """Look at what a fleet needs of its project: APIs, roles, quota, certificates, IAP, policies."""
    target = parse_target(project, region, fleet)
    cloud = RestCloud(_session(), parse_endpoints(endpoints))
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


def parse_endpoints(given: Iterable[str]) -> Mapping[str, str]:
    """Google's base URLs, those given replaced; raises ConfigurationError."""
    endpoints = dict(ENDPOINTS)
    for text in given:
        service, _, url = text.partition("=")
        if service not in endpoints or not url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{text!r} is no endpoint.",
                where="--endpoint",
                hint=f"SERVICE=URL, SERVICE being one of {', '.join(sorted(endpoints))}.",
            )
        endpoints[service] = url
    return endpoints


def _session() -> requests.Session:
    """A session with this machine's default credentials, which tries reads again."""
    import google.auth
    import google.auth.exceptions
    import google.auth.transport.requests

    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except google.auth.exceptions.GoogleAuthError as error:
        raise ConfigurationError(
            f"No credentials: {error}.",
            where="GOOGLE_APPLICATION_CREDENTIALS",
            hint="gcloud auth application-default login",
        ) from None
    session: requests.Session = google.auth.transport.requests.AuthorizedSession(credentials)
    retry = Retry(total=3, backoff_factor=0.5, status_forcelist=[429, 500, 502, 503, 504])
    session.mount("https://", HTTPAdapter(max_retries=retry))
    return session


def _print(results: list[Result]) -> None:
    for result in results:
        click.echo(f"{_MARKS[result.verdict]}  {result.name}: {result.seen}")
        if result.mend:
            click.echo(f"      {result.mend}")
    counts = {verdict: sum(r.verdict == verdict for r in results) for verdict in _MARKS}
    click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
