"""When requests are due: an open schedule, which nothing that the fleet does can change.

Arrivals are drawn in *operational time*, in which exactly one is due per unit. The rate of the moment
maps that to seconds: double the rate and the same arrivals come twice as fast. So a rate can change at
any instant, and the number of arrivals is the integral of the rate.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator

# Arrivals a worker draws at once. Within a block they are a Poisson process; the count of a block is
# fixed, so that a run holds its rate and chance cannot make it miss.
BLOCK = 25


def poisson(generator: random.Random, block: int = BLOCK) -> Iterator[float]:
    """Independent callers: a Poisson process, conditioned on `block` arrivals in each block."""
    start = 0
    while True:
        yield from (start + offset for offset in sorted(_uniform(generator, block)))
        start += block


def _uniform(generator: random.Random, block: int) -> list[float]:
    return [generator.random() * block for _ in range(block)]


def scatter(workers: int) -> float:
    """Requests by which chance may move a run's count: three deviations of the two blocks that its
    edges cut, of each worker. Next to 6,000 requests that is nothing; a short look must not trip on it."""
    return 3 * math.sqrt(2 * workers * BLOCK) / 2


def constant(phase: float) -> Iterator[float]:
    """A metronome. `phase`, from 0 to 1, sets the workers apart."""
    number = 0
    while True:
        yield number + phase
        number += 1


def schedule(kind: str, seed: int, worker: int, workers: int) -> Iterator[float]:
    """One worker's arrivals, the same for the same seed."""
    if kind == "constant":
        return constant(worker / max(workers, 1))
    return poisson(random.Random(f"{seed}/{worker}"))  # noqa: S311 - a schedule, no secret


class Timeline:
    """Operational time → seconds, for a rate that changes."""

    def __init__(self) -> None:
        # (seconds, operational time at that instant, arrivals a second from then on)
        self._parts: deque[tuple[float, float, float]] = deque([(0.0, 0.0, 0.0)])

    @property
    def rate(self) -> float:
        """The last rate set."""
        return self._parts[-1][2]

    def change(self, at: float, rate: float) -> None:
        """From `at` on, this many arrivals a second. Changes come in order of time."""
        start, position, old = self._parts[-1]
        at = max(at, start)
        self._parts.append((at, position + (at - start) * old, rate))

    def due(self, position: float) -> float:
        """When the arrival at this operational time is due; infinity while the rate is zero.

        Positions are asked in order. An arrival that was due before a change keeps its time.
        """
        while len(self._parts) > 1 and self._parts[1][1] <= position:
            self._parts.popleft()
        start, begin, rate = self._parts[0]
        return start + (position - begin) / rate if rate > 0 else math.inf
