"""A day's traffic as shares of its peak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skfleet.errors import ConfigurationError

DAY_S = 86_400.0
_FEWEST, _MOST = 2, 86_400
# As PROFILE=day of the load tests: 30 % of the peak at night, the peak at noon.
_NIGHT = 0.3
_POINTS = 96  # a quarter of an hour each


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares at equally distant times from midnight on; between them a straight line."""

    shares: tuple[float, ...]

    def __call__(self, seconds: float) -> float:
        """The share of the peak at this time of day."""
        place = seconds % DAY_S / DAY_S * len(self.shares)
        first = int(place)
        here = self.shares[first]
        after = self.shares[(first + 1) % len(self.shares)]
        return here + (after - here) * (place - first)

    @property
    def lowest(self) -> float:
        """The night's share."""
        return min(self.shares)

    @property
    def peak_s(self) -> float:
        """When the peak is, seconds from midnight."""
        return self.shares.index(max(self.shares)) / len(self.shares) * DAY_S

    def growth(self, seconds: float) -> float:
        """By which share the traffic grows at most within so many seconds."""
        step = DAY_S / len(self.shares)
        times = sorted(
            {
                at
                for number in range(len(self.shares))
                for at in (number * step, (number * step - seconds) % DAY_S)
            }
        )
        return max(0.0, *(self(at + seconds) / self(at) - 1 for at in times))


def default() -> Curve:
    """The day of the load tests' PROFILE=day."""
    return Curve(
        tuple(
            _NIGHT + (1 - _NIGHT) * math.sin(math.pi * number / _POINTS) ** 2
            for number in range(_POINTS)
        )
    )


def read(path: Path) -> Curve:
    """One number a line, equally spread over the day from midnight on; the largest is the peak."""
    try:
        lines = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The curve cannot be read: {error}.", where=str(path)) from None
    numbers: list[float] = []
    starts = [number for number, line in enumerate(lines, 1) if line.strip()]
    for number in starts:
        text = lines[number - 1].strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ConfigurationError(
                f"'{text}' is no rate above 0.", where=f"{path}:{number}", hint="One number a line."
            )
        numbers.append(value)
    return of(numbers, str(path))


def of(numbers: Sequence[float], where: str) -> Curve:
    """The curve of these rates."""
    if not _FEWEST <= len(numbers) <= _MOST:
        raise ConfigurationError(
            f"{len(numbers)} numbers are no day.",
            where=where,
            hint="24, say: one for each hour from midnight on, one a line.",
        )
    peak = max(numbers)
    return Curve(tuple(number / peak for number in numbers))
