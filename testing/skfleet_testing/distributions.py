"""Environments that hold some of the installed distributions, as links: no package index is asked."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def needed(installed: Path, extras: tuple[str, ...]) -> list[metadata.Distribution]:
    """What an installed distribution asks for with these extras, and so on."""
    found: dict[str, metadata.Distribution] = {}

    def ask(distribution: metadata.Distribution, wanted: tuple[str, ...]) -> None:
        for text in distribution.requires or ():
            one = Requirement(text)
            if one.marker and not any(
                one.marker.evaluate({"extra": name}) for name in ("", *wanted)
            ):
                continue
            if one.name not in found:
                found[one.name] = metadata.distribution(one.name)
                ask(found[one.name], tuple(one.extras))

    ask(metadata.Distribution.at(installed), extras)
    return list(found.values())


def link(distribution: metadata.Distribution, site: Path) -> None:
    """Its packages and modules, as links; packages that several distributions share stay folders."""
    for file in distribution.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        there = Path(str(distribution.locate_file("")))
        parts = list(file.parts)
        depth = next(
            (
                n
                for n in range(1, len(parts))
                if (there / Path(*parts[:n]) / "__init__.py").exists()
            ),
            len(parts),
        )
        target = site / Path(*parts[:depth])
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(there / Path(*parts[:depth]))
