"""Load shedding: a cap on requests in flight in one worker; the rest is told to come back at once.

`limit` is the most there may ever be. Under load the cap is lower where requests are dear: as many as this
worker answers in TARGET_SHARE of the latency objective, by the CPU time that its requests took of late. CPU
time, since a request that waits for its body holds a place and costs nothing. A worker that is not busy has
no cap but the limit.

What is answered on the event loop holds no place. There the work in flight is what waits for its turn
(turns.py), of which there may be as much.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf

from skfleet.settings import Settings

TARGET_SHARE = 0.375  # of the latency objective in flight; the rest is what a busy machine adds
LOOK_S = 0.1
BUSY = 0.5  # share of one core from which on a worker counts as busy
SMOOTHING = 0.3  # weight of the last look
SHED_CPU_S = (
    60e-6  # what a refusal costs, so that it does not count as work: gunicorn's share of a request
)
LEAST = 8  # places there always are: one slow request must not close the door


class Admission:
    """Counts requests in flight; used from the event loop and from threads alike."""

    def __init__(
        self,
        limit: int,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        objective_s: float | None = None,  # by default slo.yml's
    ) -> None:
        if objective_s is None:
            objective_s = Settings().latency_objective_ms / 1000
        self.target_s = TARGET_SHARE * objective_s
        self._limit = limit
        self._clock = clock
        self._cpu = cpu
        self._lock = threading.Lock()
        self._left = self._shed = 0  # since the last look
        self._seconds: float | None = None  # of CPU a request; None while not busy
        self._looked = (clock(), cpu())
        self.in_flight = 0
        self.cap = limit
        self.waiting_cap: float = inf  # most that may wait for their turn on the event loop

    def enter(self) -> bool:
        """Take a place; False where there is none. Every True is paid back with `leave`."""
        with self._lock:
            if self.full:
                self._count_shed()
                if self.full:
                    return False
            self.in_flight += 1
            return True

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self.in_flight -= 1
            self._left += 1
            self._look_now_and_then()

    @property
    def full(self) -> bool:
        """Whether there is no place at this moment."""
        return self.in_flight >= self.cap

    def passed(self) -> None:
        """One was answered on the event loop: it took time, and never a place."""
        with self._lock:
            self._left += 1
            self._look_now_and_then()

    def shed(self) -> None:
        """One was refused that would have waited for its turn on the event loop."""
        with self._lock:
            self._count_shed()

    def _count_shed(self) -> None:
        self._shed += 1
        self._look_now_and_then()

    def _look_now_and_then(self) -> None:
        now = self._clock()
        began, cpu_began = self._looked
        if now - began < LOOK_S:
            return
        cpu = self._cpu()
        used = cpu - cpu_began
        busy = used >= BUSY * (now - began)
        if not busy:
            self._seconds = None
            self.cap, self.waiting_cap = self._limit, inf
        else:
            each = max(0.0, used - self._shed * SHED_CPU_S) / max(1, self._left)
            last = each if self._seconds is None else self._seconds
            self._seconds = last + SMOOTHING * (each - last)
            affordable = max(LEAST, round(self.target_s / max(self._seconds, 1e-6)))
            self.cap, self.waiting_cap = min(self._limit, affordable), affordable
        self._looked = (now, cpu)
        self._left = self._shed = 0
