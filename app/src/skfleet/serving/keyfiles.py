"""Files that another unit of the host replaces by rename, reread when they change.

A file that turns bad or vanishes changes nothing: the last good content stays.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import jwt
import msgspec

from skfleet import documents
from skfleet.documents.environment import Environment

log = logging.getLogger("skfleet.identity")

T = TypeVar("T")
Signature = tuple[int, int, int]
Keys = Mapping[str, Any]


class WatchedFile(Generic[T]):
    """One file and its last good content; `parse` raises on anything it does not accept."""

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        self.name = path.name
        self._path = path
        self._parse = parse
        self._seen: Signature | None = None
        self.content: T | None = None
        self.modified_at: float | None = None  # Unix seconds
        self.problem: str | None = "is not there yet"

    def refresh(self) -> bool:
        """Look at the file once; whether the content is now another."""
        try:
            status = self._path.stat()
            signature = (status.st_mtime_ns, status.st_size, status.st_ino)
            if signature == self._seen:
                return False
            data = self._path.read_bytes()
        except OSError as error:
            self._report(f"cannot be read ({error.strerror})")
            self._seen = None
            return False
        # Remembered even if it turns out bad: a bad file is parsed and reported once.
        self._seen = signature
        try:
            content = self._parse(data)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the last good one stays
            self._report(f"is not valid ({type(error).__name__})")
            return False
        self.problem = None
        self.modified_at = status.st_mtime
        if content == self.content:
            return False
        self.content = content
        return True

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s %s; keeping the last good content", self._path, problem)
        self.problem = problem


class _Source(msgspec.Struct):
    fresh_at: str = ""  # RFC 3339


class _Refresh(msgspec.Struct):
    sources: dict[str, _Source] = {}


# At import: threads that meet a type first at the same time crash msgspec.
_refresh = msgspec.json.Decoder(_Refresh)


def last_fresh(directory: Path) -> dict[str, float]:
    """When `skfleet-refresh` last had each file from its source and found it valid (Unix seconds)."""
    try:
        state = _refresh.decode((directory / "refresh.json").read_bytes())
        return {
            name: datetime.fromisoformat(source.fresh_at).timestamp()
            for name, source in state.sources.items()
            if source.fresh_at
        }
    except (OSError, ValueError):
        return {}


def parse_environment(data: bytes) -> Environment:
    """`environment.json`; raises DocumentError."""
    return documents.read(Environment, data, where="environment.json")


def jwks_parser(algorithm: str) -> Callable[[bytes], Keys]:
    """A parser of JWKS that keeps the keys of one algorithm, by key id; refuses a set with none."""

    def parse(data: bytes) -> Keys:
        keys: dict[str, Any] = {}
        for entry in json.loads(data)["keys"]:
            if entry.get("alg", algorithm) != algorithm or not entry.get("kid"):
                continue
            # A key of a kind we do not know is somebody else's: the set's other keys still count.
            with contextlib.suppress(jwt.PyJWTError):
                keys[str(entry["kid"])] = jwt.PyJWK(entry, algorithm)
        if not keys:
            raise ValueError("no usable key")
        return _ComparableKeys(keys, data)

    return parse


class _ComparableKeys(dict[str, Any]):
    """Keys by id; equal when the document was the same, so that a mere rewrite drops no cache."""

    def __init__(self, keys: dict[str, Any], document: bytes) -> None:
        super().__init__(keys)
        self._document = document

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ComparableKeys) and self._document == other._document

    __hash__ = None
