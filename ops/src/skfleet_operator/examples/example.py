"""What an example is: a fitted estimator with all that its artefact needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skfleet.documents.manifest import Feature

GOLDEN_ROWS = 200


@dataclass(frozen=True, slots=True)
class Example:
    """`golden_rows`, and `sample` for the proof's random rows: arrays of shape (n, features)."""

    name: str
    estimator: Any
    features: Sequence[Feature]
    golden_rows: Any
    sample: Any
    metrics: dict[str, Any]
