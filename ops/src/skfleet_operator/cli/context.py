"""What every command shares: the bucket, the fleet, who is asking, and how output looks."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from skfleet.artifacts.signing import Signer, Trust
from skfleet.artifacts.store import Store
from skfleet.documents.release import check_name
from skfleet.errors import ConfigurationError
from skfleet.settings import Settings

# A path, never the key itself: environments are printed.
SIGNING_KEY = "SKFLEET_SIGNING_KEY"

bucket_option = click.option(
    "--bucket",
    envvar="SKFLEET_BUCKET",
    default="",
    show_envvar=True,
    help="gs://BUCKET of the fleet.",
)
fleet_option = click.option(
    "--fleet", envvar="SKFLEET_FLEET", default="", show_envvar=True, help="Name of the fleet."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
repo_option = click.option(
    "--repo",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    help="Checkout of skfleet; default: here.",
)


@dataclass
class Operator:
    """The person or program that runs the command."""

    @cached_property
    def store(self) -> Store:
        """The bucket's client, made when first needed."""
        settings = Settings.from_environ()
        key = os.environ.get(SIGNING_KEY, "")
        return Store(
            settings.storage_endpoint,
            trust=Trust.read(settings.trusted_keys),
            signer=Signer.read(Path(key)) if key else None,
        )

    @cached_property
    def name(self) -> str:
        """Who writes documents: the service account, or the user of this machine."""
        import google.auth
        import google.auth.exceptions

        try:
            credentials, _ = google.auth.default()
        except google.auth.exceptions.GoogleAuthError:
            return getpass.getuser()
        return str(getattr(credentials, "service_account_email", "") or getpass.getuser())


def require_bucket(bucket: str) -> str:
    """`gs://bucket` without a trailing slash; ConfigurationError where none is given."""
    if not bucket:
        raise ConfigurationError(
            "No bucket is named.",
            where="--bucket or SKFLEET_BUCKET",
            hint='For the local fleet: eval "$(skfleet-local env)".',
        )
    return "gs://" + bucket.removeprefix("gs://").strip("/")


def require_fleet(fleet: str) -> str:
    """The fleet's name; ConfigurationError where none is given."""
    if not fleet:
        raise ConfigurationError(
            "No fleet is named.",
            where="--fleet or SKFLEET_FLEET",
            hint='For the local fleet: eval "$(skfleet-local env)".',
        )
    check_name(fleet, "fleet")
    return fleet


def print_json(value: Any) -> None:
    """JSON for programs."""
    click.echo(json.dumps(value, indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Left-aligned columns for people; what controls a terminal is printed as its code."""
    cells = [[_printable(str(cell)) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


def _printable(text: str) -> str:
    # Notes and names were written by others.
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
