"""Ending a run that burns its error budget, by the same two windows as the alert that pages somebody."""

from __future__ import annotations

from skfleet.documents.slo import Slo
from skfleet_loadtest.figures import Figures

# The alert's hour and five minutes, in the time of a load test: since its start, and just now.
RECENT_S = 10
# Below this a single failure would look like a fire.
ENOUGH = 200


class Burn:
    """Valid and bad requests by second, summed as reports arrive."""

    def __init__(self, slo: Slo, start: float) -> None:
        self._slo = slo
        self._start = start
        self._seconds: dict[int, tuple[int, int]] = {}

    def add(self, figures: Figures) -> None:
        """What a worker reported."""
        for second, releases in figures.cells.items():
            if second < self._start:
                continue
            valid, bad = self._seconds.get(second, (0, 0))
            for cell in releases.values():
                valid += cell.valid
                bad += cell.bad
            self._seconds[second] = valid, bad

    def reason(self, now: float) -> str:
        """Why the run should end; empty while it should not."""
        factor = self._slo.page_factor
        long, requests = self._rate(self._start)
        short, _ = self._rate(max(self._start, now - RECENT_S))
        if requests < ENOUGH or long < factor or short < factor:
            return ""
        return (
            f"the error budget burns {long:.0f} times too fast "
            f"({short:.0f} times in the last {RECENT_S} s; {factor:g} pages somebody)"
        )

    def _rate(self, since: float) -> tuple[float, int]:
        """(burn rate, valid requests) since then."""
        parts = [count for second, count in self._seconds.items() if second >= since]
        valid = sum(part[0] for part in parts)
        bad = sum(part[1] for part in parts)
        budget = 1 - self._slo.objectives.availability.target
        return (bad / valid / budget if valid else 0.0), valid
