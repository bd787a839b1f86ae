"""The manifest of a model artefact: what its files are and what the model must answer.

`models/<name>/<sha256 of manifest.json>/` holds `manifest.json` and the files it names.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import msgspec

from skfleet.documents import Document
from skfleet.documents.release import Name, Pin, Sha256

FILE_NAME = "manifest.json"
MAX_FLOAT = sys.float_info.max
Value = float | str  # of a row
Label = bool | int | float | str
# Largest difference of a probability that still counts as the same answer (design: Numbers).
# Of a regressor's answer: relative to it, or absolute below 1.
TOLERANCES = {"linear": 1e-9, "onnx": 1e-4, "sklearn": 1e-9}


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the artefact, by name in the artefact's own folder."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
    sha256: Sha256
    size: int  # bytes
    crc32c: str  # base64, as Cloud Storage states it


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a row, in order, with the values it may take: numbers, or text of `categories`.

    `unknown` says what becomes of text outside the categories: refused, or accepted where the model was
    trained to answer it (an encoder that ignores what it does not know).
    """

    name: str
    low: float = -MAX_FLOAT
    high: float = MAX_FLOAT
    integer: bool = False
    categories: list[str] | None = None
    unknown: Literal["refuse", "accept"] = "refuse"


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One of several things a multi-output model answers; a number where there are no classes."""

    name: str
    classes: list[Label] = []


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with the answers scikit-learn gave at publishing.

    Shapes: (n, f); (n,), or (n, outputs) of a multi-output model; (n, classes of all outputs in order),
    empty for a model without probabilities.
    """

    rows: list[list[Value]]
    labels: list[Label | list[Label]]
    probabilities: list[list[float]] = []


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend showed when the model was published, against scikit-learn on random rows."""

    backend: str
    rows: int
    largest: float  # difference of a probability; of a regressor's answer, relative to it
    us_per_row: float  # µs of a prediction of one row
    refused: str = ""  # why it is none of the manifest's backends


class Latest(Document, frozen=True, kw_only=True):
    """`models/<name>/latest.json`: the default of `skfleet release create`; no VM reads it."""

    name: Name
    manifest: Pin
    published_at: str  # RFC 3339, UTC
    published_by: str


class Manifest(Document, frozen=True, kw_only=True):
    """A published model: files, versions, features, answers."""

    name: Name
    kind: Literal["classifier", "regressor"] = "classifier"
    created_at: str  # RFC 3339, UTC
    estimator: str  # class name, for people; steps of a pipeline joined by +
    backends: list[str]  # fastest first, each reproduced the golden vectors when published
    files: list[FileEntry]
    versions: dict[str, str]  # python, numpy, scikit-learn, skops
    features: list[Feature]
    classes: list[Label] = []  # of a classifier with one output
    outputs: list[Output] = []  # of a model with several
    golden: Golden
    proofs: list[Proof] = []
    metrics: dict[str, Any] = {}
    training: dict[str, Any] = {}

    @property
    def targets(self) -> list[Output]:
        """What the model answers, one or several."""
        return self.outputs or [Output(name="predict", classes=self.classes)]

    @property
    def has_probabilities(self) -> bool:
        """Whether the model gives probabilities beside labels."""
        return bool(self.golden.probabilities)

    @property
    def mixed(self) -> bool:
        """Whether rows hold text beside numbers."""
        return any(feature.categories is not None for feature in self.features)
