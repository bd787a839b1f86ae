"""The `skfleet` command and how its failures look."""

from __future__ import annotations

import sys

import click

from skfleet.errors import SkfleetError
from skfleet.settings import table
from skfleet_operator.cli.app import app
from skfleet_operator.cli.context import Operator, json_option, print_json, print_table
from skfleet_operator.cli.model import model
from skfleet_operator.cli.plan import plan
from skfleet_operator.cli.predict import predict, token
from skfleet_operator.cli.release import release
from skfleet_operator.cli.serve import serve
from skfleet_operator.doctor.command import doctor
from skfleet_operator.ssh.command import ssh
from skfleet_operator.text import printable

MAX_MESSAGE = 20_000  # characters
NEWLINE = "\n"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skfleet-operator")
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


for command in (model, app, release, predict, token, plan, doctor, ssh, serve, settings):
    skfleet.add_command(command)


def main() -> None:
    """Run the command; a failure is one message on standard error and an exit code."""
    try:
        skfleet()
    except SkfleetError as error:
        # It may quote a file, a VM's answer or a bucket, which others write.
        click.echo(f"skfleet: {printable(str(error), MAX_MESSAGE, keep=NEWLINE)}", err=True)
        sys.exit(error.exit_code)
