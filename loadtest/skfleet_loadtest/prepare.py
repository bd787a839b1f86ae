"""The operator's part before a run: held-out flights, and what scikit-learn itself answers for them.

Needs the environment of training; generators only get the document it writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from skfleet import documents
from skfleet.backends import sklearn as sklearn_backend
from skfleet.documents.manifest import FILE_NAME, TOLERANCES, Manifest
from skfleet.errors import ConfigurationError
from skfleet_loadtest.flights import ANY_RELEASE, Expectation, Flights
from skfleet_operator.examples import flight_delay

ROWS = 1000
SEED = 2013


def prepare(models: Mapping[str, Path], count: int = ROWS) -> Flights:
    """Rows and answers. `models`: release id → artefact directory, with ANY_RELEASE among them."""
    if ANY_RELEASE not in models:
        raise ConfigurationError("No model is named for releases in general.", where="MODEL")
    _, held_out = flight_delay.split(flight_delay.load_flights())
    manifest, backend = _open(models[ANY_RELEASE])
    predicted = np.asarray(backend.predict(held_out.rows.tolist()))
    rows = flight_delay.balanced_sample(held_out.rows, predicted, count, SEED).tolist()
    return Flights(
        model=manifest.name,
        rows=rows,
        expected={release: _expect(directory, rows) for release, directory in models.items()},
    )


def _expect(directory: Path, rows: list[list[float]]) -> Expectation:
    manifest, backend = _open(directory)
    return Expectation(
        labels=backend.predict(rows),
        probabilities=backend.predict_proba(rows),
        tolerance=max(TOLERANCES[name] for name in manifest.backends),
    )


def _open(directory: Path) -> tuple[Manifest, sklearn_backend.SklearnBackend]:
    path = directory / FILE_NAME
    try:
        manifest = documents.read(Manifest, path.read_bytes(), str(path))
    except OSError:
        raise ConfigurationError(
            "There is no model artefact here.",
            where=str(directory),
            hint="Train it: `skfleet model train flight-delay`, or name another with MODEL=.",
        ) from None
    # scikit-learn itself, whatever form the fleet serves: it is the one that defines 'right'.
    return manifest, sklearn_backend.load(directory, manifest)
