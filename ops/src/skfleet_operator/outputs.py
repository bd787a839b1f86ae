"""Directories that a command fills for a user: nothing in them is removed but what such a command wrote."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from skfleet.errors import ConfigurationError, Refused

# The names of the files that a directory's own document (manifest, image.json) says are its own, that of the
# document last; nothing where it has no valid one.
Owned = Callable[[Path], list[str]]


def check(directory: Path, owned: Owned) -> list[str]:
    """The names of our files in a directory; raises Refused where it holds others and none of ours."""
    if not directory.exists():
        return []
    if not directory.is_dir():
        raise ConfigurationError(
            f"Invalid output '{directory}': expected a directory.", where="--output"
        )
    names = owned(directory)
    others = sorted(path.name for path in directory.iterdir() if path.name not in names)
    if others and not names:
        raise Refused(
            f"The directory is not empty, and nothing says that its files were written by skfleet: "
            f"{others[:5]}{' …' if len(others) > 5 else ''}.",
            where=str(directory),
            hint="Choose a directory that is new or empty.",
        )
    return names


@contextmanager
def filling(directory: Path, owned: Owned) -> Iterator[Path]:
    """A new directory to write files into; they replace ours in `directory` when the block ends well.

    The document that names the others is moved last. Raises Refused where that would replace a file that is
    not ours.
    """
    directory = directory.resolve()
    check(directory, owned)
    existing = directory.is_dir()
    if not existing:
        directory.parent.mkdir(parents=True, exist_ok=True)
    # Inside one that is there: it may be a mount point.
    beside = directory if existing else directory.parent
    scratch = beside / f".skfleet-{directory.name}-{secrets.token_hex(4)}"
    scratch.mkdir()
    try:
        yield scratch
        new = owned(scratch)
        if not existing and not directory.exists():
            scratch.rename(directory)
            return
        old = owned(directory)
        foreign = [name for name in new if name not in old and (directory / name).exists()]
        if foreign:
            raise Refused(
                f"Files of these names are there and were not written by skfleet: {foreign}.",
                where=str(directory),
                hint="Choose a directory that is new or empty.",
            )
        for name in new:
            (scratch / name).replace(directory / name)
        for name in old:
            if name not in new:
                (directory / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
