"""The metadata server is asked as Google documents it, and believed only when it answers so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from skfleet.errors import ConfigurationError
from skfleet.vm import metadata
from skfleet.vm.metadata import Fleet, MetadataUnavailable


@pytest.fixture
def server(make_metadata: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    result = make_metadata()
    monkeypatch.setenv("GCE_METADATA_HOST", result.address)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(metadata, "PAUSES_S", (0.01, 0.01))
    yield result
    result.close()


def test_fleet_is_the_one_attribute_of_ours(server: Any) -> None:
    server.attributes["skfleet-fleet"] = "gs://bucket/fleets/blue\n"
    fleet = metadata.fleet()
    assert fleet == Fleet("bucket", "blue")
    assert fleet.document("desired.json") == "gs://bucket/fleets/blue/desired.json"
    assert fleet.release("r1") == "gs://bucket/releases/r1.json"


def test_vm_of_no_fleet_is_told_what_to_set(server: Any) -> None:
    with pytest.raises(ConfigurationError, match="skfleet-fleet"):
        metadata.fleet()


def test_missing_attribute_is_asked_for_once(server: Any) -> None:
    assert metadata.attribute("nothing") is None
    assert len(server.requests) == 1


def test_server_that_fails_is_tried_again_and_then_called_unavailable(server: Any) -> None:
    server.up = False
    with pytest.raises(MetadataUnavailable, match="503"):
        metadata.attribute("skfleet-fleet")
    assert len(server.requests) == 3


def test_answer_without_googles_mark_is_not_believed(server: Any) -> None:
    server.flavor = "Other"
    server.attributes["skfleet-fleet"] = "gs://bucket/fleets/blue"
    with pytest.raises(MetadataUnavailable, match="not answer as Google"):
        metadata.fleet()


@pytest.mark.parametrize(
    "uri", ["", "bucket/fleets/x", "gs://bucket/x", "gs://b/fleets/", "gs://b/fleets/x/y"]
)
def test_address_that_is_no_fleets_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="fleet"):
        Fleet.parse(uri)
