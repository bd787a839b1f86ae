"""`skfleet-fetch`: one verified artefact into the cache, its path on standard output.

A program of its own, so that the process that serves never holds a client, a socket or a credential.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from skfleet.artifacts.fetch import fetch_model, fetch_object
from skfleet.artifacts.signing import Trust
from skfleet.artifacts.store import Store
from skfleet.documents.release import Pin
from skfleet.errors import SkfleetError
from skfleet.settings import Settings


def main(arguments: list[str] | None = None) -> None:
    """Run the command; failures are one message on standard error."""
    options = _parser().parse_args(arguments)
    try:
        print(_fetch(options))  # noqa: T201 - the answer
    except SkfleetError as error:
        print(f"skfleet-fetch: {error}", file=sys.stderr)  # noqa: T201 - a command's message
        sys.exit(error.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skfleet-fetch", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("object", help="fetch one pinned object")
    one.add_argument("uri", metavar="URI")
    one.add_argument("--generation", type=int, required=True, help="of the object")
    one.add_argument("--sha256", required=True, help="that its bytes must have")
    model = kinds.add_parser("model", help="fetch the model whose manifest.json is at URI")
    model.add_argument("uri", metavar="URI[#GENERATION]")
    model.add_argument("--generation", type=int, help="of the manifest; default: the live one")
    model.add_argument("--sha256", help="of the manifest; default: not pinned")
    return parser


def _fetch(options: argparse.Namespace) -> Path:
    settings = Settings.from_environ()
    store = Store(settings.storage_endpoint, trust=Trust.read(settings.trusted_keys))
    if options.kind == "object":
        pin = Pin(uri=options.uri, generation=options.generation, sha256=options.sha256)
        return fetch_object(store, pin, settings.cache_dir)
    uri, _, generation = options.uri.partition("#")
    return fetch_model(
        store,
        uri,
        settings.cache_dir,
        int(generation) if generation else options.generation,
        options.sha256,
    )


if __name__ == "__main__":
    main()
