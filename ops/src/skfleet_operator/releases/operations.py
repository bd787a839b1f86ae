"""Creating, listing, comparing and desiring releases in the bucket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from skfleet import documents
from skfleet.artifacts.fetch import model_resources
from skfleet.artifacts.signing import MODEL_SIGNATURE, SUFFIX, WHOLE
from skfleet.artifacts.store import Store, Stored
from skfleet.documents.build import Build
from skfleet.documents.desired import Desired, DesiredEntry
from skfleet.documents.manifest import Latest, Manifest
from skfleet.documents.release import AppPin, ModelPin, Pin, Release, check_name
from skfleet.errors import (
    ConfigurationError,
    DocumentError,
    IntegrityError,
    LostRace,
    ObjectMissing,
)
from skfleet.settings import release_settings
from skfleet_operator.builds.wheelhouse import EXTRAS

MAX_HISTORY = 50


def create(
    store: Store,
    bucket: str,
    *,
    app: AppPin,
    bundle: Pin,
    models: list[ModelPin],
    default_model: str,
    settings: dict[str, Any],
    by: str,
    fleets: Sequence[str] = (),
    notes: str = "",
    release_id: str = "",
    draft: bool = False,
) -> Release:
    """Check that everything pinned is there, then write `releases/<id>.json`, create-only.

    A draft is checked like any other and not written.
    """
    release_settings(settings)  # unknown names and bad values stop here, not on a VM
    if default_model not in {model.name for model in models}:
        raise ConfigurationError(
            f"The default model '{default_model}' is not one of the release's models.",
            where="default_model",
            hint="Name it with --model too.",
        )
    for model in models:
        store.read_pin(model.manifest)
    content = msgspec.json.encode([app, bundle, models, settings], order="deterministic")
    release = Release(
        id=release_id or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{documents.sha256(content)[:6]}",
        created_at=documents.now(),
        created_by=by,
        notes=notes,
        app=app,
        bundle=bundle,
        models=models,
        default_model=default_model,
        settings=settings,
        fleets=sorted(set(fleets)),
    )
    # The constructor does not check field constraints; reading the written bytes does.
    data = documents.write(release)
    documents.read(Release, data, where=release.id)
    if not draft:
        uri = release_uri(bucket, release.id)
        store.create(uri, data, content_type="application/json")
        store.sign(uri, digest=documents.sha256(data))
    return release


def sign(store: Store, bucket: str, release_id: str) -> list[str]:
    """Sign a release and all that it pins, once its digests hold; the addresses that were signed."""
    release, stored = load(store, bucket, release_id)
    signed = [stored.uri]
    for pin in (release.app, release.bundle):
        store.read_pin(pin)
        store.sign(pin.uri, digest=pin.sha256)
        signed.append(pin.uri)
    for model in release.models:
        pin = model.manifest
        manifest = documents.read(Manifest, store.read_pin(pin), where=pin.uri)
        root = pin.uri.rsplit("/", 1)[0]
        for entry in manifest.files:
            if documents.sha256(store.read(f"{root}/{entry.name}").data) != entry.sha256:
                raise IntegrityError(
                    f"File '{entry.name}' is not what was published; nothing more was signed.",
                    where=f"{root}/{entry.name}",
                    hint="Publish the model again.",
                )
        store.sign(f"{root}/{MODEL_SIGNATURE}", model_resources(manifest, pin.sha256))
        signed.append(root)
    store.sign(stored.uri, digest=documents.sha256(stored.data))
    return signed


def verify(store: Store, bucket: str, release_id: str) -> list[str]:
    """Check that keys of `store.trust` signed a release and all that it pins, as a VM does.

    Returns the addresses that were checked; raises IntegrityError for the first that is not signed.
    """
    release, stored = load(store, bucket, release_id)
    objects = [(stored.uri, documents.sha256(stored.data))]
    objects += [(pin.uri, pin.sha256) for pin in (release.app, release.bundle)]
    for uri, digest in objects:
        store.check_signature(uri + SUFFIX, {WHOLE: digest})
    roots = []
    for model in release.models:
        pin = model.manifest
        manifest = documents.read(Manifest, store.read_pin(pin), where=pin.uri)
        roots.append(pin.uri.rsplit("/", 1)[0])
        resources = model_resources(manifest, pin.sha256)
        store.check_signature(f"{roots[-1]}/{MODEL_SIGNATURE}", resources)
    return [uri for uri, _ in objects] + roots


def libraries(store: Store, models: Iterable[ModelPin]) -> set[str]:
    """The extras of a build by which each of these models runs on its fastest backend."""
    fastest = {
        documents.read(Manifest, store.read_pin(m.manifest), where=m.manifest.uri).backends[0]
        for m in models
    }
    return fastest & EXTRAS.keys()


def app_pin(build: Build) -> AppPin:
    """A published build as a release pins it."""
    return AppPin(
        uri=build.wheelhouse.uri,
        generation=build.wheelhouse.generation,
        sha256=build.wheelhouse.sha256,
        version=build.version,
        python=build.python,
        platform=build.platform,
    )


def release_uri(bucket: str, release_id: str) -> str:
    """Address of a release document."""
    return f"{bucket}/releases/{release_id}.json"


def load(store: Store, bucket: str, release_id: str) -> tuple[Release, Stored]:
    """A release by id, with the object it was read from."""
    check_name(release_id, "release")
    uri = release_uri(bucket, release_id)
    try:
        stored = store.read(uri)
    except ObjectMissing:
        raise ObjectMissing(
            f"There is no release '{release_id}'.",
            where=uri,
            hint="`skfleet release list` shows the releases.",
        ) from None
    return documents.read(Release, stored.data, where=uri), stored


def list_releases(store: Store, bucket: str) -> list[Release]:
    """All releases, newest first."""
    found = [
        documents.read(Release, store.read(uri).data, where=uri)
        for uri in store.list(f"{bucket}/releases/")
        if uri.endswith(".json")
    ]
    return sorted(found, key=lambda release: (release.created_at, release.id), reverse=True)


def latest_model(store: Store, bucket: str, name: str) -> ModelPin:
    """The model that `latest.json` names."""
    check_name(name, "model")
    uri = f"{bucket}/models/{name}/latest.json"
    try:
        stored = store.read(uri)
    except ObjectMissing:
        raise ObjectMissing(
            f"No model '{name}' is published.",
            where=uri,
            hint="`skfleet model publish` publishes one; `skfleet model list` shows what is there.",
        ) from None
    return ModelPin(name=name, manifest=documents.read(Latest, stored.data, where=uri).manifest)


def difference(old: Release, new: Release) -> dict[str, tuple[str, str]]:
    """What changes from one release to the other: field → (old, new), only what differs."""
    before, after = _facts(old), _facts(new)
    return {
        key: (before.get(key, "–"), after.get(key, "–"))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def _facts(release: Release) -> dict[str, str]:
    return {
        "app": release.app.version,
        "app.python": release.app.python,
        "app.platform": release.app.platform,
        "bundle": release.bundle.sha256[:12],
        "default_model": release.default_model,
        "image_contract": str(release.image_contract),
        "fleets": ", ".join(release.fleets) or "all",
        **{f"models.{model.name}": model.manifest.sha256[:12] for model in release.models},
        **{f"settings.{name}": str(value) for name, value in release.settings.items()},
    }


def desired_uri(bucket: str, fleet: str) -> str:
    """Address of a fleet's desired release."""
    return f"{bucket}/fleets/{fleet}/desired.json"


def read_desired(store: Store, bucket: str, fleet: str) -> tuple[Desired, int] | None:
    """The fleet's desired release and its generation, or None before the first."""
    stored = store.find(desired_uri(bucket, fleet))
    if stored is None:
        return None
    desired = documents.read(Desired, stored.data, where=stored.uri)
    documents.check_fleet(desired.fleet, fleet, where=stored.uri)
    return desired, stored.generation


def desire(
    store: Store,
    bucket: str,
    fleet: str,
    release_id: str,
    *,
    by: str,
    reason: str = "",
    replacing: str | None = None,
) -> Desired:
    """Make a release the desired one by compare-and-swap on `desired.json`.

    `replacing` is the release the caller believes is desired now: None for a fleet that has none yet.
    Raises LostRace where that is not so, and writes nothing.
    """
    release, stored = load(store, bucket, release_id)
    release.check_fleet(fleet, where=stored.uri)
    there = read_desired(store, bucket, fleet)
    current = there[0].current.release if there else None
    if current != replacing:
        raise LostRace(
            f"Fleet '{fleet}' desires {current or 'no release'}, not {replacing or 'no release'}.",
            where=desired_uri(bucket, fleet),
            hint="`skfleet release desire` is for the first release; "
            "later ones go by `ansible-playbook playbooks/rollout.yml -e release=ID`."
            if replacing is None
            else "Somebody else moved it; look at `skfleet release list` and start again.",
        )
    entry = DesiredEntry(
        release=release_id, document=stored.pin(), at=documents.now(), by=by, reason=reason
    )
    history = [there[0].current, *there[0].history][:MAX_HISTORY] if there else []
    desired = Desired(fleet=fleet, current=entry, history=history)
    store.swap(desired_uri(bucket, fleet), documents.write(desired), there[1] if there else 0)
    return desired


def parse_setting(text: str) -> tuple[str, Any]:
    """`name=value` of a release's settings; the value as JSON where it is JSON."""
    name, equals, raw = text.partition("=")
    if not equals or not name:
        raise DocumentError(
            f"'{text}' is no setting.", where="--set", hint="Write NAME=VALUE, as in workers=2."
        )
    try:
        return name, msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return name, raw
