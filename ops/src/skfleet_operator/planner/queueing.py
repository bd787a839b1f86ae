"""How long requests take on a VM that gets so many: an M/G/c queue, fitted to a load test's steps.

Callers are independent of each other, so arrivals are a Poisson process (M); a request takes what it
takes (G); a VM answers `servers` at once (c, its vCPUs). A response is a request's time alone on the VM,
read off the quietest steps, and a wait. Erlang's C says how many wait, and Allen and Cunneen's
approximation how long: the waiting times of those that wait are exponential, with mean
`spread / (capacity − rate)`. What the fit finds is the capacity and the spread (1 for exponential
service, below for even, above for bursty); a factor on the quietest steps takes their own wait out of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from skfleet.errors import ConfigurationError

FEWEST_POINTS = 3  # a fit has three unknowns, each point three figures; fewer follow the noise
_GRAINS = 200  # points that a distribution of durations is kept as
_BISECTIONS = 36
_PARTS, _NARROWINGS = 64, 4  # of a search for a rate, each one 64 times finer
# What is planned by is the p90; the others keep the shape honest.
_WEIGHTS = {50: 0.5, 90: 1.0, 99: 0.25}
_SPREADS = (0.05, 50.0)
_ALONE = (0.5, 1.5)
_QUIET = 3  # of so many steps one counts as quiet


@dataclass(frozen=True, slots=True)
class Point:
    """One step: requests a second of one VM, and the percentiles of their durations, % → ms."""

    rate: float
    quantiles: Mapping[int, float]


@dataclass(frozen=True)
class Station:
    """A VM as a queue. `capacity`: requests a second; `alone`: durations without a queue, ms."""

    servers: int
    capacity: float
    spread: float
    alone: tuple[float, ...]

    @cached_property
    def _grains(self) -> NDArray[np.float64]:
        return np.array(self.alone, dtype=np.float64)

    def waiting(self, rate: float) -> float:
        """Erlang's C: the share of requests that find every server busy."""
        load = self.servers * rate / self.capacity
        if rate >= self.capacity:
            return 1.0
        blocked = 1.0  # Erlang's B, which numbers of servers do not overflow
        for count in range(1, self.servers + 1):
            blocked = load * blocked / (count + load * blocked)
        busy = rate / self.capacity
        return blocked / (1 - busy * (1 - blocked))

    def percentile(self, rate: float, percent: float = 90.0) -> float:
        """Milliseconds within which `percent` of requests are answered; infinity at capacity."""
        return float(self.percentiles(np.array([rate]), np.array([percent]))[0])

    def percentiles(
        self, rates: NDArray[np.float64], percents: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """`percentile` of pairs of both."""
        waiting = np.array([self.waiting(rate) for rate in rates])[:, None]
        over = rates >= self.capacity
        mean_ms = 1000 * self.spread / np.where(over, 1.0, self.capacity - rates)[:, None]
        slower = 1 - percents / 100
        low = np.zeros(len(rates))
        high = mean_ms[:, 0] * (5 - np.log(slower)) + self._grains[-1]
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            late = middle[:, None] - self._grains
            tail = np.where(late < 0, 1.0, waiting * np.exp(-np.maximum(late, 0) / mean_ms))
            beyond = tail.mean(axis=1) > slower
            low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
        return np.asarray(np.where(over, math.inf, high), dtype=np.float64)

    def rate_for(self, p90_ms: float, most: float) -> float:
        """The highest rate, up to `most`, whose p90 is within; 0 where even one request's is not."""
        low, high = 0.0, min(most, self.capacity * (1 - 1e-9))
        if self.percentile(high) <= p90_ms:
            return high
        for _ in range(_NARROWINGS):
            rates = np.linspace(low, high, _PARTS + 1)
            fast = self.percentiles(rates, np.full(len(rates), 90.0)) <= p90_ms
            last = max(int(np.argmin(fast)) - 1, 0)  # before the first that is too slow
            low, high = float(rates[last]), float(rates[last + 1])
        return low


def fit(points: Sequence[Point], servers: int, below: float = math.inf) -> Station:
    """The station that these steps are of; `below`: a rate that the VM was seen not to hold.

    Raises ConfigurationError for fewer steps than tell capacity from noise.
    """
    if len(points) < FEWEST_POINTS:
        raise ConfigurationError(
            f"{len(points)} step(s) of load that the fleet held are too few to tell how it queues.",
            where="--from",
            hint=f"Measure again with a lower RATE: {FEWEST_POINTS} steps at least must hold.",
        )
    alone = _alone(points)
    least = max(point.rate for point in points) * 1.001
    most = max(below, least * 1.05) if math.isfinite(below) else least * 20

    def station(x: Sequence[float]) -> Station:
        return Station(servers, math.exp(x[0]), math.exp(x[1]), tuple(alone * x[2]))

    seen = [
        (point.rate, percent, point.quantiles[percent], weight)
        for point in points
        for percent, weight in _WEIGHTS.items()
        if percent in point.quantiles
    ]
    rates, percents, figures, weights = (
        np.array(column, dtype=float) for column in zip(*seen, strict=True)
    )

    def errors(x: Sequence[float]) -> NDArray[np.float64]:
        off = np.log(station(x).percentiles(rates, percents) / figures)
        return np.asarray(weights * off, dtype=np.float64)

    lower = [math.log(least), math.log(_SPREADS[0]), _ALONE[0]]
    upper = [math.log(most), math.log(_SPREADS[1]), _ALONE[1]]
    found = min(
        (
            least_squares(
                errors,
                x0=[
                    low + share * (high - low)
                    for low, high in zip(lower[:1], upper[:1], strict=True)
                ]
                + [0.0, 0.95],
                bounds=(lower, upper),
                loss="soft_l1",
                f_scale=0.1,  # a step that is 10 % off is noise
            )
            for share in (0.2, 0.5, 0.8)
        ),
        key=lambda result: float(result.cost),
    )
    return station([float(value) for value in found.x])


def _alone(points: Sequence[Point]) -> NDArray[np.float64]:
    """The shape of durations without a queue: the mean (of logarithms) of the quietest steps."""
    quiet = sorted(points, key=lambda point: point.quantiles[90])[: max(1, len(points) // _QUIET)]
    logs = [np.log(_grains(point.quantiles)) for point in quiet]
    return np.asarray(np.exp(np.mean(logs, axis=0)), dtype=np.float64)


def _grains(quantiles: Mapping[int, float]) -> NDArray[np.float64]:
    """A distribution as equally likely durations, from its percentiles."""
    percents = sorted(quantiles)
    shares = (np.arange(_GRAINS) + 0.5) / _GRAINS * 100
    return np.interp(shares, percents, [quantiles[percent] for percent in percents])
