"""The objects of the local Cloud Storage: contents as files, what is known about them in SQLite.

The store does not listen: `cloud/storage.py`, which checks tokens and rights, holds it in its own process, so
that nothing else can reach it. A commit of SQLite is what replaces an object; a reader that has opened the
previous content goes on with it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import google_crc32c

# Of an upload's metadata, what the uploader decides.
_SETTABLE = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
)
# Without `synchronous` a commit survives the end of this process, and the event loop waits for no disk.
_SCHEMA = """
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL UNIQUE, document TEXT NOT NULL,
    PRIMARY KEY (bucket, name)
);
"""

Document = dict[str, Any]


class Content:
    """The bytes of an upload as they come, in a file that becomes the object's or goes."""

    def __init__(self, directory: Path) -> None:
        handle, name = tempfile.mkstemp(dir=directory, prefix=".upload-")
        self._file = os.fdopen(handle, "wb")
        self.path = Path(name)
        self.size = 0
        self._crc32c = google_crc32c.Checksum()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self.size += len(data)
        self._crc32c.update(data)
        self._md5.update(data)

    def close(self) -> dict[str, str]:
        """Flush; returns size and checksums as an object's document has them."""
        self._file.close()
        return {
            "size": str(self.size),
            "crc32c": base64.b64encode(self._crc32c.digest()).decode(),
            "md5Hash": base64.b64encode(self._md5.digest()).decode(),
        }

    def discard(self) -> None:
        """Remove what did not become an object's content."""
        self._file.close()
        self.path.unlink(missing_ok=True)


@dataclass(slots=True)
class ObjectStore:
    """Buckets and objects below a directory, for one process."""

    directory: Path
    _database: sqlite3.Connection = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._database = sqlite3.connect(self.directory / "index.sqlite3", isolation_level=None)
        self._database.executescript(_SCHEMA)

    def discard_unfinished(self) -> None:
        """Remove uploads that a process which was killed had begun."""
        for path in self.directory.glob(".upload-*"):
            path.unlink()

    def close(self) -> None:
        """At the end."""
        self._database.close()

    def create_bucket(self, name: str, location: str) -> Document | None:
        """The new bucket's document; None where there is one of that name."""
        now = _now()
        document = {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "location": location.upper(),
            "locationType": "region",
            "storageClass": "STANDARD",
            "metageneration": "1",
            "etag": "CAE=",
            "timeCreated": now,
            "updated": now,
        }
        try:
            self._database.execute(
                "INSERT INTO buckets VALUES (?, ?)", (name, json.dumps(document))
            )
        except sqlite3.IntegrityError:
            return None
        return document

    def bucket(self, name: str) -> Document | None:
        """A bucket's document."""
        return self._one("SELECT document FROM buckets WHERE name = ?", name)

    def find(self, bucket: str, name: str) -> Document | None:
        """The document of an object's live generation."""
        return self._one("SELECT document FROM objects WHERE bucket = ? AND name = ?", bucket, name)

    def list(self, bucket: str, prefix: str, after: str, most: int) -> list[Document]:
        """Documents by name, from the first one past `after`."""
        rows = self._database.execute(
            "SELECT document FROM objects WHERE bucket = ? AND name > ? AND substr(name, 1, ?) = ?"
            " ORDER BY name LIMIT ?",
            (bucket, after, len(prefix), prefix, most),
        )
        return [json.loads(document) for (document,) in rows]

    def open(self, document: Document) -> IO[bytes]:
        """The content of a generation that was just found."""
        return self.content(int(document["generation"])).open("rb")

    def content(self, generation: int) -> Path:
        """The file of a generation's content."""
        return self.directory / str(generation)

    def write(
        self,
        bucket: str,
        name: str,
        content: Content,
        checksums: Mapping[str, str],
        given: Mapping[str, Any],
    ) -> Document:
        """Make a closed `content` the live generation; `given` is the uploader's metadata."""
        (newest,) = self._database.execute("SELECT max(generation) FROM objects").fetchone()
        generation = max(time.time_ns() // 1000, (newest or 0) + 1)
        previous = self.find(bucket, name)
        now = _now()
        document = {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{generation}",
            "name": name,
            "bucket": bucket,
            "generation": str(generation),
            "metageneration": "1",
            "etag": base64.b64encode(str(generation).encode()).decode(),
            "storageClass": "STANDARD",
            "timeCreated": now,
            "updated": now,
            "contentType": "application/octet-stream",
            **{key: given[key] for key in _SETTABLE if key in given},
            **checksums,
        }
        content.path.replace(self.content(generation))
        self._database.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)",
            (bucket, name, generation, json.dumps(document)),
        )
        if previous is not None:
            self.content(int(previous["generation"])).unlink(missing_ok=True)
        return document

    def _one(self, query: str, *values: str) -> Document | None:
        row = self._database.execute(query, values).fetchone()
        return None if row is None else dict(json.loads(row[0]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
