"""One converge at a time on a host."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skfleet.errors import SkfleetError
from skfleet.polling import wait_until


class Busy(SkfleetError):
    """Another converge runs on this host."""


@contextmanager
def exclusive(path: Path, patience_s: float) -> Iterator[int]:
    """Hold the lock file; wait for it at most `patience_s`.

    Yields the descriptor: a program that inherits it holds the lock too, should its parent be killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def is_ours() -> bool:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True

    try:
        try:
            wait_until(is_ours, patience_s, "the lock", interval_s=0.2, ignore=(BlockingIOError,))
        except TimeoutError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise Busy(
                f"Another converge (process {holder or 'unknown'}) runs on this host.",
                where=str(path),
                hint="Wait for it; its progress is in the unit's log.",
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)
