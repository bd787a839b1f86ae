"""What may be deleted: never what a fleet desires, may go back to, or has among the newest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skfleet import documents
from skfleet.artifacts.store import Store
from skfleet.documents.desired import Desired
from skfleet.documents.release import Release
from skfleet.errors import ObjectMissing
from skfleet_operator.releases import operations

BACK = 10  # releases of a fleet's history that it may go back to
RECENT = 10  # newest releases, desired or not: one may be about to be


def fleets(store: Store, bucket: str) -> dict[str, Desired]:
    """What each fleet desires."""
    return {
        uri.split("/")[-2]: documents.read(Desired, store.read(uri).data, where=uri)
        for uri in store.list(f"{bucket}/fleets/")
        if uri.endswith("/desired.json")
    }


def where_models_are_desired(store: Store, bucket: str) -> dict[str, list[str]]:
    """Digest of a model → fleets whose desired release names it, each `fleet (release)`."""
    found: dict[str, list[str]] = {}
    for fleet, desired in sorted(fleets(store, bucket).items()):
        release = _release(store, bucket, desired.current.release)
        for model in release.models if release else ():
            found.setdefault(model.manifest.sha256, []).append(
                f"{fleet} ({desired.current.release})"
            )
    return found


def needed_models(store: Store, bucket: str) -> set[str]:
    """Digests of the models of all releases that are desired, gone back to, or recent."""
    releases = {release.id: release for release in operations.list_releases(store, bucket)}
    kept = list(releases)[:RECENT]
    for desired in fleets(store, bucket).values():
        kept += [desired.current.release, *(entry.release for entry in desired.history[:BACK])]
    return {
        model.manifest.sha256
        for identifier in kept
        if identifier in releases
        for model in releases[identifier].models
    }


def superfluous(
    store: Store, bucket: str, entries: Sequence[Mapping[str, Any]], keep: int
) -> list[Mapping[str, Any]]:
    """Of published models, newest first, those that nothing keeps."""
    needed = needed_models(store, bucket)
    seen: dict[str, int] = {}
    result = []
    for entry in entries:
        seen[entry["name"]] = seen.get(entry["name"], 0) + 1
        recent = seen[entry["name"]] <= keep
        if not (recent or entry["default"] or entry["digest"] in needed):
            result.append(entry)
    return result


def _release(store: Store, bucket: str, identifier: str) -> Release | None:
    try:
        return operations.load(store, bucket, identifier)[0]
    except ObjectMissing:
        return None
