"""The `skfleet` command and how its failures look."""

from __future__ import annotations

import sys

import click

from skfleet.cli.app import app
from skfleet.cli.context import Operator, json_option, print_json, print_table
from skfleet.cli.model import model
from skfleet.cli.predict import predict, token
from skfleet.cli.release import release
from skfleet.doctor.command import doctor
from skfleet.errors import SkfleetError
from skfleet.serving.command import serve
from skfleet.settings import table
from skfleet.ssh.command import ssh
from skfleet.text import printable

MAX_MESSAGE = 20_000  # characters
NEWLINE = "\n"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skfleet")
@click.pass_context
def skfleet(context: click.Context) -> None:
    """Serve scikit-learn models over HTTPS from a fleet of VMs."""
    context.obj = Operator()


@skfleet.command()
@json_option
def settings(as_json: bool) -> None:
    """Every setting of a host's programs: name, type, default, unit, meaning."""
    header = ["name", "type", "default", "unit", "meaning"]
    if as_json:
        print_json([dict(zip(header, row, strict=True)) for row in table()])
    else:
        print_table(header, table())


for command in (model, app, release, predict, token, doctor, ssh, serve, settings):
    skfleet.add_command(command)


def main() -> None:
    """Run the command; a failure is one message on standard error and an exit code."""
    try:
        skfleet()
    except SkfleetError as error:
        # It may quote a file, a VM's answer or a bucket, which others write.
        click.echo(f"skfleet: {printable(str(error), MAX_MESSAGE, keep=NEWLINE)}", err=True)
        sys.exit(error.exit_code)
