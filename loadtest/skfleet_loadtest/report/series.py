"""Figures of a record, binned for charts: one bin is one or more whole seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skfleet_loadtest import profiles
from skfleet_loadtest.figures import Cell
from skfleet_loadtest.record import Record

_MOST_BINS = 240


@dataclass(frozen=True, slots=True)
class Bin:
    """`at`: seconds since the end of the warm-up; negative in it."""

    at: float
    width: int
    total: Cell
    by_release: dict[str, Cell]
    asked: float | None


def bins(record: Record) -> list[Bin]:
    """The whole run, the warm-up included, in at most 240 bins."""
    figures = record.figures()
    first = math.ceil(record.started_at)
    if not figures.cells or record.end <= first:
        return []
    width = max(1, math.ceil((record.end - first) / _MOST_BINS))
    # Bins end where the warm-up does.
    first += (record.start - first) % width
    return [
        _bin(record, figures.cells, second, width) for second in range(first, record.end, width)
    ]


def _bin(record: Record, cells: dict[int, dict[str, Cell]], second: int, width: int) -> Bin:
    total = Cell()
    by_release: dict[str, Cell] = {}
    width = min(width, record.end - second)
    for part in range(second, second + width):
        for release, cell in cells.get(part, {}).items():
            total.merge(cell)
            by_release.setdefault(release, Cell()).merge(cell)
    profile = record.plan.profile
    at = second - record.start
    asked = None
    if not profile.closed:
        begin = at + record.offset
        asked = (
            profiles.asked(profile, begin, begin + width) / width if at >= 0 else profile.rate(0.0)
        )
    return Bin(at, width, total, by_release, asked)
