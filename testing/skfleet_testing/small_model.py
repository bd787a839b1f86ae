"""What the tests of the app share: a small real model, and a real object store."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import google.auth
import google.auth.credentials
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skfleet.artifacts.store import Store
from skfleet.documents.manifest import Feature
from skfleet_operator.models.publish import write_artefact

FEATURES = [Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(37)]


@pytest.fixture(scope="session")
def estimator() -> LogisticRegression:
    """A fitted binary classifier on 37 zeros and ones."""
    generator = np.random.default_rng(7)
    rows = generator.integers(0, 2, (2000, 37)).astype(float)
    labels = (rows[:, :5].sum(axis=1) + generator.normal(0, 1, 2000) > 2.5).astype(int)
    return LogisticRegression(max_iter=300).fit(rows, labels)


@pytest.fixture(scope="session")
def golden_rows(estimator: LogisticRegression) -> np.ndarray:
    """120 rows, half of each predicted class."""
    rows = np.random.default_rng(8).integers(0, 2, (1000, 37)).astype(float)
    predicted = estimator.predict(rows)
    return np.concatenate([rows[predicted == label][:60] for label in (0, 1)])


@pytest.fixture(scope="session")
def write_tiny(
    estimator: LogisticRegression,
    golden_rows: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Path], Path]:
    """Writes the artefact of that classifier, by the name of `tiny`, into a directory.

    It is proven once, which takes most of a second, and copied for each test.
    """
    proven = tmp_path_factory.mktemp("proven") / "tiny"
    write_artefact(
        proven, name="tiny", estimator=estimator, features=FEATURES, golden_rows=golden_rows
    )

    def write(directory: Path) -> Path:
        return Path(shutil.copytree(proven, directory))

    return write


@pytest.fixture
def artefact(tmp_path: Path, write_tiny: Callable[[Path], Path]) -> Path:
    """A written artefact directory, a fresh copy for each test."""
    return write_tiny(tmp_path / "artefact")


@pytest.fixture
def store(object_store_url: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store on fake-gcs-server; identity is the local fleet's test, not this one's."""
    anonymous = google.auth.credentials.AnonymousCredentials()
    monkeypatch.setattr(google.auth, "default", lambda *args, **kwargs: (anonymous, "test"))
    return Store(object_store_url, timeout_s=30)


@pytest.fixture
def bucket(store: Store) -> str:
    """A bucket of the test's own, as gs://…"""
    name = f"test-{uuid.uuid4().hex}"
    store._client.create_bucket(name)
    return f"gs://{name}"
