"""A server's processes: their start and end, CPU time and memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from skfleet.pss import pss_bytes

STOP_S = 10.0
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


class Server:
    """One server in a session of its own, so that all it starts can be ended."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], directory: Path, log: Path
    ) -> None:
        inherited = {name: value for name, value in os.environ.items() if name in KEPT}
        self.log = log
        self.started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                env={**inherited, **environ},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def ended(self) -> int | None:
        """The exit code, once there is one."""
        return self._process.poll()

    def processes(self) -> list[psutil.Process]:
        """The server and everything below it."""
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_seconds(self) -> float:
        """CPU time so far, children that have ended included."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def pss_mib(self) -> float:
        """Proportional set size of all processes, MiB."""
        return pss_bytes([process.pid for process in self.processes()], skip_missing=True) / 2**20

    def stop(self) -> None:
        """End it, at the latest by force; nothing stays."""
        below = self.processes()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        _, alive = psutil.wait_procs(below, timeout=1.0)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._process.wait()

    def tail(self) -> str:
        """The last line that says something."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][-300:] if lines else f"ended with {self.ended}"
