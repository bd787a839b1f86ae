"""A histogram of durations that keeps its precision from microseconds to minutes, and merges exactly.

Buckets as in HDR histograms: 64 linear steps in every power of two, so a value is known to 1.6 % and
counts of workers, seconds and releases can simply be added. Sparse: only buckets that hold something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_STEPS_BITS = 6
_STEPS = 1 << _STEPS_BITS


def bucket(microseconds: int) -> int:
    """The bucket of a duration."""
    if microseconds < 2 * _STEPS:
        return max(microseconds, 0)
    shift = microseconds.bit_length() - _STEPS_BITS - 1
    return (shift << _STEPS_BITS) + (microseconds >> shift)


def highest(index: int) -> int:
    """The largest duration of a bucket, in microseconds; percentiles are never flattered."""
    if index < 2 * _STEPS:
        return index
    shift = (index >> _STEPS_BITS) - 1
    return ((index - (shift << _STEPS_BITS) + 1) << shift) - 1


class Histogram:
    """Counts by bucket."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def add(self, seconds: float) -> None:
        """Count one duration."""
        index = bucket(int(seconds * 1e6))
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self.counts.values())

    def percentile(self, percent: float) -> float | None:
        """In milliseconds; None of nothing."""
        total = self.total
        if not total:
            return None
        rank = max(1, -(-total * percent // 100))
        seen = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                return highest(index) / 1000
        raise AssertionError("ranks end with the total")

    def mean(self) -> float | None:
        """In milliseconds; None of nothing."""
        total = self.total
        if not total:
            return None
        return sum(highest(index) * count for index, count in self.counts.items()) / total / 1000

    def above(self, milliseconds: float) -> int:
        """How many durations were in buckets above this one."""
        limit = bucket(int(milliseconds * 1000))
        return sum(count for index, count in self.counts.items() if index > limit)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one."""
    result = Histogram()
    for histogram in histograms:
        result.merge(histogram)
    return result
