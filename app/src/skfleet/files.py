"""Files and directories that other processes read at any moment: they see the old content or the new one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path


def replace_file(path: Path, data: bytes, *, mode: int, durable: bool = False) -> None:
    """Write a file whole, with this mode; its directory is made where it is missing.

    `durable`: a file that is there after a power cut has its content, at the price of two fsyncs.
    """
    with replacement(path, mode=mode, durable=durable) as file:
        file.write(data)


@contextmanager
def replacement(path: Path, *, mode: int, durable: bool = False) -> Iterator[BufferedWriter]:
    """A new file that takes the place of `path` when the block ends well, and is removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:32]}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        _sync_directory(path.parent)


@contextmanager
def new_directory(path: Path, *, mode: int = 0o755) -> Iterator[Path]:
    """A directory to fill that becomes `path` when the block ends well, and is removed otherwise.

    `path` must not be there then, or be empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name[:32]}-", dir=path.parent))
    try:
        yield scratch
        scratch.chmod(mode)
        scratch.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sync_directory(directory: Path) -> None:
    """Make what was created, renamed or removed in a directory outlive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
