"""What was counted: by second of the intended start, and by the release that answered.

A worker adds to its own figures and hands the leader what is new since its last report; the leader
merges. Counts are exact; only durations are rounded (histogram.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from skfleet_loadtest.histogram import Histogram

# Who answers that never reached a VM: the load balancer, the network, or nobody.
NO_RELEASE = ""


class Cell(msgspec.Struct):
    """One second of one release. `requests` = right + wrong + refused + Σ failures."""

    requests: int = 0
    right: int = 0
    fast: int = (
        0  # right, and below the SLO's threshold: counted exactly, not read off the histogram
    )
    prompt: int = (
        0  # right, and below it from the actual sending: what a late generator did not spoil
    )
    wrong: int = 0
    refused: int = 0  # 401 and 403: our token, not their service
    dropped: int = 0  # due, but never sent: every slot waited for an answer
    failures: dict[str, int] = {}
    durations: dict[int, int] = {}  # histogram of all answers, from the intended start

    def merge(self, other: Cell) -> None:
        """Add another's counts."""
        self.requests += other.requests
        self.right += other.right
        self.fast += other.fast
        self.prompt += other.prompt
        self.wrong += other.wrong
        self.refused += other.refused
        self.dropped += other.dropped
        for kind, count in other.failures.items():
            self.failures[kind] = self.failures.get(kind, 0) + count
        for index, count in other.durations.items():
            self.durations[index] = self.durations.get(index, 0) + count

    @property
    def histogram(self) -> Histogram:
        """The durations as a histogram."""
        return Histogram(self.durations)

    @property
    def failed(self) -> int:
        """Requests without an answer of use."""
        return sum(self.failures.values())

    @property
    def valid(self) -> int:
        """What the objectives are judged on: everything due, but for refused tokens."""
        return self.requests - self.refused + self.dropped

    @property
    def timed(self) -> int:
        """What the latency is judged on: a wrong answer is no slow one, a failure is never fast."""
        return self.valid - self.wrong

    @property
    def bad(self) -> int:
        """Valid, and not answered rightly."""
        return self.valid - self.right


class Figures(msgspec.Struct):
    """Cells by second (Unix time) and release."""

    cells: dict[int, dict[str, Cell]] = {}
    lags: dict[int, int] = {}  # histogram: how long after its time a request was sent
    cpu: dict[int, float] = {}  # share of one core this worker used, by second

    def cell(self, second: int, release: str) -> Cell:
        """The cell, made when first asked for."""
        releases = self.cells.get(second)
        if releases is None:
            releases = self.cells[second] = {}
        cell = releases.get(release)
        if cell is None:
            cell = releases[release] = Cell()
        return cell

    def merge(self, other: Figures) -> None:
        """Add another's counts."""
        for second, releases in other.cells.items():
            for release, cell in releases.items():
                self.cell(second, release).merge(cell)
        for index, count in other.lags.items():
            self.lags[index] = self.lags.get(index, 0) + count
        self.cpu.update(other.cpu)

    def seconds(self, start: float, end: float) -> Iterable[tuple[int, dict[str, Cell]]]:
        """The cells of [start, end), in order."""
        return ((s, self.cells[s]) for s in sorted(self.cells) if start <= s < end)

    def total(
        self, start: float = 0, end: float = float("inf"), release: str | None = None
    ) -> Cell:
        """Everything in [start, end), of one release or of all."""
        result = Cell()
        for _, releases in self.seconds(start, end):
            for name, cell in releases.items():
                if release is None or name == release:
                    result.merge(cell)
        return result

    def releases(self, start: float = 0, end: float = float("inf")) -> list[str]:
        """Who answered, NO_RELEASE among them, in order of appearance."""
        found: dict[str, None] = {}
        for _, releases in self.seconds(start, end):
            found.update(dict.fromkeys(releases))
        return list(found)


def encode(figures: Figures) -> bytes:
    """For the wire between worker and leader."""
    return msgspec.msgpack.encode(figures)


def decode(data: bytes) -> Figures:
    """Of `encode`."""
    return msgspec.msgpack.decode(data, type=Figures)


def summary(cell: Cell) -> dict[str, Any]:
    """A cell's counts and percentiles, for people and documents."""
    histogram = cell.histogram
    return {
        "requests": cell.requests,
        "right": cell.right,
        "fast": cell.fast,
        "wrong": cell.wrong,
        "refused": cell.refused,
        "dropped": cell.dropped,
        "failures": dict(sorted(cell.failures.items())),
        "p50_ms": histogram.percentile(50),
        "p90_ms": histogram.percentile(90),
        "p99_ms": histogram.percentile(99),
        "p999_ms": histogram.percentile(99.9),
        "max_ms": histogram.percentile(100),
    }
