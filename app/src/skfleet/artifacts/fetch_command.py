"""`skfleet-fetch`: one verified artefact into the cache, its path on standard output.

A program of its own, so that the process that serves never holds a client, a socket or a credential.
"""

from __future__ import annotations

import sys

import click

from skfleet.artifacts.fetch import fetch_model, fetch_object
from skfleet.artifacts.signing import Trust
from skfleet.artifacts.store import Store
from skfleet.documents.release import Pin
from skfleet.errors import SkfleetError
from skfleet.settings import Settings


@click.group(help=__doc__)
def command() -> None:
    """The group of the two kinds of artefacts."""


@command.command("object")
@click.argument("uri")
@click.option("--generation", type=int, required=True, help="Generation of the object.")
@click.option("--sha256", required=True, help="SHA-256 its bytes must have.")
def object_command(uri: str, generation: int, sha256: str) -> None:
    """Fetch one pinned object."""
    settings = Settings.from_environ()
    store = Store(settings.storage_endpoint, trust=Trust.read(settings.trusted_keys))
    pin = Pin(uri=uri, generation=generation, sha256=sha256)
    click.echo(fetch_object(store, pin, settings.cache_dir))


@command.command("model")
@click.argument("uri")
@click.option("--generation", type=int, help="Generation of the manifest; default: the live one.")
@click.option("--sha256", help="SHA-256 of the manifest; default: not pinned.")
def model_command(uri: str, generation: int | None, sha256: str | None) -> None:
    """Fetch the model whose manifest.json is at URI."""
    settings = Settings.from_environ()
    uri, _, fragment = uri.partition("#")
    generation = int(fragment) if fragment else generation
    store = Store(settings.storage_endpoint, trust=Trust.read(settings.trusted_keys))
    click.echo(fetch_model(store, uri, settings.cache_dir, generation, sha256))


def main() -> None:
    """Run the command; failures are one message on standard error."""
    try:
        command()
    except SkfleetError as error:
        click.echo(f"skfleet-fetch: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
