"""Install a release into an image: `python -m skfleet.vm.bake DIRECTORY [--host-dir DIR]`.

A VM of that image downloads the documents of its first boot and nothing else, as long as this release
is the desired one. The directory is what `skfleet app image --release` made: the release and, by
digest, what it pins. It is the stage of a converge, by the release's own roles, that asks neither the
bucket nor the metadata server. Where the host trusts keys, the directory must hold their signatures.
Prints the release as one line of JSON when it is done.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from skfleet import documents
from skfleet.artifacts.directory import read_manifest
from skfleet.artifacts.fetch import fetch_object, model_resources
from skfleet.artifacts.signing import MODEL_SIGNATURE, SUFFIX, WHOLE, Trust
from skfleet.artifacts.store import Store
from skfleet.documents.release import Release
from skfleet.errors import ConfigurationError, IntegrityError, SkfleetError
from skfleet.files import replace_file
from skfleet.vm import fallback, playbook, source
from skfleet.vm.converge import Converge, step, tell
from skfleet.vm.host import DEFAULT_DIRECTORY, Host
from skfleet.vm.unpack import unpack

DOCUMENT = "release.json"


def bake(converge: Converge, directory: Path) -> Release:
    """Stage the release that `directory` holds; raises SkfleetError and names what is missing."""
    host = converge.host
    document = directory / DOCUMENT
    data = document.read_bytes()
    found = source.parse(data, str(document))
    release = found.release
    source.check(release)
    for kind, digest in pinned(release):
        if not (directory / kind / digest).exists():
            raise ConfigurationError(
                "The release's artefacts are not whole.",
                where=str(directory / kind / digest),
                hint="Make the directory again: skfleet app image --release ID.",
            )
    without_bucket = fallback.read(directory / fallback.NAME)
    if without_bucket is not None:
        fallback.check(without_bucket, release.id)
    trust = Trust.read(converge.settings.trusted_keys)
    if trust.required:
        check_signed(trust, directory, release, data)
    host.cache.mkdir(parents=True, exist_ok=True)
    for kind in ("objects", "models"):
        shutil.copytree(directory / kind, host.cache / kind, dirs_exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="skfleet-bake-"))
    try:
        with step("bundle"):
            # What is in the cache and verifies is not asked for anywhere.
            unpack(fetch_object(Store(trust=trust), release.bundle, host.cache), scratch / "bundle")
        playbook.run(host, scratch / "bundle", converge.variables(found, "stage"), tell)
        if without_bucket is not None:
            replace_file(host.fallback, documents.write(without_bucket), mode=0o644, durable=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        # An installed build needs its tar no more, and an image is paid for by its size.
        (host.cache / "objects" / release.app.sha256).unlink(missing_ok=True)
    return release


def check_signed(trust: Trust, directory: Path, release: Release, document: bytes) -> None:
    """Raise IntegrityError unless a trusted key signed the release and each thing that it pins."""
    signed = [(directory / (DOCUMENT + SUFFIX), {WHOLE: documents.sha256(document)})]
    for kind, digest in pinned(release):
        path = directory / kind / digest
        if kind == "objects":
            signed.append((path.with_name(digest + SUFFIX), {WHOLE: digest}))
        else:
            resources = model_resources(read_manifest(path)[0], digest)
            signed.append((path / MODEL_SIGNATURE, resources))
    for path, resources in signed:
        if not path.exists():
            raise IntegrityError(
                "The release is not signed whole, and this host takes only what is.",
                where=str(path),
                hint=f"`skfleet release sign {release.id}`, then skfleet app image --release again.",
            )
        trust.check(path.read_bytes(), resources, str(path))


def pinned(release: Release) -> list[tuple[str, str]]:
    """What a release needs, as (folder of the cache, digest)."""
    objects = [("objects", pin.sha256) for pin in (release.app, release.bundle)]
    return objects + [("models", model.manifest.sha256) for model in release.models]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="skfleet.vm.bake", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--host-dir", type=Path, default=DEFAULT_DIRECTORY)
    options = parser.parse_args()
    try:
        host = Host.read(options.host_dir)
        release = bake(Converge(host, host.enter()), options.directory)
    except SkfleetError as error:
        print(f"bake: {error}", file=sys.stderr)  # noqa: T201 - a command's message
        sys.exit(error.exit_code)
    tell({"step": "baked", "release": release.id})


if __name__ == "__main__":
    main()
