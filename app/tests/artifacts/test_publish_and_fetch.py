"""A model comes out of the bucket exactly as it was published, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skfleet import documents
from skfleet.artifacts.fetch import fetch_model, fetch_object
from skfleet.artifacts.store import Store
from skfleet.backends import load_model
from skfleet.documents.manifest import FILE_NAME, Feature, Latest, Manifest
from skfleet.errors import DocumentError, IntegrityError, SkfleetError, StoreUnavailable
from skfleet_operator.models import publish

NOWHERE = Store("http://127.0.0.1:1", timeout_s=0.2)


def read_manifest(directory: Path) -> Manifest:
    return documents.read(Manifest, (directory / FILE_NAME).read_bytes(), "test")


def test_published_model_answers_its_golden_vectors(
    store: Store, bucket: str, artefact: Path, tmp_path: Path
) -> None:
    latest = publish.publish(store, bucket, artefact, "tester")
    pin = latest.manifest
    directory = fetch_model(store, pin.uri, tmp_path / "cache", pin.generation, pin.sha256)
    model = load_model(directory)
    assert model.backend.name == "linear"
    assert model.digest == pin.sha256
    assert pin.uri == f"{bucket}/models/tiny/{pin.sha256}/manifest.json"


def test_cached_model_needs_no_bucket(
    store: Store, bucket: str, artefact: Path, tmp_path: Path
) -> None:
    pin = publish.publish(store, bucket, artefact, "tester").manifest
    first = fetch_model(store, pin.uri, tmp_path / "cache", pin.generation, pin.sha256)
    assert fetch_model(NOWHERE, pin.uri, tmp_path / "cache", pin.generation, pin.sha256) == first


def test_damaged_cache_is_fetched_again(
    store: Store, bucket: str, artefact: Path, tmp_path: Path
) -> None:
    pin = publish.publish(store, bucket, artefact, "tester").manifest
    directory = fetch_model(store, pin.uri, tmp_path / "cache", pin.generation, pin.sha256)
    (directory / "linear.json").write_bytes(b"{}")
    with pytest.raises(StoreUnavailable):
        fetch_model(NOWHERE, pin.uri, tmp_path / "cache", pin.generation, pin.sha256)
    load_model(fetch_model(store, pin.uri, tmp_path / "cache", pin.generation, pin.sha256))


def test_file_replaced_in_the_bucket_is_refused_and_leaves_nothing(
    store: Store, bucket: str, artefact: Path, tmp_path: Path
) -> None:
    pin = publish.publish(store, bucket, artefact, "tester").manifest
    uri = pin.uri.replace(FILE_NAME, "linear.json")
    evil = store.read(uri)
    store.swap(uri, evil.data.replace(b"0.", b"1.", 1), evil.generation)
    with pytest.raises(IntegrityError):
        fetch_model(store, pin.uri, tmp_path / "cache", pin.generation, pin.sha256)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_wrong_digest_of_the_manifest_is_refused(
    store: Store, bucket: str, artefact: Path, tmp_path: Path
) -> None:
    pin = publish.publish(store, bucket, artefact, "tester").manifest
    with pytest.raises(IntegrityError):
        fetch_model(store, pin.uri, tmp_path / "cache", pin.generation, "0" * 64)


def test_latest_moves_to_the_newest(
    store: Store, bucket: str, artefact: Path, estimator: LogisticRegression
) -> None:
    first = publish.publish(store, bucket, artefact, "tester")
    manifest = read_manifest(artefact)
    publish.write_artefact(
        artefact,
        name="tiny",
        estimator=estimator,
        features=manifest.features,
        golden_rows=np.asarray(manifest.golden.rows),
        metrics={"changed": True},
    )
    second = publish.publish(store, bucket, artefact, "tester")
    assert first.manifest.sha256 != second.manifest.sha256
    there = documents.read(Latest, store.read(f"{bucket}/models/tiny/latest.json").data, "test")
    assert there == second
    store.read_pin(first.manifest)  # the old one stays


def test_object_is_cached_by_digest(store: Store, bucket: str, tmp_path: Path) -> None:
    store.create(f"{bucket}/a", b"wheels")
    pin = store.read(f"{bucket}/a").pin()
    path = fetch_object(store, pin, tmp_path)
    assert path.read_bytes() == b"wheels"
    assert fetch_object(NOWHERE, pin, tmp_path) == path


@pytest.mark.parametrize("name", ["model.skops", "linear.json"])
def test_flipped_bit_in_a_file_is_refused(artefact: Path, name: str) -> None:
    data = bytearray((artefact / name).read_bytes())
    data[len(data) // 2] ^= 1
    (artefact / name).write_bytes(data)
    with pytest.raises(IntegrityError, match=name):
        load_model(artefact)


def test_model_that_answers_differently_is_refused(artefact: Path) -> None:
    """A linear form whose coefficients changed, with a manifest that names the new file."""
    form = json.loads((artefact / "linear.json").read_bytes())
    form["coefficients"][0][0] += 1
    (artefact / "linear.json").write_text(json.dumps(form))
    manifest = documents.read(Manifest, (artefact / FILE_NAME).read_bytes(), "test")
    files = [publish._file_entry(artefact / entry.name) for entry in manifest.files]
    changed = documents.write(
        Manifest(
            **{**{f: getattr(manifest, f) for f in manifest.__struct_fields__}, "files": files}
        )
    )
    (artefact / FILE_NAME).write_bytes(changed)
    with pytest.raises(SkfleetError, match="Golden vector"):
        load_model(artefact)


def test_model_of_another_scikit_learn_is_refused(artefact: Path) -> None:
    form = json.loads((artefact / FILE_NAME).read_bytes())
    form["versions"]["scikit-learn"] = "1.0.0"
    form["backends"] = ["sklearn"]
    (artefact / FILE_NAME).write_text(json.dumps(form))
    with pytest.raises(SkfleetError, match=r"scikit-learn 1\.0\.0"):
        load_model(artefact)


def test_golden_vectors_of_one_class_are_refused(
    tmp_path: Path, estimator: LogisticRegression, golden_rows: np.ndarray
) -> None:
    one_class = np.repeat(golden_rows[:60], 2, axis=0)
    with pytest.raises(DocumentError, match="each predicted class"):
        publish.write_artefact(
            tmp_path / "x",
            name="tiny",
            estimator=estimator,
            features=[Feature(name="f", low=0, high=1)] * 37,
            golden_rows=one_class,
        )
