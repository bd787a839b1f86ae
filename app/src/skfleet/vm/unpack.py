"""Unpack a tar of ours: plain files under relative names, and nothing else.

Bundles and wheelhouses hold no links, devices or owners, so whatever does is refused whole.
(tarfile's own `data` filter came with Python 3.11.4; Debian 12 may have an older one. Where it is
there, it checks as well.) As a program: `python -m skfleet.vm.unpack TAR DIRECTORY`.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path, PurePosixPath

from skfleet.errors import IntegrityError


def unpack(archive: Path, directory: Path) -> None:
    """Unpack into a directory, made if needed; raises IntegrityError before it writes anything."""
    try:
        with tarfile.open(archive, "r:") as tar:
            members = tar.getmembers()
            for member in members:
                _check(member, archive)
            directory.mkdir(parents=True, exist_ok=True)
            filters = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(directory, members=members, **filters)  # type: ignore[arg-type]  # noqa: S202 - every member was checked
    except tarfile.TarError as error:
        raise IntegrityError(
            f"Not a whole tar archive: {error}.",
            where=str(archive),
            hint="Publish it again and create a new release.",
        ) from None


def _check(member: tarfile.TarInfo, archive: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise IntegrityError(
            f"'{member.name}' does not belong into such an archive.",
            where=str(archive),
            hint="Do not use it; find out who made it.",
        )


if __name__ == "__main__":
    try:
        unpack(Path(sys.argv[1]), Path(sys.argv[2]))
    except IntegrityError as failure:
        sys.exit(f"unpack: {failure}")
