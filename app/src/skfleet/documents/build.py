"""An app build: the wheelhouse that VMs install, as its document pins it."""

from __future__ import annotations

from skfleet.documents import Document
from skfleet.documents.release import Pin, Version


class Build(Document, frozen=True, kw_only=True):
    """`builds/<version>/build.json`, written last: the build is complete."""

    version: Version
    created_at: str  # RFC 3339, UTC
    created_by: str
    python: str
    platform: str
    wheelhouse: Pin
    size: int  # bytes
    extras: list[str] = []  # model libraries beside the usual ones: onnx
