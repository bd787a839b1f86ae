"""JSON documents between the parts: strict reading, stable writing.

Every document carries `schema_version`; readers accept N and N−1. Unknown fields are accepted (a newer
writer may add one), wrong types and missing fields are refused with the path of the field.
"""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from skfleet.errors import DocumentError

SCHEMA_VERSION = 1
READABLE_VERSIONS = frozenset({SCHEMA_VERSION, SCHEMA_VERSION - 1})


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document with a schema version."""

    schema_version: int = SCHEMA_VERSION


D = TypeVar("D", bound=Document)


def read(kind: type[D], data: bytes, where: str) -> D:
    """Parse bytes as a document of this kind; raises DocumentError naming the field."""
    try:
        document = _decoder(kind).decode(data)
    except msgspec.MsgspecError as error:
        raise DocumentError(
            f"Not a valid {kind.__name__} document: {error}.",
            where=where,
            hint="It was written by another program or damaged; publish it again.",
        ) from None
    if document.schema_version not in READABLE_VERSIONS:
        raise DocumentError(
            f"Schema version {document.schema_version} of {kind.__name__} is not known here.",
            where=where,
            hint=f"This skfleet reads {sorted(READABLE_VERSIONS)}; use a newer one.",
        )
    return document


_decoders: dict[type[Document], msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()


def _decoder(kind: type[D]) -> msgspec.json.Decoder[D]:
    # msgspec learns a type when it first meets it, and two threads that do so at once crash the
    # interpreter (0.22): make decoders one at a time. Elsewhere they are made at import.
    with _making:
        if kind not in _decoders:
            _decoders[kind] = msgspec.json.Decoder(kind)
        return _decoders[kind]


def check_fleet(named: str, fleet: str, where: str) -> None:
    """Raise DocumentError where a document of one fleet lies in another's place."""
    if named != fleet:
        raise DocumentError(
            f"Invalid fleet '{named}': expected '{fleet}'.",
            where=where,
            hint="The document was copied from another fleet; restore this fleet's own.",
        )


def write(document: msgspec.Struct) -> bytes:
    """The document's bytes: the same document always gives the same bytes."""
    plain = msgspec.json.encode(document, order="deterministic")
    return msgspec.json.format(plain, indent=2) + b"\n"


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def now() -> str:
    """The time as documents write it: RFC 3339, UTC, seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
