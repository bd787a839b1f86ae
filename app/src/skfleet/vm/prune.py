"""Free the disk of releases that nobody goes back to: `python -m skfleet.vm.prune --keep N`.

Kept are the current release, the previous one, the staged one and the newest N others, with the builds
and artefacts that any of them names. What is removed is printed, a path a line.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import msgspec

from skfleet.documents import read
from skfleet.errors import DocumentError
from skfleet.releases.release import Release


def superfluous(prefix: Path, keep: int) -> list[Path]:
    """The paths that nothing kept needs."""
    root, cache = prefix / "opt/skfleet", prefix / "var/lib/skfleet/cache"
    kept = _kept_releases(prefix, keep)
    needed = {entry.name for entry in kept}
    for directory in kept:
        try:
            release = read(Release, (directory / "release.json").read_bytes(), str(directory))
        except (OSError, DocumentError):
            continue  # half installed; its next stage fetches again what it needs
        needed |= {release.app.sha256, release.bundle.sha256}
        needed |= {model.manifest.sha256 for model in release.models}
    folders = (root / "releases", root / "builds", cache / "objects", cache / "models")
    result = [path for folder in folders for path in _entries(folder) if path.name not in needed]
    if any(path.parent == root / "builds" for path in result):
        # Wheels of removed builds: uv cannot tell them apart, and hard links keep those in use.
        result += [path for path in [cache / "uv"] if path.exists()]
    return result


def _kept_releases(prefix: Path, keep: int) -> list[Path]:
    root = prefix / "opt/skfleet"
    fixed = {Path(os.path.realpath(root / name)) for name in ("current", "previous")}
    fixed.add(root.resolve() / "releases" / _staged(prefix))
    directories = [path.resolve() for path in _entries(root / "releases")]
    others = sorted(
        (path for path in directories if path not in fixed),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    return [path for path in directories if path in fixed] + others[:keep]


def _staged(prefix: Path) -> str:
    try:
        return str(
            msgspec.json.decode((prefix / "run/skfleet/staged.json").read_bytes())["release"]
        )
    except (OSError, ValueError, KeyError):
        return "-"


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="skfleet.vm.prune", description=__doc__)
    parser.add_argument("--prefix", type=Path, default=Path("/"))
    parser.add_argument("--keep", type=int, required=True)
    parser.add_argument("--check", action="store_true", help="remove nothing")
    options = parser.parse_args()
    for path in superfluous(options.prefix, options.keep):
        print(path)  # noqa: T201 - the command's answer
        if options.check:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == "__main__":
    main()
