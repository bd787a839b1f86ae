"""Requests at a rate that does not wait for answers: what happens when more is asked than can be answered.

A request is due whether or not there is an idle connection; its time counts from then, so that waiting
for a connection is part of it. One process, raw sockets: some thousand requests a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from skfleet.polling import wait_until_async

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"
TICK_S = 0.001
GRACE_S = 5.0


@dataclass(slots=True)
class Heard:
    """What came of the requests: seconds from when each was due, by status; 0: the connection broke."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    unanswered: int = 0
    held: float = 0.0  # requests that were sent, a second

    def ms(self, status: int, percent: int) -> float | None:
        """A percentile of the time of answers with this status, in ms; None where there are too few."""
        times = self.seconds.get(status, [])
        return statistics.quantiles(times, n=100)[percent - 1] * 1e3 if len(times) > 1 else None


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._due = 0.0
        self._data = b""
        self._transport: Any = None  # asyncio says less of it than it is

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._load.idle_now(self)

    def ask(self, due: float, request: bytes) -> None:
        """Send a request that was due at this time."""
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(HEAD_END)
        if end < 0:
            return
        head = self._data[:end].lower()
        length = int(head.partition(LENGTH)[2].partition(b"\r\n")[0])
        if len(self._data) < end + len(HEAD_END) + length:
            return
        status, self._data = int(head[9:12]), b""
        due, self._due = self._due, 0.0
        self._load.answered(status, due)
        self._load.idle_now(self)

    def connection_lost(self, _: Exception | None) -> None:
        if self._due:
            self._load.answered(0, self._due)
        self._load.lost(self)

    def close(self) -> None:
        """End it."""
        if self._transport is not None:
            self._transport.abort()


class Load:
    """`rate` requests a second for `seconds`, over at most `connections`."""

    def __init__(self, rate: float, seconds: float, connections: int, requests: Sequence[bytes]):
        self.heard = Heard()
        self._rate, self._seconds, self._connections = rate, seconds, connections
        self._requests = requests
        self._idle: deque[Line] = deque()
        self._all: set[Line] = set()
        self._waiting: deque[float] = deque()  # due times without a connection
        self._sent = self._open = 0

    async def run(self, host: str, port: int) -> Heard:
        """Ask, and wait a while for what is still to come."""
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, line = await loop.create_connection(lambda: Line(self), host, port)
            self._all.add(line)
        began, due = time.monotonic(), 0
        while (now := time.monotonic() - began) < self._seconds:
            while due < now * self._rate:
                self._ask(began + due / self._rate)
                due += 1
            await asyncio.sleep(TICK_S)
        self.heard.held = self._sent / self._seconds
        with contextlib.suppress(TimeoutError):
            await wait_until_async(
                lambda: not (self._open or self._waiting), GRACE_S, "the last answers"
            )
        self.heard.unanswered = self._open + len(self._waiting)
        for line in list(self._all):
            line.close()
        return self.heard

    def _ask(self, due: float) -> None:
        if not self._idle:
            self._waiting.append(due)
            return
        self._sent += 1
        self._open += 1
        self._idle.popleft().ask(due, self._requests[self._sent % len(self._requests)])

    def answered(self, status: int, due: float) -> None:
        """A connection has its answer."""
        self._open -= 1
        self.heard.seconds.setdefault(status, []).append(time.monotonic() - due)

    def idle_now(self, line: Line) -> None:
        """A connection is free."""
        self._idle.append(line)
        if self._waiting:
            self._ask(self._waiting.popleft())

    def lost(self, line: Line) -> None:
        """A connection is no more."""
        self._all.discard(line)
        if line in self._idle:
            self._idle.remove(line)
