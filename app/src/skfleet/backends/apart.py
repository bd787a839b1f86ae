"""A backend held against its golden vectors in a process of its own, which goes on beside the caller."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from skfleet.errors import IntegrityError, VersionMismatch

TIMEOUT_S = 60.0
NOT_HERE = 3  # exit code: this host cannot run the backend
MEMORY_BYTES = 4 << 30  # of a process that proves, or as many times its files
MEMORY_TIMES = 16


def limit_memory(size_bytes: int) -> None:
    """Let this process end with MemoryError where a damaged file would take all memory of its host."""
    limit = max(MEMORY_BYTES, MEMORY_TIMES * size_bytes)
    with suppress(ValueError, OSError):  # a lower limit holds already; macOS has none
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Proof:
    """Begun when it is made."""

    def __init__(self, backend: str, directory: Path) -> None:
        self._backend = backend
        self._directory = directory
        self._process = subprocess.Popen(
            [sys.executable, "-m", "skfleet.backends.prove", backend, str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self) -> None:
        """Wait for it. Raises VersionMismatch (it cannot run here) or IntegrityError (wrong)."""
        where = str(self._directory)
        try:
            _, said = self._process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise IntegrityError(
                f"Backend '{self._backend}' did not answer its golden vectors in {TIMEOUT_S:.0f} s.",
                where=where,
                hint="The model is too slow for its golden vectors; look at it with `skfleet model verify`.",
            ) from None
        code = self._process.returncode
        if code == 0:
            return
        if code < 0:
            raise IntegrityError(
                f"Backend '{self._backend}' failed because {signal.Signals(-code).name} ended its process.",
                where=where,
                hint="Do not use the model; train or import it again.",
            )
        lines = said.strip().splitlines() or [f"ended with {code}"]
        raise (VersionMismatch if code == NOT_HERE else IntegrityError)(lines[-1], where=where)
