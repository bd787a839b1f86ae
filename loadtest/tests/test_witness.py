"""The witness asks and checks models of every kind: a real service, a real bucket."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google.auth
import google.auth.credentials
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from skfleet import documents
from skfleet.artifacts.store import Store
from skfleet.documents.manifest import Feature
from skfleet.documents.release import AppPin, ModelPin, Pin
from skfleet.errors import SkfleetError
from skfleet.polling import wait_until
from skfleet_loadtest.witness import Door, Expected, Witness
from skfleet_operator.models.publish import publish, write_artefact
from skfleet_operator.releases import operations

FEATURES = [Feature(name=f"f{i}", low=-9, high=9) for i in range(3)]


@pytest.fixture(scope="module")
def store(object_store_url: str) -> Iterator[Store]:
    anonymous = google.auth.credentials.AnonymousCredentials()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(google.auth, "default", lambda *args, **kwargs: (anonymous, "test"))
        store = Store(object_store_url, timeout_s=30)
        store._client.create_bucket("witness")
        yield store


def write(directory: Path, estimator: Any, shift: float) -> Path:
    x = np.random.default_rng(3).normal(size=(300, 3))
    y = x[:, 0] + shift
    estimator.fit(x, y if isinstance(estimator, Ridge) else y > 0)
    order = np.argsort(estimator.predict(x))
    golden = x[np.concatenate([order[:60], order[-60:]])]
    write_artefact(directory, name="m", estimator=estimator, features=FEATURES, golden_rows=golden)
    return directory


def release(store: Store, artefact: Path, name: str) -> None:
    """A release of the model; what else it pins is not looked at here."""
    manifest = publish(store, "gs://witness", artefact, "t").manifest
    uri = f"gs://witness/builds/{name}.tar"
    pin = {"uri": uri, "generation": store.create(uri, b"w"), "sha256": documents.sha256(b"w")}
    app = AppPin(**pin, version="1", python="3.11", platform="linux_x86_64")
    operations.create(
        store, "gs://witness", app=app, bundle=Pin(**pin), default_model="m", settings={}, by="t",
        models=[ModelPin(name="m", manifest=manifest)], release_id=name,
    )  # fmt: skip


@contextmanager
def served(directory: Path, artefact: Path, name: str) -> Iterator[str]:
    """The internal listener of a real gunicorn that serves one artefact as the release of this name."""
    identity = directory / "identity"
    identity.mkdir(exist_ok=True)
    policy = {"schema_version": 1, "fleet": "t", "internal": {"identity": "none"}}
    (identity / "environment.json").write_text(json.dumps(policy))
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    options = ["--port-iap", "--port-internal", "--port-health", "--port-metrics"]
    process = subprocess.Popen(
        [
            sys.executable, "-m", "skfleet_operator.cli", "serve", "--bind", "127.0.0.1", "--workers", "1",
            "--models", f"m={artefact}", "--release", name,
            "--identity-dir", str(identity), "--run-dir", str(directory),
            *(word for pair in zip(options, map(str, ports), strict=True) for word in pair),
        ]
    )  # fmt: skip
    try:

        def is_live() -> bool:
            assert process.poll() is None
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[2]}/livez", timeout=5):
                return True

        wait_until(is_live, 60, "the service", ignore=(OSError,))
        yield f"http://127.0.0.1:{ports[1]}"
    finally:
        process.terminate()
        process.wait(30)


def ask(url: str, expected: Expected) -> Any:
    """One second of the witness; its tally."""
    witness = Witness([Door("internal", url, "")], "", expected, 60)
    asyncio.run(witness.run(lambda seconds: seconds > 1))
    return witness.tally


@pytest.mark.parametrize("kind", [LogisticRegression, LinearSVC, Ridge])
def test_right_answers_are_right_and_another_models_are_wrong(
    store: Store, tmp_path: Path, kind: Any
) -> None:
    fleet = kind.__name__.lower()
    right, other = write(tmp_path / "right", kind(), 0), write(tmp_path / "other", kind(), 0.4)
    release(store, right, fleet)
    operations.desire(store, "gs://witness", fleet, fleet, by="t")
    expected = Expected(store, "gs://witness", tmp_path / "cache", fleet)
    for artefact, wrong in ((right, False), (other, True)):
        with served(tmp_path, artefact, fleet) as url:
            tally = ask(url, expected)
        assert tally.requests > 30
        assert not tally.failed, tally.samples[:1]
        assert bool(tally.wrong) is wrong, tally.samples[:1]


@pytest.mark.parametrize(
    ("body", "right"),
    [
        ({"predictions": [1.0]}, True),
        ({"predictions": [1.0 + 1e-6]}, True),
        ({"predictions": [1.1]}, False),
        ({"predictions": [float("nan")]}, False),
        ({"predictions": ["1.0"]}, False),
        ({"predictions": [1.0, 1.0]}, False),
        ({"predictions": None}, False),
        ({}, False),
    ],
)
def test_a_number_is_right_within_the_tolerance_alone(body: dict[str, Any], right: bool) -> None:
    expected = object.__new__(Expected)  # without its bucket
    expected._by_model, expected._by_release = {"d": [(1.0, [])]}, {"r": ("d", 1e-4)}
    assert (expected.wrong("r", 0, body) == "") is right


def test_a_release_without_the_model_is_named(store: Store, tmp_path: Path) -> None:
    release(store, write(tmp_path / "m", Ridge(), 1), "named")
    operations.desire(store, "gs://witness", "named", "named", by="t")
    expected = Expected(store, "gs://witness", tmp_path / "cache", "named")
    expected.model = "other"
    expected._by_release.clear()
    with pytest.raises(SkfleetError, match="no model 'other'"):
        expected.learn("named")
