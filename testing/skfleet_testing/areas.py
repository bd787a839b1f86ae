"""Areas of the tests: directories that people know, of which one can be run alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FLEET = "-fleet"  # after an area's name: its tests that boot a fleet or a VM, which take minutes


def area_of(path: Path) -> str:
    """The area of a test file, whose path is relative to the repository.

    The folder below `tests`, or else the package: app/tests/serving/test_v2.py is of `serving`,
    packer/tests/test_cleanup.py of `packer`.
    """
    package, _, *folders = path.parts[:-1]
    return folders[0] if folders else package


def areas(repository: Path, testpaths: Iterable[str]) -> dict[str, list[str]]:
    """Every area and its test files, found by looking at the directories."""
    found: dict[str, list[str]] = {}
    for directory in testpaths:
        for path in sorted((repository / directory).rglob("test_*.py")):
            relative = path.relative_to(repository)
            found.setdefault(area_of(relative), []).append(str(relative))
    return found


def files_of(wanted: str, repository: Path, testpaths: Iterable[str]) -> list[str]:
    """The test files of an area, with or without `-fleet`; ValueError names the known areas."""
    known = areas(repository, testpaths)
    try:
        return known[wanted.removesuffix(FLEET)]
    except KeyError:
        raise ValueError(
            f"Invalid area '{wanted}': expected one of {', '.join(sorted(known))}, "
            f"or one of them with '{FLEET}' for its tests that boot VMs."
        ) from None
