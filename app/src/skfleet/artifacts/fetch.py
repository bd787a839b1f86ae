"""From the bucket into the verified local cache, and from the cache without the bucket.

`<cache>/objects/<sha256>` and `<cache>/models/<sha256 of the manifest>/`: named by what they are, so
that what is there and verifies needs no network. A file or directory appears whole or not at all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from skfleet import documents
from skfleet.artifacts.directory import read_manifest, verify_files
from skfleet.artifacts.signing import MODEL_SIGNATURE, SUFFIX, WHOLE
from skfleet.artifacts.store import Store, crc32c
from skfleet.documents.manifest import FILE_NAME, Manifest
from skfleet.documents.release import Pin
from skfleet.errors import IntegrityError, SkfleetError
from skfleet.files import new_directory, replace_file


def fetch_object(store: Store, pin: Pin, cache: Path) -> Path:
    """The pinned object as a file of the cache."""
    path = cache / "objects" / pin.sha256
    signature = path.with_name(path.name + SUFFIX)
    signed = store.check_signature(pin.uri + SUFFIX, {WHOLE: pin.sha256}, signature)
    path.parent.mkdir(parents=True, exist_ok=True)
    if signed is not None:
        replace_file(signature, signed, mode=0o644, durable=True)
    if path.exists() and documents.sha256(path.read_bytes()) == pin.sha256:
        return path
    replace_file(path, store.read_pin(pin), mode=0o644, durable=True)
    return path


def fetch_model(
    store: Store, uri: str, cache: Path, generation: int | None = None, sha256: str | None = None
) -> Path:
    """The directory of a model whose manifest is at `uri`; every file verified.

    With `sha256` given and the model in the cache, the bucket is not asked.
    """
    if sha256 is not None:
        cached = cache / "models" / sha256
        if _verifies(cached, sha256):
            _check_model(store, uri, cached, sha256)
            return cached
    manifest_bytes = store.read(uri, generation).data
    digest = documents.sha256(manifest_bytes)
    if sha256 is not None and digest != sha256:
        raise IntegrityError(
            "The manifest's SHA-256 is not the pinned one.",
            where=uri,
            hint="Do not use it; publish the model again and create a new release.",
        )
    directory = cache / "models" / digest
    if _verifies(directory, digest):
        _check_model(store, uri, directory, digest)
        return directory
    manifest = documents.read(Manifest, manifest_bytes, where=uri)
    with new_directory(directory) as partial:
        root = uri.rsplit("/", 1)[0]
        for entry in manifest.files:
            data = store.read(f"{root}/{entry.name}").data
            if crc32c(data) != entry.crc32c:
                raise IntegrityError(
                    f"File '{entry.name}' has another crc32c than its manifest states.",
                    where=f"{root}/{entry.name}",
                    hint="Publish the model again and create a new release.",
                )
            replace_file(partial / entry.name, data, mode=0o644, durable=True)
        replace_file(partial / FILE_NAME, manifest_bytes, mode=0o644, durable=True)
        verify_files(partial, manifest)
        _check_model(store, uri, partial, digest)
        if directory.exists():
            shutil.rmtree(directory)  # it was there and did not verify
    return directory


def model_resources(manifest: Manifest, digest: str) -> dict[str, str]:
    """What a model's signature is over: its files and its manifest."""
    return {FILE_NAME: digest, **{entry.name: entry.sha256 for entry in manifest.files}}


def _check_model(store: Store, uri: str, directory: Path, digest: str) -> None:
    """The model's signature, kept beside its files; raises IntegrityError."""
    manifest, _ = read_manifest(directory)
    path = directory / MODEL_SIGNATURE
    address = uri.rsplit("/", 1)[0] + "/" + MODEL_SIGNATURE
    signed = store.check_signature(address, model_resources(manifest, digest), path)
    if signed is not None and not (path.exists() and path.read_bytes() == signed):
        replace_file(path, signed, mode=0o644, durable=True)


def _verifies(directory: Path, digest: str) -> bool:
    try:
        manifest, found = read_manifest(directory)
        verify_files(directory, manifest)
    except (SkfleetError, OSError):
        return False
    return found == digest
