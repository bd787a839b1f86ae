"""The manifest of a model artefact: what its files are and what the model must answer.

`models/<name>/<sha256 of manifest.json>/` holds `manifest.json` and the files it names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from skfleet.documents import Document
from skfleet.releases.release import Name, Pin, Sha256

FILE_NAME = "manifest.json"
# Largest difference of a probability that still counts as the same answer (design: Numbers).
TOLERANCES = {"linear": 1e-9, "onnx": 1e-4, "sklearn": 1e-9}


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the artefact, by name in the artefact's own folder."""

    name: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    sha256: Sha256
    size: int  # bytes
    crc32c: str  # base64, as Cloud Storage states it


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a row, in order, with the values it may take."""

    name: str
    low: float
    high: float
    integer: bool = False


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with the answers scikit-learn gave at publishing. Shapes: (n, f), (n,), (n, classes)."""

    rows: list[list[float]]
    labels: list[int]
    probabilities: list[list[float]]


class Latest(Document, frozen=True, kw_only=True):
    """`models/<name>/latest.json`: the default of `skfleet release create`; no VM reads it."""

    name: Name
    manifest: Pin
    published_at: str  # RFC 3339, UTC
    published_by: str


class Manifest(Document, frozen=True, kw_only=True):
    """A published model: files, versions, features, answers."""

    name: Name
    kind: Literal["classifier"] = "classifier"
    created_at: str  # RFC 3339, UTC
    estimator: str  # class name, for people
    backends: list[str]  # fastest first, each reproduced the golden vectors when published
    files: list[FileEntry]
    versions: dict[str, str]  # python, numpy, scikit-learn, skops
    features: list[Feature]
    classes: list[int]
    golden: Golden
    metrics: dict[str, Any] = {}
    training: dict[str, Any] = {}
