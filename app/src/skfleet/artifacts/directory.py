"""The directory of an artefact: its manifest and its files, verified."""

from __future__ import annotations

from pathlib import Path

from skfleet import documents
from skfleet.documents.manifest import FILE_NAME, Manifest
from skfleet.errors import IntegrityError, ObjectMissing


def read_manifest(directory: Path) -> tuple[Manifest, str]:
    """The manifest of an artefact directory, and its SHA-256: the model's identity."""
    path = directory / FILE_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ObjectMissing(
            f"The model's manifest cannot be read: {error.strerror}.",
            where=str(path),
            hint="Name a directory that `skfleet model train` or `skfleet-fetch model` wrote.",
        ) from None
    return documents.read(Manifest, data, where=str(path)), documents.sha256(data)


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Every file of the manifest is there with its size and SHA-256."""
    for entry in manifest.files:
        path = directory / entry.name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise IntegrityError(
                f"File '{entry.name}' of model '{manifest.name}' cannot be read: {error.strerror}.",
                where=str(path),
                hint="Remove the directory from the cache; it is fetched again.",
            ) from None
        if len(data) != entry.size or documents.sha256(data) != entry.sha256:
            raise IntegrityError(
                f"File '{entry.name}' of model '{manifest.name}' is not what was published.",
                where=str(path),
                hint="Remove the directory from the cache; it is fetched again.",
            )
