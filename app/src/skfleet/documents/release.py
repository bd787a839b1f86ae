"""The release: one immutable document that pins everything a VM runs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skfleet.documents import Document
from skfleet.errors import ConfigurationError, DocumentError

# `\Z` and not `$`, which a newline may follow.
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")]
# An object's address without blanks and control characters: scripts read addresses word by word.
GsUri = Annotated[str, msgspec.Meta(pattern=r"^gs://[a-z0-9][a-z0-9._-]+/[^\s\x00-\x1f\x7f]+\Z")]
# Of an app build: a Python version.
Version = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+!_-]{0,127}\Z")]


def is_name(text: object) -> bool:
    """Whether a text can name a release, a model or a fleet."""
    try:
        msgspec.convert(text, Name)
    except msgspec.ValidationError:
        return False
    return True


def check_name(text: str, what: str) -> None:
    """Raise ConfigurationError unless `text` can name a release, a model or a fleet (`what`)."""
    if not is_name(text):
        raise ConfigurationError(
            f"Invalid {what} {text!r}: expected a lower-case letter or a digit, then up to 62 lower-case "
            "letters, digits, '.', '_' and '-'."
        )


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """One object in one generation, with the SHA-256 of its bytes."""

    uri: GsUri
    generation: Annotated[int, msgspec.Meta(gt=0)]
    sha256: Sha256


class AppPin(Pin, frozen=True, kw_only=True):
    """An app build: a tar of wheels for one Python and platform."""

    version: Version
    python: str  # "3.11": the wheels' Python tag
    platform: str  # "linux_x86_64"


class ModelPin(msgspec.Struct, frozen=True, kw_only=True):
    """A model artefact, pinned by its manifest."""

    name: Name
    manifest: Pin


class Release(Document, frozen=True, kw_only=True):
    """Everything a VM runs. `models[0]`-by-`default_model` answers the routes without a name."""

    id: Name
    created_at: str  # RFC 3339, UTC
    created_by: str
    app: AppPin
    bundle: Pin  # roles and converge.yml
    models: Annotated[list[ModelPin], msgspec.Meta(min_length=1)]
    default_model: Name
    image_contract: int = 1
    settings: dict[str, Any] = {}
    fleets: list[Name] = []  # the only fleets that may run it; empty: every fleet of the bucket
    notes: str = ""

    def check_fleet(self, fleet: str, where: str) -> None:
        """Raise DocumentError where the release is bound to other fleets: it may be signed all the same."""
        if self.fleets and fleet not in self.fleets:
            raise DocumentError(
                f"Release '{self.id}' is only for {', '.join(self.fleets)}, not for '{fleet}'.",
                where=where,
                hint="Create a release for this fleet: skfleet release create --only-for FLEET.",
            )
