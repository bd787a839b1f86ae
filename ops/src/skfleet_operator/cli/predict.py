"""`skfleet predict` and `skfleet token`: calling a fleet by hand."""

from __future__ import annotations

import sys

import click
import msgspec

from skfleet.errors import DocumentError
from skfleet_operator.cli.context import print_json
from skfleet_operator.client.predict import Client, require_ok
from skfleet_operator.client.tokens import id_token, signed_jwt

_door = click.option(
    "--iap/--internal", "iap", default=True, help="Outside by IAP (default), or inside the VPC."
)
_url = click.option(
    "--url", envvar="SKFLEET_URL", default="", show_envvar=True, help="Outside address."
)
_iap_audience = click.option(
    "--iap-audience",
    envvar="SKFLEET_IAP_AUDIENCE",
    default="",
    show_envvar=True,
    help="IAP's OAuth client id; without it the token is a JWT signed for the URL.",
)
_internal_audience = click.option(
    "--internal-audience",
    envvar="SKFLEET_INTERNAL_AUDIENCE",
    default="",
    show_envvar=True,
    help="The fleet's own audience, for --internal.",
)


@click.command()
@_door
@_url
@_iap_audience
@_internal_audience
def token(iap: bool, url: str, iap_audience: str, internal_audience: str) -> None:
    """Print a token for the Authorization header: curl -H "Authorization: Bearer $(skfleet token)"."""
    click.echo(make_token(iap, url, iap_audience, internal_audience))


def make_token(iap: bool, url: str, iap_audience: str, internal_audience: str) -> str:
    """The token that the chosen door takes, of the default credentials."""
    if not iap:
        return id_token(internal_audience)
    return id_token(iap_audience) if iap_audience else signed_jwt(url)


@click.command()
@_door
@_url
@click.option(
    "--internal-url",
    envvar="SKFLEET_INTERNAL_URL",
    default="",
    show_envvar=True,
    help="Inside address, for --internal.",
)
@_iap_audience
@_internal_audience
@click.option(
    "--ca-file",
    envvar="SKFLEET_CA_FILE",
    default="",
    show_envvar=True,
    help="Certificate authority of the address; default: the system's.",
)
@click.option(
    "--token",
    "given",
    envvar="SKFLEET_TOKEN",
    default="",
    help="A token to send instead of a fresh one (better: SKFLEET_TOKEN).",
)
@click.option("--model", default="flight-delay", show_default=True, help="Name of the model.")
@click.option("--form", is_flag=True, help="The original form instead of V1; one row.")
@click.option("--probabilities", is_flag=True, help="Ask for probabilities too.")
@click.argument("rows", default="-")
def predict(
    iap: bool,
    url: str,
    internal_url: str,
    iap_audience: str,
    internal_audience: str,
    ca_file: str,
    given: str,
    model: str,
    form: bool,
    probabilities: bool,
    rows: str,
) -> None:
    """Predict ROWS: a JSON row, a list of rows, or - for standard input."""
    parsed = parse_rows(sys.stdin.read() if rows == "-" else rows)
    bearer = given or make_token(iap, url, iap_audience, internal_audience)
    client = Client(url if iap else internal_url, bearer, ca_file)
    answer = client.form(parsed[0]) if form else client.instances(model, parsed, probabilities)
    print_json(require_ok(answer).body)


def parse_rows(text: str) -> list[list[float]]:
    """Rows of shape (n, features) from JSON text that holds one row or several."""
    try:
        value = msgspec.json.decode(text)
        nested = isinstance(value, list) and bool(value) and isinstance(value[0], list)
        return msgspec.convert(value if nested else [value], list[list[float]])
    except msgspec.MsgspecError as error:
        raise DocumentError(
            f"These are no rows: {error}.",
            where="ROWS",
            hint="Write [0, 1, …] for one row or [[0, 1, …], …] for several.",
        ) from None
