"""Free the disk of releases that nobody goes back to: `prune.py PREFIX KEEP CHECK`.

Kept are the current release, the previous one, the staged one and the newest KEEP others, with the
builds and artefacts that any of them names. What is removed is printed, a path a line.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any


def superfluous(prefix: Path, keep: int) -> list[Path]:
    """The paths that nothing kept needs."""
    root, cache = prefix / "opt/skfleet", prefix / "var/lib/skfleet/cache"
    releases = [path for path in entries(root / "releases") if path.is_dir()]
    fixed = {(root / link).resolve().name for link in ("current", "previous")}
    fixed.add(str(document(prefix / "run/skfleet/staged.json").get("release")))
    others = [path for path in releases if path.name not in fixed]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    kept = [path for path in releases if path.name in fixed] + others[:keep]

    needed = {path.name for path in kept}
    for path in kept:
        needed |= digests(document(path / "release.json"))
    folders = (root / "releases", root / "builds", cache / "objects", cache / "models")
    found = [path for folder in folders for path in entries(folder)]
    # A cached object's signature goes with it.
    result = [path for path in found if path.name.removesuffix(".sig") not in needed]
    if any(path.parent == root / "builds" for path in result) and (cache / "uv").exists():
        # uv cannot tell which of its wheels were of removed builds; hard links keep those in use.
        result.append(cache / "uv")
    return result


def digests(value: Any) -> set[str]:
    """Every digest that a release document names."""
    if isinstance(value, dict):
        found = {value["sha256"]} if "sha256" in value else set()
        return found.union(*(digests(part) for part in value.values()))
    if isinstance(value, list):
        return set().union(*(digests(part) for part in value))
    return set()


def document(path: Path) -> dict[str, Any]:
    """A JSON document; an empty one where it is missing or half-made."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def entries(folder: Path) -> list[Path]:
    """What is in a folder that may not be there."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def main() -> None:
    """The script."""
    prefix, keep, check = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "true"
    for path in superfluous(prefix, keep):
        print(path)  # noqa: T201 - the answer
        if check:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


main()
