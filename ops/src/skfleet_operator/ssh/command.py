"""`skfleet ssh`: set up and remove the login that playbooks use."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from skfleet.errors import ConfigurationError
from skfleet_operator.cloud import SCOPES, RestCloud, parse_endpoints
from skfleet_operator.google_rest import authorize
from skfleet_operator.ssh.login import DIRECTORY, KEY_FILE, place, read_record
from skfleet_operator.ssh.oslogin import OsLogin, find_account
from skfleet_operator.ssh.setup import remove, setup

TERRAFORM = Path("inventories/gcp/terraform.json")


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--endpoint", "endpoints", multiple=True, metavar="SERVICE=URL",
            help="Another base URL for oslogin or oauth2; may be repeated.",
        ),
        click.option(
            "--directory", envvar="SKFLEET_SSH_DIRECTORY", default=DIRECTORY, show_default=True,
            show_envvar=True, type=click.Path(path_type=Path, file_okay=False),
            help="Where logins are kept, in a directory for each project.",
        ),
        click.option(
            "--project", default="", help=f"Project id; default: the one in {TERRAFORM}."
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group()
def ssh() -> None:
    """Set up and remove the ssh login that playbooks use."""


@ssh.command("setup")
@_options
@click.option(
    "--ttl", type=click.IntRange(1, 24), default=8, show_default=True, metavar="HOURS",
    help="How long the key is valid.",
)  # fmt: skip
def setup_command(project: str, directory: Path, endpoints: tuple[str, ...], ttl: int) -> None:
    """Register a short-lived ssh key with OS Login.

    Run it before a playbook on inventories/gcp. A key that is valid for half of --ttl more is kept; an
    older one is replaced.

    \b
    Example:
      skfleet ssh setup && ansible-playbook -i inventories/gcp playbooks/status.yml
    """
    folder = place(directory, project or find_project())
    cloud, account = _connect(endpoints)
    oslogin = OsLogin(cloud, account, folder.name)
    login, is_new = setup(oslogin, folder, account, datetime.now(UTC), timedelta(hours=ttl))
    click.echo(
        f"{'Registered a new key' if is_new else 'Kept the key'}: {login.account} logs in to "
        f"{login.project} as {login.user} until {login.expires_at:%Y-%m-%d %H:%M} UTC "
        f"({folder / KEY_FILE})."
    )


@ssh.command("remove")
@_options
def remove_command(project: str, directory: Path, endpoints: tuple[str, ...]) -> None:
    """Delete the key from OS Login and from this machine.

    \b
    Example:
      skfleet ssh remove
    """
    folder = place(directory, project or find_project())
    login = read_record(folder)
    if login is None:
        click.echo(f"No login in {folder}.")
        return
    # The account that registered the key; OS Login refuses the credentials of another.
    parsed = parse_endpoints(endpoints)
    cloud = RestCloud(authorize(SCOPES)[0], parsed)
    remove(OsLogin(cloud, login.account, folder.name), folder, login)
    click.echo(f"Removed the key of {login.user}.")


def find_project(terraform: Path = TERRAFORM) -> str:
    """The project that inventories/gcp reads; raises ConfigurationError."""
    try:
        return str(json.loads(terraform.read_bytes())["project"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(
            "No project is named.",
            where=f"--project or {terraform}",
            hint=f"Give its id, or run in the repository's root after "
            f"`terraform -chdir=terraform output -json ansible > {terraform}`.",
        ) from None


def _connect(endpoints: tuple[str, ...]) -> tuple[RestCloud, str]:
    parsed = parse_endpoints(endpoints)
    session, credentials = authorize(SCOPES)
    cloud = RestCloud(session, parsed)
    return cloud, find_account(credentials, cloud)
