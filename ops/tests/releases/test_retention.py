"""Nothing that a fleet desires, may go back to, or that is recent is deleted; lists say where models run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from skfleet import documents
from skfleet.artifacts.store import Store
from skfleet.documents.manifest import FILE_NAME, Manifest
from skfleet.documents.release import AppPin, ModelPin, Pin
from skfleet_operator.cli.model import _published
from skfleet_operator.models import publish
from skfleet_operator.releases import operations, retention


def version(store: Store, bucket: str, artefact: Path, number: int) -> Pin:
    """Another version of the model: its manifest differs."""
    path = artefact / FILE_NAME
    manifest = documents.read(Manifest, path.read_bytes(), "test")
    stamp = f"2026-01-01T00:00:{number:02d}Z"
    path.write_bytes(documents.write(msgspec.structs.replace(manifest, created_at=stamp)))
    return publish.publish(store, bucket, artefact, "t").manifest


def release(store: Store, bucket: str, model: Pin, name: str) -> str:
    uri = f"{bucket}/builds/1/wheelhouse.tar"
    app = AppPin(uri=uri, generation=store.create(uri, b"w"), sha256=documents.sha256(b"w"),
                 version="1", python="3.11", platform="linux_x86_64")  # fmt: skip
    made = operations.create(
        store, bucket, app=app, bundle=Pin(**_plain(app)), default_model="tiny", settings={}, by="t",
        models=[ModelPin(name="tiny", manifest=model)], release_id=name,
    )  # fmt: skip
    return made.id


def _plain(pin: AppPin) -> dict[str, Any]:
    return {"uri": pin.uri, "generation": pin.generation, "sha256": pin.sha256}


def test_the_list_says_where_and_pruning_keeps_what_is_needed(
    store: Store, bucket: str, artefact: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(retention, "RECENT", 0)
    pins = [version(store, bucket, artefact, number) for number in range(6)]
    first, second = (release(store, bucket, pins[i], f"r{i}") for i in (0, 1))
    operations.desire(store, bucket, "f", first, by="t")
    operations.desire(store, bucket, "f", second, by="t", replacing=first)
    assert retention.where_models_are_desired(store, bucket) == {pins[1].sha256: ["f (r1)"]}
    entries = _published(store, bucket)
    gone = retention.superfluous(store, bucket, entries, keep=1)
    # 0 is gone back to, 1 desired, 5 the newest and the default.
    assert {entry["digest"] for entry in gone} == {pin.sha256 for pin in pins[2:5]}
    for entry in gone:
        store.delete_below(entry["uri"].removesuffix(FILE_NAME))
    left = {entry["digest"] for entry in _published(store, bucket)}
    assert left == {pins[i].sha256 for i in (0, 1, 5)}
    assert not [u for u in store.list(f"{bucket}/models/") if pins[3].sha256 in u]
    monkeypatch.setattr(retention, "RECENT", 10)
    assert np.all([pin.sha256 in retention.needed_models(store, bucket) for pin in pins[:2]])
