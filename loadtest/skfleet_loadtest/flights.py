"""Rows with the answers that are right: the document between the operator, who has the model and the
data, and the generators, who have neither."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skfleet import documents
from skfleet.documents import Document
from skfleet.errors import DocumentError

# Of the model that releases without an entry of their own serve.
ANY_RELEASE = ""


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What one model answers. Shapes: (n,) and (n, classes)."""

    labels: list[int]
    probabilities: list[list[float]]
    tolerance: float  # largest difference of a probability that is still the same answer


class Flights(Document, frozen=True, kw_only=True):
    """Held-out rows, half of each predicted class. Shape of `rows`: (n, features)."""

    model: str
    rows: list[list[float]]
    expected: dict[str, Expectation]  # by release id; ANY_RELEASE for all others

    def of(self, release: str) -> Expectation:
        """What this release must answer."""
        return self.expected.get(release) or self.expected[ANY_RELEASE]


def read(path: Path) -> Flights:
    """The document of a file; raises DocumentError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DocumentError(
            f"The flights cannot be read: {error.strerror}.",
            where=str(path),
            hint="`make loadtest` prepares them.",
        ) from None
    flights = documents.read(Flights, data, str(path))
    counts = {len(flights.rows)}
    for expectation in flights.expected.values():
        counts |= {len(expectation.labels), len(expectation.probabilities)}
    if len(counts) != 1 or not flights.rows or ANY_RELEASE not in flights.expected:
        raise DocumentError(
            "Rows and answers do not belong together.", where=str(path), hint="Prepare them again."
        )
    return flights


def write(flights: Flights, path: Path) -> None:
    """One line of JSON: tens of thousands of numbers are for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(flights) + b"\n")
