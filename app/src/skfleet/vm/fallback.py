"""What a booting VM does without the bucket: it waits, unless its image holds a `fallback.json`.

`skfleet app image --serve-without-bucket FLEET` bakes one. A VM that cannot reach the bucket then serves
the release of its image to those whom the fleet admitted when the image was made, and calls itself
stale; the bucket's word counts as soon as it is heard. By default it waits: an old image must not serve
an old release, nor admit a caller who was revoked since.
"""

from __future__ import annotations

from pathlib import Path

from skfleet import documents
from skfleet.documents import Document
from skfleet.documents.environment import Environment
from skfleet.errors import ConfigurationError

NAME = "fallback.json"


class Fallback(Document, frozen=True, kw_only=True):
    """`fallback.json`, beside the image's releases."""

    fleet: str  # `gs://BUCKET/fleets/FLEET`: VMs of another fleet take nothing from it
    release: str  # the baked one
    environment: Environment  # as it was then


def read(path: Path) -> Fallback | None:
    """The image's fallback, or None where it holds none; raises DocumentError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return documents.read(Fallback, data, where=str(path))


def check(fallback: Fallback, release: str) -> None:
    """Raise ConfigurationError unless it is for the release that is baked with it."""
    if fallback.release != release:
        raise ConfigurationError(
            f"The fallback is of release '{fallback.release}', and '{release}' is baked.",
            where=NAME,
            hint="Make the directory again: skfleet app image --release ID --serve-without-bucket FLEET.",
        )
