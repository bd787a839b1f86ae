"""The event loop's time, shared out: a turn answers for TURN_S, and what is left over is first in the next.

Without it one turn answers all that has arrived, and all else waits that long: a health probe for one turn
(probes.py), whatever needs a connection, a task or a thread for about five.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

# One answer takes 0.05 to 2 ms, and the loop's own part of a turn 0.02 ms.
TURN_S = 0.010
# The memory that all workers together may take for the bodies that wait.
WAITING_BYTES = 64 * 1024 * 1024


class Turns:
    """Whose turn it is, in one worker: first come, first served."""

    def __init__(self, workers: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._most_bytes = WAITING_BYTES // workers
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._bytes = 0  # of the bodies that wait
        self._ends: float | None = None  # of this turn's time; None where nothing has used any

    def has_time(self, now: float) -> bool:
        """Whether what arrives at `now`, by the clock, may be answered in this turn of the running loop."""
        if self._ends is None:
            self._begin(now)
            return True
        return not self._waiting and now < self._ends

    def has_room(self, most: float, size: int) -> bool:
        """Whether one with a body of so many bytes may wait, where `most` may."""
        return len(self._waiting) < most and self._bytes + size <= self._most_bytes

    def put_off(self, answer: Callable[[], None], size: int) -> None:
        """Call it as soon as there is time, after all that came before it."""
        self._waiting.append((answer, size))
        self._bytes += size

    def _begin(self, now: float) -> float:
        ends = self._ends = now + TURN_S
        asyncio.get_running_loop().call_soon(self._next)
        return ends

    def _next(self) -> None:
        """Called in the next turn before anything that arrives in it."""
        self._ends = None
        if not self._waiting:
            return
        ends = self._begin(self._clock())
        while self._waiting:
            answer, size = self._waiting.popleft()
            self._bytes -= size
            answer()
            if self._clock() >= ends:
                break
