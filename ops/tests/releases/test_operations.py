"""Releases are immutable; the desired release moves only by compare-and-swap."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from skfleet import documents
from skfleet.artifacts.signing import Signer, Trust
from skfleet.artifacts.store import Store
from skfleet.documents.build import Build
from skfleet.documents.release import Pin, Release
from skfleet.errors import (
    ConfigurationError,
    DocumentError,
    IntegrityError,
    LostRace,
    ObjectExists,
    ObjectMissing,
)
from skfleet_operator.models import publish
from skfleet_operator.releases import operations


@pytest.fixture
def parts(store: Store, bucket: str, artefact: Path) -> dict[str, object]:
    """What a release needs: a build, a bundle and a published model."""
    publish.publish(store, bucket, artefact, "tester")
    store.create(f"{bucket}/builds/1/wheelhouse.tar", b"wheels")
    store.create(f"{bucket}/bundles/x.tar", b"roles")
    build = Build(
        version="1",
        created_at="2026-01-01T00:00:00Z",
        created_by="tester",
        python="3.11",
        platform="linux_x86_64",
        wheelhouse=store.read(f"{bucket}/builds/1/wheelhouse.tar").pin(),
        size=6,
    )
    return {
        "app": operations.app_pin(build),
        "bundle": store.read(f"{bucket}/bundles/x.tar").pin(),
        "models": [operations.latest_model(store, bucket, "tiny")],
        "default_model": "tiny",
        "by": "tester",
    }


def create(store: Store, bucket: str, parts: dict, release_id: str, **settings: object) -> Release:
    return operations.create(store, bucket, settings=settings, release_id=release_id, **parts)


def test_a_release_comes_back_as_it_was_created(store: Store, bucket: str, parts: dict) -> None:
    made = create(store, bucket, parts, "r1", workers=2)
    assert operations.load(store, bucket, "r1")[0] == made
    assert made.app.version == "1"
    assert made.settings == {"workers": 2}


def test_a_release_is_never_overwritten(store: Store, bucket: str, parts: dict) -> None:
    create(store, bucket, parts, "r1", workers=2)
    with pytest.raises(ObjectExists):
        create(store, bucket, parts, "r1", workers=3)


@pytest.mark.parametrize(
    "settings", [{"workers": 0}, {"workers": "many"}, {"no_such": 1}, {"bind_address": "0.0.0.0"}]
)
def test_bad_settings_stop_at_creation(
    store: Store, bucket: str, parts: dict, settings: dict[str, object]
) -> None:
    with pytest.raises(ConfigurationError):
        create(store, bucket, parts, "r1", **settings)
    assert operations.list_releases(store, bucket) == []


def test_a_release_whose_model_is_not_there_is_not_created(
    store: Store, bucket: str, parts: dict
) -> None:
    pin = parts["models"][0].manifest
    gone = Pin(uri=pin.uri, generation=pin.generation + 5, sha256=pin.sha256)
    parts["models"] = [type(parts["models"][0])(name="tiny", manifest=gone)]
    with pytest.raises((ObjectMissing, LostRace)):
        create(store, bucket, parts, "r1")


def test_bad_id_is_refused(store: Store, bucket: str, parts: dict) -> None:
    with pytest.raises(DocumentError, match="id"):
        create(store, bucket, parts, "../evil")


def test_the_first_desired_release_needs_no_predecessor(
    store: Store, bucket: str, parts: dict
) -> None:
    create(store, bucket, parts, "r1")
    desired = operations.desire(store, bucket, "blue", "r1", by="tester")
    assert desired.current.release == "r1"
    assert documents.sha256(store.read_pin(desired.current.document)) == (
        desired.current.document.sha256
    )


def test_a_fleet_that_has_a_release_moves_only_from_the_one_named(
    store: Store, bucket: str, parts: dict
) -> None:
    for release_id in ("r1", "r2"):
        create(store, bucket, parts, release_id)
    operations.desire(store, bucket, "blue", "r1", by="tester")
    with pytest.raises(LostRace, match="desires r1"):
        operations.desire(store, bucket, "blue", "r2", by="tester")
    with pytest.raises(LostRace):
        operations.desire(store, bucket, "blue", "r2", by="tester", replacing="r0")
    moved = operations.desire(store, bucket, "blue", "r2", by="tester", replacing="r1")
    assert [entry.release for entry in moved.history] == ["r1"]


def test_a_release_that_does_not_exist_is_never_desired(store: Store, bucket: str) -> None:
    with pytest.raises(ObjectMissing, match="no release 'nope'"):
        operations.desire(store, bucket, "blue", "nope", by="tester")
    assert operations.read_desired(store, bucket, "blue") is None


def test_difference_names_what_changes_and_nothing_else(
    store: Store, bucket: str, parts: dict
) -> None:
    one = create(store, bucket, parts, "r1", workers=2)
    two = create(store, bucket, parts, "r2", workers=3, log_level="debug")
    assert operations.difference(one, two) == {
        "settings.workers": ("2", "3"),
        "settings.log_level": ("–", "debug"),
    }
    assert operations.difference(one, one) == {}


def test_documents_of_another_schema_version_are_refused(
    store: Store, bucket: str, parts: dict
) -> None:
    made = create(store, bucket, parts, "r1")
    data = documents.write(made).replace(b'"schema_version": 1', b'"schema_version": 7')
    with pytest.raises(DocumentError, match="version 7"):
        documents.read(Release, data, "test")


def test_a_document_names_the_field_that_is_wrong(store: Store, bucket: str, parts: dict) -> None:
    data = documents.write(create(store, bucket, parts, "r1"))
    with pytest.raises(DocumentError, match=r"\$\.app\.generation"):
        documents.read(Release, data.replace(b'"generation": ', b'"generation": -', 1), "test")


def test_release_for_one_fleet_is_refused_by_another(
    store: Store, bucket: str, parts: dict
) -> None:
    made = operations.create(store, bucket, settings={}, release_id="bound", fleets=["a"], **parts)
    assert made.fleets == ["a"]
    with pytest.raises(DocumentError, match="only for a, not for 'b'"):
        operations.desire(store, bucket, "b", "bound", by="tester")
    assert operations.desire(store, bucket, "a", "bound", by="tester").current.release == "bound"


def test_desired_document_of_another_fleet_is_refused(
    store: Store, bucket: str, parts: dict
) -> None:
    create(store, bucket, parts, "r1")
    operations.desire(store, bucket, "a", "r1", by="tester")
    copied = store.read(operations.desired_uri(bucket, "a")).data
    store.create(operations.desired_uri(bucket, "b"), copied)
    with pytest.raises(DocumentError, match="Invalid fleet 'a': expected 'b'"):
        operations.read_desired(store, bucket, "b")


def test_verify_accepts_only_a_release_that_is_signed_whole(
    store: Store, bucket: str, parts: dict, object_store_url: str
) -> None:
    signer = Signer(ec.generate_private_key(ec.SECP256R1()))
    trust = Trust([signer.key.public_key()])
    trusting = Store(object_store_url, timeout_s=30, trust=trust)
    signing = Store(object_store_url, timeout_s=30, signer=signer)
    create(signing, bucket, parts, "r1")  # what it pins was published without a key
    with pytest.raises(IntegrityError, match="not signed"):
        operations.verify(trusting, bucket, "r1")
    operations.sign(signing, bucket, "r1")
    assert len(operations.verify(trusting, bucket, "r1")) == 4


@pytest.mark.parametrize("name", ["{{ 7 }}", "a\n", "../a", "-a", "a/b", "", "A"])
def test_release_that_no_name_can_be_of_is_not_asked_for(name: str) -> None:
    with pytest.raises(ConfigurationError, match="Invalid release"):
        operations.load(None, "gs://none", name)  # type: ignore[arg-type]
