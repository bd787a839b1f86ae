"""Load shedding: a cap on requests in flight in one worker; the rest is told to come back at once."""

from __future__ import annotations

import threading


class Admission:
    """Counts requests in flight; used from the event loop and from threads alike."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.in_flight = 0

    def enter(self) -> bool:
        """Take a place; False where there is none. Every True is paid back with `leave`."""
        with self._lock:
            if self.in_flight >= self._limit:
                return False
            self.in_flight += 1
            return True

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self.in_flight -= 1
