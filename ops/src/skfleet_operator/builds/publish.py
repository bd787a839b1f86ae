"""Publishing builds and roles bundles: immutable, create-only, described last."""

from __future__ import annotations

from skfleet import documents
from skfleet.artifacts.store import Store
from skfleet.documents.build import Build
from skfleet.documents.release import Pin
from skfleet_operator.builds.wheelhouse import Wheelhouse


def publish_build(store: Store, bucket: str, wheelhouse: Wheelhouse, by: str) -> Build:
    """Upload a wheelhouse below `builds/<version>/`; a finished one is left as it is."""
    root = f"{bucket}/builds/{wheelhouse.version}"
    described = store.find(f"{root}/build.json")
    if described is not None:
        return documents.read(Build, described.data, where=described.uri)
    data = wheelhouse.path.read_bytes()
    uri = f"{root}/wheelhouse.tar"
    generation = store.create(uri, data, content_type="application/x-tar")
    store.sign(uri, digest=documents.sha256(data))
    build = Build(
        version=wheelhouse.version,
        created_at=documents.now(),
        created_by=by,
        python=wheelhouse.python,
        platform=wheelhouse.platform,
        wheelhouse=Pin(uri=uri, generation=generation, sha256=documents.sha256(data)),
        size=len(data),
        extras=list(wheelhouse.extras),
    )
    store.create(f"{root}/build.json", documents.write(build), content_type="application/json")
    return build


def list_builds(store: Store, bucket: str) -> list[Build]:
    """Finished builds, newest first."""
    found = [
        documents.read(Build, store.read(uri).data, where=uri)
        for uri in store.list(f"{bucket}/builds/")
        if uri.endswith("/build.json")
    ]
    return sorted(found, key=lambda build: build.created_at, reverse=True)


def publish_bundle(store: Store, bucket: str, data: bytes) -> Pin:
    """Upload a roles bundle under its digest."""
    digest = documents.sha256(data)
    uri = f"{bucket}/bundles/{digest}.tar"
    generation = store.create(uri, data, content_type="application/x-tar")
    store.sign(uri, digest=digest)
    return Pin(uri=uri, generation=generation, sha256=digest)
