"""The access log: one JSON object a line on standard output, health probes left out.

On the event loop lines gather and are written together a few times a second: a write for each would
cost more than the prediction. Threads write at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Callable

import msgspec

FLUSH_INTERVAL_S = 0.2
FLUSH_LINES = 512
REMEMBERED = 512  # of the parts of a line that repeat


class AccessLog:
    """Writes lines of `{"time", "log": "access", "method", "path", "status", "ms", …}`."""

    def __init__(self, write: Callable[[bytes], object] | None = None) -> None:
        self._write = write or Stdout().write
        self._lines: list[bytes] = []
        self._second = (0, "")
        self._parts: dict[tuple[str, str, int, str, str], tuple[str, str]] = {}

    def line(
        self, method: str, path: str, status: int, seconds: float, listener: str, caller: str
    ) -> bytes:
        """One line; paths and callers are from outside, the encoder escapes them."""
        now = time.time()
        second = int(now)
        if self._second[0] != second:
            self._second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        key = (method, path, status, listener, caller)
        before, after = self._parts.get(key) or self._write_parts(key)
        moment = f"{self._second[1]}.{int((now - second) * 1000):03d}Z"
        return f'{{"time":"{moment}",{before}{seconds * 1000:.3f}{after}'.encode()

    def _write_parts(self, key: tuple[str, str, int, str, str]) -> tuple[str, str]:
        """What comes before and after the milliseconds: the same for most of a caller's requests."""
        method, path, status, listener, caller = key
        head = {"log": "access", "method": method, "path": path, "status": status, "ms": 0}
        tail = {"listener": listener, "caller": caller}
        parts = (
            msgspec.json.encode(head).decode()[1:-2],
            "," + msgspec.json.encode(tail).decode()[1:] + "\n",
        )
        if len(self._parts) >= REMEMBERED:
            self._parts = {}
        self._parts[key] = parts
        return parts

    def now(self, line: bytes) -> None:
        """Write a line at once."""
        self._write(line)

    def soon(self, line: bytes) -> None:
        """Write a line with the others of this moment; only on the event loop."""
        self._lines.append(line)
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(FLUSH_INTERVAL_S, self.flush)
        elif len(self._lines) >= FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        lines, self._lines = self._lines, []
        if lines:
            self._write(b"".join(lines))


class Stdout:
    """Standard output that never keeps a prediction waiting.

    Under systemd it is journald's socket. A journald that has stopped reading would block the event loop
    for good: what does not fit is dropped, whole lines of it.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._rest = b""  # of a line that went out in part
        self._socket: socket.socket | None = None
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                self._socket = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            pass  # closed: nobody reads

    def write(self, data: bytes) -> None:
        """Write, or drop."""
        with self._lock, contextlib.suppress(OSError):
            if self._socket is None:
                while data:
                    data = data[os.write(self._descriptor, data) :]
                return
            if self._rest:
                self._rest = self._rest[self._send(self._rest) :]
            if not self._rest:
                sent = self._send(data)
                # The line that was cut is finished later; those after it are lost.
                if 0 < sent < len(data) and data[sent - 1 : sent] != b"\n":
                    self._rest = data[sent : data.index(b"\n", sent) + 1]

    def _send(self, data: bytes) -> int:
        if self._socket is None:
            return 0
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
