"""Connections shared out evenly among workers.

All workers accept from the same sockets, and the event loop's own server takes whatever waits: of 64
callers that come at once one worker gets most, and its callers wait while the other idles. Here each worker
writes how many connections it has where the others see it, and one that is ahead leaves new ones to them
for a moment. Nobody waits for a worker that does not come: after HOLD_S whoever sees the connection takes
it.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable
from typing import Any

SLOTS = 256  # a power of two above twice SKFLEET_WORKERS: a reload has old and new workers
# Connections that a worker may be ahead, or one of so many that the other has: by two alone, a burst would
# take many turns of both.
LEAD, LEAD_PART = 2, 8
HOLD_S = 0.02  # longest that a connection is left to others
POLL_S = 0.001
AT_ONCE = 32  # accepted before the loop does something else
EXHAUSTED_S = 0.5  # pause when the process has no file descriptor left

_shared = memoryview(mmap.mmap(-1, SLOTS * 4)).cast("i")  # before the fork: seen by all


class Share:
    """This worker's connections beside those of the others. In a slot: 0 is nobody, n + 1 are n."""

    def __init__(self, age: int, slots: memoryview | None = None) -> None:
        self._slots = _shared if slots is None else slots
        self._mine = age % SLOTS
        self._slots[self._mine] = 1

    def opened(self) -> None:
        """One connection more."""
        if self._slots[self._mine]:
            self._slots[self._mine] += 1

    def closed(self) -> None:
        """One less."""
        if self._slots[self._mine] > 1:
            self._slots[self._mine] -= 1

    def leave(self) -> None:
        """This worker accepts nothing more; the others no longer compare themselves with it."""
        self._slots[self._mine] = 0

    def ahead(self) -> bool:
        """Whether another worker should take the next connection."""
        mine = self._slots[self._mine]
        least = min((n for n in self._slots.tolist() if n), default=mine)
        return bool(mine > least + max(LEAD, (least - 1) // LEAD_PART))


def forget(age: int) -> None:
    """In the master, of a worker that has ended however it did."""
    _shared[age % SLOTS] = 0


class Acceptor:
    """Accepts from one listening socket for one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        share: Share,
        ssl: Any = None,
        greet: Callable[[socket.socket], None] | None = None,
    ) -> None:
        self._loop = loop
        self._socket = listening
        self._protocol = protocol
        self._share = share
        self._ssl = ssl
        self._greet = greet  # whose connections are greeted is in a hurry: none is left to others
        self._held_since: float | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        listening.setblocking(False)
        loop.add_reader(listening.fileno(), self._readable)

    def close(self) -> None:
        """Accept nothing more."""
        if self._closed:
            return
        self._closed = True
        if self._waiting is None:
            self._loop.remove_reader(self._socket.fileno())
        else:
            self._waiting.cancel()

    def _readable(self) -> None:
        for _ in range(AT_ONCE):
            now = self._loop.time()
            if self._greet is None and self._share.ahead():
                since = self._held_since = now if self._held_since is None else self._held_since
                if now - since < HOLD_S:
                    self._pause(POLL_S)
                    return
            self._held_since = None
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._pause(EXHAUSTED_S)
                return
            connection.setblocking(False)
            if self._greet is not None:
                self._greet(connection)
            self._share.opened()
            task = self._loop.create_task(self._connect(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._ssl)
        except OSError:  # gone before it was ours; `connection_lost` will not be called
            connection.close()
            self._share.closed()

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._waiting = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._waiting = None
        if not self._closed:
            self._loop.add_reader(self._socket.fileno(), self._readable)
