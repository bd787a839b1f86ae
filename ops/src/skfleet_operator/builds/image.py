"""What an image is made of, as files that need no network on the host that becomes one.

runtime.tar   wheelhouse of the image's own environment
bundle.tar    the roles that make a host without a release
release.tar   by choice: a release to bake, `release.json` and by digest `objects/` and `models/`, with the
              signatures that there are; `fallback.json` where VMs are to serve it without the bucket
image.json    `Image`: what a VM of it can say about its origin
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from skfleet import documents
from skfleet.artifacts.fetch import fetch_model, fetch_object
from skfleet.artifacts.signing import MODEL_SIGNATURE, SUFFIX
from skfleet.artifacts.store import Store, Stored
from skfleet.documents import Document
from skfleet.documents.environment import Environment
from skfleet.documents.release import Release
from skfleet.errors import SkfleetError
from skfleet.vm import fallback, source
from skfleet.vm.bake import DOCUMENT
from skfleet.vm.fallback import Fallback
from skfleet.vm.host import IMAGE_CONTRACTS
from skfleet.vm.metadata import Fleet
from skfleet_operator import outputs
from skfleet_operator.builds.bundle import make_bundle
from skfleet_operator.builds.wheelhouse import RUNTIME_PINS, build

IMAGE = "image.json"


class Image(Document, frozen=True, kw_only=True):
    """`image.json`."""

    version: str  # of the runtime's wheelhouse
    python: str
    platform: str
    contracts: list[int]  # image contracts that its programs keep
    bundle: str  # SHA-256 of the roles bundle
    commit: str = ""  # git's, of the checkout; empty where there is no git
    release: str = ""  # the baked one


def prepare(
    repo: Path,
    output: Path,
    builds: Path,
    store: Store,
    baked: tuple[Release, Stored] | None = None,
    without_bucket: Fallback | None = None,
) -> Image:
    """Write the files into `output`, whole or not at all; the release must fit this Python.

    `output` is new, empty, or holds such files, which alone are replaced; raises Refused elsewhere.
    `builds` keeps finished wheelhouses. Raises VersionMismatch for a release of another Python, platform
    or image contract: a VM of the image would refuse it too.
    """
    outputs.check(output, own_files)
    release = baked[0] if baked else None
    if release is not None:
        source.check(release)
    wheelhouse = build(repo, builds, RUNTIME_PINS)
    bundle = make_bundle(repo)
    image = Image(
        version=wheelhouse.version,
        python=wheelhouse.python,
        platform=wheelhouse.platform,
        contracts=sorted(IMAGE_CONTRACTS),
        bundle=documents.sha256(bundle),
        commit=_commit(repo),
        release=release.id if release else "",
    )
    with outputs.filling(output, own_files) as scratch:
        shutil.copyfile(wheelhouse.path, scratch / "runtime.tar")
        (scratch / "bundle.tar").write_bytes(bundle)
        if baked is not None:
            _collect(store, *baked, scratch, without_bucket)
        (scratch / IMAGE).write_bytes(documents.write(image))
    return image


def own_files(directory: Path) -> list[str]:
    """The names of an image's files, `image.json` last; none where there is no valid one."""
    try:
        documents.read(Image, (directory / IMAGE).read_bytes(), where=IMAGE)
    except (OSError, SkfleetError):
        return []
    return [
        name
        for name in ("runtime.tar", "bundle.tar", "release.tar", IMAGE)
        if (directory / name).exists()
    ]


def fallback_for(store: Store, fleet: str, release: str) -> Fallback:
    """The fallback for VMs of a fleet, by its address; raises ObjectMissing if nobody may call it yet."""
    uri = Fleet.parse(fleet).document("environment.json")
    environment = documents.read(Environment, store.read(uri).data, where=uri)
    return Fallback(fleet=fleet, release=release, environment=environment)


def _commit(repo: Path) -> str:
    answer = subprocess.run(
        ["git", "-C", str(repo), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _collect(
    store: Store,
    release: Release,
    document: Stored,
    directory: Path,
    without_bucket: Fallback | None = None,
) -> None:
    with tempfile.TemporaryDirectory(prefix="skfleet-image-") as scratch:
        cache = Path(scratch)
        (cache / DOCUMENT).write_bytes(document.data)
        if without_bucket is not None:
            (cache / fallback.NAME).write_bytes(documents.write(without_bucket))
        signatures = {document.uri + SUFFIX: cache / (DOCUMENT + SUFFIX)}
        for pin in (release.app, release.bundle):
            path = fetch_object(store, pin, cache)
            signatures[pin.uri + SUFFIX] = path.with_name(path.name + SUFFIX)
        for model in release.models:
            pin = model.manifest
            path = fetch_model(store, pin.uri, cache, pin.generation, pin.sha256)
            signatures[f"{pin.uri.rsplit('/', 1)[0]}/{MODEL_SIGNATURE}"] = path / MODEL_SIGNATURE
        # Whether the host asks for them is known there.
        for uri, path in signatures.items():
            if (there := store.find(uri)) is not None:
                path.write_bytes(there.data)
        with tarfile.open(directory / "release.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(cache.rglob("*")):
                tar.add(path, str(path.relative_to(cache)), recursive=False)
