"""Which release a host converges to, and whether it may."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from skfleet import documents
from skfleet.documents.desired import Desired
from skfleet.documents.release import Release, check_name
from skfleet.errors import DocumentError, SkfleetError, StoreUnavailable, VersionMismatch
from skfleet.vm.host import IMAGE_CONTRACTS, Host
from skfleet.vm.metadata import Fleet
from skfleet.vm.platform import host_tags

if TYPE_CHECKING:
    from skfleet.artifacts.store import Store


class NoDesiredRelease(SkfleetError):
    """The fleet has none yet: a VM waits, live and not ready."""


class ReleaseDocument(NamedTuple):
    """A release, and the text of its document as it was published: what is signed is what is installed."""

    release: Release
    text: str


def desired(store: Store, fleet: Fleet) -> ReleaseDocument:
    """The fleet's desired release, by the object that its document pins."""
    uri = fleet.document("desired.json")
    stored = store.find(uri)
    if stored is None:
        raise NoDesiredRelease(
            f"Fleet '{fleet.name}' has no desired release yet.",
            where=uri,
            hint="`skfleet release desire ID` sets the first one.",
        )
    document = documents.read(Desired, stored.data, where=uri)
    documents.check_fleet(document.fleet, fleet.name, where=uri)
    entry = document.current
    data = store.read_pin(entry.document)
    _check_signed(store, entry.document.uri, data)
    return _parse(data, entry.release, fleet, where=entry.document.uri)


def named(store: Store, fleet: Fleet, release: str, host: Host) -> ReleaseDocument:
    """One release by its id. What is installed here is found without the bucket too.

    A release is immutable, so the document it was installed from is as good as the bucket's: an outage
    between a rollout's `stage` and `activate`, or before a rollback, does not strand the host.
    """
    check_name(release, "release")
    uri = fleet.release(release)
    try:
        data = store.read(uri).data
        _check_signed(store, uri, data)
        return _parse(data, release, fleet, where=uri)
    except StoreUnavailable:
        if not _document(host, release).is_file():
            raise
        return installed(release, fleet, host)


def installed(release: str, fleet: Fleet, host: Host) -> ReleaseDocument:
    """A release that is installed on this host, by the document it was installed from."""
    path = _document(host, release)
    try:
        return _parse(path.read_bytes(), release, fleet, where=str(path))
    except FileNotFoundError:
        raise DocumentError(
            f"Release '{release}' is not installed here.", where=str(path)
        ) from None


def parse(data: bytes, where: str) -> ReleaseDocument:
    """A release from the bytes of its document; raises DocumentError."""
    release = documents.read(Release, data, where=where)
    try:
        return ReleaseDocument(release, data.decode())
    except UnicodeDecodeError as error:  # in a field that nobody here reads
        raise DocumentError(f"The document is not UTF-8: {error}.", where=where) from None


def check(release: Release) -> None:
    """Raise VersionMismatch if this host's image cannot run the release; DocumentError if nobody can."""
    if release.default_model not in {model.name for model in release.models}:
        raise DocumentError(
            f"The default model '{release.default_model}' is none of the release's models.",
            where=f"release {release.id}",
            hint="Create the release again.",
        )
    python, platform = host_tags()
    for what, wanted, here in (
        ("image contract", str(release.image_contract), {str(n) for n in IMAGE_CONTRACTS}),
        ("Python", release.app.python, {python}),
        ("platform", release.app.platform, {platform}),
    ):
        if wanted not in here:
            raise VersionMismatch(
                f"The release needs {what} {wanted}, and this host has {', '.join(sorted(here))}.",
                where=f"release {release.id}",
                hint="Replace the VMs by ones of a fitting image, or build the app for this one.",
            )


def _document(host: Host, release: str) -> Path:
    return host.release_directory(release) / "release.json"


def _check_signed(store: Store, uri: str, data: bytes) -> None:
    """Raise IntegrityError where this host trusts keys and none of them signed the document."""
    store.check_signature(f"{uri}.sig", {".": documents.sha256(data)})


def _parse(data: bytes, identifier: str, fleet: Fleet, where: str) -> ReleaseDocument:
    document = parse(data, where)
    release = document.release
    if release.id != identifier:
        raise DocumentError(
            f"The document is of release '{release.id}', not '{identifier}'.",
            where=where,
            hint="Somebody copied it; create the release again.",
        )
    release.check_fleet(fleet.name, where=where)
    return document
